"""Graph and cache joined: calls, bundles and pages answered."""

from .engine import Engine

__all__ = ["Engine"]
