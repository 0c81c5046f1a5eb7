"""The floors: plain ASGI as an expert would write it for exactly this work, and for no other."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import hiredis
import orjson
import redis.asyncio
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..world import USERS, Order, Profile, Renamed, body_of, orders_of, profile_of

SECONDS = 3600.0


def etag_of(body: bytes) -> bytes:
    return b'W/"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'


def headers_of(body: bytes, etag: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"cache-control", b"public, max-age=0, must-revalidate"),
        (b"etag", etag),
        (b"cache-status", b"raw; hit"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]


def parse(query: bytes) -> dict[bytes, bytes]:
    """The fields of a query. Raises ValueError for one that is given twice."""
    found: dict[bytes, bytes] = {}
    for piece in query.split(b"&"):
        name, _, value = piece.partition(b"=")
        if b"%" in piece or b"+" in piece:
            name, value = (unquote_to_bytes(one.replace(b"+", b" ")) for one in (name, value))
        if name in found:
            raise ValueError(name)
        found[name] = value
    return found


async def refuse(send: Any, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def reply(scope: Any, send: Any, etag: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """The body, or 304 where the client has it."""
    for name, value in scope["headers"]:
        if name == b"if-none-match" and value == etag:
            await send({"type": "http.response.start", "status": 304, "headers": headers[:-2]})
            await send({"type": "http.response.body", "body": b""})
            return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(slots=True)
class Kept:
    """A finished answer, as the messages that send it."""

    expires: float
    etag: bytes
    start: dict[str, Any]
    body: dict[str, Any]
    not_modified: dict[str, Any]

    @classmethod
    def of(cls, body: bytes) -> "Kept":
        etag = etag_of(body)
        headers = headers_of(body, etag)
        return cls(
            time.time() + SECONDS,
            etag,
            {"type": "http.response.start", "status": 200, "headers": headers},
            {"type": "http.response.body", "body": body},
            {"type": "http.response.start", "status": 304, "headers": headers[:-2]},
        )


class Hit:
    """A dictionary of finished answers. Parses the query, checks expiry and ETag, sends.

    The messages are shared between requests, which would be wrong below middleware that adds headers to them.
    """

    empty: ClassVar = {"type": "http.response.body", "body": b""}

    def __init__(self, path: str = "/ctx/user/") -> None:
        self.path = path
        self.entries = {user_id: Kept.of(body_of(user_id)) for user_id in range(USERS)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] not in ("GET", "HEAD"):
            await refuse(send, 404)
            return
        query = scope["query_string"]
        try:
            name, _, value = query.partition(b"=")
            if b"&" in value or b"%" in query or b"+" in query:
                ((name, value),) = parse(query).items()
            if name != b"user_id":
                raise ValueError(name)  # noqa: TRY301  # refused like a query that does not parse
            user_id = int(value)
        except ValueError:
            await refuse(send, 422)
            return
        entry = self.entries.get(user_id)
        if entry is None or entry.expires <= time.time():
            await refuse(send, 503)  # never happens here
            return
        for name, value in scope["headers"]:
            if name == b"if-none-match" and value == entry.etag:
                await send(entry.not_modified)
                await send(self.empty)
                return
        await send(entry.start)
        await send(entry.body)


class HitOfASession:
    """As `Hit`, of the user whose session the cookie names: one more dictionary, and no parameters."""

    def __init__(self, sessions: Mapping[bytes, int]) -> None:
        self.sessions = sessions
        self.entries = {user_id: Kept.of(body_of(user_id)) for user_id in range(USERS)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/ctx/mine/" or scope["method"] not in ("GET", "HEAD"):
            await refuse(send, 404)
            return
        if scope["query_string"]:
            await refuse(send, 422)
            return
        user_id = known = None
        for name, value in scope["headers"]:
            if name == b"cookie":
                user_id = self.sessions.get(value)
            elif name == b"if-none-match":
                known = value
        if user_id is None:
            await refuse(send, 401)
            return
        entry = self.entries.get(user_id)
        if entry is None or entry.expires <= time.time():
            await refuse(send, 503)  # never happens here
            return
        if known is not None and known == entry.etag:
            await send(entry.not_modified)
            await send(Hit.empty)
            return
        await send(entry.start)
        await send(entry.body)


class Params(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")
    user_id: int


async def user_orders(user_id: int) -> list[Order]:
    return orders_of(user_id)


async def user_profile(user_id: int) -> Profile:
    return profile_of(user_id)


async def user_name(user_id: int) -> Renamed:
    return Renamed(user_id=user_id, name="Ada")


class Uncached:
    """Parses the query, validates the parameters, runs two readers, validates what they return, serialises and sends.

    Nothing else: no cache, so no ETag and no headers for one. `readers`: each with the type of its results; two with
    an order's list and a profile if left out.
    """

    def __init__(self, *readers: tuple[Callable[[int], Awaitable[object]], Any]) -> None:
        self.params = TypeAdapter(Params)
        read = readers or ((user_orders, list[Order]), (user_profile, Profile))
        self.readers = [(reader.__name__, reader, TypeAdapter(returned)) for reader, returned in read]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            fields = {name.decode(): value.decode() for name, value in parse(scope["query_string"]).items()}
            params = self.params.validate_python(fields)
        except (ValueError, ValidationError):
            await refuse(send, 422)
            return
        results = {}
        for name, reader, adapter in self.readers:
            result = adapter.validate_python(await reader(params["user_id"]), from_attributes=True)
            results[name] = adapter.dump_python(result, mode="json", by_alias=True)
        await self.send_whole(scope, send, orjson.dumps(results, option=orjson.OPT_SORT_KEYS))

    async def send_whole(self, scope: Any, send: Any, body: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Miss(Uncached):
    """As `Uncached`, sent with its ETag and the headers for caches."""

    async def send_whole(self, scope: Any, send: Any, body: bytes) -> None:
        etag = etag_of(body)
        await reply(scope, send, etag, headers_of(body, etag), body)


class Args(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")
    user_id: int
    name: str


async def rename(user_id: int, name: str) -> Renamed:
    return Renamed(user_id=user_id, name=name)


class Call:
    """Reads the body, parses it, validates two fields, runs one function and answers what it returned.

    `purge`: it also forgets one user and says so.
    """

    def __init__(self, purge: Callable[[int], Awaitable[object]] | None = None) -> None:
        self.args = TypeAdapter(Args)
        self.result = TypeAdapter(Renamed)
        self.functions = {"rename": rename}
        self.purge = purge

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        try:
            call = orjson.loads(body)
            function = self.functions[call["fn"]]
            args = self.args.validate_python(call["args"])
        except (ValueError, KeyError, TypeError, ValidationError):
            await refuse(send, 422)
            return
        result = self.result.validate_python(await function(**args), from_attributes=True)
        answer: dict[str, object] = {"result": self.result.dump_python(result, mode="json", by_alias=True)}
        headers = [
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-type", b"application/json"),
        ]
        if self.purge is not None:
            await self.purge(args["user_id"])
            answer["invalidate"] = [{"context": "user", "params": {"user_id": args["user_id"]}}]
            headers.append((b"x-mizan-invalidate", b"user;user_id=%d" % args["user_id"]))
        sent = orjson.dumps(answer, option=orjson.OPT_SORT_KEYS)
        headers.append((b"content-length", b"%d" % len(sent)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": sent})


class Memory:
    """A dictionary that forgets a user."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}

    async def purge(self, user_id: int) -> None:
        self.entries.pop(user_id, None)


