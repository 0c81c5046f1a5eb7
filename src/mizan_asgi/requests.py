"""What comes in: paths below a mount, headers, query strings, forms, bounded bodies, and the watched request."""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Set
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from mizan_core.engine.privacy import Notice
from mizan_core.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from mizan_core.graph.inputs import MAXIMUM_FIELDS
from mizan_core.graph.model import Function
from mizan_core.protocol.bodies import as_arguments, parse_json
from mizan_core.protocol.identity import Identity
from mizan_core.protocol.urls import Pairs, unquoted

# What a path may have unencoded (RFC 3986, 3.3); whatever else is encoded in its canonical spelling.
_PATH_SAFE = "/:@!$&'()*+,;="

# RFC 2046, 5.1.1: at most 70 characters, and no space at its end.
_BOUNDARY = re.compile(r';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))[ \t]*(?:;|$)', re.IGNORECASE)
_DISPOSITION = re.compile(
    rb"(?:^|\r\n)content-disposition:[ \t]*form-data[ \t]*((?:;[^\r\n]*)?)(?=\r\n|$)", re.IGNORECASE
)
_DISPOSITION_PARAMETER = re.compile(rb';[ \t]*([A-Za-z*]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^;"\s]*+))')
# Several times the longest name that a function's argument can have.
_PART_HEADER_LENGTH = 4096

# Headers of a call that speak of its body or of its answer.
_ABOUT_A_CALL = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect", b"trailer"),
        b"x-mizan-mounted",
    }
)

# What of an ASGI scope is the same for every request, and so may be read where the answer is shared. Anything else is
# not known to be: middleware and mounts may have put there what they like.
_SAME_FOR_ALL = frozenset({"type", "app", "router"})

# Where the host has mounted us. With parameters in its path, one user may ask at several mounts: `/{tenant}/api/mizan`.
_OF_THE_MOUNT = frozenset({"path", "raw_path", "root_path", "app_root_path", "path_params"})

# What the log calls parts of a scope; the others go by their keys.
_LOGGED_AS: Mapping[str, str] = {
    "auth": "user",
    "headers": "headers or cookies",
    "query_string": "query",
    "client": "client address",
    "path_params": "path parameters of the mount",
}


class HostRequest:
    """The host's request on its way to a function; see `mizan_core.engine.privacy.Watchable`.

    `body`: what has been read of the request already, to be read again. `own`: the function's inputs, whose path
    parameters are its own; all others are those of the host's mount.
    """

    __slots__ = ("_body", "_identity", "_own", "_receive", "_scope")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        identity: Identity,
        *,
        body: bytes | None = None,
        own: Set[str] = frozenset(),
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._identity = identity
        self._body = body
        self._own = own

    def known_as(self, identity: Identity) -> "HostRequest":
        return HostRequest(self._scope, self._receive, identity, body=self._body, own=self._own)

    def plain(self) -> "FunctionRequest":
        return FunctionRequest(self._scope, self._receiving(), lambda: self._identity)

    def watched(self, notice: Notice) -> "FunctionRequest":
        receiving = self._receiving()
        # What a GET is read to carry is the empty body, whatever was sent; what comes after it tells of the connection.
        free = 1 if self._scope["method"] in ("GET", "HEAD") else 0

        async def receive() -> Message:
            nonlocal free
            free -= 1
            if free < 0:
                notice("body or connection")
            return await receiving()

        def identity() -> Identity:
            notice("user")
            return self._identity

        return FunctionRequest(_watched_scope(self._scope, self._own, notice), receive, identity)

    def watched_by_user(self, notice: Notice) -> "FunctionRequest":
        """The request for an answer that is kept for the user who asks: `notice` is told of a look at the mount."""
        if self._scope.get("path_params", {}).keys() <= self._own:
            return self.plain()
        free = {key: value for key, value in self._scope.items() if key not in _OF_THE_MOUNT}
        return FunctionRequest(_Watched(free, self._scope, notice), self._receiving(), lambda: self._identity)

    def _receiving(self) -> Receive:
        return self._receive if self._body is None else replaying(self._body, self._receive)


class FunctionRequest(Request):
    """The request that a function sees. `user` is the host's user if it has one, else the caller's `Identity`."""

    def __init__(self, scope: Scope, receive: Receive, identity: Callable[[], Identity]) -> None:
        super().__init__(scope, receive)
        self._identity = identity

    @property
    def user(self) -> Any:
        user = self.scope.get("user")
        return self._identity() if user is None else user


if TYPE_CHECKING:
    _Dict = MutableMapping[str, Any]
else:

    class _Dict(MutableMapping, dict):
        """A dict whose methods all go through the five of a mapping."""


class _Watched(_Dict):
    """A dict that tells `notice` of every look at it, except at the values of `free`.

    Only these are in the dict itself, so that what passes its methods by (`dict.get(scope, "user")`) finds no others.
    """

    def __init__(self, free: Mapping[str, Any], others: Mapping[str, Any], notice: Notice) -> None:
        super().__init__(free)  # type: ignore[call-arg]  # the dict's
        self._free = free
        self._values = {**others, **free}  # a copy: what a function changes is changed for it alone
        self._notice = notice

    def __getitem__(self, key: str) -> Any:
        if key not in self._free:
            self._notice(_LOGGED_AS.get(key, key))
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._tell_all()
        del self._values[key]

    def __iter__(self) -> Iterator[str]:  # makes dict(scope), {**scope}, unions and copies ask for each key
        self._tell_all()
        return iter(self._values)

    def __len__(self) -> int:
        self._tell_all()
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def _tell_all(self) -> None:
        for key in self._values.keys() - self._free.keys():
            self._notice(_LOGGED_AS.get(key, key))


