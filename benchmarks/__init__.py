"""What requests cost, beside what people would use instead. See `python -m benchmarks --help`."""
