"""The check that a call does not come from another site (protocol, section 11)."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from mizan_core.errors import DeclarationError, Forbidden

from .sent_headers import SentHeaders

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?/?")

_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_same_site(headers: SentHeaders, trusted_origins: frozenset[str]) -> None:
    """Raise `Forbidden` for a request that a browser sent on behalf of another site.

    `Sec-Fetch-Site` decides if it was sent, else `Origin`. A request with neither is not from a browser, and allowed.
    """
    sites, origins = headers.all(b"sec-fetch-site"), headers.all(b"origin")
    if len(origins) > 1 or len(sites) > 1:
        raise Forbidden("The request has more than one Origin or Sec-Fetch-Site header.")
    origin = _normal_origin(origins[0]) if origins else None
    if origin is not None and origin in trusted_origins:
        return
    if sites:
        allowed = sites[0] in ("same-origin", "none")
    else:
        allowed = not origins or (origin is not None and _names_host(origin, headers))
    if not allowed:
        raise Forbidden("The request comes from another site.")


def read_origins(origins: Iterable[str]) -> frozenset[str]:
    """Trusted origins such as `https://app.example.com`, normalised. Raises `DeclarationError` for an invalid one."""
    if isinstance(origins, str):
        raise DeclarationError("trusted_origins takes a list of origins, not one text.")
    return frozenset(map(_read_origin, origins))


def _read_origin(origin: str) -> str:
    if "*" in origin:
        why = "no browser sends an origin with a '*', so it would match none; list each origin"
    elif not origin.isascii():
        why = "browsers send origins in ASCII, as in 'https://xn--bcher-kva.example'"
    elif not _ORIGIN.fullmatch(origin) or (normal := _normal_origin(origin)) is None:
        why = "an origin looks like 'https://app.example.com', without a path"
    else:
        return normal
    raise DeclarationError(f"trusted_origins has {origin!r}; {why}.")


def _normal_origin(origin: str) -> str | None:
    """Scheme, host and port in one spelling; None for `null` and any other text that is no origin."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.scheme and parts.hostname and port else None


def _names_host(origin: str, headers: SentHeaders) -> bool:
    """Whether the origin is the request's own host.

    Schemes are not compared, since a proxy may have ended TLS: the origin's scheme only gives the default port.
    """
    hosts = headers.all(b"host")
    scheme = urlsplit(origin).scheme
    return len(hosts) == 1 and _normal_origin(f"{scheme}://{hosts[0]}") == origin
