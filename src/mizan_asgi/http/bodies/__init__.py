"""Request bodies: read within limits, parsed to arguments, and forms with files streamed to disk."""
