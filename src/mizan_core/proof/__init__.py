"""Whether declarations are true: bundles are computed again, and a difference that nothing invalidated is told.

`Verify` proves, on any database, that a mutation's `affects` is missing or too narrow; it also measures how wide each
declaration is. It stands on `mizan_core.engine.observers`.
"""

from .differing import difference
from .verify import StaleProof, Verify, Width

__all__ = ["StaleProof", "Verify", "Width", "difference"]
