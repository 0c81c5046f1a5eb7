"""Whether declarations are true: bundles are computed again, and a difference that nothing invalidated is told.

`Verify` proves, on any database, that a mutation's `affects` is missing or too narrow; it also measures how wide each
declaration is. `Recorder` writes calls down, and `audit` plays them against a scratch database. `explain_call` and
`explain_bundle` tell why something is purged or kept. All of it stands on
`mizan_core.engine.observers`.
"""

from ..engine.observers import StaleProof
from .auditing import Audit, audit
from .differing import difference
from .explain import (
    ExplainedAffect,
    ExplainedBundle,
    ExplainedCall,
    LastPurges,
    RememberedPurge,
    When,
    explain_bundle,
    explain_call,
)
from .recording import Recorded, Recorder, read_recording
from .verify import Verify, Width

__all__ = [
    "Audit",
    "ExplainedAffect",
    "ExplainedBundle",
    "ExplainedCall",
    "LastPurges",
    "Recorded",
    "Recorder",
    "RememberedPurge",
    "StaleProof",
    "Verify",
    "When",
    "Width",
    "audit",
    "difference",
    "explain_bundle",
    "explain_call",
    "read_recording",
]
