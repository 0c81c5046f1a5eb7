"""From a request's path to the endpoint that answers there, and whether the path is spelled canonically.

Only under its canonical URL may a cache keep an answer (protocol, section 8). Hosts mount Mizan with or without a root
path, behind proxies that strip a prefix or leave it (`paths` reads all of these), so canonical paths are remembered
together with their endpoints and looked up as they were sent.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import unquote

from starlette.routing import Match, Route, Router
from starlette.types import Scope

from mizan_core.errors import NotFound

from .bundles import BundleEndpoint, MissingBundle
from .calls import CallEndpoint, GroupedCallEndpoint
from .pages import routes_of
from .paths import before_path, below_mount, is_base
from .scripts import SCRIPTS, ScriptEndpoint
from .service import Endpoint, Service

# A mount point may have path parameters, which the sender chooses: both bounds keep them from filling the memory.
REMEMBERED_PATHS = 4096
REMEMBERED_PATH_LENGTH = 256

# Everything in a scope that tells where below a mount point the request is, and how that was spelled.
PathKey: TypeAlias = tuple[str | bytes | None, ...]


class Routing:
    """The endpoints of a service below its mount point, and the routes of functions that have their own."""

    def __init__(self, service: Service, more: Iterable[Endpoint] = ()) -> None:
        self._service = service
        self.bundles = {
            name: BundleEndpoint(service, plan) for name, plan in service.engine.graph.contexts.items() if plan.readers
        }
        self._endpoints = _endpoints(service, self.bundles) | {endpoint.place: endpoint for endpoint in more}
        self.routes: list[Route] = routes_of(service)
        self.router = Router(self.routes, redirect_slashes=False)
        self.canonical: dict[PathKey, Endpoint] = {}  # the endpoints of paths found to be canonical, by `path_key`

    def find(self, scope: Scope) -> tuple[Endpoint, bool]:
        """The endpoint of this path, and whether the path is its canonical spelling. Raises `NotFound`."""
        base_url = self._service.base_url
        place = below_mount(scope, base_url).removesuffix("/") + "/"
        endpoint = self._endpoints.get(place)
        if endpoint is None:
            return _missing_endpoint(self._service, place), False
        if isinstance(endpoint, CallEndpoint) and endpoint.may_affect:
            self._service.check_lifespan()
        before = before_path(scope, place)
        canonical = before is not None and is_base(before, base_url, scope)
        if before is not None and not canonical and unquote(before) != base_url:
            self._service.warn_once(
                "Mizan is requested below %r, and base_url=%r. The manifest and urls_to_purge go by base_url, so a "
                "purge would not reach the copies of edges. Therefore no bundle is sent public. Give Mizan "
                "base_url=%r.",
                *(before, base_url, unquote(before)),
            )
        has_room = len(self.canonical) < REMEMBERED_PATHS and len(scope["path"]) <= REMEMBERED_PATH_LENGTH
        if canonical and has_room and not self._has_route(scope):
            self.canonical[path_key(scope)] = endpoint
        return endpoint, canonical

    def serves_route(self, scope: Scope) -> bool:
        """Whether the path is a function's own route and Mizan runs alone, so that no host serves its routes."""
        return "app" not in scope and self._has_route(scope)

    def _has_route(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.routes)


def path_key(scope: Scope) -> PathKey:
    """The key in `Routing.canonical` of a request's path."""
    return scope["path"], scope.get("raw_path"), scope.get("root_path"), scope.get("app_root_path")


def _endpoints(service: Service, bundles: Mapping[str, BundleEndpoint]) -> dict[str, Endpoint]:
    """All endpoints, by the canonical spelling of their paths below the mount point."""
    graph = service.engine.graph
    found: list[Endpoint] = [*bundles.values(), *(ScriptEndpoint(name, script) for name, script in SCRIPTS.items())]
    found += [_call_endpoint(service, name, bundles) for name in (None, *graph.functions)]
    return {endpoint.place: endpoint for endpoint in found}


def _call_endpoint(service: Service, name: str | None, bundles: Mapping[str, BundleEndpoint]) -> CallEndpoint:
    if service.groups is None:
        return CallEndpoint(service, name, bundles)
    return GroupedCallEndpoint(service, name, bundles, service.groups)


def _missing_endpoint(service: Service, place: str) -> Endpoint:
    """The endpoint that answers for an unknown function or context, after the same checks as for a known one.

    Raises `NotFound` for any other path.
    """
    match place.split("/"):
        case ["", "call", name, ""]:
            return CallEndpoint(service, name, {})
        case ["", "ctx", _, ""]:
            return MissingBundle(service, place)
    raise NotFound
