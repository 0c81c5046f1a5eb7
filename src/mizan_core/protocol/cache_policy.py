"""Cache policies: how long an answer is kept, and which users one stored answer serves (protocol, section 6)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ..errors import DeclarationError


@dataclass(frozen=True, slots=True)
class UntilPurged:
    """`cache=True`: kept until a mutation makes it stale."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """`cache=60`: kept until purged, for at most so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Never:
    """`cache=False`: computed for every request."""


Lifetime: TypeAlias = UntilPurged | Seconds | Never


class Per(StrEnum):
    """The users that one stored answer serves."""

    ALL = "all"
    PERMISSIONS = "permissions"
    USER = "user"


_PRIVACY = {Per.ALL: 0, Per.PERMISSIONS: 1, Per.USER: 2}


def read_lifetime(cache: object) -> Lifetime:
    """The lifetime that `cache=` declares. `True` is an integer to Python, and is asked for first."""
    if cache is True:
        return UntilPurged()
    if cache is False:
        return Never()
    if isinstance(cache, int) and cache > 0:
        return Seconds(cache)
    raise DeclarationError(
        f"cache={cache!r} is neither True (keep until purged), False (never keep) nor a whole number of seconds from 1."
    )


def read_per(per: object) -> Per | None:
    """The users that `per=` declares; None if it is left to the guard and the parameters."""
    if per is None:
        return None
    try:
        return Per(per)  # type: ignore[arg-type]  # Per refuses any object that is not one of its values
    except ValueError:
        raise DeclarationError(f"per={per!r} is neither 'all', 'user' nor 'permissions'.") from None


def shortest(lifetimes: list[Lifetime]) -> Lifetime:
    """The lifetime of a bundle: the shortest of its readers' lifetimes. `Never` is shorter than any."""
    if Never() in lifetimes:
        return Never()
    seconds = [lifetime.seconds for lifetime in lifetimes if isinstance(lifetime, Seconds)]
    return Seconds(min(seconds)) if seconds else UntilPurged()


def most_private(pers: list[Per]) -> Per:
    """The privacy of a bundle: that of its most private reader."""
    return max(pers, key=_PRIVACY.__getitem__, default=Per.ALL)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """The cache policy of a bundle or a page. `guarded`: one of its readers has a guard.

    `by_identity`: one of its parameters is filled in by the caller's identity. The origin shares the answer among all
    callers with the same values, and no cache beyond it may.
    """

    rev: int
    lifetime: Lifetime
    per: Per
    guarded: bool
    by_identity: bool = False
    for_everyone: bool = field(init=False)  # shared caches such as CDNs may keep the answer

    def __post_init__(self) -> None:
        object.__setattr__(self, "for_everyone", self.per is Per.ALL and not (self.guarded or self.by_identity))
