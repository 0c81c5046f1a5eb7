"""Calls, bundles, scripts: `/call/`, `/call/{name}/`, `/ctx/{context}/` (protocol, section 3), in plain ASGI."""

import logging
import math
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from mizan_core.cache.entries import Entry
from mizan_core.cache.outcomes import Hit
from mizan_core.engine.answers import Answer, Bundle, Failure, as_bundle
from mizan_core.engine.bundle_requests import Query
from mizan_core.engine.engine import Engine
from mizan_core.engine.refresh import Stale, refresh
from mizan_core.errors import Forbidden, MethodNotAllowed, NotFound, UnsupportedMediaType
from mizan_core.graph.model import ContextPlan, Function
from mizan_core.memo import Memo
from mizan_core.protocol.bodies import parse_call
from mizan_core.protocol.cache_policy import CachePolicy, Per, Seconds
from mizan_core.protocol.identity import Identity, permission_key
from mizan_core.protocol.mounted import Mounted, read_mounted
from mizan_core.protocol.problems import no_such_context
from mizan_core.tasks import Waiting

from .auth import TOKEN_HEADERS, Authenticator, check_same_site
from .path_rules import ASKING, LET_THROUGH, PathRules, Question
from .requests import (
    BodyLimit,
    HostRequest,
    SentHeaders,
    as_get,
    is_json,
    media_type,
    parse_pairs,
    read_arguments,
    read_on,
    sent_path,
)
from .responses import RawHeaders, Reply, Written, bundle_replies, bundle_reply, data_reply, error_reply, script_reply
from .scripts import SCRIPTS, Script

logger = logging.getLogger("mizan")

# Query strings are the sender's to make up. Those of several thousand bundles fit.
REMEMBERED_QUERIES_BYTES = 8 * 1024 * 1024

# What was asked: the context, the query as it was sent, and where it matters the user and the permissions.
_Asked: TypeAlias = tuple[str, bytes, str | None, str | None]

# What a hit for everyone looks at: a token is checked wherever it is sent. All of these names are equally long, as few
# others are, and a length is found sooner than a hash.
(_LOOKED_AT_LENGTH,) = {len(name) for name in (b"if-none-match", *TOKEN_HEADERS)}

_ANY = ord("*")  # in If-None-Match, whatever there is

# What tells of the caller and of the page that calls; without it there is only the host's session to ask.
_ABOUT_CALLERS = TOKEN_HEADERS | {b"sec-fetch-site", b"origin", b"x-mizan-mounted"}
_OF_CALLS = _ABOUT_CALLERS | {b"content-type", b"content-length"}


# A logger of its own, to be silenced where no host is meant to run the lifespan, as in tests.
_of_lifespan = logging.getLogger("mizan.lifespan")


