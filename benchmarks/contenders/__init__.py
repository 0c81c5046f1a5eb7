"""The contenders: each does the same work, and sends the same bytes."""
