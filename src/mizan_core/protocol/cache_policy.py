"""How long an answer is kept, for whom, and behind which guard (protocol, section 6)."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ..errors import DeclarationError


@dataclass(frozen=True, slots=True)
class UntilPurged:
    """`cache=True`: kept until a mutation says that it is out of date."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """`cache=60`: kept until purged, and never longer than this."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Never:
    """`cache=False`: computed for every request."""


Lifetime: TypeAlias = UntilPurged | Seconds | Never


class Per(StrEnum):
    """Whom one stored answer serves."""

    ALL = "all"
    PERMISSIONS = "permissions"
    USER = "user"


_PRIVACY = {Per.ALL: 0, Per.PERMISSIONS: 1, Per.USER: 2}


def read_lifetime(cache: object) -> Lifetime:
    """What `cache=` says. `True` is not one second, so the types are asked before the values."""
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
    """What `per=` says; None leaves it to the declaration's other parts."""
    if per is None:
        return None
    try:
        return Per(per)  # type: ignore[arg-type]  # any object may be asked about; Per refuses what it does not know
    except ValueError:
        raise DeclarationError(f"per={per!r} is neither 'all', 'user' nor 'permissions'.") from None


def shortest(lifetimes: list[Lifetime]) -> Lifetime:
    """The policy of a bundle: its readers' shortest, and `Never` beats all."""
    if Never() in lifetimes:
        return Never()
    seconds = [lifetime.seconds for lifetime in lifetimes if isinstance(lifetime, Seconds)]
    return Seconds(min(seconds)) if seconds else UntilPurged()


def most_private(pers: list[Per]) -> Per:
    """The privacy of a bundle: that of its most private reader."""
    return max(pers, key=_PRIVACY.__getitem__, default=Per.ALL)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long an answer is kept, for whom, and whether a guard stands before it (protocol, section 6)."""

    rev: int
    lifetime: Lifetime
    per: Per
    guarded: bool
    for_everyone: bool = field(init=False)  # caches beyond the origin may keep it

    def __post_init__(self) -> None:
        object.__setattr__(self, "for_everyone", self.per is Per.ALL and not self.guarded)
