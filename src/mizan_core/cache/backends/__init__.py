"""Cache backends: their interface, memory, and Redis."""
