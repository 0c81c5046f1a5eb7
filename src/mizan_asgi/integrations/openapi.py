"""Mizan's functions in the OpenAPI document of a FastAPI application, and so in its `/docs`."""

from collections.abc import Iterable, Iterator
from typing import Any

from mizan_core.errors import DeclarationError
from mizan_core.graph.model import Graph

from ..codegen.merging import merged


class MergedOpenAPI:
    """An application's `openapi` method, with the operations of a graph added to what it returns.

    `added`: the ASGI application that serves them; where it is mounted is found out when the document is asked for.
    """

    def __init__(self, app: Any, added: object, graph: Graph, base_url: str) -> None:
        self._app = app
        self.added = added
        self.inner = app.openapi
        self._graph = graph
        self._base_url = base_url
        self._last: tuple[Any, str, dict[str, Any]] | None = None  # the host's document, the mount, both together

    def __call__(self) -> dict[str, Any]:
        """The document, merged anew whenever the host has made another."""
        document = self.inner()
        prefix = next(mounts_of(self._app.routes, self.added), self._base_url)
        if self._last is None or self._last[0] is not document or self._last[1] != prefix:
            self._last = document, prefix, merged(document, self._graph, prefix=prefix)
        return self._last[2]


def add_openapi(app: Any, added: object, graph: Graph, base_url: str) -> None:
    """Let the application's document have the operations of the graph. Does nothing the second time.

    Raises `DeclarationError` for what is no application of FastAPI, or one that writes OpenAPI 3.0.
    """
    known = getattr(app, "openapi", None)
    version = getattr(app, "openapi_version", None)
    if not callable(known) or version is None:
        raise DeclarationError(f"add_openapi() takes an application of FastAPI, and this is a {type(app).__name__}.")
    if not str(version).startswith("3.1"):
        raise DeclarationError(
            f"add_openapi() writes OpenAPI 3.1, and the application {version}; leave openapi_version as it is."
        )
    while isinstance(known, MergedOpenAPI):
        if known.added is added:
            return
        known = known.inner
    app.openapi = MergedOpenAPI(app, added, graph, base_url)


def mounts_of(routes: Iterable[Any], app: object, before: str = "") -> Iterator[str]:
    """The paths at which an ASGI application is mounted, at any depth."""
    for route in routes:
        path = before + getattr(route, "path", "")
        if getattr(route, "app", None) is app:
            yield path
        yield from mounts_of(getattr(route, "routes", None) or (), app, path)
