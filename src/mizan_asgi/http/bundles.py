"""Bundles: `GET /ctx/{context}/` (protocol, sections 3 and 8).

Most requests are hits in memory, so they have a path of their own, `BundleEndpoint.fast_path`, in which every step
counts. It is open to a request whose caller and guards need not wait. The `BundleRequest` of a query that was validated
before for such a caller is remembered with the slot of its answer, and the answer's entry keeps the response as it is
sent. Any other request goes through `BundleEndpoint.answer`, which serves a hit in the same way once it knows the
caller.
"""

import math
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from starlette.types import Receive, Scope

from mizan_core.engine.answers import Bundle, StoredBundle, hit_of
from mizan_core.engine.authorisation import lets_in
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.graph.access import Anyone, Check
from mizan_core.graph.model import ContextPlan
from mizan_core.protocol.cache_policy import Per, Seconds
from mizan_core.protocol.identity import ANONYMOUS, Identity, claims_key
from mizan_core.protocol.problems import no_such_context

from ..edge.fronting import Fronting
from ..edge.outside.marks import Again
from .bodies.forms import parse_pairs
from .host_request import HostRequest
from .hosts.own_urls import complete, private, tells_all
from .identity import TOKEN_HEADERS, needs_session, plain_etag
from .path_rules import LET_THROUGH, PROBE, Probe
from .responses import (
    RawHeaders,
    RawHit,
    RawResponse,
    bundle_replies,
    bundle_reply,
    for_unknown_caches,
    whole_reply,
)
from .sent_headers import SentHeaders
from .service import Service, check_gets

# The headers that the fast path reads all have names of one length, which few other headers have, and a length is
# compared sooner than a name is hashed. A token is verified wherever it is sent, so it leaves the fast path.
(_READ_LENGTH,) = {len(name) for name in (b"if-none-match", *TOKEN_HEADERS)}

# Values of these types are equal only if their types are.
_PLAIN = frozenset({str, int, type(None)})

_Key: TypeAlias = tuple[object, ...]

_ANY = ord("*")  # in If-None-Match: any entity tag


