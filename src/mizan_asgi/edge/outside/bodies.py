"""Whether a body that arrives in pieces, perhaps compressed on its way, is the one that Mizan made."""

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

# The bytes that a compressor may add to a body that it cannot make smaller, and to none at all.
_COMPRESSOR_BYTES = 1_024


class Comparison(Protocol):
    """Compares pieces with a whole body."""

    def takes(self, piece: bytes) -> bool:
        """Whether the body may still be the same with this piece."""
        ...

    def is_whole(self) -> bool:
        """Whether the pieces were the body."""
        ...


class Plain:
    """Of a body that was not compressed."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def takes(self, piece: bytes) -> bool:
        is_next = self._body.startswith(piece, self._place)
        self._place += len(piece)
        return is_next

    def is_whole(self) -> bool:
        return self._place == len(self._body)


class Encoded:
    """Of a compressed body, which is read when it has arrived as a whole. `decode(pieces, most)`: at most so many bytes
    of it, and one more if it is longer."""

    def __init__(self, body: bytes, decode: Callable[[bytes, int], bytes | None]) -> None:
        self._body = body
        self._decode = decode
        self._pieces = bytearray()

    def takes(self, piece: bytes) -> bool:
        self._pieces += piece
        return len(self._pieces) <= len(self._body) + _COMPRESSOR_BYTES

    def is_whole(self) -> bool:
        if not self._pieces:  # of a HEAD, or a 304
            return not self._body
        return self._decode(bytes(self._pieces), len(self._body)) == self._body


def comparison(body: bytes, encoding: bytes) -> Comparison | None:
    """How a body is compared that was sent with this `Content-Encoding`; None where that cannot be read."""
    if encoding in (b"", b"identity"):
        return Plain(body)
    decode = _DECODERS.get(encoding)
    return None if decode is None else Encoded(body, decode)


def _inflated(pieces: bytes, most: int, *, window: int) -> bytes | None:
    decompressor = zlib.decompressobj(window)
    try:
        body = decompressor.decompress(pieces, most + 1)
    except zlib.error:
        return None
    return body if decompressor.eof and not decompressor.unused_data else None


def _gunzipped(pieces: bytes, most: int) -> bytes | None:
    return _inflated(pieces, most, window=16 + zlib.MAX_WBITS)


def _deflated(pieces: bytes, most: int) -> bytes | None:
    return _inflated(pieces, most, window=zlib.MAX_WBITS)


_DECODERS: Mapping[bytes, Callable[[bytes, int], bytes | None]] = {
    b"gzip": _gunzipped,
    b"x-gzip": _gunzipped,
    b"deflate": _deflated,
}
