"""`Cache-Control`, `Vary` and `ETag` of every answer (protocol, section 8)."""

import math
from hashlib import sha256

from .cache_policy import CachePolicy, Never, Seconds, UntilPurged

NO_STORE = "no-store"


PRIVATE_NO_STORE = "private, no-store"


PRIVATE = "private, no-cache"


# The headers that identify the caller: a private answer depends on them.
VARY = "Authorization, Cookie, X-Mizan-Token"


# "Until purged" for caches that can be purged: a year, the longest lifetime that caches commonly honour.
YEAR_SECONDS = 31_536_000


_KEPT = "public, max-age=0, must-revalidate, s-maxage="


_KEPT_UNTIL_PURGED = f"{_KEPT}{YEAR_SECONDS}"


# 128 bits of a SHA-256 tell any two bodies apart.
_ETAG_DIGITS = 32


def etag_of(body: bytes) -> str:
    """The ETag of a body: weak, since an outer layer may compress the body (RFC 9110, 8.8.1)."""
    return f'W/"{sha256(body).hexdigest()[:_ETAG_DIGITS]}"'


def cache_control(policy: CachePolicy, remaining: float | None = None) -> str:
    """`Cache-Control` of a bundle or page that may be kept (protocol, section 8), for at most `remaining` seconds."""
    lifetime = policy.lifetime
    if isinstance(lifetime, Never):
        return NO_STORE
    if not policy.for_everyone:
        return PRIVATE
    if remaining is None and isinstance(lifetime, UntilPurged):
        return _KEPT_UNTIL_PURGED
    seconds = lifetime.seconds if isinstance(lifetime, Seconds) else YEAR_SECONDS
    if remaining is not None:
        seconds = max(0, min(seconds, math.floor(remaining)))
    return f"{_KEPT}{seconds}"
