"""Refuses parameters that a web framework would fill in: here they would be arguments, and clients would send them.

FastAPI's `Depends(...)` on a whole parameter is allowed: FastAPI solves it where Mizan is given the application.
Frameworks are recognised by the names of their modules and classes, since the core imports none of them.
"""

import typing
from collections.abc import Iterator
from typing import Annotated, Any

from ...errors import DeclarationError
from .aliases import TYPE_ALIASES

_FRAMEWORKS = (
    *("fastapi.", "starlette.", "litestar.", "django.http.", "django.core.files.", "ninja.", "flask.", "quart."),
    *("werkzeug.", "aiohttp.web", "sanic.", "falcon.", "blacksheep.", "esmerald."),
)

# Modules of markers that inject the result of a function, and the names of their classes.
_INJECTORS = (
    *("fastapi.", "litestar.", "ninja.", "fast_depends.", "faststream.", "taskiq_dependencies.", "dishka."),
    *("dependency_injector.", "that_depends."),
)
_DEPENDENCIES = frozenset(
    {"Depends", "Security", "Dependant", "Dependency", "DependencyKwarg", "TaskiqDepends", "FromComponent", "Provide"}
)
# FastAPI's markers of values that are no arguments. Query, Path, Body and Form mark arguments, and are allowed.
_ELSEWHERE = {"Header": "request.headers", "Cookie": "request.cookies"}

_CALLER = (
    "take the caller as `me: Identity`, which authenticate= finds out, or all of the request as `request`, and what "
    "else the function needs, such as a database session, by its type: build(functions, provide={AsyncSession: ...})"
)

# The remedy for a parameter of a framework's class, by the name of the class.
_REMEDIES = {
    "Request": "call it 'request', and it is handed over",
    "HTTPConnection": "call it 'request', and it is handed over",
    "HttpRequest": "call it 'request', and it is handed over",
    "WebSocket": "there are no websockets here; call it 'request' for the host's request",
    "Response": "return a response from a view, which has a route",
    "BackgroundTasks": "nothing would run them; do the work in the function, or hand it to a queue of your own",
    "BackgroundTask": "nothing would run it; do the work in the function, or hand it to a queue of your own",
    "UploadFile": "take `picture: File` of mizan_core",
    "SecurityScopes": _CALLER,
}
_TAKE_REQUEST = "take all of the request as `request`"


def dependency_in(declared: Any) -> bool:
    """Whether an annotation or a default has FastAPI's `Depends(...)` or `Security(...)` for the whole parameter."""
    while isinstance(declared, TYPE_ALIASES):
        declared = declared.__value__
    marks = typing.get_args(declared)[1:] if typing.get_origin(declared) is Annotated else (declared,)
    return any(_is_fastapi_dependency(type(mark)) for mark in marks)


def _is_fastapi_dependency(kind: type) -> bool:
    return any(one.__name__ == "Depends" and _is_from(one, ("fastapi.",)) for one in kind.__mro__)


def check_host_parameter(name: str, declared: Any) -> None:
    """Raise `DeclarationError` if a framework would fill in a parameter by this annotation or default."""
    for part in _parts(declared):
        found = _found(part)
        if found is not None:
            what, remedy = found
            raise DeclarationError(f"parameter {name!r} {what}, and as an argument clients would send it; {remedy}.")


def _found(part: object) -> tuple[str, str] | None:
    """A description of the injected type or marker, and the remedy; None for any other part of an annotation."""
    if isinstance(part, type):
        if not any(_is_from(kind, _FRAMEWORKS) for kind in part.__mro__):
            return None
        remedies = (_REMEDIES[kind.__name__] for kind in part.__mro__ if kind.__name__ in _REMEDIES)
        return f"is a {part.__module__.partition('.')[0]} {part.__name__}", next(remedies, _TAKE_REQUEST)
    for kind in type(part).__mro__:
        if kind.__name__ in _DEPENDENCIES and _is_from(kind, _INJECTORS):
            remedy = "write it on the whole parameter: Annotated[..., Depends(...)]"
            return f"has {kind.__name__}(...)", remedy if _is_fastapi_dependency(kind) else _CALLER
        if kind.__name__ in _ELSEWHERE and _is_from(kind, ("fastapi.",)):
            return f"has {kind.__name__}(...)", f"read it from {_ELSEWHERE[kind.__name__]}"
        if kind.__name__ == "File" and _is_from(kind, ("fastapi.",)):
            return "has File(...)", _REMEDIES["UploadFile"]
    return None


def _is_from(kind: type, modules: tuple[str, ...]) -> bool:
    return f"{kind.__module__}.".startswith(modules)


def _parts(annotation: Any) -> Iterator[object]:
    """Every type and every marker in an annotation, through unions, containers and aliases."""
    if isinstance(annotation, TYPE_ALIASES):
        yield from _parts(annotation.__value__)
    elif isinstance(annotation, typing.NewType):
        yield from _parts(annotation.__supertype__)
    elif typing.get_origin(annotation) is Annotated:
        inner, *markers = typing.get_args(annotation)
        yield from markers
        yield from _parts(inner)
    elif typing.get_origin(annotation) is not None:
        origin = typing.get_origin(annotation)
        if isinstance(origin, TYPE_ALIASES):
            yield from _parts(origin.__value__)
        for argument in typing.get_args(annotation):
            yield from _parts(argument)
    else:
        yield annotation
