"""Request bodies, read within a limit, and arguments parsed from JSON, forms and query strings."""

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from mizan_core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from mizan_core.graph.inputs import MAXIMUM_FIELDS
from mizan_core.graph.model import Function
from mizan_core.protocol.bodies import as_arguments, parse_json
from mizan_core.protocol.urls import Pairs, decode_text

from .sent_headers import SentHeaders

# RFC 2046, 5.1.1: at most 70 characters, the last of them no space.
_BOUNDARY = re.compile(r';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))[ \t]*(?:;|$)', re.IGNORECASE)
_DISPOSITION = re.compile(
    rb"(?:^|\r\n)content-disposition:[ \t]*form-data[ \t]*((?:;[^\r\n]*)?)(?=\r\n|$)", re.IGNORECASE
)
_DISPOSITION_PARAMETER = re.compile(rb';[ \t]*([A-Za-z*]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^;"\s]*+))')
# Several times the longest name that a function's argument can have.
_PART_HEADER_LENGTH = 4096


def parse_pairs(raw: bytes) -> Pairs:
    """The names and values of a query string or an urlencoded form. Raises `BadRequest` for what is not UTF-8."""
    if raw.count(b"&") > MAXIMUM_FIELDS:  # counted before splitting, whose cost grows with the fields
        raise _too_many_fields()
    pairs: list[tuple[str, str]] = []
    if b"%" in raw or b"+" in raw:
        pairs += [_pair(piece) for piece in raw.split(b"&") if piece]
    else:
        for piece in _from_utf8(raw).split("&"):
            if piece:
                name, _, value = piece.partition("=")
                pairs.append((name, value))
    if len(pairs) > MAXIMUM_FIELDS:
        raise _too_many_fields()
    return Pairs(pairs)


class BodyLimit:
    """The most bytes that a body may have."""

    __slots__ = ("_digits", "bytes")

    def __init__(self, limit: int) -> None:
        self.bytes = limit
        self._digits = len(str(limit))

    def check(self, announced: bytes | None) -> None:
        """Raise `PayloadTooLarge` if the Content-Length is above the limit. One that is no number is ignored."""
        if announced is None or len(announced) < self._digits or not announced.isdigit():
            return
        if len(announced) > 18 or int(announced) > self.bytes:
            raise PayloadTooLarge(self.bytes)


async def read_body(announced: bytes | None, receive: Receive, limit: BodyLimit) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as more than the limit has arrived or is announced.

    `announced`: the request's Content-Length, if it has one.
    """
    limit.check(announced)
    return await read_rest(await receive(), receive, limit)


async def read_rest(message: Message, receive: Receive, limit: BodyLimit) -> bytes:
    """The whole body, whose first message was received already. Raises as `read_body` does."""
    chunks: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit.bytes:
            raise PayloadTooLarge(limit.bytes)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def limited(receive: Receive, limit: BodyLimit) -> Receive:
    """A `receive` that raises `PayloadTooLarge` once more of the body has arrived than the limit allows."""
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit.bytes:
            raise PayloadTooLarge(limit.bytes)
        return message

    return receiving


def replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read before, then the messages that follow it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return pending.pop() if pending else await receive()

    return replay


def media_type(headers: SentHeaders) -> str:
    """The Content-Type without parameters; empty if there is none.

    Raises `UnsupportedMediaType` for more than one, and for any charset but UTF-8.
    """
    values = headers.all(b"content-type")
    if len(values) > 1:
        raise UnsupportedMediaType
    media, *parameters = "".join(values).lower().split(";")
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("The body has to be in UTF-8.")
    return media.strip()


def is_json(media: str) -> bool:
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


def read_arguments(headers: SentHeaders, body: bytes, function: Function) -> Mapping[str, object] | Pairs:
    """A function's arguments from a JSON object or a form; none from an empty body. Raises `CallError`."""
    media = media_type(headers)
    if is_json(media):
        return as_arguments(parse_json(body))
    if media == "application/x-www-form-urlencoded":
        return _without_blanks(parse_pairs(body), function)
    if media == "multipart/form-data":
        return _without_blanks(parse_multipart(headers.all(b"content-type")[0], body), function)
    if not body and not media:
        return {}
    raise UnsupportedMediaType


def parse_multipart(content_type: str, body: bytes) -> Pairs:
    """The names and values of a multipart form (RFC 7578). Raises `BadRequest`, and `UnsupportedMediaType` for files.

    It splits the body by C code in a few passes. (The parser that Starlette uses runs Python code for each byte of a
    part's header.)
    """
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise _not_multipart()
    delimiter = b"\r\n--" + (named[1] or named[2]).encode("latin-1")
    body = b"\r\n" + body
    if body.count(delimiter) > MAXIMUM_FIELDS + 1:  # one more delimiter ends the form
        raise _too_many_fields()
    fields: list[tuple[str, str]] = []
    for part in body.split(delimiter)[1:]:
        if part.startswith(b"--"):
            return Pairs(fields)
        padding, _, rest = part.partition(b"\r\n")
        header, blank, value = rest.partition(b"\r\n\r\n")
        if padding.strip(b" \t") or not blank:
            break
        fields.append((_field_name(header), _from_utf8(value)))
    raise _not_multipart()


def _field_name(header: bytes) -> str:
    """The name in the header of a part. Raises `BadRequest`, and `UnsupportedMediaType` for a file."""
    disposition = _DISPOSITION.search(header) if len(header) <= _PART_HEADER_LENGTH else None
    if disposition is None:
        raise _not_multipart()
    found = {one[1].lower(): one[2] or one[3] or b"" for one in _DISPOSITION_PARAMETER.finditer(disposition[1])}
    if b"filename" in found or b"filename*" in found:
        raise UnsupportedMediaType("Files cannot be arguments. Read them from the request, in a view.")
    if b"name" not in found:
        raise _not_multipart()
    return _from_utf8(found[b"name"].replace(b"\\\\", b"\\").replace(b'\\"', b'"'))


def _without_blanks(pairs: Pairs, function: Function) -> Pairs:
    """A form's fields without blank ones that are optional: a browser sends the fields that a person left blank, too.

    A blank field that is required and nullable is null, which a form cannot say in another way.
    """
    if all(value for _, value in pairs):
        return pairs
    sent: list[tuple[str, object]] = []
    for name, value in pairs:
        compiled = None if value else function.client_inputs.get(name)
        if compiled is None:
            sent.append((name, value))
        elif compiled.input.required:
            sent.append((name, None if compiled.kinds.nullable else value))
    return Pairs(sent)


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _decoded(name), _decoded(value)


def _decoded(raw: bytes) -> str:
    try:
        return decode_text(raw.replace(b"+", b" "))
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _from_utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _not_utf8() -> BadRequest:
    return BadRequest("A field's name or value is not UTF-8.")


def _too_many_fields() -> BadRequest:
    return BadRequest(f"There are more than {MAXIMUM_FIELDS} fields.")


def _not_multipart() -> BadRequest:
    return BadRequest("The body is not a valid multipart form, or ends before its last delimiter.")
