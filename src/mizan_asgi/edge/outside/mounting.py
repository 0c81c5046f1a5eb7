"""Whether an application of Starlette or FastAPI serves a `Mizan`, as far as its routes tell."""

from collections.abc import Iterator, Sequence
from types import FunctionType
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute

from mizan_core.engine.engine import Engine

# Applications of these packages that wrap no other and have no routes answer by themselves, such as static files.
_KNOWN = ("mizan_asgi", "starlette", "fastapi")


class Served(Protocol):
    """As much of a `Mizan` as is looked for."""

    @property
    def engine(self) -> Engine: ...
    @property
    def routes(self) -> Sequence[BaseRoute]: ...


def is_missing(app: object, mizan: Served) -> bool:
    """Whether the application certainly does not serve this one: neither it, nor its routes, nor its lifespan.

    An application that does not show its routes may do anything. An engine that is used has a loop.
    """
    if mizan.engine.home is not None:
        return False
    endpoints = {id(getattr(route, "endpoint", None)) for route in mizan.routes}
    seen: set[int] = set()
    left: list[Any] = [app]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if one is mizan or id(getattr(one, "endpoint", None)) in endpoints:
            return False
        parts = _parts(one)
        if parts is None:
            return False
        left += parts
    return True


def _parts(one: Any) -> Iterator[Any] | None:
    """The applications and routes within one; None where it does not show them."""
    if isinstance(one, Starlette):
        return iter([one.router, *_handed_to_middleware(one)])
    if isinstance(one, Mount | Host):
        return iter([*one.routes, one.app])
    if isinstance(one, Router):
        return iter([*one.routes, *([] if one.default == one.not_found else [one.default])])
    if isinstance(one, Route | WebSocketRoute):
        return iter(())
    app = getattr(one, "app", None)  # as all middleware of Starlette's calls what it wraps
    if app is not None:
        return iter([app])
    return iter(()) if type(one).__module__.partition(".")[0] in _KNOWN else None


def _handed_to_middleware(app: Starlette) -> Iterator[Any]:
    """Objects that middleware may call in the place of the application."""
    for one in app.user_middleware:
        for given in (*one.args, *one.kwargs.values()):
            if callable(given) and not isinstance(given, FunctionType | type):
                yield given
