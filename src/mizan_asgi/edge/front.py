"""What Mizan has to know of a cache in front of it: whom to tell, how long it may keep answers, how they are tagged."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mizan_core.edge.profiles import Profile
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.errors import DeclarationError
from mizan_core.protocol.cache_headers import YEAR_SECONDS
from mizan_core.telling.edge import Edge


@dataclass(frozen=True, slots=True)
class Front:
    """How public answers are sent to the cache in front.

    `lifetime`: for how many seconds it may keep an answer without asking again; it bounds how long an edge that cannot
    be reached serves old data. `profiles`: the headers that carry tags. `targeted`: the name of a field of RFC 9213,
    such as `CDN-Cache-Control`, that carries the lifetime in place of `s-maxage`. `groups`: whether the tags are sent
    as `Cache-Groups` (RFC 9875) as well, and what is stale as `Cache-Group-Invalidation`.
    `further`: targeted fields of other caches, each with the lifetime for those that read it.
    """

    lifetime: int = YEAR_SECONDS
    profiles: tuple[Profile, ...] = ()
    targeted: str | None = None
    groups: bool = False
    further: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if type(self.lifetime) is not int or self.lifetime <= 0:
            raise DeclarationError(f"lifetime={self.lifetime!r} is no whole number of seconds above 0.")
        if self.targeted is not None and not self.targeted.lower().endswith("-cache-control"):
            raise DeclarationError(
                f"targeted={self.targeted!r} is no field such as 'CDN-Cache-Control' (RFC 9213), whose name ends in "
                "'-Cache-Control'."
            )


class InFront(Protocol):
    """A cache in front of the application, or several of one kind."""

    @property
    def front(self) -> Front: ...

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:
        """Those that have to be told what is stale. `tables`: of the application's manifest."""
        ...


@dataclass(frozen=True, slots=True)
class HeaderOnly:
    """An edge that acts on `X-Mizan-Invalidate` by itself, as one node does that every write passes through.

    It hears of no write that goes past it. `lifetime`, `targeted`, `groups`: as of `Front`. One that implements
    RFC 9875 needs `groups=True`. `profiles`: of `mizan_core.edge`, the headers in which it, or a cache that you purge
    by tags yourself, reads the tags of an answer.
    """

    lifetime: int = YEAR_SECONDS
    targeted: str | None = None
    groups: bool = False
    profiles: Sequence[Profile] = ()
    front: Front = field(init=False, repr=False)

    def __post_init__(self) -> None:
        front = Front(self.lifetime, tuple(self.profiles), self.targeted, self.groups)
        object.__setattr__(self, "front", front)

    def edges(self, tables: EdgeMap) -> Sequence[Edge]:  # noqa: ARG002  # it hears by the answers alone
        """None: nothing is sent to it."""
        return ()


def check_seconds(name: str, value: float | None) -> None:
    """Raise `DeclarationError` for a number of seconds that is not above 0."""
    if value is not None and not 0 < value < float("inf"):
        raise DeclarationError(f"{name}={value!r} is no number of seconds above 0.")


def joined(fronts: Sequence[Front]) -> Front | None:
    """How answers are sent through several caches: with the tags of all, for the shortest lifetime.

    Caches that read different fields have a lifetime each: the one of `s-maxage` is that of caches without a field.
    """
    if not fronts:
        return None
    lifetimes: dict[str | None, int] = {}
    for front in sorted(fronts, key=lambda front: front.targeted is not None):
        field_name = front.targeted and front.targeted.lower()
        lifetimes[field_name] = min(front.lifetime, lifetimes.get(field_name, front.lifetime))
    (targeted, lifetime), *others = lifetimes.items()
    return Front(
        lifetime=lifetime,
        profiles=tuple(dict.fromkeys(profile for front in fronts for profile in front.profiles)),
        targeted=targeted,
        groups=any(front.groups for front in fronts),
        further=tuple((name, seconds) for name, seconds in others if name is not None),
    )
