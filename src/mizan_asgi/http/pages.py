"""Functions at their own URLs (protocol, section 9): pages, webhooks, and data behind a route.

A function may return its own response, whose `Cache-Control` it may set. Its context's policy is the upper bound:
caches are never allowed more than the policy says, and a response to a mutation is never kept.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mizan_core.engine.answers import Answer, Bundle, Page, failure_of, hit_of
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.engine.engine import Via
from mizan_core.engine.hosts.pages import page_of
from mizan_core.errors import MethodNotAllowed
from mizan_core.graph.inputs import Given, Mixed
from mizan_core.graph.model import Function
from mizan_core.protocol.cache_headers import NO_STORE, PRIVATE_NO_STORE, VARY
from mizan_core.protocol.files import File
from mizan_core.protocol.identity import ANONYMOUS
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.kept_pages import KeptPage
from mizan_core.protocol.urls import Pairs

from ..edge.fronting import Fronting
from ..edge.outside.marks import MARK, Again, Mark
from .bodies.forms import parse_pairs, read_arguments
from .bodies.limits import limited, read_body, replaying
from .bodies.uploads import is_multipart, read_form, upload_limit
from .cross_site import check_same_site
from .host_request import HostRequest
from .identity import needs_session, plain_etag
from .paths import before_path
from .responses import (
    RawHeaders,
    RawHit,
    RawResponse,
    Reply,
    asking_each_time,
    error_reply,
    failure_reply,
    invalidate_headers,
    kept_reply,
    matches,
    speaks_to_caches,
    with_headers,
)
from .sent_headers import SentHeaders
from .service import Service

# Makes the problem document of a response that raised before it has begun to send.
Failed: TypeAlias = Callable[[Exception, Sequence[Invalidation]], Reply]

_SAFE_METHODS = frozenset({"GET", "HEAD"})

# Headers that a 304 does not have.
_OF_CONTENT = frozenset({b"content-type", b"content-length", b"content-language", b"content-encoding"})


class FunctionRoute(Route):
    """A Starlette route to one function, which answers other methods with a problem document."""

    def __init__(self, path: str, endpoint: ASGIApp, *, name: str, methods: list[str], allow: list[str]) -> None:
        super().__init__(path, endpoint, name=name, methods=methods, include_in_schema=False)
        self._allow = allow

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            await self.app(scope, receive, send)
        else:
            await error_reply(MethodNotAllowed(self._allow)).send(send, head=scope["method"] == "HEAD")


@dataclass(frozen=True, slots=True)
class ViewResponse:
    """A view's own response, to be sent with its headers changed by `change(status, headers)`.

    `invalidations` went out of date by the call. `failed` makes the problem document if the response raises before it
    has begun to send.
    """

    response: Any
    change: Callable[[int, RawHeaders], RawHeaders]
    failed: Failed
    invalidations: tuple[Invalidation, ...] = ()

    async def send(self, scope: Scope, receive: Receive, send: Send, *, head: bool) -> None:
        """Send the response. If it raises before it has begun to send, a problem document is sent instead."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.response(scope, receive, with_headers(sending, self.change, head=head))
        except Exception as error:
            if begun:
                raise
            await self.failed(error, self.invalidations).send(send, head=head)


