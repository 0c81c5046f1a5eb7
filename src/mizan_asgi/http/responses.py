"""Responses: bundles, answers to calls, scripts, and errors as problem documents, with their headers.

A `Reply` knows its content type and may be sent by itself. Where every step counts, functions build a `RawResponse`.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from mizan_core.engine.answers import Bundle, Failure
from mizan_core.engine.failures import blamed
from mizan_core.errors import CallError, InternalError, MethodNotAllowed
from mizan_core.protocol.cache_headers import NO_STORE, VARY, without_shared_lifetime
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.problems import problem

logger = logging.getLogger("mizan")

INVALIDATE_HEADER = b"x-mizan-invalidate"

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

# A whole response as it is sent: status, headers, body.
RawResponse: TypeAlias = tuple[int, RawHeaders, bytes]

_JSON = b"application/json"
_JSON_TYPE = (b"content-type", _JSON)
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", NO_STORE.encode())
_DATA_HEADERS = (_NO_STORE, _NOSNIFF, _JSON_TYPE)
_VARY = (b"vary", VARY.encode())
_OF_ALL, _OF_ONE_CALLER = (_NOSNIFF, _JSON_TYPE), (_NOSNIFF, _VARY, _JSON_TYPE)
# Headers that CDNs and proxies obey beside `Cache-Control` and the targeted fields of RFC 9213.
_CACHE_INSTRUCTIONS = frozenset(
    {
        *(INVALIDATE_HEADER, b"surrogate-control", b"surrogate-key", b"edge-control", b"x-accel-expires", b"xkey"),
        *(b"cache-groups", b"cache-group-invalidation"),
        *(b"cache-tag", b"cache-tags", b"x-cache-tag", b"x-cache-tags", b"edge-cache-tag", b"x-key", b"x-xkey"),
    }
)
# Headers that an error may not set: the problem document has its own, and the server sets those of the connection.
_RESERVED = frozenset(
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
    """A whole response. `content_type` is None for a status that has no content."""

    status: int
    headers: RawHeaders
    body: bytes = b""
    content_type: bytes | None = _JSON

    def raw(self) -> RawResponse:
        """The response to a GET, with the headers that describe its content."""
        if self.content_type is None:
            return self.status, self.headers, self.body
        return self.status, [*self.headers, (b"content-type", self.content_type), _length(self.body)], self.body

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send the response; `head`: without its body."""
        status, headers, body = self.raw()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else body})


def invalidate_headers(invalidations: Sequence[Invalidation]) -> RawHeaders:
    """`X-Mizan-Invalidate`, or no header for no invalidations."""
    line = encode_header(invalidations) if invalidations else ""
    return [(INVALIDATE_HEADER, line.encode("ascii"))] if line else []


def data_reply(body: bytes, invalidations: Sequence[Invalidation]) -> RawResponse:
    """The answer to a call: JSON that no cache may keep."""
    headers = [*_DATA_HEADERS, (b"content-length", b"%d" % len(body))]
    if invalidations:
        headers += invalidate_headers(invalidations)
    return 200, headers, body


def kept_reply(body: bytes, cache_control: str, *, varies: bool) -> Reply:
    """JSON that caches may keep as `cache_control` says."""
    return Reply(200, [(b"cache-control", cache_control.encode()), *[_VARY] * varies, _NOSNIFF], body)


def bundle_reply(
    bundle: Bundle,
    *,
    query: str | None,
    canonical_url: bool,
    if_none_match: Sequence[str],
    for_caches: Callable[[Bundle], RawHeaders],
) -> RawResponse:
    """A bundle, or 304 for a client that has it. Caches may keep it only if it was asked for by its canonical URL.

    `Content-Location` tells a client whose `query` is spelled otherwise the canonical query, which invalidations name.
    `for_caches` gives `Cache-Control` and all else that caches read.
    """
    headers = _bundle_headers(bundle, query=query, canonical_url=canonical_url, for_caches=for_caches)
    if if_none_match and matches(if_none_match, bundle.etag):
        return 304, headers, b""
    return 200, [*headers, _JSON_TYPE, _length(bundle.body)], bundle.body


def whole_reply(bundle: Bundle, for_caches: Callable[[Bundle], RawHeaders]) -> RawResponse:
    """The response to a GET of a bundle's canonical URL by a client that has no version of it, as of `bundle_reply`."""
    headers = [
        *for_caches(bundle),
        (b"etag", bundle.etag.encode()),
        _shared(b"cache-status", bundle.cache_status),
        *(_OF_ONE_CALLER if bundle.varies else _OF_ALL),
        (b"content-length", b"%d" % len(bundle.body)),
    ]
    return 200, headers, bundle.body


def bundle_replies(bundle: Bundle, *, for_caches: Callable[[Bundle], RawHeaders]) -> tuple[RawResponse, RawResponse]:
    """The two responses to a GET of a bundle's canonical URL, 200 and 304. `for_caches`: as of `bundle_reply`."""
    headers = _bundle_headers(bundle, query=bundle.canonical_query, canonical_url=True, for_caches=for_caches)
    return (200, [*headers, _JSON_TYPE, _length(bundle.body)], bundle.body), (304, headers, b"")


