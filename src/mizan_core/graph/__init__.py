"""Start-up: declarations, checked as a whole and compiled into a frozen graph that everything reads."""

from .build import build
from .discover import discover
from .model import Graph

__all__ = ["Graph", "build", "discover"]
