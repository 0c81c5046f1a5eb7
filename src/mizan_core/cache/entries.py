"""What is kept: an entry with the stamps of its tags, its layout as bytes, and the slot where it lies."""

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
    """A stored bundle. It is as good as its tags, which have to carry the very `stamps` that it was stored with.

    `expires`: seconds since 1970. `written`: what a layer above has made of it, so that it is made once.
    """

    stamps: tuple[bytes, ...]
    expires: float
    etag: str
    body: bytes
    written: Any = None

    def __bytes__(self) -> bytes:
        return b"".join((_head(self.stamps), _EXPIRY.pack(self.expires), self.etag.encode("ascii"), self.body))


def read_entry(raw: bytes, found: Sequence[bytes | None], fingerprint: bytes) -> Entry | None:
    """The entry in these bytes, if it carries what was found under its tags, and none of them was absent.

    None as well if the whole context's stamp is not of this fingerprint. No entry carries what a held tag has.
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


def _head(stamps: Sequence[bytes]) -> bytes:
    """What a valid entry begins with: its layout, how many stamps, and the stamps."""
    return bytes((_LAYOUT, len(stamps))) + b"".join(stamps)
