"""Where a cache keeps its bytes: memory, Redis, or a backend of one's own."""
