"""Cache backends of one's own."""
