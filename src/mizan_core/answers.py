"""What an engine answers."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .bundle_cache import Fetched, Fresh, Hit, Passing
from .graph import CachePolicy
from .invalidation import Invalidation
from .wire import NO_STORE, PRIVATE_NO_STORE, cache_control

Status: TypeAlias = Literal["hit", "miss", "bypass"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A call that ended well: what the function returned, the answer's JSON, and what went out of date.

    `body` is empty for a view, whose `result` is the response itself.
    """

    result: object
    body: bytes
    invalidations: tuple[Invalidation, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that ended in an error, and what went out of date all the same."""

    error: Exception
    invalidations: tuple[Invalidation, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's JSON and what caches may do with it.

    `policy` is its `Cache-Control`, `cache_status` its `Cache-Status`; `canonical_query` is the query under which
    alone an edge may keep it; `varies` says that it depends on who asks.
    """

    body: bytes
    etag: str
    status: Status
    policy: str
    cache_status: str
    canonical_query: str
    varies: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What a reader's own route answers. `settled`: nothing was purged or held while it was made.

    `personal`: it shows who asked, although its declaration says that it serves others too. `path`: its canonical path.
    """

    result: object
    policy: CachePolicy
    settled: bool
    personal: bool
    path: str


def as_bundle(fetched: Fetched, policy: CachePolicy, canonical_query: str) -> Bundle:
    match fetched:
        case Hit(remaining=remaining):
            status, control, shown = "hit", cache_control(policy, remaining), "mizan; hit"
        case Fresh(stored=stored, joined=joined):
            status, control = "miss", cache_control(policy)
            shown = "mizan; fwd=uri-miss" + ("; stored" if stored else "") + ("; collapsed" if joined else "")
        case Passing(detail=detail, personal=personal):
            status, control = "bypass", PRIVATE_NO_STORE if personal else NO_STORE
            shown = f"mizan; fwd=bypass; detail={detail}"
    return Bundle(
        body=fetched.body,
        etag=fetched.etag,
        status=status,  # type: ignore[arg-type]  # one of three literals, which a match arm widens to str
        policy=control,
        cache_status=shown,
        canonical_query=canonical_query,
        varies=not policy.for_everyone,
    )
