"""How URLs are written and read: percent-encoding, canonical queries (protocol, section 8) and the paths of routes.

A sender chooses how many percent signs a text has, so texts are decoded without a step of Python for each sign.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from .values import canonical, jsonable

_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*", re.ASCII).fullmatch

# A percent sign that begins no escape and therefore stands for itself.
_LITERAL_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# A path parameter as Starlette writes it: its name and, behind a colon, its convertor.
ROUTE_PARAMETER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


class Pairs(tuple[tuple[str, object], ...]):
    """Names and values as a query string or a form gives them: a name may come more than once."""

    __slots__ = ()


def encode_text(text: str) -> str:
    """Percent-encoded UTF-8 with only RFC 3986's unreserved characters left as they are."""
    return text if (text.isascii() and text.isalnum()) or _UNRESERVED(text) else quote(text, safe="")


def decode_text(encoded: bytes) -> str:
    """The text behind percent-encoded UTF-8. Raises UnicodeDecodeError."""
    return decode_percent(encoded).decode()


def decode_percent(encoded: bytes) -> bytes:
    """The same bytes as `urllib.parse.unquote_to_bytes`: a percent sign that begins no escape stands for itself."""
    if b"%" not in encoded:
        return encoded
    # Literal percent signs are escaped, so that each sign that is left begins an escape. `%%` needs two passes, for
    # `replace` does not see the pair that overlaps with the one before.
    doubled = encoded.replace(b"%%", b"%25%").replace(b"%%", b"%25%")
    escaped = _LITERAL_PERCENT.sub(b"%25", doubled).replace(b"\\", b"\\\\").replace(b"%", b"\\x")
    return escaped.decode("unicode_escape").encode("latin-1")


def canonical_query(texts: Mapping[str, str], values: Mapping[str, object], defaults: Mapping[str, str]) -> str:
    """The query of a canonical URL (protocol, section 8): names sorted, defaults left out, lists member by member.

    `texts` are the canonical texts of the parameters that are not null, `defaults` those of the defaults. `values` has
    the value of each parameter whose text is not that of its default.
    """
    pairs: list[str] = []
    for name in sorted(texts):
        text = texts[name]
        if text != defaults.get(name):
            if text[:1] == "[" and isinstance(members := jsonable(values[name]), list):
                pairs += [_begin(name) + encode_text(canonical(member)) for member in members]
            else:
                pairs.append(_begin(name) + encode_text(text))
    return "&".join(pairs)


@lru_cache(maxsize=1024)
def _begin(name: str) -> str:
    """How a pair of this name begins."""
    return f"{encode_text(name)}="


def page_url(route: str, texts: Mapping[str, str]) -> str:
    """The canonical path of a page for these texts; `*` for a path parameter that they lack."""

    def fill(match: re.Match[str]) -> str:
        name, convertor = match[1], match[2]
        if name not in texts:
            return "*"
        pieces = texts[name].split("/") if convertor == "path" else [texts[name]]
        return "/".join(map(encode_text, pieces))

    return ROUTE_PARAMETER.sub(fill, route)


def route_parameters(route: str) -> tuple[str, ...]:
    """The names of a route's path parameters, in their order and without convertors."""
    return tuple(match[1] for match in ROUTE_PARAMETER.finditer(route))
