"""What goes out: one way to send bytes with their headers, and one way to tell of an error."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

from starlette.types import Message, Send

from mizan_core.engine.answers import Bundle
from mizan_core.engine.failures import blamed
from mizan_core.errors import CallError, InternalError, MethodNotAllowed
from mizan_core.protocol.cache_headers import NO_STORE, VARY
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.problems import problem

logger = logging.getLogger("mizan")

INVALIDATE_HEADER = b"x-mizan-invalidate"

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

# A whole answer as it is sent: status, headers, body.
Written: TypeAlias = tuple[int, RawHeaders, bytes]

_JSON = b"application/json"
_IS_JSON = (b"content-type", _JSON)
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", NO_STORE.encode())
_OF_DATA = (_NO_STORE, _NOSNIFF, _IS_JSON)
_VARIES = (b"vary", VARY.encode())
# What edges take for instructions beside `Cache-Control` and its targeted fields.
_TO_CACHES = frozenset(
    {
        *(INVALIDATE_HEADER, b"surrogate-control", b"surrogate-key", b"edge-control", b"x-accel-expires", b"xkey"),
        *(b"cache-tag", b"cache-tags", b"x-cache-tag", b"x-cache-tags", b"edge-cache-tag", b"x-key", b"x-xkey"),
    }
)
# What a problem document's own headers say, and what the server says of how it is sent.
_OURS = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"content-range", b"content-location"),
        *(b"cache-control", b"expires", b"pragma", b"etag", b"last-modified", b"age", b"cache-status"),
        *(b"x-content-type-options", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding"),
        *(b"te", b"trailer", b"upgrade", b"date"),
    }
)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_FIELD = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_WITHOUT_BODY = frozenset({204, 205, 304})
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


@dataclass(slots=True)
class Reply:
    """A whole answer. `content_type` is None where there is no content to have one."""

    status: int
    headers: RawHeaders
    body: bytes = b""
    content_type: bytes | None = _JSON

    def written(self) -> Written:
        """The whole answer, as it would be sent to a GET."""
        if self.content_type is None:
            return self.status, self.headers, self.body
        return self.status, [*self.headers, *_described(self.content_type, self.body)], self.body

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it; to a HEAD request, without the body that GET would have."""
        status, headers, body = self.written()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else body})


def invalidate_headers(invalidations: Sequence[Invalidation]) -> RawHeaders:
    """`X-Mizan-Invalidate`, if anything went out of date."""
    line = encode_header(invalidations) if invalidations else ""
    return [(INVALIDATE_HEADER, line.encode("ascii"))] if line else []


def data_reply(body: bytes, invalidations: Sequence[Invalidation]) -> Written:
    """JSON that nobody may keep: the answer to a call."""
    headers = [*_OF_DATA, (b"content-length", b"%d" % len(body))]
    if invalidations:
        headers += invalidate_headers(invalidations)
    return 200, headers, body


def kept_reply(body: bytes, cache_control: str, *, varies: bool) -> Reply:
    """JSON that caches may keep as `cache_control` says."""
    return Reply(200, [(b"cache-control", cache_control.encode()), *_vary(varies), _NOSNIFF], body)


def bundle_reply(bundle: Bundle, *, query: str | None, canonical_url: bool, if_none_match: Sequence[str]) -> Written:
    """A bundle, or 304 where the client has it. Only under its canonical URL may anybody keep it.

    A client whose query has another spelling is told the canonical one, which is what invalidations go by.
    """
    headers = _bundle_headers(bundle, query=query, canonical_url=canonical_url)
    if if_none_match and matches(if_none_match, bundle.etag):
        return 304, headers, b""
    return 200, [*headers, _IS_JSON, _length(bundle.body)], bundle.body


def bundle_replies(bundle: Bundle) -> tuple[Written, Written]:
    """A bundle under its canonical URL as it is sent whole, and as 304."""
    headers = _bundle_headers(bundle, query=bundle.canonical_query, canonical_url=True)
    return (200, [*headers, _IS_JSON, _length(bundle.body)], bundle.body), (304, headers, b"")


