"""The command `mizan`."""

from .commands import cli, main

__all__ = ["cli", "main"]
