"""A small project tracker that shows Mizan at work: `python -m examples.tracker`."""
