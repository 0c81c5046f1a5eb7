"""`auth=`: the guard that it declares, and the arguments that a callable guard is given.

A callable takes the identity, and by name any of the parameters of the function that it guards.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors import DeclarationError
from ..protocol.identity import Identity
from .defects import nearest
from .signature import is_identity, signature_of

_NAMES_IDENTITY = re.compile(r"\bIdentity\b")
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Anyone:
    """No `auth`: no guard."""


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
    """`auth=callable`. `arguments`: the parameters of the function that it takes.

    `identities`: its parameters that are given the identity, the first of them by position if `by_position`.
    """

    check: AuthCheck
    identities: tuple[str, ...] = ("",)
    by_position: bool = True
    arguments: tuple[str, ...] = ()

    def __call__(self, identity: Identity, arguments: Mapping[str, object]) -> object:
        """Call the check. Its answer may have to be awaited."""
        by_name = dict.fromkeys(self.identities[self.by_position :], identity)
        return self.check(*([identity] if self.by_position else []), **by_name, **arguments)


PlainGuard: TypeAlias = Anyone | SignedIn | Staff | Superuser  # decides by the identity alone, at once
Guard: TypeAlias = PlainGuard | Check


def read_guard(auth: object) -> Guard:
    """The guard that `auth=` declares; a callable is not bound to a function yet."""
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


def bind_check(check: AuthCheck, function: Callable[..., Any]) -> Check:
    """The check, bound to the function that it guards. Raises `DeclarationError` for an argument that is not there."""
    try:
        parameters = list(_signature(check).parameters.values())
    except (TypeError, ValueError):  # a built-in function may have no signature
        return Check(check)
    guarded = signature_of(function).parameters
    known = list(guarded)
    of_identity = {name for name, one in guarded.items() if _is_identity(one)}
    identities = [one.name for one in parameters if _is_identity(one) or one.name in of_identity]
    identities = identities or _first_positional(parameters, known)
    arguments = [one for one in parameters if one.name not in identities and one.kind not in _STARS]
    for one in arguments:
        _check_argument(one, known)
    return Check(
        check,
        identities=tuple(identities),
        by_position=bool(parameters) and parameters[0].name in identities,
        arguments=tuple(one.name for one in arguments if one.name in known),
    )


def _signature(check: AuthCheck) -> inspect.Signature:
    try:
        return inspect.signature(check, eval_str=True)
    except (NameError, AttributeError, SyntaxError):  # an annotation may be importable for type checkers only
        return inspect.signature(check)


def _is_identity(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    return bool(_NAMES_IDENTITY.search(annotation)) if isinstance(annotation, str) else is_identity(annotation)


def _first_positional(parameters: list[inspect.Parameter], known: Iterable[str]) -> list[str]:
    """The first parameter, unless it is annotated and the function has a parameter of its name."""
    for one in parameters[:1]:
        is_input = one.name in known and one.annotation is not inspect.Parameter.empty
        if one.kind in (*_BY_POSITION, inspect.Parameter.VAR_POSITIONAL) and not is_input:
            return [one.name]
    return []


def _check_argument(one: inspect.Parameter, known: list[str]) -> None:
    if one.name in known:
        if one.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise DeclarationError(f"auth= takes {one.name!r} by position, and is given it by name; drop the '/'.")
    elif one.default is inspect.Parameter.empty:
        remedy = nearest(one.name, known) or "; give it a default, or the function a parameter of that name."
        raise DeclarationError(f"auth= takes {one.name!r}, which the function does not{remedy}")
