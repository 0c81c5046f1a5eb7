"""The cost of requests, beside the alternatives to Mizan. See `python -m benchmarks --help`."""
