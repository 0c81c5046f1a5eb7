"""Start-up: declarations are checked as a whole and compiled into a frozen `Graph`, which everything else reads.

`declare` has `@client`, `build` the compilation, `model` the result, `narrowing` what a call makes stale.
"""

from .build import build
from .discover import discover
from .model import Graph

__all__ = ["Graph", "build", "discover"]
