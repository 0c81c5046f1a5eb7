"""What comes in: paths below a mount, headers, query strings, forms, bounded bodies, and the watched request."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from mizan_core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from mizan_core.identity import Identity
from mizan_core.inputs import Pairs
from mizan_core.watch import Notice
from mizan_core.wire import as_arguments, parse_json

# More fields than any form of a person, few enough to parse without being noticed.
MAXIMUM_FIELDS = 1000

# What tells one caller from another in an ASGI scope.
_WHO_ASKS: Mapping[str, str] = {
    "user": "user",
    "auth": "user",
    "session": "session",
    "headers": "headers or cookies",
    "query_string": "query",
    "client": "client address",
}


class HostRequest:
    """The host's request on its way to a function; see `mizan_core.watch.Watchable`."""

    def __init__(self, scope: Scope, receive: Receive, identity: Identity) -> None:
        self._scope = scope
        self._receive = receive
        self._identity = identity

    def plain(self) -> "FunctionRequest":
        return FunctionRequest(self._scope, self._receive, self._identity)

    def watched(self, notice: Notice) -> "FunctionRequest":
        return FunctionRequest(_WatchedScope(self._scope, notice), self._receive, self._identity)


class FunctionRequest(Request):
    """The request that a function sees. `user` is the host's user if it has one, else the caller's `Identity`."""

    def __init__(self, scope: Scope, receive: Receive, identity: Identity) -> None:
        super().__init__(scope, receive)
        self._identity = identity

    @property
    def user(self) -> Any:
        user = self.scope.get("user")
        return self._identity if user is None else user


class _WatchedScope(dict[str, Any]):
    """A scope that tells when who-asks is read from it, by whichever of Starlette's properties."""

    def __init__(self, scope: Scope, notice: Notice) -> None:
        super().__init__(scope)
        self._notice = notice

    def __getitem__(self, key: str) -> Any:
        self._tell(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._tell(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:  # makes dict(scope) and {**scope} ask for each key
        return super().__iter__()

    def items(self) -> Any:
        self._tell_all()
        return super().items()

    def values(self) -> Any:
        self._tell_all()
        return super().values()

    def copy(self) -> dict[str, Any]:
        self._tell_all()
        return super().copy()

    def _tell(self, key: str) -> None:
        if key in _WHO_ASKS:
            self._notice(_WHO_ASKS[key])

    def _tell_all(self) -> None:
        for key in _WHO_ASKS:
            self._tell(key)


def header_values(scope: Scope, name: bytes) -> list[str]:
    """All values of a header, whose name is given in lower case."""
    return [value.decode("latin-1") for found, value in scope["headers"] if found == name]


def below_mount(scope: Scope, base_url: str) -> str:
    """The path below the mount point, whether the host strips it, leaves it, or `base_url` is all there is."""
    path: str = scope["path"]
    root = (scope.get("root_path") or "").rstrip("/")
    return _without(_without(path, root), base_url)


def raw_path(scope: Scope) -> str:
    """The path as it was sent, still encoded."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def parse_pairs(raw: bytes) -> Pairs:
    """The names and values of a query string or an urlencoded form. Raises `BadRequest` for what is not UTF-8."""
    pieces = [piece for piece in raw.split(b"&") if piece]
    if len(pieces) > MAXIMUM_FIELDS:
        raise BadRequest(f"There are more than {MAXIMUM_FIELDS} fields.")
    return Pairs(_pair(piece) for piece in pieces)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as more than `limit` bytes have arrived or are announced."""
    announced = header_values(scope, b"content-length")
    if announced and announced[0].isdecimal() and (len(announced[0]) > 18 or int(announced[0]) > limit):
        raise PayloadTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then whatever comes."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return pending.pop() if pending else await receive()

    return replay


def media_type(scope: Scope) -> str:
    """The Content-Type without parameters; empty if there is none, or more than one."""
    values = header_values(scope, b"content-type")
    return values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""


def is_json(media: str) -> bool:
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


async def read_arguments(scope: Scope, body: bytes) -> Mapping[str, object] | Pairs:
    """Arguments from a JSON object or a form. Raises `CallError`s for anything else; no body means no arguments."""
    media = media_type(scope)
    if is_json(media):
        return as_arguments(parse_json(body))
    if media == "application/x-www-form-urlencoded":
        return parse_pairs(body)
    if media == "multipart/form-data":
        return await _parse_multipart(scope, body)
    if not body and not media:
        return {}
    raise UnsupportedMediaType


async def _parse_multipart(scope: Scope, body: bytes) -> Pairs:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(
        Headers(scope=scope), stream(), max_files=MAXIMUM_FIELDS, max_fields=MAXIMUM_FIELDS, max_part_size=len(body) + 1
    )
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError, LookupError, ValueError):
        raise BadRequest("The body is not a multipart form that can be read.") from None
    try:
        fields = Pairs(form.multi_items())
    finally:
        await form.close()
    if any(not isinstance(value, str) for _, value in fields):
        raise UnsupportedMediaType("Files cannot be arguments. Read them from the request, in a view.")
    return fields


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _decoded(name), _decoded(value)


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise BadRequest("A field's name or value is not UTF-8.") from None


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path