@dataclass(slots=True)
class Lifespan:
    """Whether a host or a server runs Mizan's lifespan."""

    runs: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What every endpoint needs."""

    engine: Engine
    authenticator: Authenticator
    trusted_origins: frozenset[str]
    base_url: str
    body_limit: BodyLimit
    refreshes: bool
    path_rules: PathRules = field(default_factory=PathRules)
    lifespan: Lifespan = field(default_factory=Lifespan)
    queries: Memo[_Asked, Query] = field(default_factory=lambda: Memo(REMEMBERED_QUERIES_BYTES))
    told: set[str] = field(default_factory=set)  # the warnings that were logged
    taking_request: frozenset[str] = field(init=False)  # functions that are handed the host's request

    def __post_init__(self) -> None:
        functions = self.engine.graph.functions.values()
        object.__setattr__(self, "taking_request", frozenset(one.name for one in functions if one.takes_request))

    def tell_once(self, warning: str, *values: object, log: logging.Logger = logger) -> None:
        """Log a warning about how this application is set up, the first time that it shows."""
        if warning not in self.told:
            self.told.add(warning)
            log.warning(warning, *values)

    def check_lifespan(self) -> None:
        """Warn, at the first call of a mutation, if nobody runs the lifespan."""
        if not self.lifespan.runs:
            self.tell_once(
                "Nobody runs mizan.lifespan, so shutting down will not wait for mutations that have begun, nor for "
                "purges that are owed: other processes may be served old data after it. Hand it to the application "
                "that the server runs, as FastAPI(lifespan=mizan.lifespan) does, or enter it in a lifespan of its own.",
                log=_of_lifespan,
            )


class Endpoint(Protocol):
    """What answers at a place: the canonical spelling of a path below the mount point."""

    place: str

    def recall(self, scope: Scope) -> Written | Coroutine[Any, Any, Written] | None:
        """The answer to a request for the canonical path about which all is known: at once, or to be waited for.

        None where more has to be asked.
        """
        ...

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:
        """The reply. Errors are raised."""
        ...


def endpoints_of(service: Service) -> dict[str, Endpoint]:
    """What a graph answers, by place."""
    graph = service.engine.graph
    bundles = {name: BundleEndpoint(service, plan) for name, plan in graph.contexts.items() if plan.readers}
    found: list[Endpoint] = [*bundles.values(), *(ScriptEndpoint(name, script) for name, script in SCRIPTS.items())]
    found += [CallEndpoint(service, name, bundles) for name in (None, *graph.functions)]
    return {endpoint.place: endpoint for endpoint in found}


def missing_endpoint(service: Service, place: str) -> Endpoint:
    """What tells that nothing is at this place: to whoever may be told, and after what else is wrong."""
    match place.split("/"):
        case ["", "call", name, ""]:
            return CallEndpoint(service, name, {})
        case ["", "ctx", _, ""]:
            return MissingBundle(service, place)
    raise NotFound


class CallEndpoint:
    """`/call/{name}/`, or `/call/`, where the body says which function is called."""

    def __init__(self, service: Service, name: str | None, bundles: "Mapping[str, BundleEndpoint]") -> None:
        self.place = "/call/" if name is None else f"/call/{name}/"
        self._service = service
        self._name = name
        self._bundles = bundles
        functions = service.engine.graph.functions
        called = functions.values() if name is None else [functions[name]] if name in functions else []
        self.may_affect = any(function.affects for function in called)

    def recall(self, scope: Scope) -> None:
        """Nothing is known of a call before it was made."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:  # noqa: ARG002
        service = self._service
        if scope["method"] != "POST":
            raise MethodNotAllowed(["POST"])
        is_usual, announced = _glance(scope["headers"])
        mounted = None
        if is_usual:
            identity = service.authenticator.in_scope(scope) or await service.authenticator.session(scope, receive)
        else:
            identity, mounted = await self._sender(SentHeaders(scope), scope, receive)
        limit = service.body_limit
        limit.check(announced)
        function = None
        if self._name is not None:
            function, identity = await service.engine.admit(self._name, identity=identity)
        message = await receive()
        body = message.get("body", b"")
        if message.get("more_body") or message["type"] == "http.disconnect" or len(body) > limit.bytes:
            body = await read_on(message, receive, limit)
        ended: Answer | Failure | Waiting[Answer | Failure]
        if function is None:
            if not is_usual:
                _check_json(SentHeaders(scope), body)
            called, args = parse_call(body)
            request = HostRequest(scope, receive, identity, body=body) if called in service.taking_request else None
            ended = service.engine.begin(called, args, identity=identity, request=request)
            if isinstance(ended, Waiting):
                ended = await ended.work
        else:
            sent = read_arguments(SentHeaders(scope), body, function)
            request = HostRequest(scope, receive, identity, body=body) if function.takes_request else None
            ended = await service.engine.attempt_admitted(function, sent, identity=identity, request=request)
        if not isinstance(ended, Answer):
            return failure_reply(ended).written()
        if mounted is not None:
            ended = await refresh(service.engine.graph, ended, mounted, partial(self._stale_data, scope, receive))
        return data_reply(ended.body, ended.invalidations)

    async def _sender(self, headers: SentHeaders, scope: Scope, receive: Receive) -> tuple[Identity, Mounted | None]:
        """Who calls, and what their page shows. Raises `Forbidden` for what another site makes a browser send."""
        caller = await self._service.authenticator.identify(headers, scope, receive)
        if not caller.by_header:
            check_same_site(headers, self._service.trusted_origins)
        mounted = headers.all(b"x-mizan-mounted") if self._service.refreshes else ()
        return caller.identity, read_mounted(mounted)

    async def _stale_data(self, scope: Scope, receive: Receive, stale: Stale) -> bytes:
        """The bundle as the client would get it now: who asks is found out anew, for the call may have changed it."""
        endpoint = self._bundles[stale.context]
        base_url = self._service.base_url
        asking = as_get(scope, base_url, endpoint.place, stale.query)
        path = sent_path(scope, base_url, endpoint.place)
        if not await self._service.path_rules.let_through(scope, path, asking, endpoint):
            raise Forbidden
        try:
            return (await endpoint.fetch(SentHeaders(asking), asking, receive)).body
        except Exception as error:
            raise self._service.engine.errors.told(error) from error


