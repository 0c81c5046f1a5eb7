"""The outcome of a fetch: a hit, a fresh bundle that caches may keep, or a bundle for its request alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True)
class Computed:
    """A bundle as the readers made it. `personal`: it depends on its caller, and may answer that request alone.

    `declined`: a reader said that no cache may keep it (`no_store`). It may answer the requests that have joined.
    `seconds`: the longest that it may be kept, if it says so itself.
    """

    body: bytes
    personal: bool = False
    declined: bool = False
    seconds: float | None = None


@dataclass(slots=True)
class Hit:
    """Served from the cache; `remaining` seconds until it expires."""

    body: bytes
    etag: str
    remaining: float


@dataclass(slots=True)
class Fresh:
    """Computed while no tag of it was purged: outer caches may keep it. `joined`: another request computed it.

    `stale`: an entry was there, and was not valid any more.
    """

    body: bytes
    etag: str
    stored: bool
    stale: bool
    joined: bool = False


@dataclass(slots=True)
class Passing:
    """Computed for this request alone; no cache may keep it. `detail` says why."""

    body: bytes
    etag: str
    detail: str
    personal: bool = False


class PersonalFailure(Exception):
    """The readers failed after one had looked at the caller: the error is for that request alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


Fetched: TypeAlias = Hit | Fresh | Passing
FETCHED = (Hit, Fresh, Passing)
Compute: TypeAlias = Callable[[], Awaitable[Computed]]
