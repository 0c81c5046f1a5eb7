"""Whether an answer leaves as Mizan made it: an allow-list of what middleware may add to an answer for everyone.

Allowed are headers whose values cannot tell one caller from another, by their meaning in RFC 9110, RFC 9111 and the
documents named below. A header with free text, such as `Server-Timing` or `X-Request-ID`, is none of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set

from mizan_core.protocol.cache_headers import PRIVATE_NO_STORE, keeps_shared_caches_out

from ...http.responses import INVALIDATE_HEADER, speaks_to_caches
from .marks import Answered, RawHeaders

_ANY: Set[bytes] = frozenset()

# By name, in lower case: the values that are allowed, in lower case; an empty set for any value.
_HARMLESS: Mapping[bytes, Set[bytes]] = {
    # about the message and its connection (RFC 9110, 6.6.1, 7.6, 10.2.4 and 14.3; RFC 9112)
    **dict.fromkeys((b"date", b"server", b"via", b"connection", b"keep-alive", b"transfer-encoding"), _ANY),
    b"accept-ranges": {b"bytes", b"none"},
    # about the site (RFC 6797, RFC 7838)
    **dict.fromkeys((b"strict-transport-security", b"alt-svc"), _ANY),
    # what browsers may do with the answer, from words of a fixed vocabulary
    b"x-content-type-options": {b"nosniff"},
    b"x-frame-options": {b"deny", b"sameorigin"},
    b"x-xss-protection": {b"0", b"1", b"1; mode=block"},
    b"x-download-options": {b"noopen"},
    b"x-dns-prefetch-control": {b"on", b"off"},
    b"x-permitted-cross-domain-policies": {b"none", b"master-only"},
    b"referrer-policy": {
        *(b"no-referrer", b"no-referrer-when-downgrade", b"origin", b"origin-when-cross-origin", b"same-origin"),
        *(b"strict-origin", b"strict-origin-when-cross-origin", b"unsafe-url"),
    },
    b"cross-origin-opener-policy": {b"unsafe-none", b"same-origin", b"same-origin-allow-popups"},
    b"cross-origin-embedder-policy": {b"unsafe-none", b"require-corp", b"credentialless"},
    b"cross-origin-resource-policy": {b"same-site", b"same-origin", b"cross-origin"},
    b"origin-agent-cluster": {b"?0", b"?1"},
    # to every origin, so none is reflected
    b"access-control-allow-origin": {b"*"},
    b"timing-allow-origin": {b"*"},
}

# Headers of which each answer of Mizan's for everyone is sure, so that a host may not promise anything about them.
_DECIDING = frozenset(
    {
        *(b"set-cookie", b"vary", b"cache-control", b"expires", b"pragma", b"age", b"etag", b"last-modified"),
        *(b"content-type", b"content-length", b"content-encoding", b"content-range", b"location"),
    }
)

# Why an answer of Mizan's does not leave as it is, beside the name of a header.
STATUS, BODY = "its status", "its body"

_VARY_BY_ENCODING = (b"vary", b"Accept-Encoding")

# Headers that let a cache keep, find or show again an answer that nothing may keep.
_OF_KEPT = frozenset(
    {
        *(b"cache-control", b"vary", b"expires", b"pragma", b"age", b"etag", b"last-modified", b"x-accel-expires"),
        *(b"cache-groups", b"cache-group-invalidation"),
    }
)

# `X-Accel-Expires` and `Vary: *` are for nginx that was told to ignore `Cache-Control`: each keeps it from storing the
# answer (ngx_http_proxy_module, proxy_cache_valid). `Vary: *` says the same to any cache (RFC 9111, 4.1).
_KEPT_NOWHERE: RawHeaders = [
    (b"cache-control", PRIVATE_NO_STORE.encode()),
    (b"vary", b"*"),
    (b"x-accel-expires", b"0"),
]


def may_be_promised(name: bytes) -> bool:
    """Whether a host may promise that a header, by its name in lower case, says the same to everyone."""
    return name not in _DECIDING and not speaks_to_caches(name)


def differences(answered: Answered, status: int, headers: RawHeaders, promised: Set[bytes] = frozenset()) -> list[str]:
    """What middleware did to an answer for everyone that is not allowed: names of headers, `STATUS`.

    `promised`: the names of headers that say the same to everyone, as the host says.
    """
    found = [] if status == answered.status else [STATUS]
    own, sent = Counter(_told_of(answered.headers)), Counter(_told_of(headers))
    changed = [name for name, _ in own - sent]
    added = [name for name, value in sent - own if not _is_harmless(name, value, promised)]
    return found + [name.decode("latin-1") for name in dict.fromkeys(changed + added)]


def opened(answered: Answered, headers: RawHeaders) -> list[str]:
    """The headers by which middleware lets shared caches keep an answer that Mizan keeps out of them."""
    controls = b", ".join(value for name, value in headers if name == b"cache-control")
    found = [] if keeps_shared_caches_out(controls.decode("latin-1")) else ["cache-control"]
    added = Counter(headers) - Counter(answered.headers)
    return found + [
        name.decode("latin-1")
        for name, value in added
        if (
            (name.endswith(b"-cache-control") or name in (b"surrogate-control", b"edge-control"))
            and not keeps_shared_caches_out(value.decode("latin-1"))
        )
        or (name == b"x-accel-expires" and value.strip() != b"0")
    ]


def varied(headers: RawHeaders) -> RawHeaders:
    """The headers of an answer for everyone, with `Vary` where it is encoded."""
    names = {name for name, _ in headers}
    return [*headers, _VARY_BY_ENCODING] if b"content-encoding" in names and b"vary" not in names else headers


def kept_nowhere(headers: RawHeaders) -> RawHeaders:
    """The headers of an answer that no cache may keep."""
    others = [
        (name, value)
        for name, value in headers
        if name not in _OF_KEPT and (name == INVALIDATE_HEADER or not speaks_to_caches(name))
    ]
    return others + _KEPT_NOWHERE


def _told_of(headers: RawHeaders) -> Iterator[tuple[bytes, bytes]]:
    """The headers, without those that the body is compared for."""
    return ((name, value) for name, value in headers if name not in (b"content-length", b"content-encoding"))


def _is_harmless(name: bytes, value: bytes, promised: Set[bytes]) -> bool:
    if name == b"vary":
        return {one.strip() for one in value.lower().split(b",")} <= {b"accept-encoding", b""}
    allowed = _HARMLESS.get(name)
    if allowed is None:
        return name in promised
    return not allowed or value.strip().lower() in allowed or name in promised