def _bundle_headers(bundle: Bundle, *, query: str | None, canonical_url: bool) -> RawHeaders:
    headers = [
        _shared(b"cache-control", bundle.policy) if canonical_url else _NO_STORE,
        (b"etag", bundle.etag.encode()),
        _shared(b"cache-status", bundle.cache_status),
        _NOSNIFF,
    ]
    if bundle.canonical_query is not None and query != bundle.canonical_query:
        headers.append((b"content-location", f"?{bundle.canonical_query}".encode()))
    if bundle.varies:
        headers.append(_VARIES)
    return headers


@lru_cache(maxsize=256)
def _shared(name: bytes, value: str) -> tuple[bytes, bytes]:
    """A header that many answers have, made once: entries are kept with theirs."""
    return name, value.encode()


def script_reply(body: bytes, etag: str, *, if_none_match: Iterable[str]) -> Reply:
    """A script, or 304 where the client has it. Its URL stays when it changes, so nobody keeps it without asking."""
    headers = [(b"cache-control", b"public, no-cache"), (b"etag", etag.encode()), _NOSNIFF]
    if matches(if_none_match, etag):
        return Reply(304, headers, content_type=None)
    return Reply(200, headers, body, b"text/javascript; charset=utf-8")


def error_reply(error: Exception, invalidations: Sequence[Invalidation] = ()) -> Reply:
    """The problem document of any error. What is not a `CallError` is logged, and nothing of it is told."""
    if not isinstance(error, CallError):
        logger.error("%s failed unexpectedly.", blamed(error) or "A request", exc_info=error)
        error = InternalError()
    told = problem(error)
    headers = [_NO_STORE, _NOSNIFF, *invalidate_headers(invalidations), *_own_headers(error)]
    names = {name for name, _ in headers}
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode("ascii")))
    if told.status == HTTPStatus.UNAUTHORIZED and b"www-authenticate" not in names:
        headers.append((b"www-authenticate", b"Bearer"))
    if told.status in _WITHOUT_BODY:
        return Reply(told.status, headers, content_type=None)
    return Reply(told.status, headers, told.body, b"application/problem+json")


def speaks_to_caches(name: bytes) -> bool:
    """Whether a response header, in lower case, tells edges what to keep or to purge, whatever `Cache-Control` says.

    Such are targeted fields, whose names end like this by RFC 9213, and what CDNs and proxies had before.
    """
    return name.endswith(b"-cache-control") or name in _TO_CACHES


def _own_headers(error: CallError) -> Iterator[tuple[bytes, bytes]]:
    """The headers that an error brings along, without those that say how the answer is sent and what may be kept."""
    for name, value in (error.headers or {}).items():
        try:
            raw = str(name).lower().encode("ascii"), str(value).encode("latin-1")
        except UnicodeEncodeError:
            continue
        if (
            _TOKEN.fullmatch(raw[0])
            and _FIELD.fullmatch(raw[1])
            and raw[0] not in _OURS
            and not speaks_to_caches(raw[0])
        ):
            yield raw


def matches(if_none_match: Iterable[str], etag: str) -> bool:
    """Whether one of the entity tags is this one, compared weakly (RFC 9110, 8.8.3.2 and 13.1.2)."""
    if not if_none_match:
        return False
    opaque = etag.removeprefix("W/")
    return any(line.strip() == "*" or opaque in _ENTITY_TAG.findall(line) for line in if_none_match)


def with_headers(send: Send, change: Callable[[int, RawHeaders], RawHeaders], *, head: bool = False) -> Send:
    """A `send` that lets `change` have a last look at a response's status and headers."""

    async def changing(message: Message) -> None:
        if message["type"] == "http.response.start":
            raw = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            message = {**message, "headers": change(message["status"], raw)}
        elif head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return changing


def _described(content_type: bytes, body: bytes) -> RawHeaders:
    return [(b"content-type", content_type), _length(body)]


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def _vary(varies: bool) -> RawHeaders:
    return [_VARIES] if varies else []
