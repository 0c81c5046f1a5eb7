"""Functions at their own URLs (protocol, section 9): pages, webhooks, and data behind a route."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mizan_core.answers import Answer, Page, page_cache_control
from mizan_core.engine import Door
from mizan_core.errors import MethodNotAllowed
from mizan_core.graph import Function, Graph
from mizan_core.inputs import Pairs
from mizan_core.wire import NO_STORE, PRIVATE_NO_STORE, VARY

from .auth import check_same_site
from .endpoints import Service
from .requests import (
    HostRequest,
    below_mount,
    parse_pairs,
    raw_path,
    read_arguments,
    read_body,
    replaying,
)
from .responses import RawHeaders, Reply, error_reply, invalidate_headers, kept_reply, with_headers

_SAFE_METHODS = frozenset({"GET", "HEAD"})


class FunctionRoute(Route):
    """A Starlette route to one function, which answers other methods with a problem document."""

    def __init__(self, path: str, endpoint: ASGIApp, *, name: str, methods: list[str], allow: list[str]) -> None:
        super().__init__(path, endpoint, name=name, methods=methods, include_in_schema=False)
        self._allow = allow

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            await self.app(scope, receive, send)
        else:
            await error_reply(MethodNotAllowed(self._allow)).send(send)


class FunctionEndpoint:
    """The ASGI application behind one function's route."""

    def __init__(self, service: Service, function: Function) -> None:
        self._service = service
        self._function = function

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = scope["method"] == "HEAD"
        try:
            answered = await (self._page if self._function.context is not None else self._act)(scope, receive)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told what it may know
            answered = error_reply(error)
        if isinstance(answered, Reply):
            await answered.send(send, head=head)
        else:
            response, change = answered
            await response(scope, receive, with_headers(send, change, head=head))

    async def _page(self, scope: Scope, receive: Receive) -> "Reply | tuple[Any, Any]":
        service = self._service
        caller = await service.authenticator.identify(scope, receive)
        args, body = await self._arguments(scope, receive)
        request = HostRequest(scope, replaying(body, receive) if body is not None else receive, caller.identity)
        page = await service.engine.page(self._function.name, args, identity=caller.identity, request=request)
        canonical = scope["method"] in _SAFE_METHODS and not scope.get("query_string") and _is_at(scope, page.path)
        if isinstance(page.result, bytes):
            control = page_cache_control(page, 200, canonical_url=canonical)
            return kept_reply(page.result, control, varies=not page.policy.for_everyone)
        complete = isinstance(getattr(page.result, "body", None), bytes)
        return page.result, partial(_page_headers, page, canonical and complete)

    async def _act(self, scope: Scope, receive: Receive) -> "Reply | tuple[Any, Any]":
        service = self._service
        caller = await service.authenticator.identify(scope, receive)
        if not caller.by_header and (self._function.affects or scope["method"] not in _SAFE_METHODS):
            check_same_site(scope, service.trusted_origins)
        args, body = await self._arguments(scope, receive)
        request = HostRequest(scope, replaying(body, receive) if body is not None else receive, caller.identity)
        ended = await service.engine.attempt(
            self._function.name, args, identity=caller.identity, request=request, door=Door.ROUTE
        )
        if not isinstance(ended, Answer):
            return error_reply(ended.error, ended.invalidations)
        told = invalidate_headers(ended.invalidations)
        if self._function.is_view:
            return ended.result, partial(_mutation_headers, told)
        reply = kept_reply(ended.result_json, NO_STORE, varies=False)
        return Reply(reply.status, [*reply.headers, *told], reply.body)

    async def _arguments(self, scope: Scope, receive: Receive) -> tuple[Pairs | Mapping[str, object], bytes | None]:
        """From the path, the query and, where more is asked for, the body, which comes along if it was read.

        Query parameters that the function does not take are for somebody else, such as whoever counts visits.
        """
        inputs = self._function.inputs
        path: Mapping[str, object] = scope.get("path_params", {})
        query = [pair for pair in parse_pairs(scope.get("query_string", b"")) if pair[0] in inputs]
        body: bytes | None = None
        sent: Mapping[str, object] | Pairs = {}
        if scope["method"] not in _SAFE_METHODS and inputs.keys() - path.keys():
            body = await read_body(scope, receive, self._service.max_body_bytes)
            sent = await read_arguments(scope, body)
        validator = self._function.validator
        names = [*path, *dict.fromkeys(name for name, _ in query)]
        names += dict.fromkeys(name for name, _ in sent) if isinstance(sent, Pairs) else sent.keys()
        for name in names:
            if names.count(name) > 1:
                raise validator.refuse(name, "Given in more than one place", "repeated")
        if isinstance(sent, Pairs):
            return Pairs([*path.items(), *query, *sent]), body
        collected = validator.collect(Pairs([*path.items(), *query]))
        return {**collected, **sent}, body


def routes_of(service: Service, graph: Graph) -> list[Route]:
    """A route for every function that declares one, with and without its final slash."""
    allowed: dict[str, list[str]] = {}
    for function in graph.functions.values():
        if function.declaration.route is not None:
            allowed.setdefault(function.declaration.route.rstrip("/"), []).extend(_methods(function))
    routes: list[Route] = []
    for function in graph.functions.values():
        path = function.declaration.route
        if path is not None:
            endpoint = FunctionEndpoint(service, function)
            for spelling in _spellings(path):
                routes.append(
                    FunctionRoute(
                        spelling,
                        endpoint,
                        name=function.name,
                        methods=_methods(function),
                        allow=sorted(allowed[path.rstrip("/")]),
                    )
                )
    return routes


def _methods(function: Function) -> list[str]:
    methods = list(function.declaration.methods)
    return [*methods, "HEAD"] if "GET" in methods else methods


def _spellings(path: str) -> list[str]:
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    return [path] if not other or path.endswith(":path}") else [path, other]


def _is_at(scope: Scope, path: str) -> bool:
    """Whether the request was made for exactly this path, below whatever the host is mounted at."""
    root = (scope.get("root_path") or "").rstrip("/")
    return below_mount({**scope, "path": raw_path(scope)}, "") == path or raw_path(scope) == root + path


def _page_headers(page: Page, canonical_url: bool, status: int, headers: RawHeaders) -> RawHeaders:
    """A page's own headers, with the policy of its context where they do not ask for less."""
    own = {name: value.decode("latin-1") for name, value in headers}
    control = page_cache_control(
        page,
        status,
        canonical_url=canonical_url,
        own=own.get(b"cache-control"),
        sets_cookie=b"set-cookie" in own,
        varies=b"vary" in own,
    )
    kept = [(name, value) for name, value in headers if name != b"cache-control"]
    kept.append((b"cache-control", control.encode("latin-1")))
    if not page.policy.for_everyone and control not in (NO_STORE, PRIVATE_NO_STORE) and b"vary" not in own:
        kept.append((b"vary", VARY.encode()))
    return kept


def _mutation_headers(told: RawHeaders, status: int, headers: RawHeaders) -> RawHeaders:  # noqa: ARG001
    kept = [pair for pair in headers if pair[0] != b"cache-control"]
    return [*kept, (b"cache-control", NO_STORE.encode()), *told]
