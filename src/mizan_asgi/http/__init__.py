"""The graph over HTTP, in plain ASGI."""
