"""A stored bundle with the stamps of its tags, and its layout as bytes."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol.cache_headers import etag_of
from .tags import TagValues

_LAYOUT = 1
_EXPIRY = struct.Struct(">d")
_ETAG_BYTES = len(etag_of(b""))


@dataclass(slots=True, eq=False)
class Entry:
    """A stored bundle. It is a hit only while its tags have the values in `stamps`.

    `expires`: seconds since 1970. `written`: a place for the response that a layer above prepares from it, once.
    """

    stamps: tuple[bytes, ...]
    expires: float
    etag: str
    body: bytes
    written: Any = None

    def __bytes__(self) -> bytes:
        return b"".join((_head(self.stamps), _EXPIRY.pack(self.expires), self.etag.encode("ascii"), self.body))


def read_entry(raw: bytes, found: Sequence[bytes | None], fingerprint: bytes) -> Entry | None:
    """The entry in these bytes; None unless its stamps equal the values that were `found` under its tags.

    None as well if a tag was absent, or if the whole context's value has another fingerprint. The value of a held tag
    equals no stamp.
    """
    if None in found or not TagValues.made_by(found[0], fingerprint):
        return None
    stamps: tuple[bytes, ...] = tuple(found)  # type: ignore[arg-type]  # None is not among them
    head = _head(stamps)
    if not raw.startswith(head):
        return None
    etag_at = len(head) + _EXPIRY.size
    body_at = etag_at + _ETAG_BYTES
    if len(raw) < body_at:  # cut off
        return None
    (expires,) = _EXPIRY.unpack_from(raw, len(head))
    return Entry(stamps, expires, raw[etag_at:body_at].decode("latin-1"), raw[body_at:])


def without_spare_room(body: bytes) -> bytes:
    """A copy that takes no more memory than it has bytes; encoders leave spare room behind theirs."""
    return b"".join((body, b""))  # a third of the time that `bytes(memoryview(body))` takes; one part is not copied


def is_under(entry: Entry, found: Sequence[bytes | None], fingerprint: bytes) -> bool:
    """Whether an entry's stamps are the values that were `found` under its tags, as in `read_entry`."""
    return entry.stamps == tuple(found) and TagValues.made_by(found[0], fingerprint)


def _head(stamps: Sequence[bytes]) -> bytes:
    """The first bytes of an entry with these stamps: the layout, their number, and the stamps."""
    return bytes((_LAYOUT, len(stamps))) + b"".join(stamps)
