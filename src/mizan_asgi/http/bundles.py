"""Bundles: `/ctx/{context}/` (protocol, sections 3 and 8), and the short way of a hit."""

import math
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope

from mizan_core.engine.answers import Bundle, StoredBundle, hit_of
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.graph.model import ContextPlan
from mizan_core.protocol.cache_policy import Per, Seconds
from mizan_core.protocol.identity import Identity, permission_key
from mizan_core.protocol.problems import no_such_context

from .bodies import parse_pairs
from .host_request import HostRequest
from .identity import TOKEN_HEADERS
from .path_rules import ASKING, LET_THROUGH, Question
from .responses import Written, bundle_replies, bundle_reply
from .sent_headers import SentHeaders
from .service import Service, _check_gets, shows_who_asks

# What a hit for everyone looks at: a token is checked wherever it is sent. All of these names are equally long, as few
# others are, and a length is found sooner than a hash.
(_LOOKED_AT_LENGTH,) = {len(name) for name in (b"if-none-match", *TOKEN_HEADERS)}


_ANY = ord("*")  # in If-None-Match, whatever there is


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
        self._peek = service.engine.peek

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
        entry = self._peek(query.slot)
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

    async def _answer_known(self, query: BundleRequest, etag: bytes | None) -> Written:
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

    def _query(self, raw: bytes, identity: Identity) -> BundleRequest:
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

    def _write(self, entry: StoredBundle, query: BundleRequest) -> _WrittenHit:
        remaining = entry.expires - self._now()
        bundle = hit_of(entry, remaining, self._plan.policy, query.spelling.query)
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
