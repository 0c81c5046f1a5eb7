"""`Cache-Control`, `Cache-Status`, `Vary` and `ETag` of every answer (protocol, sections 8 and 9)."""

import itertools
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


# "Ask each time", for browsers, and for every cache that no purge reaches.
_ASKING = "public, max-age=0, must-revalidate"
_KEPT = f"{_ASKING}, s-maxage="
_KEPT_UNTIL_PURGED = f"{_KEPT}{YEAR_SECONDS}"

CACHE_STATUS_OF_A_HIT = "mizan; hit"

# By whether an entry was there and stale, whether the answer was stored, and whether the computation of another request
# gave it (RFC 9211, 2.2 to 2.6).
CACHE_STATUS_OF_A_MISS = {
    (stale, stored, joined): f"mizan; fwd={'stale' if stale else 'uri-miss'}"
    + "; stored" * stored
    + "; collapsed" * joined
    for stale, stored, joined in itertools.product((False, True), repeat=3)
}

# 128 bits of a SHA-256 tell any two bodies apart.
_ETAG_DIGITS = 32


def etag_of(body: bytes) -> str:
    """The ETag of a body: weak, since an outer layer may compress the body (RFC 9110, 8.8.1)."""
    return f'W/"{sha256(body).hexdigest()[:_ETAG_DIGITS]}"'


def cache_control(policy: CachePolicy, remaining: float | None = None) -> str:
    """`Cache-Control` of a bundle or page that may be kept (protocol, section 8), for at most `remaining` seconds."""
    lifetime = policy.lifetime
    if remaining is None and policy.for_everyone and isinstance(lifetime, UntilPurged):  # the most common
        return _KEPT_UNTIL_PURGED
    if isinstance(lifetime, Never):
        return NO_STORE
    if not policy.for_everyone:
        return PRIVATE
    seconds = lifetime.seconds if isinstance(lifetime, Seconds) else YEAR_SECONDS
    if remaining is not None:
        seconds = max(0, min(seconds, math.floor(remaining)))
    return f"{_KEPT}{seconds}"


def without_shared_lifetime(control: str) -> tuple[str, int | None]:
    """A `Cache-Control` of `cache_control` without its `s-maxage`, and those seconds if it has any."""
    if not control.startswith(_KEPT):
        return control, None
    return _ASKING, int(control.removeprefix(_KEPT))


def cache_status_of_a_bypass(detail: str) -> str:
    """`Cache-Status` of an answer that was computed for one request alone; `detail` is the reason in one word."""
    return f"mizan; fwd=bypass; detail={detail}"


def page_cache_control(
    policy: CachePolicy,
    status: int,
    *,
    keepable: bool,
    personal: bool,
    canonical_url: bool,
    own: str | None = None,
    sets_cookie: bool = False,
    varies: bool = False,
    remaining: float | None = None,
) -> str:
    """`Cache-Control` of a page: the response of a reader's own route (protocol, section 9).

    `keepable`: nothing was purged or held while the page was made. `personal`: the page shows its caller although its
    policy lets it serve other callers too. `canonical_url`: the page was asked for at its canonical path. `own`: the
    `Cache-Control` that the route gave its response; `varies`: the route gave it a `Vary` as well. `remaining`: for how
    many seconds more the origin keeps it.
    """
    if personal:
        return PRIVATE_NO_STORE
    if own is not None and not may_be_shared(own):
        return own
    if status != 200 or not keepable or not canonical_url:
        return NO_STORE
    control = cache_control(policy)
    if control.startswith("public"):
        if sets_cookie or varies:
            return PRIVATE
        seconds = None if own is None else shared_seconds(own)
        if remaining is not None and (seconds is not None or isinstance(policy.lifetime, Seconds)):
            seconds = remaining if seconds is None else min(seconds, remaining)
        return cache_control(policy, seconds)
    return control


def may_be_shared(control: str) -> bool:
    """Whether a response with this `Cache-Control` lets shared caches keep it."""
    return not {"no-store", "no-cache", "private"}.intersection(_directives(control))


def keeps_shared_caches_out(control: str) -> bool:
    """Whether no shared cache may store a response with this `Cache-Control`, not even to ask each time.

    `private="set-cookie"` forbids that for a field alone (RFC 9111, 5.2.2.7).
    """
    directives = _directives(control)
    return "no-store" in directives or directives.get("private") == ""


def shared_seconds(control: str) -> float | None:
    """How long a response lets shared caches keep it, if it says so."""
    directives = _directives(control)
    seconds = directives.get("s-maxage") or directives.get("max-age") or ""
    return int(seconds) if seconds.isdecimal() else None


def _directives(control: str) -> dict[str, str]:
    pieces = (piece.strip().partition("=") for piece in control.lower().split(","))
    return {name.strip(): value.strip(' "') for name, _, value in pieces}
