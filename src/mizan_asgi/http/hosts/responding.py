"""`mizan.respond(...)`: what a function or a context answers, as the response of a route of the host's."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mizan_core.engine.answers import Answer, Failure
from mizan_core.engine.engine import Via
from mizan_core.engine.hosts.pages import page_of
from mizan_core.errors import CallError, DeclarationError
from mizan_core.graph.declare import Context, declaration_of
from mizan_core.graph.defects import nearest
from mizan_core.graph.model import ContextPlan, Function
from mizan_core.protocol.headers import encode_header

from ...edge.fronting import Fronting
from ...edge.outside.marks import MARK
from ..bundles import BundleEndpoint
from ..cross_site import check_same_site
from ..host_request import HostRequest
from ..identity import needs_session
from ..pages import ViewResponse, call_reply, failing, for_caches, page_reply
from ..responses import INVALIDATE_HEADER, RawResponse, Reply, error_reply, failure_reply
from ..sent_headers import SentHeaders
from ..service import Service
from .changes import add_groups
from .own_urls import complete, privately, tells_all

# A context, its name, or a function that is marked with `@client`.
Answerable: TypeAlias = Context | str | Callable[..., Any]

_Answering: TypeAlias = Callable[[Request, Mapping[str, object]], Awaitable[RawResponse | Response]]

_SAFE_METHODS = frozenset({"GET", "HEAD"})


class ReadyResponse(Response):
    """A response whose headers are made: Starlette adds none, and the host may."""

    def __init__(self, raw: RawResponse, *, head: bool) -> None:
        status, headers, body = raw
        self.status_code = status
        self.raw_headers = headers.copy()  # it may belong to a kept response
        self.body = b"" if head else body
        self.background = None
        self._made = status, headers, self.body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if MARK in scope:
            scope[MARK].note(*self._made)  # as Mizan made it: the route may have added to its headers
        await super().__call__(scope, receive, send)


class Responding:
    """Answers requests of the host's routes over one service."""

    def __init__(self, service: Service, bundles: Mapping[str, BundleEndpoint]) -> None:
        self._service = service
        self._bundles = bundles
        self._known: dict[Answerable, _Answering] = {}

    async def respond(self, request: Request, what: Answerable, params: Mapping[str, object]) -> Response:
        """As `Mizan.respond`."""
        answering = self._known.get(what)
        if answering is None:
            answering = self._known[what] = self._answering(what)
        groups = self._service.groups
        try:
            raw = await answering(request, params)
        except (ClientDisconnect, DeclarationError):
            raise
        except Exception as error:  # noqa: BLE001  # a guard or function of the host's may raise anything
            told = self._service.engine.errors.told(error)
            if isinstance(told, HTTPException) or not isinstance(told, CallError):
                if groups is not None and isinstance(told, HTTPException):
                    told.headers = add_groups(groups, told.headers)
                raise told from told.__cause__
            raw = error_reply(told).raw()
        if groups is not None:
            raw = _grouped(groups, raw)
        if not isinstance(raw, Response):
            return ReadyResponse(raw, head=request.method == "HEAD")
        if MARK in request.scope:
            request.scope[MARK].note(raw.status_code, raw.raw_headers, getattr(raw, "body", None))
        return raw

    def _answering(self, what: Answerable) -> _Answering:
        """How this is answered. Raises `DeclarationError` for what is not of the graph."""
        graph = self._service.engine.graph
        name = what.name if isinstance(what, Context) else what
        if isinstance(name, str):
            if name in self._bundles:
                return partial(_bundle, self._bundles[name])
            hint = nearest(name, self._bundles) or "."
            raise DeclarationError(f"There is no context {name!r} that has a bundle to respond with{hint}")
        declaration = declaration_of(what)
        if declaration is None:
            raise DeclarationError(
                f"{what!r} is neither a Context, a context's name nor a function marked with @client."
            )
        function = graph.function_of(declaration)
        if function is None:
            raise DeclarationError(f"{declaration.name} is not in this graph; give it to build([...]).")
        if function.context is None:
            return partial(self._call, function)
        plan = graph.contexts[function.context].readers_alone[function.member]
        if function.is_view:
            return partial(self._page, function, plan)
        return partial(_bundle, BundleEndpoint(self._service, plan))

    async def _page(
        self, function: Function, plan: ContextPlan, request: Request, params: Mapping[str, object]
    ) -> RawResponse | Response:
        """The response of a view, from the cache where it is kept."""
        service, scope = self._service, request.scope
        headers = SentHeaders(scope)
        asks_session = needs_session(plan.policy, plan.readers)
        caller = await service.authenticator.identify(headers, scope, request.receive, ask_session=asks_session)
        identity = await service.engine.authorise(plan, caller.identity)
        asked = service.engine.query(plan, complete(plan, params), identity)
        host_request = HostRequest(scope, request.receive, identity, body=b"")
        page = page_of(asked, await service.engine.answer(asked, identity=identity, request=host_request))
        known = headers.all(b"if-none-match") if scope["method"] in _SAFE_METHODS else []
        replied = page_reply(page, canonical_url=True, if_none_match=known, failed=failing(service, function))
        response = _ready(function, for_caches(None, page.path, replied))
        if tells_all(service, scope, asked):
            return response
        if isinstance(response, Response):
            response.raw_headers = privately(response.raw_headers)
            return response
        return response[0], privately(response[1]), response[2]

    async def _call(self, function: Function, request: Request, params: Mapping[str, object]) -> RawResponse | Response:
        """The answer of a function that is no reader: its result alone."""
        service, scope = self._service, request.scope
        is_safe = scope["method"] in _SAFE_METHODS
        if function.affects:
            service.check_lifespan()
            if is_safe:
                raise DeclarationError(
                    f"{function.name} changes something, and a {scope['method']} must not; let the route be a POST."
                )
        headers, receive = SentHeaders(scope), _receiving(request)
        caller = await service.authenticator.identify(headers, scope, receive)
        if not caller.by_header and not is_safe:
            check_same_site(headers, service.trusted_origins)
        admitted, identity = await service.engine.admit(function.name, identity=caller.identity, via=Via.ROUTE)
        ended = await service.engine.call_admitted(
            admitted,
            complete(function, params),
            identity=identity,
            request=HostRequest(scope, receive, identity),
            may_change=not is_safe,
        )
        if isinstance(ended, Answer):
            return _ready(function, call_reply(function, ended, failing(service, function)))
        return _failed(ended)


