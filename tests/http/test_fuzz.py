"""Thirty thousand random requests, and not one 5xx.

Requests are made by hand-written generators with a fixed seed and go straight to the ASGI callable of a FastAPI app.
"""

import datetime
import json
import logging
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from urllib.parse import quote, unquote

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from mizan_asgi import Mizan
from mizan_core import Conflict, Context, Identity, Result, build, client, issue_mwt
from tests.http.site import KEYS, Clock

SEEDS = (1, 2, 3, 4)
REQUESTS = 7_500

BOUNDARY = "b0undary"
COLOURS = ("red", "green")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Item(BaseModel):
    name: str = Field(max_length=20)
    price: Decimal = Decimal(0)
    tags: set[str] = set()
    below: "Item | None" = None


things, moments, mine = Context("things"), Context("moments"), Context("mine")


@client(context=things)
async def thing(number: int, text: str = "", ratio: float = 0.5, flag: bool = False) -> list[Any]:
    return [number, text, ratio, flag]


@client(context=things, cache=5)
def thing_tags(number: int, tags: list[str] = [], colour: Colour | None = None) -> dict[str, Any]:  # noqa: B006
    return {"tags": tags, "colour": colour}


@client(context=moments)
async def moment(
    when: datetime.datetime | None = None,
    day: datetime.date | None = None,
    at: datetime.time | None = None,
    price: Decimal = Decimal(1),
    key: uuid.UUID | None = None,
    size: Literal[1, 2] = 1,
) -> list[Any]:
    return [when, day, at, price, key, size]


@client(context=mine)
async def mine_alone(me: Identity, request: Request, page: int = 1) -> list[Any]:
    return [me.user_id, request.user.is_authenticated, page]


@client(context="guarded", auth="staff", per="all")
async def guarded() -> str:
    return "guarded"


@client(affects=[things, moments, mine])
async def change(number: int, when: datetime.datetime | None = None, price: Decimal | None = None) -> list[Any]:
    return [number, when, price]


@client(affects=things)
def change_many(number: list[int], tags: list[str], flag: bool | None = None) -> int:
    return len(number)


@client(affects=things.where(number=Result("number")))
async def change_by_result(number: int, anything: Any = None) -> dict[str, Any]:
    return {"number": number, "anything": anything}


@client
async def typed(
    item: Item,
    span: datetime.timedelta = datetime.timedelta(0),
    table: dict[int, list[float]] = {},  # noqa: B006
    choice: int | str | None = None,
    raw: bytes = b"",
) -> list[Any]:
    return [item, span, table, choice, len(raw)]


@client
async def anything(value: Any) -> Any:
    return value


@client
async def refuse() -> None:
    raise Conflict


failed: list[RuntimeError] = []


@client(affects=things)
async def fail() -> None:
    failed.append(RuntimeError("this function's own"))
    raise failed[-1]