class BundleEndpoint:
    """`/ctx/{context}/`."""

    def __init__(self, service: Service, plan: ContextPlan) -> None:
        self.place = f"/ctx/{plan.name}/"
        self._service = service
        self._plan = plan
        self._name = plan.label
        self._for_everyone = plan.policy.for_everyone
        self._per_user = plan.policy.per is Per.USER
        self._for_all = plan.policy.per is Per.ALL
        self._told_apart = [one.source for one in plan.identity_params]
        self._needs_session = needs_session(plan.policy, plan.readers)
        self._takes_request = plan.may_read_request
        self._counts_down = isinstance(plan.policy.lifetime, Seconds)
        guards = {reader.guard for reader in plan.readers} - {Anyone()}
        self._plain_guards = [guard for guard in guards if not isinstance(guard, Check)]
        self._never_waits = len(self._plain_guards) == len(guards)
        self._user_in_scope = service.authenticator.in_scope
        self._remembered_query = service.queries.get
        self._peek = service.engine.peek
        self.again: Again | None = self._again if self._for_everyone else None
        self._for_caches: Callable[[Bundle], RawHeaders] = for_unknown_caches
        if service.fronting is not None:
            path = f"{service.base_url}/ctx/{plan.name}/"
            self._for_caches = partial(_fronted, service.fronting, path)

    def fast_path(  # noqa: C901  # one function, for each call would cost a hit more than its steps do
        self, scope: Scope
    ) -> RawResponse | Coroutine[Any, Any, RawResponse] | None:
        if not self._never_waits or scope["method"] != "GET":
            return None
        etag = None
        for name, value in scope["headers"]:
            if len(name) == _READ_LENGTH:
                if name == b"if-none-match":
                    if etag is not None:
                        return None
                    etag = value
                elif name in TOKEN_HEADERS:
                    return None
        raw = scope.get("query_string", b"")
        if self._for_everyone:
            identity: Identity | None = ANONYMOUS
            key: _Key | None = (self._name, raw)
        else:
            identity = self._caller_at_once(scope)
            key = None if identity is None else self._key(raw, identity)
        if identity is None or key is None:
            return None
        query = self._remembered_query(key)
        if query is not None:
            if query.canonical != raw:
                return None
            entry = None if query.slot is None else self._peek(query.slot)
            if entry is not None:
                return self._hit(entry, query, etag)
        return None if self._takes_request or PROBE in scope else self._answer_at_once(query, raw, key, identity, etag)

    def _again(self, scope: Scope) -> RawResponse | Awaitable[RawResponse | None] | None:
        """As `Again`: what `fast_path` answers a hit for everyone with, and nothing else. It computes nothing."""
        is_plain, etag = plain_etag(scope)
        raw = scope.get("query_string", b"")
        query = self._remembered_query((self._name, raw)) if is_plain else None
        if query is None or query.slot is None or query.canonical != raw:
            return None
        entry = self._peek(query.slot)
        if entry is not None:
            return self._hit(entry, query, etag)
        engine = self._service.engine
        return None if engine.is_observed else self._looked_up(engine.stored(query), query, raw, etag)

    async def _looked_up(
        self, stored: Awaitable[Bundle | None], query: BundleRequest, raw: bytes, etag: bytes | None
    ) -> RawResponse | None:
        bundle = await stored
        return None if bundle is None else self._reply(bundle, query, raw, etag)

    def _caller_at_once(self, scope: Scope) -> Identity | None:
        """The caller, if the scope tells it and the guards let it through; else `answer` finds out what to tell."""
        try:
            identity = self._user_in_scope(scope)
        except Exception:  # noqa: BLE001  # a user of the host's may raise anything, and does so again in `answer`
            return None
        if identity is not None:
            for guard in self._plain_guards:
                if not lets_in(guard, identity):
                    return None
        return identity

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:
        check_gets(scope)
        probe: Probe | None = scope.get(PROBE)
        if probe is not None:
            probe.has_arrived = probe.endpoint is self
            return LET_THROUGH, [], b""
        headers = SentHeaders(scope)
        raw = scope.get("query_string", b"")
        identity, asked = await self._asked(headers, scope, receive)
        known = headers.all(b"if-none-match")
        if canonical_path and asked.canonical == raw and not self._plan.guards_take_arguments:
            hit = self._remembered_hit(asked, known)
            if hit is not None:
                return hit
        bundle = await self._fetched(asked, identity, scope, receive)
        query = raw.decode("latin-1")
        return bundle_reply(
            bundle,
            query=query,
            canonical_url=canonical_path and query == bundle.canonical_query,
            if_none_match=known,
            for_caches=self._for_caches,
        )

    async def fetch(self, headers: SentHeaders, scope: Scope, receive: Receive) -> Bundle:
        """The bundle for the caller. Raises `CallError`, and any exception of a guard or a reader."""
        identity, query = await self._asked(headers, scope, receive)
        return await self._fetched(query, identity, scope, receive)

    async def respond(self, scope: Scope, receive: Receive, params: Mapping[str, object]) -> RawResponse:
        """The response to a request at a URL of the host's, for values of the server's. Raises as `fetch` does.

        Also raises `DeclarationError` for parameters that the context does not have or that are missing.
        """
        headers = SentHeaders(scope)
        caller = await self._service.authenticator.identify(headers, scope, receive, ask_session=self._needs_session)
        identity = await self._service.engine.authorise(self._plan, caller.identity)
        query = self._query_of(params, identity)
        known = headers.all(b"if-none-match") if scope["method"] in ("GET", "HEAD") else []
        may_be_kept = not self._for_everyone or tells_all(self._service, scope, query)
        if may_be_kept and not self._plan.guards_take_arguments:
            hit = self._remembered_hit(query, known)
            if hit is not None:
                return hit
        bundle = await self._fetched(query, identity, scope, receive)
        if not may_be_kept:
            bundle = private(bundle)
        return bundle_reply(
            bundle,
            query=bundle.canonical_query,
            canonical_url=True,
            if_none_match=known,
            for_caches=self._for_caches,
        )

    def _query_of(self, params: Mapping[str, object], identity: Identity) -> BundleRequest:
        """The bundle request for values of the server's, remembered or validated. Raises as `respond` does."""
        given = tuple(params.items())
        key = self._key(given, identity) if _PLAIN.issuperset(map(type, params.values())) else None
        query = None if key is None else self._remembered_query(key)
        if query is None:
            query = self._service.engine.query(self._plan, complete(self._plan, params), identity)
            if key is not None and query.may_be_remembered:
                self._service.queries.put(key, query, query.size + 4 * sum(map(sys.getsizeof, params.values())))
        return query

    async def _asked(self, headers: SentHeaders, scope: Scope, receive: Receive) -> tuple[Identity, BundleRequest]:
        """The caller, whom the guards have let through, and the bundle request. Raises as `fetch` does."""
        service = self._service
        caller = await service.authenticator.identify(headers, scope, receive, ask_session=self._needs_session)
        identity = await service.engine.authorise(self._plan, caller.identity)
        return identity, self._query(scope.get("query_string", b""), identity)

    async def _fetched(self, query: BundleRequest, identity: Identity, scope: Scope, receive: Receive) -> Bundle:
        request = HostRequest(scope, receive, identity, body=b"") if self._takes_request else None
        return await self._service.engine.answer(query, identity=identity, request=request)

    def _answer_at_once(
        self, query: BundleRequest | None, raw: bytes, key: _Key, identity: Identity, etag: bytes | None
    ) -> RawResponse | Coroutine[Any, Any, RawResponse]:
        """The response to a GET whose caller is known, from the engine. `query`: None where it is to be parsed."""
        query = query or self._parsed(raw, key, identity)
        bundle = self._service.engine.begin_answer(query, identity)
        if isinstance(bundle, Bundle):
            if etag is None and query.canonical == raw:
                return whole_reply(bundle, self._for_caches)
            return self._reply(bundle, query, raw, etag)
        return self._reply_later(bundle, query, raw, etag)

    def _query(self, raw: bytes, identity: Identity) -> BundleRequest:
        """The bundle request of a query string, remembered or parsed. Raises `CallError`."""
        key = (self._name, raw) if self._for_everyone else self._key(raw, identity)
        query = None if key is None else self._service.queries.get(key)
        return query or self._parsed(raw, key, identity)

    def _parsed(self, raw: bytes, key: _Key | None, identity: Identity) -> BundleRequest:
        """The bundle request of a query string, which is remembered by this key from now on. Raises `CallError`."""
        engine = self._service.engine
        try:
            query = engine.query(self._plan, parse_pairs(raw), identity)
        except Exception as error:
            engine.tell_refused(self._plan, error, identity)
            raise
        if key is not None and self._service.seen_queries.again(key) and query.may_be_remembered:
            self._service.queries.put(key, query, query.size + 2 * len(raw))
        return query

    def _key(self, raw: bytes | tuple[object, ...], identity: Identity) -> _Key | None:
        """All that a bundle request depends on: the context, its query, and what the identity adds to it.

        `raw`: the query as it was sent, or the parameters as the host's code gave them.

        A bundle for everyone has no more than the first two. None if the identity adds a value that cannot be compared
        by equality alone.
        """
        key: _Key
        if self._for_all:
            key = (self._name, raw)
        else:
            user = claims = None
            if self._per_user:
                user, claims = identity.user_id, claims_key(identity) if identity.claims else None
            own = identity.permissions if identity.permission_key is None else identity.permission_key
            key = (self._name, raw, own, identity.staff, identity.superuser, user, claims)
        if self._told_apart:
            values = [one.of(identity) for one in self._told_apart]
            if not _PLAIN.issuperset(map(type, values)):
                return None
            key += tuple(values)
        return key

    def _remembered_hit(self, query: BundleRequest, if_none_match: Sequence[str]) -> RawResponse | None:
        """The response to a GET of the canonical URL, if it is a hit in this process's memory."""
        entry = None if query.slot is None else self._peek(query.slot)
        if entry is None or len(if_none_match) > 1:
            return None
        return self._hit(entry, query, if_none_match[0].encode("latin-1") if if_none_match else None)

    def _hit(self, entry: StoredBundle, query: BundleRequest, etag: bytes | None) -> RawResponse | None:
        """The response that a hit's entry keeps, to a client that has `etag`. None where `etag` has to be parsed."""
        hit: RawHit | None = entry.written
        if hit is None or hit.endpoint is not self or (self._counts_down and hit.until <= self._now()):
            hit = entry.written = self._write(entry, query)
        if etag == hit.etag:
            return hit.unchanged
        if etag is None:
            return hit.whole
        # `answer` parses a list of tags or another spelling of this one. (`in` takes twice as long as `find` on bytes.)
        return None if _ANY in etag or etag.find(hit.opaque) >= 0 else hit.whole

    def _write(self, entry: StoredBundle, query: BundleRequest) -> RawHit:
        remaining = entry.expires - self._now()
        bundle = hit_of(entry, remaining, self._plan.policy, query.spelling.query)
        whole, unchanged = bundle_replies(bundle, for_caches=self._for_caches)
        until = entry.expires - math.floor(remaining)  # the headers give the lifetime in whole seconds
        etag = bundle.etag.encode()
        return RawHit(self, until, etag, etag.removeprefix(b"W/"), whole, unchanged)

    def _now(self) -> float:
        return self._service.engine.clock()

    def _reply(self, bundle: Bundle, query: BundleRequest, raw: bytes, etag: bytes | None) -> RawResponse:
        """The response to a GET of this query, by a client that has `etag`."""
        is_canonical = query.canonical == raw
        text = bundle.canonical_query if is_canonical else raw.decode("latin-1")
        known = () if etag is None else (etag.decode("latin-1"),)
        return bundle_reply(
            bundle,
            query=text,
            canonical_url=is_canonical,
            if_none_match=known,
            for_caches=self._for_caches,
        )

    async def _reply_later(
        self, bundle: Awaitable[Bundle], query: BundleRequest, raw: bytes, etag: bytes | None
    ) -> RawResponse:
        return self._reply(await bundle, query, raw, etag)


def _fronted(fronting: Fronting, path: str, bundle: Bundle) -> RawHeaders:
    """What the caches in front read of an answer at the canonical URL of this bundle."""
    query = f"?{bundle.canonical_query}" if bundle.canonical_query else ""
    return fronting.headers(bundle.policy, f"{path}{query}")


class MissingBundle:
    """`/ctx/{context}/` where the graph has no such context."""

    def __init__(self, service: Service, place: str) -> None:
        self.place = place
        self._service = service

    def fast_path(self, scope: Scope) -> None:
        """Always None: missing bundles are not worth remembering."""

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:  # noqa: ARG002
        check_gets(scope)
        await self._service.authenticator.identify(SentHeaders(scope), scope, receive, ask_session=False)
        raise no_such_context()