def _grouped(groups: Fronting, raw: RawResponse | Response) -> RawResponse | Response:
    """The response with what is stale in the words of cache groups as well."""
    if isinstance(raw, Response):
        raw.raw_headers = groups.grouped(raw.raw_headers)
        return raw
    return raw[0], groups.grouped(raw[1]), raw[2]


async def _bundle(endpoint: BundleEndpoint, request: Request, params: Mapping[str, object]) -> RawResponse:
    return await endpoint.respond(request.scope, request.receive, params)


def _ready(function: Function, replied: Reply | ViewResponse) -> RawResponse | Response:
    """A reply as it is sent; a response of the function's own, with its headers changed."""
    if isinstance(replied, Reply):
        return replied.raw()
    response = replied.response
    if not isinstance(response, Response):
        shown = type(response).__name__
        raise DeclarationError(f"{function.name} answered a {shown}, which is no Response; serve it by mizan.routes.")
    response.raw_headers = replied.change(response.status_code, response.raw_headers)
    return response


def _failed(failure: Failure) -> RawResponse:
    """The problem document of a call. Raises an error that is the host's to answer, unless something may be stale.

    An `HTTPException` is the host's, and its headers tell what is stale.
    """
    error, stale = failure.error, failure.invalidations
    if isinstance(error, HTTPException):
        if stale:
            error.headers = {**(error.headers or {}), INVALIDATE_HEADER.decode(): encode_header(stale)}
        raise error
    if not isinstance(error, CallError) and not stale:
        raise error
    return failure_reply(failure).raw()


def _receiving(request: Request) -> Receive:
    """A `receive` that gives the body which the host may have read already, then what follows it."""
    begun = False

    async def receive() -> Message:
        nonlocal begun
        if begun:
            return await request.receive()
        begun = True
        return {"type": "http.request", "body": await request.body(), "more_body": False}

    return receive
