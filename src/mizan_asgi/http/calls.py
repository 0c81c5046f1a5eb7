"""Calls: `POST /call/` and `POST /call/{name}/` (protocol, section 3).

The checks run in the order of the protocol: method, caller, cross-site, announced length, guard, body, arguments. At
`/call/` the body names the function, so its guard runs after the body was read.
"""

from collections.abc import Mapping
from functools import partial

from starlette.types import Receive, Scope

from mizan_core.engine.answers import ENDED, Answer, Ended
from mizan_core.engine.refresh import Stale, refresh
from mizan_core.errors import Forbidden, MethodNotAllowed, UnsupportedMediaType
from mizan_core.graph.model import Function
from mizan_core.protocol.bodies import parse_call
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.mounted import Mounted, read_mounted

from ..edge.fronting import Fronting
from .bodies.forms import is_json, media_type, read_arguments
from .bodies.limits import BodyLimit, read_body, read_rest
from .bodies.uploads import is_multipart, read_form, upload_limit
from .bundles import BundleEndpoint
from .cross_site import check_same_site
from .host_request import HostRequest
from .identity import TOKEN_HEADERS
from .paths import as_get, sent_path
from .responses import RawHeaders, RawResponse, data_reply, failure_reply
from .sent_headers import SentHeaders
from .service import Service

# Headers about the caller and its page. Without any of them, only the host's session can tell who calls.
_CALLER_HEADERS = TOKEN_HEADERS | {b"sec-fetch-site", b"origin", b"x-mizan-mounted"}

_SCANNED_HEADERS = _CALLER_HEADERS | {b"content-type", b"content-length"}


class CallEndpoint:
    """`/call/{name}/`, or, with `name` None, `/call/`, where the body names the function.

    A `name` that the graph lacks has an endpoint too: it answers "not found" after the checks that come before.
    """

    def __init__(self, service: Service, name: str | None, bundles: Mapping[str, BundleEndpoint]) -> None:
        self.place = "/call/" if name is None else f"/call/{name}/"
        self._service = service
        self._name = name
        self._bundles = bundles
        functions = service.engine.graph.functions
        called = [*functions.values()] if name is None else [functions[name]] if name in functions else []
        self.may_affect = any(function.affects for function in called)
        self._upload_limit = upload_limit(service.body_limit, called[0]) if name is not None and called else None

    def fast_path(self, scope: Scope) -> None:
        """Always None: a call has to run."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:  # noqa: ARG002
        service = self._service
        if scope["method"] != "POST":
            raise MethodNotAllowed(["POST"])
        is_plain, announced = _scan(scope["headers"])
        mounted = None
        if is_plain:
            identity = service.authenticator.in_scope(scope) or await service.authenticator.session(scope, receive)
        else:
            identity, mounted = await self._identify(SentHeaders(scope), scope, receive)
        limit, uploads = service.body_limit, None if is_plain else self._upload_limit
        (limit if uploads is None else uploads).check(announced)
        function = None
        ended: Ended
        if self._name is not None:
            function, identity = await service.engine.admit(self._name, identity=identity)
        if uploads is not None and function is not None:
            ended = await self._call_with_files(function, identity, scope, receive, uploads)
        else:
            message = await receive()
            body = message.get("body", b"")
            if message.get("more_body") or message["type"] == "http.disconnect" or len(body) > limit.bytes:
                body = await read_rest(message, receive, limit)
            if function is None:
                if not is_plain:
                    _check_json(SentHeaders(scope), body)
                called, args = parse_call(body)
                request = HostRequest(scope, receive, identity, body=body) if called in service.taking_request else None
                begun = service.engine.begin(called, args, identity=identity, request=request)
                ended = begun if isinstance(begun, ENDED) else await begun
            else:
                sent = read_arguments(SentHeaders(scope), body, function)
                request = HostRequest(scope, receive, identity, body=body) if function.may_read_request else None
                ended = await service.engine.call_admitted(function, sent, identity=identity, request=request)
        if not isinstance(ended, Answer):
            return failure_reply(ended).raw()
        if mounted is not None:
            ended = await refresh(service.engine.graph, ended, mounted, partial(self._stale_data, scope, receive))
        return data_reply(ended.body, ended.invalidations)

    async def _call_with_files(
        self, function: Function, identity: Identity, scope: Scope, receive: Receive, limit: BodyLimit
    ) -> Ended:
        """Call a function that takes files, with a form that may have some, or with any other body."""
        engine, headers = self._service.engine, SentHeaders(scope)
        if is_multipart(headers):
            form = await read_form(headers, receive, function, limit, self._service.body_limit)
            request = HostRequest(scope, receive, identity, body=b"") if function.may_read_request else None
            return await engine.call_with_files(
                function, form.arguments, form.files, identity=identity, request=request
            )
        body = await read_body(headers.last(b"content-length"), receive, self._service.body_limit)
        request = HostRequest(scope, receive, identity, body=body) if function.may_read_request else None
        return await engine.call_admitted(
            function, read_arguments(headers, body, function), identity=identity, request=request
        )

    async def _identify(self, headers: SentHeaders, scope: Scope, receive: Receive) -> tuple[Identity, Mounted | None]:
        """The caller, and the bundles that its page has mounted. Raises `Forbidden` for a cross-site request."""
        caller = await self._service.authenticator.identify(headers, scope, receive)
        if not caller.by_header:
            check_same_site(headers, self._service.trusted_origins)
        mounted = headers.all(b"x-mizan-mounted") if self._service.refreshes else ()
        return caller.identity, read_mounted(mounted)

    async def _stale_data(self, scope: Scope, receive: Receive, stale: Stale) -> bytes:
        """A stale bundle as a GET by the same client would get it now.

        The caller is identified again, since the call may have changed the session.
        """
        endpoint = self._bundles[stale.context]
        base_url = self._service.base_url
        get = as_get(scope, base_url, endpoint.place, stale.query)
        path = sent_path(scope, base_url, endpoint.place)
        if not await self._service.path_rules.let_through(scope, path, get, endpoint):
            raise Forbidden
        try:
            return (await endpoint.fetch(SentHeaders(get), get, receive)).body
        except Exception as error:
            raise self._service.engine.errors.told(error) from error


class GroupedCallEndpoint(CallEndpoint):
    """A `CallEndpoint` whose answers name cache groups, for a cache in front that hears of these."""

    def __init__(
        self, service: Service, name: str | None, bundles: Mapping[str, BundleEndpoint], groups: Fronting
    ) -> None:
        super().__init__(service, name, bundles)
        self._groups = groups

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:
        """As of `CallEndpoint`."""
        status, headers, body = await super().answer(scope, receive, canonical_path=canonical_path)
        return status, self._groups.grouped(headers), body


def _scan(headers: RawHeaders) -> tuple[bool, bytes | None]:
    """Whether a call is plain, and its Content-Length. Plain, as most calls are: JSON, without any caller headers."""
    media = announced = None
    is_plain = True
    for name, value in headers:
        if name in _SCANNED_HEADERS:
            if name == b"content-length":
                announced = value
            elif name == b"content-type" and media is None:
                media = value
            else:
                is_plain = False
    return is_plain and media == b"application/json", announced


def _check_json(headers: SentHeaders, body: bytes) -> None:
    if body and not is_json(media_type(headers)):
        raise UnsupportedMediaType(
            "Send a call as JSON with Content-Type: application/json, or a form to /call/{name}/."
        )