class FunctionEndpoint:
    """The ASGI application behind one function's route."""

    def __init__(self, service: Service, function: Function) -> None:
        self._service = service
        self._function = function
        self._upload_limit = upload_limit(service.body_limit, function)
        plan = service.engine.graph.contexts.get(function.context or "")
        self._failed = failing(service, function)
        self._needs_session = plan is None or needs_session(plan.page_policies[function.name], [function])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = scope["method"] == "HEAD"
        if MARK in scope:
            send = scope[MARK].watching(send)
        groups = self._service.groups
        if groups is not None:
            send = with_headers(send, lambda _status, headers: groups.grouped(headers))
        try:
            answered = await (self._answer_page if self._function.context is not None else self._answer_call)(
                scope, receive
            )
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # a guard or function of the host's may raise anything
            answered = self._failed(error, ())
        if isinstance(answered, Reply):
            await answered.send(send, head=head)
        else:
            await answered.send(scope, receive, send, head=head)

    async def _answer_page(self, scope: Scope, receive: Receive) -> Reply | ViewResponse:
        service = self._service
        headers = SentHeaders(scope)
        caller = await service.authenticator.identify(headers, scope, receive, ask_session=self._needs_session)
        function, identity = await service.engine.admit(self._function.name, identity=caller.identity, via=Via.ROUTE)
        args, receive, _ = await self._arguments(headers, scope, receive)
        request = HostRequest(scope, receive, identity, own=function.client_inputs.keys())
        page = await service.engine.page_admitted(function, args, identity=identity, request=request)
        before = before_path(scope, page.path)
        if before:
            service.warn_once(
                "The page %r is requested below the prefix %r. The manifest and urls_to_purge go by its route=, so a "
                "purge would not reach the copies of edges. Therefore it is not sent public there. Serve mizan.routes "
                "without a prefix.",
                *(function.name, before),
            )
        canonical = before == "" and scope["method"] in _SAFE_METHODS and not scope.get("query_string")
        known = headers.all(b"if-none-match") if scope["method"] in _SAFE_METHODS else []
        mark: Mark | None = scope.get(MARK)
        if mark is not None and canonical and page.policy.for_everyone and mark.may_learn(scope):
            mark.again = self._again(args)
        answered = page_reply(page, canonical_url=canonical, if_none_match=known, failed=self._failed)
        return for_caches(service.fronting, page.path, answered)

    def _again(self, args: Given) -> Again | None:
        """How this page is answered from what is kept, if it is one that may be kept."""
        engine, function = self._service.engine, self._function
        plan = engine.graph.contexts[function.context or ""].readers_alone[function.member]
        asked = engine.query(plan, args, ANONYMOUS)
        if asked.slot is None or not asked.may_be_remembered:
            return None
        return PageAgain(self._service, function, asked).answer

    async def _answer_call(self, scope: Scope, receive: Receive) -> Reply | ViewResponse:
        service = self._service
        if self._function.affects:
            service.check_lifespan()
        headers = SentHeaders(scope)
        caller = await service.authenticator.identify(headers, scope, receive)
        if not caller.by_header and (self._function.affects or scope["method"] not in _SAFE_METHODS):
            check_same_site(headers, service.trusted_origins)
        function, identity = await service.engine.admit(self._function.name, identity=caller.identity, via=Via.ROUTE)
        args, receive, files = await self._arguments(headers, scope, receive)
        request = HostRequest(scope, receive, identity)
        may_change = scope["method"] not in _SAFE_METHODS
        if files:
            ended = await service.engine.call_with_files(
                function, args, files, identity=identity, request=request, may_change=may_change
            )
        else:
            ended = await service.engine.call_admitted(
                function, args, identity=identity, request=request, may_change=may_change
            )
        if not isinstance(ended, Answer):
            return failure_reply(ended)
        return call_reply(self._function, ended, self._failed)

    async def _arguments(
        self, headers: SentHeaders, scope: Scope, receive: Receive
    ) -> tuple[Given, Receive, Sequence[File]]:
        """The arguments from the path, the query and, if the function takes more, the body; a `receive` for it; files.

        Path parameters that are not inputs of the function are the mount's. Query parameters that are not inputs are
        ignored: pages get some from links and trackers.
        """
        inputs = self._function.client_inputs
        path = {name: value for name, value in scope["path_params"].items() if name in inputs}
        query = [pair for pair in parse_pairs(scope.get("query_string", b"")) if pair[0] in inputs]
        limit, uploads = self._service.body_limit, self._upload_limit
        announced = headers.last(b"content-length")
        if scope["method"] in _SAFE_METHODS:  # a GET's body is no part of its URL, so no answer may depend on it
            return self._together(path.items(), query), replaying(b"", receive), ()
        if uploads is not None and is_multipart(headers):
            uploads.check(announced)
            form = await read_form(headers, receive, self._function, uploads, limit)
            with form.closed_on_error():
                args = self._together(path.items(), query, form.texts, values=form.values)
            return args, replaying(b"", receive), form.files
        if not inputs.keys() - path.keys():
            return self._together(path.items(), query), limited(receive, limit), ()
        body = await read_body(announced, receive, limit)
        sent = read_arguments(headers, body, self._function)
        again = replaying(body, receive)
        if isinstance(sent, Pairs):
            return self._together(path.items(), query, sent), again, ()
        return self._together(path.items(), query, values=sent), again, ()

    def _together(
        self, *places: Iterable[tuple[str, object]], values: Mapping[str, object] = MappingProxyType({})
    ) -> Given:
        """The arguments, as texts from these places and as JSON values. Raises `InvalidInput` for one given twice."""
        counts = Counter(name for place in (*places, values.items()) for name in dict(place))
        for name, count in counts.items():
            if count > 1:
                raise self._function.validator.refuse(name, "Given in more than one place", "repeated")
        pairs = Pairs(pair for place in places for pair in place)
        return Mixed(pairs, values) if values else pairs


