"""Arguments parsed from JSON, forms and query strings."""

import re
from collections.abc import Mapping

from mizan_core.errors import BadRequest, UnsupportedMediaType
from mizan_core.graph.inputs import MAXIMUM_FIELDS
from mizan_core.graph.model import Function
from mizan_core.protocol.bodies import as_arguments, parse_json
from mizan_core.protocol.urls import Pairs, decode_text

from ..sent_headers import SentHeaders

# RFC 2046, 5.1.1: at most 70 characters, the last of them no space.
_BOUNDARY = re.compile(r';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))[ \t]*(?:;|$)', re.IGNORECASE)
_DISPOSITION = re.compile(
    rb"(?:^|\r\n)content-disposition:[ \t]*form-data[ \t]*((?:;[^\r\n]*)?)(?=\r\n|$)", re.IGNORECASE
)
_DISPOSITION_PARAMETER = re.compile(rb';[ \t]*([A-Za-z*]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^;"\s]*+))')
# A file that was not chosen, in a form.
BLANK = ""
# Several times the longest name that a function's argument can have.
PART_HEADER_LENGTH = 4096


def parse_pairs(raw: bytes) -> Pairs:
    """The names and values of a query string or an urlencoded form. Raises `BadRequest` for what is not UTF-8."""
    if raw.count(b"&") > MAXIMUM_FIELDS:  # counted before splitting, whose cost grows with the fields
        raise too_many_fields()
    pairs: list[tuple[str, str]] = []
    if b"%" in raw or b"+" in raw:
        pairs += [_pair(piece) for piece in raw.split(b"&") if piece]
    else:
        try:  # `from_utf8`, written out: most queries pass here
            text = raw.decode()
        except UnicodeDecodeError:
            raise _not_utf8() from None
        for piece in text.split("&"):
            if piece:
                name, _, value = piece.partition("=")
                pairs.append((name, value))
    if len(pairs) > MAXIMUM_FIELDS:
        raise too_many_fields()
    return Pairs(pairs)


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
        return without_blanks(parse_pairs(body), function)
    if media == "multipart/form-data":
        return without_blanks(parse_multipart(headers.all(b"content-type")[0], body), function)
    if not body and not media:
        return {}
    raise UnsupportedMediaType


def parse_multipart(content_type: str, body: bytes) -> Pairs:
    """The names and values of a multipart form (RFC 7578). Raises `BadRequest`, and `UnsupportedMediaType` for files.

    It splits the body by C code in a few passes. (The parser that Starlette uses runs Python code for each byte of a
    part's header.)
    """
    delimiter = b"\r\n--" + boundary_of(content_type)
    body = b"\r\n" + body
    if body.count(delimiter) > MAXIMUM_FIELDS + 1:  # one more delimiter ends the form
        raise too_many_fields()
    fields: list[tuple[str, str]] = []
    for part in body.split(delimiter)[1:]:
        if part.startswith(b"--"):
            return Pairs(fields)
        padding, _, rest = part.partition(b"\r\n")
        header, blank, value = rest.partition(b"\r\n\r\n")
        if padding.strip(b" \t") or not blank:
            break
        fields.append((_field_name(header), from_utf8(value)))
    raise not_multipart()


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart body. Raises `BadRequest`."""
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise not_multipart()
    boundary: str = named[1] or named[2]
    return boundary.encode("latin-1")


def read_disposition(header: bytes) -> dict[bytes, bytes]:
    """The parameters of a part's `Content-Disposition`, with the name among them. Raises `BadRequest`."""
    disposition = _DISPOSITION.search(header) if len(header) <= PART_HEADER_LENGTH else None
    if disposition is None:
        raise not_multipart()
    found = {
        one[1].lower(): (one[2] or one[3] or b"").replace(b"\\\\", b"\\").replace(b'\\"', b'"')
        for one in _DISPOSITION_PARAMETER.finditer(disposition[1])
    }
    if b"name" not in found:
        raise not_multipart()
    return found


def _field_name(header: bytes) -> str:
    """The name in the header of a part. Raises `BadRequest`, and `UnsupportedMediaType` for a file."""
    found = read_disposition(header)
    if b"filename" in found or b"filename*" in found:
        raise UnsupportedMediaType("This function takes no files.")
    return from_utf8(found[b"name"])


def without_blanks(pairs: Pairs, function: Function) -> Pairs:
    """A form's fields without blank ones that are optional: a browser sends the fields that a person left blank, too.

    A blank field that is required and nullable is null, which a form cannot say in another way. A file that a person
    did not choose is `BLANK`.
    """
    if all(value for _, value in pairs):
        return pairs
    sent: list[tuple[str, object]] = []
    for name, value in pairs:
        compiled = None if value else function.client_inputs.get(name)
        if compiled is None:
            sent.append((name, value))
        elif (
            compiled.input.required
            and compiled.kinds.nullable
            and not (compiled.input.is_file and compiled.kinds.is_list)
        ):
            sent.append((name, None))
        elif compiled.input.required and not compiled.input.is_file:
            sent.append((name, value))
    return Pairs(sent)


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _decoded(name), _decoded(value)


def _decoded(raw: bytes) -> str:
    try:
        return decode_text(raw.replace(b"+", b" "))
    except UnicodeDecodeError:
        raise _not_utf8() from None


def from_utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _not_utf8() -> BadRequest:
    return BadRequest("A field's name or value is not UTF-8.")


def too_many_fields() -> BadRequest:
    return BadRequest(f"There are more than {MAXIMUM_FIELDS} fields.")


def not_multipart() -> BadRequest:
    return BadRequest("The body is not a valid multipart form, or ends before its last delimiter.")
