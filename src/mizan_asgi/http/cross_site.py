"""The check that a call does not come from another site (protocol, section 11)."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from mizan_core.errors import DeclarationError, Forbidden

from .sent_headers import SentHeaders

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?/?")


_DEFAULT_PORTS = {"http": 80, "https": 443}


def check_same_site(headers: SentHeaders, trusted_origins: frozenset[str]) -> None:
    """Raise `Forbidden` for what a browser sends on behalf of another site."""
    sites, origins = headers.all(b"sec-fetch-site"), headers.all(b"origin")
    if len(origins) > 1 or len(sites) > 1:
        raise Forbidden("The request says more than once where it comes from.")
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
    """Trusted origins such as `https://app.example.com`. Raises `DeclarationError` for what is no origin."""
    if isinstance(origins, str):
        raise DeclarationError("trusted_origins takes a list of origins, not one text.")
    return frozenset(map(_read_origin, origins))


def _read_origin(origin: str) -> str:
    if "*" in origin:
        why = "no browser sends an origin with a '*', so it would match none. List each of them"
    elif not origin.isascii():
        why = "browsers send it in ASCII, as in 'https://xn--bcher-kva.example'"
    elif not _ORIGIN.fullmatch(origin) or (normal := _normal_origin(origin)) is None:
        why = "an origin is like 'https://app.example.com', without a path"
    else:
        return normal
    raise DeclarationError(f"trusted_origins has {origin!r}; {why}.")


def _normal_origin(origin: str) -> str | None:
    """Scheme, host and port in one spelling; None for `null` and whatever else is no origin."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.scheme and parts.hostname and port else None


def _names_host(origin: str, headers: SentHeaders) -> bool:
    """Whether the origin is the request's own host; the scheme may be a proxy's business, so it gives the port only."""
    hosts = headers.all(b"host")
    scheme = urlsplit(origin).scheme
    return len(hosts) == 1 and _normal_origin(f"{scheme}://{hosts[0]}") == origin
