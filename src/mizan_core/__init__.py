"""Mizan's protocol core: functions, what they make stale, and a cache that never serves it. No web framework.

from mizan_core import Context, Engine, build, client
"""

from typing import TYPE_CHECKING, Any

from .cache.backends.backend import CacheBackend
from .cache.backends.memory import MemoryCache
from .engine.answers import Answer, Bundle
from .engine.computations import no_store
from .engine.current_call import invalidate
from .engine.engine import Engine
from .engine.failures import invalidations_of
from .errors import (
    BadRequest,
    CallError,
    Conflict,
    DeclarationError,
    Forbidden,
    GraphError,
    HeaderError,
    InvalidInput,
    MizanError,
    NotFound,
    TokenError,
    Unauthorized,
    Unavailable,
)
from .graph.build import build
from .graph.declare import Arg, Context, Result, client
from .graph.discover import discover
from .graph.manifest import build_manifest, manifest_json, urls_to_purge
from .graph.model import Graph
from .graph.provide import Provide
from .graph.types.identity_sources import Claim, Me
from .protocol.files import File
from .protocol.headers import decode_header, encode_header
from .protocol.identity import ANONYMOUS, Account, Identity, permission_key
from .protocol.invalidation import Invalidation
from .protocol.keys import entry_key, scope_tag
from .protocol.tokens import issue_mwt, verify_mwt
from .protocol.values import canonical

if TYPE_CHECKING:
    from .cache.backends.redis import RedisCache as RedisCache

__all__ = [
    "ANONYMOUS",
    "Account",
    "Answer",
    "Arg",
    "BadRequest",
    "Bundle",
    "CacheBackend",
    "CallError",
    "Claim",
    "Conflict",
    "Context",
    "DeclarationError",
    "Engine",
    "File",
    "Forbidden",
    "Graph",
    "GraphError",
    "HeaderError",
    "Identity",
    "InvalidInput",
    "Invalidation",
    "Me",
    "MemoryCache",
    "MizanError",
    "NotFound",
    "Provide",
    "Result",
    "TokenError",
    "Unauthorized",
    "Unavailable",
    "build",
    "build_manifest",
    "canonical",
    "client",
    "decode_header",
    "discover",
    "encode_header",
    "entry_key",
    "invalidate",
    "invalidations_of",
    "issue_mwt",
    "manifest_json",
    "no_store",
    "permission_key",
    "scope_tag",
    "urls_to_purge",
    "verify_mwt",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "RedisCache":
        from .cache.backends.redis import RedisCache  # noqa: PLC0415  # programs without it need not have redis

        return RedisCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
