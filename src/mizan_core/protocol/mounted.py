"""`X-Mizan-Mounted`: the bundles that a page shows (protocol, section 14)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from ..errors import BadRequest
from .headers import MAXIMUM_HEADER_BYTES
from .urls import Pairs, decode_text

# Of the mounted bundles of the contexts that a call affects, so many are looked at: more than any page updates at once.
MAXIMUM_LOOKED_AT = 64


# As in `X-Mizan-Invalidate`, without the `&` that separates here and the `+` that forms take for a space. No piece
# gives back what it took, so the time to read a line grows with its length.
_TEXT = r"(?:[A-Za-z0-9\-._~!$'()*:@]|%[0-9A-Fa-f]{2})"


_PAIR = rf"{_TEXT}++={_TEXT}*+"


_MEMBER = rf"[ \t]*+(?:{_TEXT}++(?:\?{_PAIR}(?:&{_PAIR})*+)?+)?+[ \t]*+"


_LINE = re.compile(rf"{_MEMBER}(?:,{_MEMBER})*+")


@dataclass(frozen=True, slots=True)
class Mounted:
    """What `X-Mizan-Mounted` says that the caller shows: its line, of which no more is known than that it is one."""

    line: str

    def of(self, contexts: Iterable[str]) -> Iterator[tuple[str, Pairs]]:
        """The bundles of these contexts without repeats, in their order: a context, and the pairs of its query."""
        found = _bundles_of(tuple(contexts)).finditer(self.line)
        for context, query in dict.fromkeys((one[1], one[2]) for one in islice(found, MAXIMUM_LOOKED_AT)):
            pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
            yield _decoded(context), Pairs((_decoded(name), _decoded(text)) for name, _, text in pairs)


def read_mounted(lines: Sequence[str]) -> Mounted | None:
    """What `X-Mizan-Mounted` says; None where there is no such header. Raises `BadRequest`.

    The whole line is looked at in native steps. What it names is read once a call has made something stale.
    """
    if not lines:
        return None
    if len(lines) > 1 or len(lines[0]) > MAXIMUM_HEADER_BYTES:
        raise BadRequest(f"X-Mizan-Mounted is one line of at most {MAXIMUM_HEADER_BYTES} bytes.")
    if not _LINE.fullmatch(lines[0]) or not _is_utf8(lines[0]):
        raise BadRequest("X-Mizan-Mounted has a member that is not of the form context?name=value&name=value.")
    return Mounted(lines[0])


@lru_cache(maxsize=256)  # more sets of contexts than an application's functions affect
def _bundles_of(contexts: tuple[str, ...]) -> re.Pattern[str]:
    """What finds the members of a line that name one of these contexts. A name may be encoded more than it need be."""
    names = "|".join("".join(map(_spelled, name.encode())) for name in contexts)
    return re.compile(rf"(?:^|,)[ \t]*+({names})(?:\?([^, \t]*+))?+(?=[ \t]*+(?:,|$))")


def _spelled(byte: int) -> str:
    return rf"(?:{re.escape(chr(byte))}|%(?i:{byte:02x}))"


def _decoded(text: str) -> str:
    return decode_text(text.encode("ascii"))


def _is_utf8(line: str) -> bool:
    """Whether every text of a line is. What separates texts is ASCII, and no part of a longer character."""
    try:
        _decoded(line)
    except UnicodeDecodeError:
        return False
    return True
