"""The cache in a backend that processes share: every step may wait, and may fail."""