def _watched_scope(scope: Scope, own: Set[str], notice: Notice) -> _Watched:
    """The scope for a function whose answer others get too: `own` are the path parameters that are its arguments."""
    free = {key: scope[key] for key in _SAME_FOR_ALL if key in scope}
    # A HEAD is answered with the headers of the GET, so it has to be computed as one.
    free["method"] = "GET" if scope["method"] == "HEAD" else scope["method"]
    in_path = scope.get("path_params", {})
    if own:
        mine = {name: value for name, value in in_path.items() if name in own}
        free["path_params"] = mine if len(mine) == len(in_path) else _Watched(mine, in_path, notice)
    return _Watched(free, scope, notice)


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
    below = _without(path, root)
    if root.endswith(base_url):
        return below
    # A `base_url` that says all of the path outside begins with what the proxy has taken off.
    stripped = _without(below, base_url)
    return _without(below, base_url.removeprefix(root)) if stripped == below else stripped


def before_path(scope: Scope, path: str) -> str | None:
    """What the URL has before `path` where edges see it; None if `path` is not the spelling that its end has.

    The server's root path is what a proxy has taken off, unless the path that was sent has it still.
    """
    root = quote(_server_root(scope), safe=_PATH_SAFE)
    sent = raw_path(scope)
    outside = sent if sent.startswith(f"{root}/") else root + sent
    return outside.removesuffix(path) if outside.endswith(path) else None


def is_base(before: str, base_url: str, scope: Scope) -> bool:
    """Whether edges know what lies below `before` as lying below `base_url`.

    A proxy that takes `base_url` off and says nothing leaves nothing before the path.
    """
    return before == quote(base_url, safe=_PATH_SAFE) or not (before or scope.get("root_path"))


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


def sent_path(scope: Scope, base_url: str, below: str) -> str:
    """The path that was sent, encoded, with `below` in place of what it has below the mount point."""
    return raw_path(scope).removesuffix(quote(below_mount(scope, base_url), safe=_PATH_SAFE)) + below


def parse_pairs(raw: bytes) -> Pairs:
    """The names and values of a query string or an urlencoded form. Raises `BadRequest` for what is not UTF-8."""
    if raw.count(b"&") > MAXIMUM_FIELDS:  # found at once, where making the pieces would cost as much as they are
        raise _too_many_fields()
    pieces = [piece for piece in raw.split(b"&") if piece]
    if len(pieces) > MAXIMUM_FIELDS:
        raise _too_many_fields()
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


def read_arguments(headers: SentHeaders, body: bytes, function: Function) -> Mapping[str, object] | Pairs:
    """A function's arguments from a JSON object or a form. Raises `CallError`s for anything else.

    No body means no arguments.
    """
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

    All steps are native, and none of them looks at a byte more than a few times: the parser that Starlette uses runs
    a line of Python for each byte of a part's header.
    """
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise _no_multipart()
    delimiter = b"\r\n--" + (named[1] or named[2]).encode("latin-1")
    body = b"\r\n" + body
    if body.count(delimiter) > MAXIMUM_FIELDS + 1:  # one more closes the last part
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
    raise _no_multipart()


def _field_name(header: bytes) -> str:
    """What the header of a part calls it. Raises `BadRequest`, and `UnsupportedMediaType` for a file."""
    disposition = _DISPOSITION.search(header) if len(header) <= _PART_HEADER_LENGTH else None
    if disposition is None:
        raise _no_multipart()
    found = {one[1].lower(): one[2] or one[3] or b"" for one in _DISPOSITION_PARAMETER.finditer(disposition[1])}
    if b"filename" in found or b"filename*" in found:
        raise UnsupportedMediaType("Files cannot be arguments. Read them from the request, in a view.")
    if b"name" not in found:
        raise _no_multipart()
    return _from_utf8(found[b"name"].replace(b"\\\\", b"\\").replace(b'\\"', b'"'))


def _without_blanks(pairs: Pairs, function: Function) -> Pairs:
    """A form's fields without those that a person left blank and need not fill in: a browser sends them all the same.

    A blank that has to be sent and may be null is null, which a form has no other way to say.
    """
    if all(value for _, value in pairs):
        return pairs
    sent: list[tuple[str, object]] = []
    for name, value in pairs:
        compiled = None if value else function.inputs.get(name)
        if compiled is None:
            sent.append((name, value))
        elif compiled.input.required:
            sent.append((name, None if compiled.kinds.nullable else value))
    return Pairs(sent)


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _decoded(name), _decoded(value)


def _decoded(raw: bytes) -> str:
    return _from_utf8(unquoted(raw.replace(b"+", b" ")))


def _from_utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("A field's name or value is not UTF-8.") from None


def _too_many_fields() -> BadRequest:
    return BadRequest(f"There are more than {MAXIMUM_FIELDS} fields.")


def _no_multipart() -> BadRequest:
    return BadRequest("The body is not a multipart form that can be read, or breaks off before its end.")


def _roots(scope: Scope) -> tuple[str, str]:
    """The root path, and what of it Starlette's mounts added to the server's, which a proxy may have taken off."""
    root = (scope.get("root_path") or "").rstrip("/")
    return root, root.removeprefix(_server_root(scope))


def _server_root(scope: Scope) -> str:
    """The root path before any mount of Starlette's."""
    root: str = scope.get("app_root_path", scope.get("root_path")) or ""
    return root.rstrip("/")


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path