@dataclass(frozen=True, slots=True, eq=False)
class _WrittenHit:
    """A hit's answer, whole and as 304, made once for each entry; as good until `until`, in seconds since 1970."""

    by: "BundleEndpoint"
    until: float
    etag: bytes
    opaque: bytes  # the ETag as it is compared, without saying that it is weak
    whole: Written
    unchanged: Written


class BundleEndpoint:
    """`/ctx/{context}/`. Queries that were found valid are remembered, with the place of their answers."""

    def __init__(self, service: Service, plan: ContextPlan) -> None:
        self.place = f"/ctx/{plan.name}/"
        self._service = service
        self._plan = plan
        self._name = plan.name
        self._for_everyone = plan.policy.for_everyone
        self._for_all = plan.policy.per is Per.ALL
        self._ask_session = shows_who_asks(plan.policy, plan.readers)
        self._takes_request = any(reader.takes_request for reader in plan.readers)
        self._counts_down = isinstance(plan.policy.lifetime, Seconds)
        self._remembered = service.queries.get
        self._recall = service.engine.recall

    def recall(self, scope: Scope) -> Written | Coroutine[Any, Any, Written] | None:  # noqa: C901  # no calls in a hit
        """A bundle for everyone, at its canonical URL: no caller to be found out, nothing to be read, only remembered.

        Most requests are hits from memory and end here, so every step counts.
        """
        if not self._for_everyone or scope["method"] != "GET":
            return None
        etag = None
        for name, value in scope["headers"]:
            if len(name) == _LOOKED_AT_LENGTH:
                if name == b"if-none-match":
                    if etag is not None:
                        return None
                    etag = value
                elif name in TOKEN_HEADERS:
                    return None
        raw = scope.get("query_string", b"")
        query = self._remembered((self._name, raw, None, None))
        if query is None or query.slot is None or query.canonical != raw:
            return None
        entry = self._recall(query.slot)
        if entry is None:
            return None if self._takes_request else self._answer_known(query, etag)
        written: _WrittenHit | None = entry.written
        if written is None or written.by is not self or (self._counts_down and written.until <= self._now()):
            written = entry.written = self._write(entry, query)
        if etag == written.etag:
            return written.unchanged
        if etag is None:
            return written.whole
        # A list, or another way to say it, is somebody else's to read. (`in` takes twice as long to find bytes.)
        return None if _ANY in etag or etag.find(written.opaque) >= 0 else written.whole

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:
        _check_gets(scope)
        question: Question | None = scope.get(ASKING)
        if question is not None:
            question.has_arrived = question.endpoint is self
            return LET_THROUGH, [], b""
        headers = SentHeaders(scope)
        bundle = await self.fetch(headers, scope, receive)
        query = scope.get("query_string", b"").decode("latin-1")
        return bundle_reply(
            bundle,
            query=query,
            canonical_url=canonical_path and query == bundle.canonical_query,
            if_none_match=headers.all(b"if-none-match"),
        )

    async def _answer_known(self, query: Query, etag: bytes | None) -> Written:
        """As `answer`, to nobody in particular."""
        bundle = await self._service.engine.answer(query)
        known = () if etag is None else (etag.decode("latin-1"),)
        return bundle_reply(bundle, query=bundle.canonical_query, canonical_url=True, if_none_match=known)

    async def fetch(self, headers: SentHeaders, scope: Scope, receive: Receive) -> Bundle:
        """The bundle for whoever asks. Raises `CallError`, and whatever the first reader that fails raises."""
        service, plan = self._service, self._plan
        caller = await service.authenticator.identify(headers, scope, receive, ask_session=self._ask_session)
        identity = await service.engine.authorise(plan, caller.identity)
        query = self._query(scope.get("query_string", b""), identity)
        request = HostRequest(scope, receive, identity, body=b"") if self._takes_request else None
        return await service.engine.answer(query, identity=identity, request=request)

    def _query(self, raw: bytes, identity: Identity) -> Query:
        """What is asked, remembered or read. Raises `CallError`."""
        user = permissions = None
        if not self._for_all:
            permissions = permission_key(identity)
            user = identity.user_id if self._plan.policy.per is Per.USER else None
        asked = self._name, raw, user, permissions
        query = self._service.queries.get(asked)
        if query is None:
            query = self._service.engine.query(self._plan, parse_pairs(raw), identity)
            if query.may_be_remembered:
                self._service.queries.put(asked, query, query.size + 2 * len(raw))
        return query

    def _write(self, entry: Entry, query: Query) -> _WrittenHit:
        remaining = entry.expires - self._now()
        bundle = as_bundle(Hit(entry.body, entry.etag, remaining), self._plan.policy, query.spelling.query)
        whole, unchanged = bundle_replies(bundle)
        until = entry.expires - math.floor(remaining)
        etag = bundle.etag.encode()
        return _WrittenHit(self, until, etag, etag.removeprefix(b"W/"), whole, unchanged)

    def _now(self) -> float:
        return self._service.engine.clock()