class PageAgain:
    """A page for everyone at its canonical URL, answered from what is kept of it."""

    def __init__(self, service: Service, function: Function, asked: BundleRequest) -> None:
        self._service = service
        self._failed = failing(service, function)
        self._function = function
        self._asked = asked

    def answer(self, scope: Scope) -> RawResponse | Awaitable[RawResponse | None] | None:
        """As `Again`."""
        is_plain, etag = plain_etag(scope)
        if scope.get("query_string") or not is_plain:
            return None
        engine = self._service.engine
        entry = None if self._asked.slot is None else engine.peek(self._asked.slot)
        if entry is None:
            return None if engine.is_observed else self._looked_up(etag)
        now = engine.clock()
        hit: RawHit | None = entry.written
        if hit is None or hit.endpoint is not self._function or hit.until <= now:
            remaining = entry.expires - now
            bundle = hit_of(entry, remaining, self._asked.plan.policy, self._asked.spelling.query)
            hit = entry.written = self._hit(bundle, entry.expires - math.floor(remaining))
        return _chosen(hit, etag)

    async def _looked_up(self, etag: bytes | None) -> RawResponse | None:
        bundle = await self._service.engine.stored(self._asked)
        return None if bundle is None else _chosen(self._hit(bundle, 0), etag)

    def _hit(self, bundle: Bundle, until: float) -> RawHit:
        page = page_of(self._asked, bundle)
        whole, unchanged = self._replied(page), self._replied(page, "*")
        etag = next(value for name, value in whole[1] if name == b"etag")
        return RawHit(self._function, until, etag, etag.removeprefix(b"W/"), whole, unchanged)

    def _replied(self, page: Page, *if_none_match: str) -> RawResponse:
        replied = page_reply(page, canonical_url=True, if_none_match=if_none_match, failed=self._failed)
        fronted: Any = for_caches(self._service.fronting, page.path, replied)  # a `Reply`: the page is kept
        raw: RawResponse = fronted.raw()
        return raw


def _chosen(hit: RawHit, etag: bytes | None) -> RawResponse | None:
    """The response to a client that has `etag`. None where that has to be parsed."""
    if etag is None:
        return hit.whole
    if etag == hit.etag:
        return hit.unchanged
    return None if b"*" in etag or hit.opaque in etag else hit.whole


def for_caches(fronting: Fronting | None, path: str, answered: Reply | ViewResponse) -> Reply | ViewResponse:
    """The answer with what the caches in front read of a page at this path."""

    def read(headers: RawHeaders) -> RawHeaders:
        return asking_each_time(headers) if fronting is None else fronting.replaced(headers, path)

    if isinstance(answered, Reply):
        return replace(answered, headers=read(answered.headers))
    change = answered.change
    return replace(answered, change=lambda status, headers: read(change(status, headers)))


def failing(service: Service, function: Function) -> Failed:
    """The problem document of a function's response that fails."""

    def failed(error: Exception, invalidations: Sequence[Invalidation]) -> Reply:
        ended = failure_of(service.engine.errors, function.name, error)
        return error_reply(ended.error, invalidations)

    return failed


