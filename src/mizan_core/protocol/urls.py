"""Percent-encoding, read in native steps: a sender chooses how many signs there are."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

# A percent sign that stands for itself, with what follows it.
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def unquoted(raw: bytes) -> bytes:
    """Percent-decoded: as `urllib.parse.unquote_to_bytes`, without a line of Python for each percent sign."""
    if b"%" not in raw:
        return raw
    # What begins no escape stands for itself. A sign before another sign begins none, as the second pass finds all.
    whole = raw.replace(b"%%", b"%25%").replace(b"%%", b"%25%")
    escaped = _NO_ESCAPE.sub(b"%25", whole).replace(b"\\", b"\\\\").replace(b"%", b"\\x")
    return escaped.decode("unicode_escape").encode("latin-1")


_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*", re.ASCII).fullmatch


def encode_text(text: str) -> str:
    """Percent-encoded UTF-8 with only RFC 3986's unreserved characters left as they are."""
    return text if _UNRESERVED(text) else quote(text, safe="")


def canonical_query(texts: Iterable[tuple[str, str]]) -> str:
    """The query of a canonical URL (protocol, section 8) from its names and texts, in their order."""
    return "&".join(f"{encode_text(name)}={encode_text(text)}" for name, text in texts)


def page_url(route: str, texts: Mapping[str, str]) -> str:
    """The canonical path of a page for these texts; `*` for a path parameter that they lack."""

    def fill(match: re.Match[str]) -> str:
        name, convertor = match[1], match[2]
        if name not in texts:
            return "*"
        pieces = texts[name].split("/") if convertor == "path" else [texts[name]]
        return "/".join(map(encode_text, pieces))

    return ROUTE_PARAMETER.sub(fill, route)


# A path parameter as Starlette writes it: its name and, behind a colon, its convertor.
ROUTE_PARAMETER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


def route_parameters(route: str) -> tuple[str, ...]:
    """The names between braces, in their order; a convertor behind a colon is left out."""
    return tuple(match[1] for match in ROUTE_PARAMETER.finditer(route))


class Pairs(tuple[tuple[str, object], ...]):
    """Names and values as a query string or a form gives them: a name may come more than once."""

    __slots__ = ()
