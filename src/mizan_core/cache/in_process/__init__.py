"""The cache in this process's memory, where nothing waits."""