def call_reply(function: Function, ended: Answer, failed: Failed) -> Reply | ViewResponse:
    """The response of a function that is no reader: its own, or its result as JSON, with what is stale."""
    invalidate = invalidate_headers(ended.invalidations)
    if function.is_view:
        return ViewResponse(ended.result, partial(_mutation_headers, invalidate), failed, ended.invalidations)
    reply = kept_reply(ended.result_json, NO_STORE, varies=False)
    return Reply(reply.status, [*reply.headers, *invalidate], reply.body)


def page_reply(
    page: Page, *, canonical_url: bool, if_none_match: Sequence[str], failed: Failed
) -> Reply | ViewResponse:
    """The response of a page, or 304 for a client that has it."""
    if not isinstance(page.result, bytes | KeptPage):
        complete = isinstance(getattr(page.result, "body", None), bytes)
        return ViewResponse(page.result, partial(_page_headers, page, canonical_url and complete), failed)
    if isinstance(page.result, KeptPage):
        headers, body = _page_headers(page, canonical_url, 200, page.result.headers), page.result.body
        reply = Reply(200, headers, body, content_type=None)
    else:
        control = page.cache_control(200, canonical_url=canonical_url)
        reply = kept_reply(page.result, control, varies=not page.policy.for_everyone)
        reply.headers += _validators(page)
    etag = next((value.decode("latin-1") for name, value in reply.headers if name == b"etag"), page.etag)
    if matches(if_none_match, etag):
        kept = [(name, value) for name, value in reply.headers if name not in _OF_CONTENT]
        return Reply(304, kept, content_type=None)
    return reply


def routes_of(service: Service) -> list[Route]:
    """A route for every function that declares one, with and without its final slash."""
    graph = service.engine.graph
    allowed: dict[str, list[str]] = {}
    for function in graph.functions.values():
        if function.declaration.route is not None:
            allowed.setdefault(function.declaration.route.rstrip("/"), []).extend(_methods(function))
    routes: list[Route] = []
    for function in graph.functions.values():
        path = function.declaration.route
        if path is not None:
            endpoint, methods = FunctionEndpoint(service, function), _methods(function)
            allow = sorted(allowed[path.rstrip("/")])
            routes += [
                FunctionRoute(spelling, endpoint, name=function.name, methods=methods, allow=allow)
                for spelling in _spellings(path)
            ]
    return routes


def _methods(function: Function) -> list[str]:
    methods = list(function.declaration.methods)
    return [*methods, "HEAD"] if "GET" in methods else methods


def _spellings(path: str) -> list[str]:
    """A path as declared, and with or without its final slash."""
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    return [path, other] if other else [path]


def _page_headers(page: Page, canonical_url: bool, status: int, headers: RawHeaders) -> RawHeaders:
    """A page's own headers, with its `Cache-Control` limited by the policy of its context."""
    headers = [pair for pair in headers if not speaks_to_caches(pair[0])]
    own = [value.decode("latin-1") for name, value in headers if name == b"cache-control"]
    names = {name for name, _ in headers}
    control = page.cache_control(
        status,
        canonical_url=canonical_url,
        own=", ".join(own) if own else None,
        sets_cookie=b"set-cookie" in names,
        varies=b"vary" in names,
    )
    kept = [(name, value) for name, value in headers if name != b"cache-control"]
    kept.append((b"cache-control", control.encode("latin-1")))
    if not page.policy.for_everyone and control not in (NO_STORE, PRIVATE_NO_STORE):
        kept.append((b"vary", VARY.encode()))
    return kept + [pair for pair in _validators(page) if pair[0] not in names]


def _validators(page: Page) -> RawHeaders:
    etag = [(b"etag", page.etag.encode())] if page.etag else []
    return [*etag, (b"cache-status", page.cache_status.encode())]


def _mutation_headers(invalidate: RawHeaders, status: int, headers: RawHeaders) -> RawHeaders:  # noqa: ARG001
    kept = [pair for pair in headers if pair[0] != b"cache-control" and not speaks_to_caches(pair[0])]
    return [*kept, (b"cache-control", NO_STORE.encode()), *invalidate]