def script_reply(body: bytes, etag: str, *, if_none_match: Iterable[str]) -> Reply:
    """A script, or 304 for a client that has it. Its URL is the same for each version, so caches revalidate it."""
    headers = [(b"cache-control", b"public, no-cache"), (b"etag", etag.encode()), _NOSNIFF]
    if matches(if_none_match, etag):
        return Reply(304, headers, content_type=None)
    return Reply(200, headers, body, b"text/javascript; charset=utf-8")


@dataclass(frozen=True, slots=True, eq=False)
class RawHit:
    """The responses to a hit, made once for each entry by `endpoint`. Valid until `until`, in seconds since 1970."""

    endpoint: object
    until: float
    etag: bytes
    opaque: bytes  # the entity tag without `W/`, as weak comparison wants it
    whole: RawResponse
    unchanged: RawResponse


def error_reply(error: Exception, invalidations: Sequence[Invalidation] = ()) -> Reply:
    """The problem document of any error. Anything but a `CallError` is logged, and reported as an internal error."""
    if not isinstance(error, CallError):
        logger.error("%s failed unexpectedly.", blamed(error) or "A request", exc_info=error)
        error = InternalError()
    document = problem(error)
    headers = [_NO_STORE, _NOSNIFF, *invalidate_headers(invalidations), *_own_headers(error)]
    names = {name for name, _ in headers}
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode("ascii")))
    if document.status == HTTPStatus.UNAUTHORIZED and b"www-authenticate" not in names:
        headers.append((b"www-authenticate", b"Bearer"))
    if document.status in _WITHOUT_BODY:
        return Reply(document.status, headers, content_type=None)
    return Reply(document.status, headers, document.body, b"application/problem+json")


def failure_reply(failure: Failure) -> Reply:
    """The problem document of a function that failed. Raises `ClientDisconnect` if the client has gone."""
    if isinstance(failure.error, ClientDisconnect):
        raise failure.error
    return error_reply(failure.error, failure.invalidations)


def speaks_to_caches(name: bytes) -> bool:
    """Whether a response header, in lower case, tells edges to keep or purge something regardless of `Cache-Control`.

    These are the targeted fields of RFC 9213, whose names end in `-cache-control`, and the older headers of CDNs.
    """
    return name.endswith(b"-cache-control") or name in _CACHE_INSTRUCTIONS


def with_headers(send: Send, change: Callable[[int, RawHeaders], RawHeaders], *, head: bool = False) -> Send:
    """A `send` that replaces a response's headers by `change(status, headers)`; `head`: and drops its body."""

    async def changing(message: Message) -> None:
        if message["type"] == "http.response.start":
            raw = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            message = {**message, "headers": change(message["status"], raw)}
        elif head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return changing


def for_unknown_caches(bundle: Bundle) -> RawHeaders:
    """`Cache-Control` of a bundle where no cache in front is known: one may keep it, and has to ask each time."""
    return [_asking(bundle.policy)]


def asking_each_time(headers: RawHeaders) -> RawHeaders:
    """The headers of a page where no cache in front is known: one may keep it, and has to ask each time."""
    return [_asking(value.decode("latin-1")) if name == b"cache-control" else (name, value) for name, value in headers]


def _bundle_headers(
    bundle: Bundle, *, query: str | None, canonical_url: bool, for_caches: Callable[[Bundle], RawHeaders]
) -> RawHeaders:
    headers = [
        *(for_caches(bundle) if canonical_url else (_NO_STORE,)),
        (b"etag", bundle.etag.encode()),
        _shared(b"cache-status", bundle.cache_status),
        _NOSNIFF,
    ]
    if bundle.canonical_query is not None and query != bundle.canonical_query:
        headers.append((b"content-location", f"?{bundle.canonical_query}".encode()))
    if bundle.varies:
        headers.append(_VARY)
    return headers


@lru_cache(maxsize=256)
def _asking(control: str) -> tuple[bytes, bytes]:
    return b"cache-control", without_shared_lifetime(control)[0].encode("latin-1")


@lru_cache(maxsize=256)
def _shared(name: bytes, value: str) -> tuple[bytes, bytes]:
    """A header as one shared object: each kept entry holds its response, and many of them have equal headers."""
    return name, value.encode()


def _own_headers(error: CallError) -> Iterator[tuple[bytes, bytes]]:
    """The headers of an error, such as `Retry-After`, without reserved ones, cache instructions, and invalid ones."""
    for name, value in (error.headers or {}).items():
        try:
            raw = str(name).lower().encode("ascii"), str(value).encode("latin-1")
        except UnicodeEncodeError:
            continue
        if (
            _TOKEN.fullmatch(raw[0])
            and _FIELD.fullmatch(raw[1])
            and raw[0] not in _RESERVED
            and not speaks_to_caches(raw[0])
        ):
            yield raw


def matches(if_none_match: Iterable[str], etag: str) -> bool:
    """Whether `If-None-Match` names this entity tag, compared weakly (RFC 9110, 8.8.3.2 and 13.1.2)."""
    if not if_none_match:
        return False
    opaque = etag.removeprefix("W/")
    return any(line.strip() == "*" or opaque in _ENTITY_TAG.findall(line) for line in if_none_match)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)