class MissingBundle:
    """`/ctx/{context}/` for a context that there is not."""

    def __init__(self, service: Service, place: str) -> None:
        self.place = place
        self._service = service

    def recall(self, scope: Scope) -> None:
        """There is nothing to know."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:  # noqa: ARG002
        _check_gets(scope)
        await self._service.authenticator.identify(SentHeaders(scope), scope, receive, ask_session=False)
        raise no_such_context()


class ScriptEndpoint:
    """`/client.js` and the other scripts that pages load."""

    def __init__(self, name: str, script: Script) -> None:
        self.place = f"/{name}/"
        self._script = script

    def recall(self, scope: Scope) -> None:
        """Scripts are asked for once a page, and need no short way."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:  # noqa: ARG002
        _check_gets(scope)
        known = SentHeaders(scope).all(b"if-none-match")
        return script_reply(self._script.body, self._script.etag, if_none_match=known).written()


def failure_reply(failure: Failure) -> Reply:
    """The problem document of a function that failed. Raises `ClientDisconnect` where nobody is there to read it."""
    if isinstance(failure.error, ClientDisconnect):
        raise failure.error
    return error_reply(failure.error, failure.invalidations)


def shows_who_asks(policy: CachePolicy, functions: Iterable[Function]) -> bool:
    """Whether an answer can depend on who asks. Where it cannot, the host's session is left alone.

    Reading a session costs, and Starlette's `SessionMiddleware` adds a `Vary` to every answer that it was read for.
    """
    return not policy.for_everyone or any(function.takes_request for function in functions)


def _glance(headers: RawHeaders) -> tuple[bool, bytes | None]:
    """Whether a call is JSON and says nothing of its caller; the Content-Length it announces. Most are that usual."""
    media = announced = None
    is_usual = True
    for name, value in headers:
        if name in _OF_CALLS:
            if name == b"content-length":
                announced = value
            elif name == b"content-type" and media is None:
                media = value
            else:
                is_usual = False
    return is_usual and media == b"application/json", announced


def _check_json(headers: SentHeaders, body: bytes) -> None:
    if body and not is_json(media_type(headers)):
        raise UnsupportedMediaType(
            "Send a call as JSON with Content-Type: application/json, or a form to /call/{name}/."
        )


def _check_gets(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowed(["GET", "HEAD"])
