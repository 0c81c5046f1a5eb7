"""The inspector: a page of the application that shows its graph, its calls as they happen, and what was proved stale.

`Mizan(inspector=True)`, or `Mizan(inspector=Inspector(...))`. It is for development.
"""

from .access import Inspector

__all__ = ["Inspector"]
