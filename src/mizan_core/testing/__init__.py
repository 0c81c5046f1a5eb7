"""For tests of what is built with Mizan: proofs of staleness, what a call invalidated, every order of reads and writes.

Also a real Redis server, and the checker that looks for stale reads in Mizan itself. As a plugin of pytest,
`pytest_plugins = ["mizan_core.testing"]` brings the fixture `mizan_verify`. (PYTEST_DONT_REWRITE: no assertion of
this package is a test's.)
"""

import importlib
from typing import TYPE_CHECKING, Any

from .interleaving import interleave
from .invalidating import assert_invalidates

if TYPE_CHECKING:
    from .plugin import mizan_verify as mizan_verify

__all__ = ["assert_invalidates", "interleave", "mizan_verify"]


def __getattr__(name: str) -> Any:
    """The fixture needs pytest, which is imported only where it is asked for."""
    if name == "mizan_verify":
        return importlib.import_module(".plugin", __name__).mizan_verify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
