"""Decodes `X-Mizan-Mounted`: the bundles that a page shows (protocol, section 14)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from ..errors import BadRequest
from .headers import MAXIMUM_HEADER_BYTES
from .urls import Pairs, decode_text

# A call looks at so many mounted bundles of the contexts that it affects: no page updates more at once.
MAXIMUM_LOOKED_AT = 64


# The characters of `X-Mizan-Invalidate`, without `&`, which separates pairs here, and `+`, which forms read as a space.
# Quantifiers are possessive, so that the time to match a line is linear in its length.
_TEXT = r"(?:[A-Za-z0-9\-._~!$'()*:@]|%[0-9A-Fa-f]{2})"


_PAIR = rf"{_TEXT}++={_TEXT}*+"


_MEMBER = rf"[ \t]*+(?:{_TEXT}++(?:\?{_PAIR}(?:&{_PAIR})*+)?+)?+[ \t]*+"


_LINE = re.compile(rf"{_MEMBER}(?:,{_MEMBER})*+")


@dataclass(frozen=True, slots=True)
class Mounted:
    """The line of `X-Mizan-Mounted`, known to be well-formed and not parsed yet."""

    line: str

    def of(self, contexts: Iterable[str]) -> Iterator[tuple[str, Pairs]]:
        """The bundles of these contexts, in the order of the line, without repeats: a context and its query's pairs."""
        found = _bundles_of(tuple(contexts)).finditer(self.line)
        for context, query in dict.fromkeys((one[1], one[2]) for one in islice(found, MAXIMUM_LOOKED_AT)):
            pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
            yield _decoded(context), Pairs((_decoded(name), _decoded(text)) for name, _, text in pairs)


def read_mounted(lines: Sequence[str]) -> Mounted | None:
    """The header's line; None if the header was not sent. Raises `BadRequest`.

    The line is checked by two native passes. `Mounted.of` parses it, only if a call has made something stale.
    """
    if not lines:
        return None
    if len(lines) > 1 or len(lines[0]) > MAXIMUM_HEADER_BYTES:
        raise BadRequest(f"X-Mizan-Mounted is one line of at most {MAXIMUM_HEADER_BYTES} bytes.")
    if not _LINE.fullmatch(lines[0]) or not _is_utf8(lines[0]):
        raise BadRequest("X-Mizan-Mounted has a member that is not of the form context?name=value&name=value.")
    return Mounted(lines[0])


@lru_cache(maxsize=256)  # the functions of an application affect fewer sets of contexts
def _bundles_of(contexts: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern for the members of a line that name one of these contexts. Any character of a name may be encoded."""
    names = "|".join("".join(map(_spelled, name.encode())) for name in contexts)
    return re.compile(rf"(?:^|,)[ \t]*+({names})(?:\?([^, \t]*+))?+(?=[ \t]*+(?:,|$))")


def _spelled(byte: int) -> str:
    return rf"(?:{re.escape(chr(byte))}|%(?i:{byte:02x}))"


def _decoded(text: str) -> str:
    return decode_text(text.encode("ascii"))


def _is_utf8(line: str) -> bool:
    """Whether each text of a line is UTF-8. Separators are ASCII and split no character: the line is decoded whole."""
    try:
        _decoded(line)
    except UnicodeDecodeError:
        return False
    return True
