"""The choices a declaration makes, as types that cannot be wrong: how long, for whom, behind which guard."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import DeclarationError
from ..protocol.identity import Identity


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
