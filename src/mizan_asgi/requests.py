"""What comes in: paths below a mount, headers, query strings, forms, bounded bodies, and the watched request."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from mizan_core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from mizan_core.identity import Identity
from mizan_core.inputs import Pairs
from mizan_core.watch import Notice
from mizan_core.wire import as_arguments, parse_json

# More fields than any form of a person, few enough to parse without being noticed.
MAXIMUM_FIELDS = 1000

# What a path may have unencoded (RFC 3986, 3.3); whatever else is encoded in its canonical spelling.
_PATH_SAFE = "/:@!$&'()*+,;="

# Headers of a call that speak of its body or of its answer.
_ABOUT_A_CALL = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect", b"trailer"),
        b"x-mizan-mounted",
    }
)

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

    __slots__ = ("_body", "_identity", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive, identity: Identity, *, body: bytes | None = None) -> None:
        """`body`: what has been read of the request already, to be read again."""
        self._scope = scope
        self._receive = receive
        self._identity = identity
        self._body = body

    def plain(self) -> "FunctionRequest":
        return FunctionRequest(self._scope, self._receiving(), self._identity)

    def watched(self, notice: Notice) -> "FunctionRequest":
        return FunctionRequest(_WatchedScope(self._scope, notice), self._receiving(), self._identity)

    def _receiving(self) -> Receive:
        return self._receive if self._body is None else replaying(self._body, self._receive)


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

    def __iter__(self) -> Iterator[str]:  # makes dict(scope), copies and unions ask for each key
        return super().__iter__()

    def items(self) -> Any:
        self._tell_all()
        return super().items()

    def values(self) -> Any:
        self._tell_all()
        return super().values()

    def pop(self, key: str, *default: Any) -> Any:
        self._tell(key)
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._tell(key)
        return super().setdefault(key, default)

    def __repr__(self) -> str:
        self._tell_all()
        return super().__repr__()

    def _tell(self, key: str) -> None:
        if key in _WHO_ASKS:
            self._notice(_WHO_ASKS[key])

    def _tell_all(self) -> None:
        for key in _WHO_ASKS:
            self._tell(key)


class SentHeaders:
    """A request's headers, by names in lower case. To find out that one is absent costs next to nothing."""

    __slots__ = ("_last", "_pairs")

    def __init__(self, scope: Scope) -> None:
        self._pairs: list[tuple[bytes, bytes]] = scope["headers"]
        self._last: dict[bytes, bytes] = dict(self._pairs)

    def none_of(self, names: frozenset[bytes]) -> bool:
        """Whether there is no header of any of these names."""
        return names.isdisjoint(self._last)

    def last(self, name: bytes) -> bytes | None:
        """The last value of this name; None if there is none."""
        return self._last.get(name)

    def all(self, name: bytes) -> list[str]:
        """The values of every header of this name."""
        if name not in self._last:
            return []
        return [value.decode("latin-1") for found, value in self._pairs if found == name]


def below_mount(scope: Scope, base_url: str) -> str:
    """The path below the mount point, whether the host strips it, leaves it, or `base_url` is all there is."""
    path: str = scope["path"]
    root, mount = _roots(scope)
    if mount:
        below = _without(path, root)
        return _without(path, mount) if below == path else below
    return _without(_without(path, root), "" if root.endswith(base_url) else base_url)


def is_canonical_path(scope: Scope, base_url: str, below: str) -> bool:
    """Whether the path was sent as edges know it; `below` is its canonical spelling below the mount point.

    The mount point is Starlette's, where there is one, and else `base_url`, which a host or a proxy may have taken off.
    """
    root, mount = _roots(scope)
    before = {root, mount} if mount else {"", root, base_url, root + base_url}
    return raw_path(scope) in {quote(one, safe=_PATH_SAFE) + below for one in before}


