"""Which arguments a callable in `auth=` is given: the identity, and by name those of the function that it guards."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import DeclarationError
from .access import AuthCheck, Check
from .defects import nearest
from .signature import is_identity, signature_of

_NAMES_IDENTITY = re.compile(r"\bIdentity\b")
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def bind_check(check: AuthCheck, function: Callable[..., Any]) -> Check:
    """How to call `check` for `function`. Raises `DeclarationError` for an argument that neither of them has."""
    try:
        parameters = list(_signature(check).parameters.values())
    except (TypeError, ValueError):  # something built in does not tell
        return Check(check)
    guarded = signature_of(function).parameters
    known = list(guarded)
    fills_in = {name for name, one in guarded.items() if _is_identity(one)}
    identities = [one.name for one in parameters if _is_identity(one) or one.name in fills_in]
    identities = identities or _first(parameters, known)
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
    except (NameError, AttributeError, SyntaxError):  # an annotation that is there for type checkers only
        return inspect.signature(check)


def _is_identity(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    return bool(_NAMES_IDENTITY.search(annotation)) if isinstance(annotation, str) else is_identity(annotation)


def _first(parameters: list[inspect.Parameter], known: Iterable[str]) -> list[str]:
    """The first parameter, unless it says by its annotation that it is the function's of that name."""
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
