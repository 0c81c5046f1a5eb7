"""What comes of asking for a bundle: it was kept, it was computed, or it was computed for this request alone."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True)
class Computed:
    """What the readers answered. `personal`: it shows who asked, and belongs to that request alone."""

    body: bytes
    personal: bool = False


@dataclass(slots=True)
class Hit:
    """Served from the cache; `remaining` seconds until it expires."""

    body: bytes
    etag: str
    remaining: float


@dataclass(slots=True)
class Fresh:
    """Computed while nothing was purged: caches beyond may keep it. `joined`: another request computed it."""

    body: bytes
    etag: str
    stored: bool
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Passing:
    """Computed for this request alone; no cache may keep it. `detail` says why."""

    body: bytes
    etag: str
    detail: str
    personal: bool = False


class PersonalFailure(Exception):
    """The readers failed after they had seen who asks: the error is for that request alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


Fetched: TypeAlias = Hit | Fresh | Passing
Compute: TypeAlias = Callable[[], Awaitable[Computed]]