@client(affects="guarded", private=True, route="/hook/", methods=["POST", "PUT"])
async def hook(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


@client(context=things, route="/thing/{number}/")
async def thing_page(number: int, text: str = "") -> HTMLResponse:
    return HTMLResponse(f"{number} {text!r}")


@client(context="files", route="/files/{name:path}")
async def file_page(request: Request, name: str) -> HTMLResponse:
    return HTMLResponse(repr((name, request.query_params)))


@client(affects=things, route="/change/{number}/", methods=["POST", "DELETE"])
async def change_view(number: int, text: str, tags: list[str] = []) -> RedirectResponse:  # noqa: B006
    return RedirectResponse(f"/thing/{number}/", 303)


FUNCTIONS: list[Callable[..., Any]] = [
    thing,
    thing_tags,
    moment,
    mine_alone,
    guarded,
    change,
    change_many,
    change_by_result,
    typed,
    anything,
    refuse,
    fail,
    hook,
    thing_page,
    file_page,
    change_view,
]
NAMES = [function.__name__ for function in FUNCTIONS] + ["mwt_obtain", "nothing"]
ARGUMENTS = ["number", "text", "ratio", "flag", "tags", "colour", "when", "day", "at", "price", "key", "size", "page"]
ARGUMENTS += ["anything", "item", "span", "table", "choice", "raw", "value"]

TEXTS = [
    "",
    " ",
    "5",
    "05",
    "+5",
    "5.0",
    "-0",
    "1e3",
    "1e400",
    "NaN",
    "Infinity",
    "null",
    "true",
    "on",
    "red",
    "[1]",
    "{}",
]
TEXTS += [
    "9" * 30,
    "9" * 5000,
    "0x10",
    "1_000",
    "٣",
    "a;b,c=d/e%f*[",
    "\r\nx: y",
    "\0",
    "é",
    "☃",
    "🙂",
    "\ud800",
    "x" * 300,
]
TEXTS += ["2024-02-30", "2024-02-29T12:00:00+05:30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00"]
TEXTS += ["9999-12-31T23:59:59-23:59", "24:00", "12:30:00.5Z", "1e10", "-62135596800", "253402300800", "P1DT2H"]
TEXTS += ["P999999999D", "-P1W", "1E+999999", "1E-999999", "10E+999999999999999999", "sNaN", "-Infinity", "1.500"]
TEXTS += ["12345678-1234-5678-1234-567812345678", "{12345678123456781234567812345678}", "urn:uuid:1", "../..", "//"]

# What fits, or nearly: the edges of each type.
FITTING: dict[str, list[str]] = {
    "number": ["5", "-0", "05", "9" * 30, "5.0"],
    "text": TEXTS,
    "ratio": ["1.5", "-0", "1e308", "5e-324", "1e400"],
    "flag": ["true", "on", "0", "no"],
    "tags": ["a", "", "a/b"],
    "colour": ["red", "green"],
    "when": ["2024-02-29T12:00:00+05:30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "1e10"],
    "day": ["2024-02-29", "0001-01-01", "9999-12-31"],
    "at": ["12:30:00.5Z", "23:59:59.999999-23:59", "00:00"],
    "price": ["1.500", "1E+999999", "1E-999999", "10E+999999999999999999", "-0", "9" * 30, "0E+5"],
    "key": ["12345678-1234-5678-1234-567812345678", "{12345678-1234-5678-1234-567812345678}"],
    "size": ["1", "2"],
    "page": ["1", "0", "-5"],
    "span": ["P1DT2H", "P999999999D", "-P999999999DT1S", "1e10"],
    "choice": ["5", "x", ""],
}


@dataclass
class Sent:
    """One request, and a way to read it in a failure."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]
    hangs_up: bool


@dataclass
class Fuzzer:
    chance: random.Random
    now: float

    def request(self) -> Sent:
        kind = self.chance.choices(["call", "named", "bundle", "page", "nowhere"], [6, 6, 6, 4, 1])[0]
        path, query, body, media = getattr(self, f"_{kind}")()
        method = {"call": "POST", "named": "POST", "bundle": "GET", "page": "GET", "nowhere": "GET"}[kind]
        if kind == "page" and ("change" in path or "hook" in path):
            method = "POST"
        if self._seldom(12):
            method = self.chance.choice(
                ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "X"]
            )
        if self._seldom(10):
            path = self._bent_path(path)
        if self._seldom(8):
            query = self._bent(query)
        if self._seldom(5):
            body = self._bent(body)
        headers = self._headers(media, body)
        return Sent(method, path, query, headers, self._chunks(body), self._seldom(60))

    def _call(self) -> tuple[str, bytes, bytes, str]:
        call: Any = {"fn": self.chance.choice(NAMES), "args": self._arguments()}
        if self._seldom(10):
            call = self.chance.choice([self._json(), {"fn": self._json()}, call | {"more": 1}, {"args": self._json()}])
        return "/api/mizan/call/", b"", self._written(call), "application/json"

    def _named(self) -> tuple[str, bytes, bytes, str]:
        path = f"/api/mizan/call/{self.chance.choice(NAMES)}/"
        return path, b"", *self._form(self._arguments())

    def _bundle(self) -> tuple[str, bytes, bytes, str]:
        context = self.chance.choice(["things", "things", "moments", "moments", "mine", "guarded", "files", "nothing"])
        names = {"things": ARGUMENTS[:6], "moments": ARGUMENTS[6:12], "mine": ["page"]}.get(context, ARGUMENTS)
        pairs = [(name, self._fitting(name)) for name in names if self.chance.random() < 0.4]
        if context == "things" and not self._seldom(4):
            pairs = [pair for pair in pairs if pair[0] != "number"] + [("number", "5")]
        if self._seldom(6):
            pairs.append((self.chance.choice(ARGUMENTS), self._text()))
        return f"/api/mizan/ctx/{context}/", self._urlencoded(pairs), b"", ""

    def _page(self) -> tuple[str, bytes, bytes, str]:
        text = quote(self._text().encode("utf-8", "replace")[:200])
        path = self.chance.choice(
            ["/thing/5/", "/thing/{}/", "/files/{}", "/files/{}/x", "/change/5/", "/change/{}/", "/hook/"]
        )
        query = self._urlencoded([(self.chance.choice(ARGUMENTS), self._text())]) if self._seldom(3) else b""
        arguments = {"text": self._text()} if "change" in path and not self._seldom(3) else self._arguments()
        body, media = self._form(arguments) if "change" in path or "hook" in path else (b"", "")
        return path.format(text), query, body, media

    def _nowhere(self) -> tuple[str, bytes, bytes, str]:
        path = self.chance.choice(
            ["/", "/api/mizan", "/api/mizan/", "/api/mizan/ctx/", "/api/mizan/x/", "/other", "/api/"]
        )
        return path, b"", b"", ""

    def _form(self, arguments: dict[str, Any]) -> tuple[bytes, str]:
        kind = self.chance.choice(["json", "urlencoded", "multipart", "nothing"])
        if kind == "json":
            return self._written(arguments if not self._seldom(8) else self._json()), "application/json"
        texts = [(name, str(value)) for name, value in arguments.items()]
        if self._seldom(5):
            texts += texts[:1]
        if kind == "urlencoded":
            return self._urlencoded(texts), "application/x-www-form-urlencoded"
        if kind == "multipart":
            return self._multipart(texts), f"multipart/form-data; boundary={BOUNDARY}"
        return b"", ""

    def _arguments(self) -> dict[str, Any]:
        """Mostly what the mutations take, so that most of them run."""
        arguments: dict[str, Any] = {"number": self.chance.choice([5, "7", [1, "2"], 2**70])}
        if self.chance.random() < 0.3:
            arguments = {}
        for name in self.chance.sample(ARGUMENTS, self.chance.choice([0, 0, 1, 1, 2, 4])):
            arguments[name] = self._fitting(name) if self.chance.random() < 0.7 else self._json()
        if self._seldom(6):
            arguments["text"] = "x"
        if self._seldom(6):
            arguments["item"] = {"name": self._text(), "price": self._text(), "tags": self._json()}
        return arguments

    def _json(self, depth: int = 0) -> Any:
        kind = self.chance.randrange(8 if depth < 3 else 6)
        if kind == 0:
            return self.chance.choice([None, True, False])
        if kind == 1:
            return self.chance.choice([0, -1, 5, 2**31, 2**53 + 1, -(2**64), 10**40])
        if kind == 2:
            return self.chance.choice([0.0, -0.0, 1.5, 1e21, 5e-324, 1.7e308, float("nan"), float("inf")])
        if kind < 6:
            return self._text()
        if kind == 6:
            return [self._json(depth + 1) for _ in range(self.chance.randrange(4))]
        return {self._text(): self._json(depth + 1) for _ in range(self.chance.randrange(4))}

    def _fitting(self, name: str) -> str:
        return self._text() if self._seldom(8) else self.chance.choice(FITTING.get(name, TEXTS))

    def _text(self) -> str:
        if self.chance.random() < 0.8:
            return self.chance.choice(TEXTS)
        return "".join(chr(self.chance.randrange(1, 0x3000)) for _ in range(self.chance.randrange(12)))

    def _written(self, value: Any) -> bytes:
        if self._seldom(4):
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return json.dumps(value).encode()

    def _urlencoded(self, pairs: list[tuple[str, str]]) -> bytes:
        safe = self.chance.choice(["", "+/;,:", " "])
        quoted = (
            (quote(name, safe=""), quote(value.encode("utf-8", "surrogatepass"), safe=safe)) for name, value in pairs
        )
        return "&".join(f"{name}={value}" for name, value in quoted).encode()

    def _multipart(self, pairs: list[tuple[str, str]]) -> bytes:
        parts = [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs
        ]
        return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode("utf-8", "surrogatepass")

    def _headers(self, media: str, body: bytes) -> list[tuple[bytes, bytes]]:
        headers = [(b"host", b"site.test")]
        if media and not self._seldom(20):
            headers.append((b"content-type", media.encode()))
        if self._seldom(20):
            other = [
                "text/plain",
                "application/json",
                "multipart/form-data",
                "application/json; charset=klingon",
                "\xff",
                ";",
            ]
            headers.append((b"content-type", self.chance.choice(other).encode("latin-1")))
        if self._seldom(3):
            length = self.chance.choice([str(len(body)), "5", "-1", "x", "9" * 30, "١"])
            headers.append((b"content-length", length.encode()))
        if self._seldom(6):
            user = self.chance.choice(["", "0", "ada", "é☃"])
            token = issue_mwt(Identity(user, staff=self._seldom(2)), KEYS, now=self.now).encode()
            token = self._bent(token) if self._seldom(3) else token
            headers.append(self.chance.choice([(b"x-mizan-token", token), (b"authorization", b"Bearer " + token)]))
        if self._seldom(10):
            headers.append((b"authorization", self.chance.choice([b"Bearer", b"Basic x", b"", b"bearer  "])))
        if self._seldom(8):
            site = self.chance.choice([b"same-origin", b"none", b"same-site", b"cross-site", b""])
            headers.append((b"sec-fetch-site", site))
        if self._seldom(8):
            origins = [
                b"http://site.test",
                b"null",
                b"http://[::1",
                b"x",
                b"https://evil.test:99999",
                b"\xff",
                b"//",
                b"",
            ]
            headers.append((b"origin", self.chance.choice(origins)))
        if self._seldom(4):
            tags = [b"*", b"*", b'"x"', b'W/"', b'W/"x", "y"', b"\xff", b""]
            headers.append((b"if-none-match", self.chance.choice(tags)))
        if self._seldom(10):
            headers.append((self.chance.choice([b"cookie", b"x-y", b"host"]), self._printable()))
        return headers

    def _printable(self) -> bytes:
        return bytes(self.chance.choice(range(0x20, 0x100)) for _ in range(self.chance.randrange(20)))

    def _chunks(self, body: bytes) -> list[bytes]:
        if not self._seldom(4):
            return [body]
        at = self.chance.randrange(len(body) + 1)
        return [body[:at], b"", body[at:]]

    def _bent(self, body: bytes) -> bytes:
        """The same with a few bytes changed, left out, doubled or put in."""
        bent = bytearray(body)
        for _ in range(self.chance.choice([1, 1, 2, 8])):
            at = self.chance.randrange(len(bent) + 1)
            how = self.chance.randrange(5)
            if how == 0:
                bent[at : at + 1] = bytes([self.chance.randrange(256)])
            elif how == 1:
                del bent[at : at + self.chance.choice([1, 1, 5, 1000])]
            elif how == 2:
                bent[at:at] = bent[max(0, at - self.chance.randrange(20)) : at]
            elif how == 3:
                bent[at:at] = self.chance.choice(
                    [b"[" * 500, b'"', b"{", b"\\ud800", b"%", b"%ff", b"&", b"\0", b"--", b"NaN"]
                )
            else:
                bent = bent[:at]
        return bytes(bent)

    def _bent_path(self, path: str) -> str:
        at = self.chance.randrange(len(path) + 1)
        put = self.chance.choice(["/", "//", "%2F", "%00", "%ff", "..", "/../", "%C3%A9", ";", "%", "~", "%0d%0a", "x"])
        bent = path[:at] + put + path[at + self.chance.randrange(2) :]
        return bent.rstrip("/") if self._seldom(2) else bent

    def _seldom(self, times: int) -> bool:
        return self.chance.randrange(times) == 0


async def exchange(app: Any, sent: Sent) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
    """What the app answers; None where it answered nothing to a client that had hung up."""
    last = len(sent.chunks) - 1
    incoming = [{"type": "http.request", "body": one, "more_body": at < last} for at, one in enumerate(sent.chunks)]
    if sent.hangs_up:
        incoming.pop()
    outgoing: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        outgoing.append(message)

    path = sent.path.encode("utf-8", "replace")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": sent.query,
        "headers": sent.headers,
        "client": ("192.0.2.1", 1),
        "server": ("site.test", 80),
    }
    await app(scope, receive, send)
    if not outgoing and sent.hangs_up:
        return None
    start, *parts = outgoing
    assert start["type"] == "http.response.start"
    assert [part["type"] for part in parts] == ["http.response.body"] * len(parts)
    assert not parts[-1].get("more_body", False)
    return start["status"], list(start["headers"]), b"".join(part.get("body", b"") for part in parts)


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff]*")
_FROM_THE_HOST = (b'{"detail":"Not Found"}', b'{"detail":"Method Not Allowed"}')


def check(sent: Sent, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if body in _FROM_THE_HOST:
        return
    for name, value in headers:
        assert isinstance(name, bytes)
        assert isinstance(value, bytes)
        assert _NAME.fullmatch(name)
        assert _VALUE.fullmatch(value)
        assert value == value.strip()
    known = dict(headers)
    assert len(known) == len(headers)
    if sent.method == "HEAD" or status == 304:
        assert body == b""
    elif b"content-length" in known:
        assert int(known[b"content-length"]) == len(body)
    if status < 400:
        return
    assert known[b"content-type"] == b"application/problem+json"
    assert known[b"cache-control"] == b"no-store"
    assert known[b"x-content-type-options"] == b"nosniff"
    assert (b"allow" in known) == (status == 405)
    assert (b"www-authenticate" in known) == (status == 401)
    if sent.method != "HEAD":
        problem = json.loads(body)
        assert problem.keys() - {"errors"} == {"type", "title", "status", "code", "detail"}
        assert problem["status"] == status
        assert len(body) < 40_000


@pytest.fixture
def no_logging() -> Iterator[None]:
    """What is logged of thousands of refusals is of no interest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_logging")
@pytest.mark.parametrize("seed", SEEDS)
async def test_no_request_makes_the_server_fail(seed: int) -> None:
    clock = Clock()
    mizan = Mizan(build(FUNCTIONS), mwt_keys=KEYS, clock=clock, max_body_bytes=20_000)
    # Where paths are redirected, Starlette itself fails at a query that is not UTF-8.
    app = FastAPI(redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/api/mizan", mizan)
    app.router.routes.extend(mizan.routes)
    fuzzer = Fuzzer(random.Random(seed), clock.now)
    statuses: Counter[int] = Counter()
    for number in range(REQUESTS):
        clock.now += number % 2 / 10
        fuzzer.now = clock.now
        sent = fuzzer.request()
        failed.clear()
        try:
            answered = await exchange(app, sent)
            if answered is not None:
                check(sent, *answered)
                statuses[answered[0]] += 1
                assert answered[0] < 500 or failed
        except BaseException as error:
            error.add_note(f"request {number} of seed {seed}: {sent}"[:2000])
            raise
    assert set(statuses) >= {200, 303, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422, 500}
    assert statuses[200] > REQUESTS / 10
