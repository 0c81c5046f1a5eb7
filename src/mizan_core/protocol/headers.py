"""Encodes and decodes `X-Mizan-Invalidate` (protocol, section 5), and has the limit for the headers of Mizan."""

import re
from collections.abc import Iterable

from ..errors import HeaderError, InvalidValue
from .invalidation import Invalidation, merge
from .urls import decode_text, encode_text

# Proxies and servers commonly refuse header lines between 4 and 8 KiB. `X-Mizan-Mounted` has the same limit.
MAXIMUM_HEADER_BYTES = 4096

_TEXT = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+:@]|%[0-9A-Fa-f]{2})*")


def encode_header(invalidations: Iterable[Invalidation]) -> str:
    """The header's value; empty for no invalidations.

    While the line has more than 4096 bytes, the context whose entries take most of it is widened: one entry of the
    whole context replaces them. Only a line of nothing but whole contexts may be longer. The header cannot spell null,
    so `nulls` are left out, which widens an entry. Raises `HeaderError` for a value without a canonical text.
    """
    entries = list(invalidations)
    if any(entry.nulls for entry in entries):
        entries = list(merge(Invalidation(one.context, one.params, one.function) for one in entries))
    while True:
        texts = [entry.encoded(_encode_entry) for entry in entries]
        line = ", ".join(texts)
        if len(line) <= MAXIMUM_HEADER_BYTES:
            return line
        pieces = [(entry.context, text) for entry, text in zip(entries, texts, strict=True)]
        largest = _largest_group(pieces, {entry.context for entry in entries if entry != Invalidation(entry.context)})
        if largest is None:
            return line
        entries = _widen(entries, largest)


def decode_header(text: str) -> tuple[Invalidation, ...]:
    """The invalidations of a header, with values as texts. Raises `HeaderError` that names the malformed piece."""
    members = (member.strip(" \t") for member in text.split(","))
    return tuple(_decode_entry(member) for member in members if member)


def _encode_entry(entry: Invalidation) -> str:
    try:
        head = _encode_name("context", entry.context)
        if entry.function is not None:
            head += f"/{_encode_name('function', entry.function)}"
        texts = entry.texts
        pairs = (f";{_encode_name('parameter', name)}={encode_text(texts[name])}" for name in sorted(texts))
        return head + "".join(pairs)
    except (InvalidValue, UnicodeEncodeError) as error:
        raise HeaderError(f"An invalidation of {entry.context!r} has a value that cannot be written.") from error


def _encode_name(what: str, name: str) -> str:
    if not name:
        raise HeaderError(f"An empty text cannot name a {what}.")
    return encode_text(name)


def _largest_group(pieces: list[tuple[str, str]], candidates: set[str]) -> str | None:
    """The candidate whose pieces are longest together; `pieces` are pairs of a context and a text."""
    sizes: dict[str, int] = {}
    for context, piece in pieces:
        if context in candidates:
            sizes[context] = sizes.get(context, 0) + len(piece)
    return max(sizes, key=sizes.__getitem__, default=None)


def _widen(entries: list[Invalidation], context: str) -> list[Invalidation]:
    """The entries with those of one context replaced by the whole context, at the place of the first."""
    return list(merge(Invalidation(context) if entry.context == context else entry for entry in entries))


def _decode_entry(member: str) -> Invalidation:
    head, *assignments = member.split(";")
    context, slash, function = head.partition("/")
    params: dict[str, str] = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise HeaderError(f"{assignment!r} in {member!r} is not of the form name=value.")
        decoded = _decode_name("parameter", name, member)
        if decoded in params:
            raise HeaderError(f"{member!r} has the parameter {decoded!r} twice.")
        params[decoded] = _decode_text(value, member)
    return Invalidation(
        _decode_name("context", context, member),
        params,
        _decode_name("function", function, member) if slash else None,
    )


def _decode_name(what: str, text: str, member: str) -> str:
    if not text:
        raise HeaderError(f"{member!r} lacks the name of a {what}.")
    return _decode_text(text, member)


def _decode_text(text: str, member: str) -> str:
    if not _TEXT.fullmatch(text):
        raise HeaderError(f"{text!r} in {member!r} has a character or a percent sign that does not belong there.")
    try:
        return decode_text(text.encode())
    except UnicodeDecodeError:
        raise HeaderError(f"{text!r} in {member!r} is not UTF-8.") from None