def packed(body: bytes) -> bytes:
    """An entry as the Redis contenders keep it: expiry, ETag, body."""
    return b"%017.6f" % (time.time() + SECONDS) + etag_of(body) + body


class FromRedis:
    """As `Hit`, with the entry fetched by `get(key)`."""

    def __init__(self, get: Any) -> None:
        self.get = get

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            user_id = int(parse(scope["query_string"])[b"user_id"])
        except (KeyError, ValueError):
            await refuse(send, 422)
            return
        entry = await self.get(b"raw:user:%d" % user_id)
        if entry is None or float(entry[:17]) <= time.time():
            await refuse(send, 503)  # never happens here
            return
        etag, body = entry[17:53], entry[53:]
        await reply(scope, send, etag, headers_of(body, etag), body)


def redis_py(url: str) -> Any:
    """The usual client, as it is set up by default if hiredis is installed."""
    client = redis.asyncio.Redis.from_url(url)
    parser = type(client.connection_pool.make_connection()._parser).__name__
    assert "Hiredis" in parser, f"redis-py parses with {parser}"
    return client


class Hiredis:
    """A bare protocol: commands are written as they come, an answer belongs to the longest-waiting command."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.reader = hiredis.Reader()
        self.waiting: list[Any] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        for one in self.waiting:
            one.cancel()

    def eof_received(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (found := self.reader.gets()) is not False:
            self.waiting.pop(0).set_result(found)

    def get(self, key: bytes) -> Any:
        answer = self.loop.create_future()
        self.waiting.append(answer)
        self.transport.write(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
        return answer
