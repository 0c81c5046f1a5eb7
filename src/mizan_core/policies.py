"""The choices a declaration makes, as types that cannot be wrong: how long, for whom, behind which guard."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .errors import DeclarationError
from .identity import Identity


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


@dataclass(frozen=True, slots=True)
class Anyone:
    """No `auth`."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`auth=True`."""


@dataclass(frozen=True, slots=True)
class Staff:
    """`auth="staff"`: staff and superusers."""


@dataclass(frozen=True, slots=True)
class Superuser:
    """`auth="superuser"`."""


AuthCheck: TypeAlias = Callable[..., object | Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Check:
    """`auth=callable`: what it says of the identity and of the `arguments`, names of parameters of the function.

    `identities` are its parameters that are given the identity, the first of them by position if `by_position`.
    """

    check: AuthCheck
    identities: tuple[str, ...] = ("",)
    by_position: bool = True
    arguments: tuple[str, ...] = ()

    def __call__(self, identity: Identity, arguments: Mapping[str, object]) -> object:
        """Ask it; what it answers may have to be awaited."""
        by_name = dict.fromkeys(self.identities[self.by_position :], identity)
        return self.check(*([identity] if self.by_position else []), **by_name, **arguments)


Guard: TypeAlias = Anyone | SignedIn | Staff | Superuser | Check

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


def read_guard(auth: object) -> Guard:
    """What `auth=` says."""
    match auth:
        case None | False:
            return Anyone()
        case True:
            return SignedIn()
        case "staff":
            return Staff()
        case "superuser":
            return Superuser()
    if callable(auth):
        return Check(auth)
    raise DeclarationError(
        f"auth={auth!r} is neither True, 'staff', 'superuser' nor a function that is given the Identity."
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