def raw_path(scope: Scope) -> str:
    """The path as it was sent, still encoded."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def as_get(scope: Scope, base_url: str, below: str, query: str) -> Scope:
    """The request that would get `below` the same mount point: by the same client, with the same headers."""
    path = scope["path"].removesuffix(below_mount(scope, base_url)) + below
    return {
        **scope,
        "method": "GET",
        "path": path,
        "raw_path": quote(path, safe=_PATH_SAFE).encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name, value) for name, value in scope["headers"] if name not in _ABOUT_A_CALL],
    }


def parse_pairs(raw: bytes) -> Pairs:
    """The names and values of a query string or an urlencoded form. Raises `BadRequest` for what is not UTF-8."""
    pieces = [piece for piece in raw.split(b"&") if piece]
    if len(pieces) > MAXIMUM_FIELDS:
        raise BadRequest(f"There are more than {MAXIMUM_FIELDS} fields.")
    return Pairs(_pair(piece) for piece in pieces)


class BodyLimit:
    """How many bytes a body may have."""

    __slots__ = ("_digits", "bytes")

    def __init__(self, limit: int) -> None:
        self.bytes = limit
        self._digits = len(str(limit))

    def check(self, announced: bytes | None) -> None:
        """Raise `PayloadTooLarge` if a Content-Length announces more. What is no number announces nothing."""
        if announced is None or len(announced) < self._digits or not announced.isdigit():
            return
        if len(announced) > 18 or int(announced) > self.bytes:
            raise PayloadTooLarge(self.bytes)


async def read_body(announced: bytes | None, receive: Receive, limit: BodyLimit) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as more than the limit has arrived or is announced.

    `announced`: the request's Content-Length, if it has one.
    """
    limit.check(announced)
    return await read_on(await receive(), receive, limit)


async def read_on(message: Message, receive: Receive, limit: BodyLimit) -> bytes:
    """The same for a body of which this message is the first."""
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
    """A `receive` that raises `PayloadTooLarge` once more than the limit of the body has arrived."""
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
    """A `receive` that gives a body that was read already, and then whatever comes."""
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


async def read_arguments(headers: SentHeaders, body: bytes) -> Mapping[str, object] | Pairs:
    """Arguments from a JSON object or a form. Raises `CallError`s for anything else; no body means no arguments."""
    media = media_type(headers)
    if is_json(media):
        return as_arguments(parse_json(body))
    if media == "application/x-www-form-urlencoded":
        return parse_pairs(body)
    if media == "multipart/form-data":
        return await _parse_multipart(headers, body)
    if not body and not media:
        return {}
    raise UnsupportedMediaType


class _WholeFormParser(MultiPartParser):
    """Starlette's parser, which alone does not tell whether the last boundary has come."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _parse_multipart(sent: SentHeaders, body: bytes) -> Pairs:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    # Read as Latin-1, which loses nothing, for Starlette would take what is not UTF-8 to be just that.
    parser = _WholeFormParser(Headers({"content-type": f"{sent.all(b'content-type')[0]}; charset=latin-1"}), stream())
    parser.max_part_size = len(body)
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError):
        raise BadRequest("The body is not a multipart form that can be read.") from None
    await form.close()
    if not parser.ended:
        raise BadRequest("The multipart form breaks off before its end.")
    fields: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if not isinstance(value, str):
            raise UnsupportedMediaType("Files cannot be arguments. Read them from the request, in a view.")
        fields.append((_from_utf8(name.encode("latin-1")), _from_utf8(value.encode("latin-1"))))
    return Pairs(fields)


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _decoded(name), _decoded(value)


def _decoded(raw: bytes) -> str:
    return _from_utf8(unquote_to_bytes(raw.replace(b"+", b" ")))


def _from_utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("A field's name or value is not UTF-8.") from None


def _roots(scope: Scope) -> tuple[str, str]:
    """The root path, and what of it Starlette's mounts added to the server's, which a proxy may have taken off."""
    root = (scope.get("root_path") or "").rstrip("/")
    return root, root.removeprefix(scope.get("app_root_path", root).rstrip("/"))


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path
