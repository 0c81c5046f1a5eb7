"""How answers leave a host that is wrapped in `outermost`: as Mizan made them, or as answers that nothing may keep."""

import asyncio
import gzip
import io
import logging
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly, outermost
from mizan_core import build, client

from .hosts import BUNDLE, MIDDLEWARE, PAGE, adding, changing, host_of, mizan_of, setting, who, without

pytestmark = pytest.mark.asyncio

PUBLIC = "public, max-age=0, must-revalidate, s-maxage=31536000"
NOWHERE = {"cache-control": "private, no-store", "vary": "*", "x-accel-expires": "0"}


async def asked(app: Any, url: str = BUNDLE, method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as browser:
        named = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return await browser.request(method, url, headers=named)


def wrapped(*middleware: Middleware, allow: Any = (), **options: Any) -> Any:
    mizan = mizan_of(**options)
    return outermost(host_of(mizan, middleware), mizan, allow=allow)


async def raw_of(app: Any) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it was sent."""
    browser = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site.test")
    async with browser, browser.stream("GET", BUNDLE) as answer:
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


def scope_of(url: str) -> Scope:
    path, _, query = url.partition("?")
    named = {"path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": ""}
    return {"type": "http", "method": "GET", "headers": [], **named}


def is_nowhere(answer: httpx.Response) -> bool:
    return all(answer.headers.get_list(name) == [value] for name, value in NOWHERE.items())


URLS = pytest.mark.parametrize("url", [BUNDLE, PAGE], ids=["bundle", "page"])


@URLS
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_untouched_answer_leaves_as_it_is(url: str, method: str) -> None:
    mizan = mizan_of()
    plain = await asked(host_of(mizan), url, method)
    around = await asked(outermost(host_of(mizan), mizan), url, method)
    changed = "fwd=uri-miss; stored", "hit"
    expected = [(name, value.replace(*changed)) for name, value in plain.headers.multi_items()]
    assert around.headers.multi_items() == expected
    assert dict(expected)["cache-control"] == PUBLIC
    assert around.content == plain.content


@URLS
@pytest.mark.parametrize(
    "header",
    [
        *(("Set-Cookie", "a=b"), ("X-User", "ada"), ("Content-Language", "fr"), ("X-Request-ID", "17")),
        *(("Access-Control-Allow-Origin", "https://ada.example"), ("Access-Control-Allow-Credentials", "true")),
        *(("Vary", "Cookie"), ("Vary", "Accept-Encoding, Origin"), ("Vary", "*"), ("Server-Timing", "db;desc=ada")),
        *(("Link", "</ada>; rel=me"), ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"), ("Age", "5"), ("ETag", '"mine"')),
        *(("X-Frame-Options", "ALLOW-FROM https://ada.example"), ("CDN-Cache-Control", "max-age=60")),
        *(("Content-Security-Policy", "script-src 'nonce-ada'"), ("Cache-Control", "max-age=60"), ("XKey", "ada")),
        *(("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"), ("WWW-Authenticate", "Basic realm=ada")),
        *(("Content-Type", "text/plain"), ("Refresh", "0; url=/ada"), ("Location", "/ada"), ("Trailer", "x-user")),
    ],
    ids=lambda header: f"{header[0]}={header[1][:12]}",
)
async def test_an_added_header_keeps_an_answer_from_caches(url: str, header: tuple[str, str]) -> None:
    answer = await asked(wrapped(adding(header)), url)
    assert is_nowhere(answer)
    assert "s-maxage" not in str(answer.headers)
    assert not {"cdn-cache-control", "xkey", "expires", "age", "last-modified", "etag"} & answer.headers.keys()
    assert answer.status_code == 200
    assert "the same for everyone" in answer.text


async def test_what_was_added_still_reaches_its_caller() -> None:
    answer = await asked(wrapped(adding(("Set-Cookie", "a=b"), ("X-User", "ada"))))
    assert answer.headers["set-cookie"] == "a=b"
    assert answer.headers["x-user"] == "ada"


@URLS
@pytest.mark.parametrize(
    "header",
    [
        *(("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Server", "one"), ("Via", "1.1 one"), ("Connection", "close")),
        *(("Strict-Transport-Security", "max-age=1"), ("X-Frame-Options", "DENY"), ("Alt-Svc", 'h3=":443"')),
        *(("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("Vary", "accept-encoding")),
        *(("Access-Control-Allow-Origin", "*"), ("Cross-Origin-Resource-Policy", "same-site")),
    ],
    ids=lambda header: header[0],
)
async def test_a_harmless_header_may_be_added(url: str, header: tuple[str, str]) -> None:
    answer = await asked(wrapped(adding(header)), url)
    assert answer.headers["cache-control"] == PUBLIC
    assert header[1] in answer.headers.get_list(header[0])


@pytest.mark.parametrize("name", ["etag", "cache-control", "x-content-type-options", "content-type"])
async def test_a_header_of_mizans_may_not_be_dropped(name: str) -> None:
    assert is_nowhere(await asked(wrapped(without(name))))


async def test_names_are_compared_in_lower_case() -> None:
    def shouting(connection: HTTPConnection, message: Message) -> Message:
        headers = [(name.upper(), value) for name, value in message.get("headers", [])]
        return {**message, "headers": headers} if headers else message

    def shouted_cookie(connection: HTTPConnection, message: Message) -> Message:
        headers = [*message.get("headers", []), (b"SET-COOKIE", b"a=b")]
        return {**message, "headers": headers} if len(headers) > 1 else message

    assert (await asked(wrapped(changing(shouting)))).headers["cache-control"] == PUBLIC
    assert is_nowhere(await asked(wrapped(changing(shouted_cookie))))


@pytest.mark.parametrize("shape", ["targeted", "lifetime", "no edge"])
async def test_each_shape_of_a_public_answer_is_judged(shape: str) -> None:
    edge: Any = {"targeted": HeaderOnly(targeted="CDN-Cache-Control"), "lifetime": HeaderOnly(60), "no edge": ()}[shape]
    open_ = await asked(wrapped(edge=edge))
    assert open_.headers["cache-control"].startswith("public")
    assert ("cdn-cache-control" in open_.headers) is (shape == "targeted")
    closed = await asked(wrapped(adding(("X-User", "ada")), edge=edge))
    assert is_nowhere(closed)
    assert "cdn-cache-control" not in closed.headers


async def test_tags_are_not_left_on_what_nothing_may_keep() -> None:
    from mizan_asgi.edge import Fastly

    mizan = mizan_of(edge=Fastly("service", token="token"))
    assert "surrogate-key" in (await asked(outermost(host_of(mizan), mizan))).headers
    answer = await asked(outermost(host_of(mizan, [adding(("X-User", "ada"))]), mizan))
    assert is_nowhere(answer)
    assert "surrogate-key" not in answer.headers


@URLS
async def test_304_is_judged_as_well(url: str) -> None:
    etag = (await asked(wrapped(), url)).headers["etag"]
    fresh = await asked(wrapped(), url, If_None_Match=etag)
    assert (fresh.status_code, fresh.headers["cache-control"]) == (304, PUBLIC)
    cookie = await asked(wrapped(adding(("Set-Cookie", "a=b"))), url, If_None_Match=etag)
    assert cookie.status_code == 304
    assert is_nowhere(cookie)


@pytest.mark.parametrize("where", ["behind a root path", "mounted", "alone"])
async def test_an_answer_is_recognised_where_mizan_is(where: str) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    cookie = adding(("Set-Cookie", "a=b"))
    if where == "behind a root path":
        mizan = mizan_of(base_url="/v1/api/mizan")
        app = outermost(host_of(mizan, [cookie]), mizan)
        transport = httpx.ASGITransport(app, root_path="/v1")
        async with httpx.AsyncClient(transport=transport, base_url="http://site.test") as browser:
            answer = await browser.get("/v1" + BUNDLE)
    elif where == "mounted":
        mizan = mizan_of(base_url="/sub/api/mizan")
        inner = Starlette(routes=[Mount("/api/mizan", mizan)], middleware=[cookie])
        answer = await asked(outermost(Starlette(routes=[Mount("/sub", inner)]), mizan), "/sub" + BUNDLE)
    else:
        mizan = mizan_of()
        answer = await asked(outermost(cookie.cls(mizan, *cookie.args), mizan))
    assert answer.status_code == 200
    assert is_nowhere(answer)


async def test_an_answer_of_respond_is_judged() -> None:
    mizan = mizan_of(edge=())

    async def route(request: Request) -> Response:
        response = await mizan.respond(request, "feed", kind=request.path_params["kind"])
        if "cookie" in request.query_params:
            response.set_cookie("a", "b")
        return response

    host = host_of(mizan)
    host.add_route("/feeds/{kind}", route)
    app = outermost(host, mizan)
    assert (await asked(app, "/feeds/a")).headers["cache-control"].startswith("public")
    host = host_of(mizan, [adding(("X-User", "ada"))])
    host.add_route("/feeds/{kind}", route)
    assert is_nowhere(await asked(outermost(host, mizan), "/feeds/a"))


async def test_a_route_may_not_add_to_an_answer_of_responds() -> None:
    mizan = mizan_of(edge=())

    async def route(request: Request) -> Response:
        response = await mizan.respond(request, "feed", kind=request.path_params["kind"])
        response.set_cookie("a", "b")
        return response

    host = host_of(mizan)
    host.add_route("/feeds/{kind}", route)
    assert is_nowhere(await asked(outermost(host, mizan), "/feeds/a"))


async def test_the_hosts_own_public_answers_are_left_alone() -> None:
    answer = await asked(wrapped(adding(("Set-Cookie", "a=b"))), "/own/")
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert answer.headers["set-cookie"] == "a=b"
    assert "vary" not in answer.headers


@pytest.mark.parametrize(
    "header", [("Cache-Control", "public, max-age=60"), ("CDN-Cache-Control", "max-age=60"), ("X-Accel-Expires", "60")]
)
@pytest.mark.parametrize("replaces", [True, False])
async def test_a_private_answer_is_not_made_public(header: tuple[str, str], replaces: bool) -> None:
    middleware = [adding(header), *([without("cache-control")] if replaces else [])]
    answer = await asked(wrapped(*middleware), "/api/mizan/ctx/mine/")
    if header[0] == "Cache-Control" and not replaces:  # the stricter of two fields holds (RFC 9111, 4.2.1)
        assert "private" in answer.headers["cache-control"]
    else:
        assert is_nowhere(answer)


async def test_a_private_answer_keeps_what_was_added() -> None:
    answer = await asked(wrapped(adding(("Set-Cookie", "a=b"))), "/api/mizan/ctx/mine/")
    assert answer.headers["set-cookie"] == "a=b"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["vary"] == "Authorization, Cookie, X-Mizan-Token"


async def test_a_call_still_tells_what_is_stale() -> None:
    url = "/api/mizan/call/write/"
    app = wrapped(adding(("X-User", "ada")), without("cache-control"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site.test") as browser:
        answer = await browser.post(url, json={"kind": "a"}, headers={"Origin": "http://site.test"})
    assert answer.headers["x-mizan-invalidate"] == "feed;kind=a"
    assert is_nowhere(answer)


async def test_the_log_names_each_header_once(caplog: pytest.LogCaptureFixture) -> None:
    app = wrapped(setting(lambda one: [("X-User", who(one))]), adding(("Content-Language", "fr")))
    with caplog.at_level(logging.WARNING, "mizan"):
        for name in ("ada", "bo"):
            await asked(app, Cookie=f"who={name}")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert sorted(("'x-user'" in line, "'content-language'" in line) for line in lines) == [
        (False, True),
        (True, False),
    ]
    assert "allow=['x-user']" in "".join(lines)
    assert "ada" not in "".join(lines)


async def test_headers_that_say_the_same_to_everyone_may_be_allowed(caplog: pytest.LogCaptureFixture) -> None:
    app = wrapped(adding(("Content-Security-Policy", "default-src 'self'")), allow=["Content-Security-Policy"])
    answer = await asked(app)
    assert answer.headers["cache-control"] == PUBLIC
    assert caplog.records == []


class Replying:
    """Answers in the place of what is below, which it asks first."""

    def __init__(self, app: Any, response: Response) -> None:
        self.app = app
        self.response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dropped(message: Message) -> None: ...

        await self.app(scope, receive, dropped)
        await self.response(scope, receive, send)


async def test_another_status_keeps_an_answer_from_caches() -> None:
    def teapot(connection: HTTPConnection, message: Message) -> Message:
        return {**message, "status": 418} if "status" in message else message

    assert is_nowhere(await asked(wrapped(changing(teapot))))


async def test_another_answer_in_its_place_is_kept_nowhere() -> None:
    answer = await asked(wrapped(Middleware(Replying, JSONResponse("ada", headers={"Cache-Control": "public"}))))
    assert answer.json() == "ada"
    assert is_nowhere(answer)


@URLS
@pytest.mark.parametrize("change", ["longer", "same length", "shorter", "in pieces", "none, in pieces"])
async def test_a_changed_body_keeps_an_answer_from_caches(url: str, change: str) -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])
        bodies = {"longer": body + b"ada", "shorter": body[:-3], "none, in pieces": body}
        changed = bodies.get(change, body.replace(b"feed", b"ada!"))

        class Pieces(Response):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                if "pieces" in change:
                    for place in range(0, len(changed), 100):
                        await send(
                            {"type": "http.response.body", "body": changed[place : place + 100], "more_body": True}
                        )
                    await send({"type": "http.response.body"})
                else:
                    await send({"type": "http.response.body", "body": changed})

        pieces = Pieces()
        pieces.raw_headers = [
            (name, b"%d" % len(changed) if name == b"content-length" else value) for name, value in response.raw_headers
        ]
        return pieces

    answer = await asked(wrapped(Middleware(BaseHTTPMiddleware, dispatch)), url)
    assert is_nowhere(answer) is (change != "none, in pieces")
    assert ("ada" in answer.text) is (change in ("longer", "same length", "in pieces"))


def _encoded(body: bytes, encoding: str) -> bytes:
    return {"gzip": gzip.compress, "deflate": zlib.compress, "br": bytes, "identity": bytes}[encoding](body)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "br", "gzip, br"])
@pytest.mark.parametrize("changes", [False, True])
async def test_an_encoded_body_is_compared_as_well(encoding: str, changes: bool) -> None:
    async def dispatch(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])
        body = _encoded(body.replace(b"feed", b"ada!") if changes else body, encoding.partition(",")[0])
        headers = [pair for pair in response.raw_headers if pair[0] != b"content-length"]
        encoded = Response(body)
        encoded.raw_headers = [
            *headers,
            (b"content-encoding", encoding.encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        return encoded

    app = wrapped(Middleware(BaseHTTPMiddleware, dispatch))
    answer, raw = await raw_of(app)
    assert len(raw) == int(answer.headers["content-length"])
    assert is_nowhere(answer) is (changes or encoding not in ("gzip", "deflate", "identity"))
    if not is_nowhere(answer):
        assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("row", MIDDLEWARE)
async def test_only_harmless_middleware_leaves_an_answer_public(row: str) -> None:
    app = wrapped(*MIDDLEWARE[row])
    headers = {"Cookie": "who=ada", "Origin": "https://ada.example", "Accept-Encoding": "gzip"}
    answer = await asked(app, **headers)
    kept = row in ("session, idle", "gzip, with Vary", "gzip, without Vary")
    assert is_nowhere(answer) is not kept
    if row.startswith("gzip"):
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")


async def test_a_response_that_is_no_plain_body_is_kept_nowhere() -> None:
    def pathsend(connection: HTTPConnection, message: Message) -> Message:
        return {"type": "http.response.pathsend", "path": "/ada"} if "body" in message else message

    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await wrapped(changing(pathsend))(scope_of(BUNDLE), receive, send)
    assert (b"cache-control", b"private, no-store") in messages[0]["headers"]
    assert messages[1] == {"type": "http.response.pathsend", "path": "/ada"}


@pytest.mark.parametrize("adds", [False, True])
async def test_a_stream_passes_as_it_comes(adds: bool) -> None:
    received = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.wait_for(received.wait(), 30)
        yield b"two"

    @client(context="news", route="/news/")
    async def news() -> StreamingResponse:
        return StreamingResponse(pieces(), headers={"Cache-Control": "no-cache"})

    mizan = Mizan(build([news]), edge=HeaderOnly())
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)
        if message.get("body") == b"one":
            received.set()

    app = outermost(host_of(mizan, [adding(("Set-Cookie", "a=b"))] if adds else []), mizan)
    await app(scope_of("/news/"), asyncio.Event().wait, send)
    assert b"".join(message.get("body", b"") for message in messages) == b"onetwo"
    kept = [value for name, value in messages[0]["headers"] if name == b"cache-control"]
    assert kept == [b"private, no-store" if adds else b"no-cache"]


@pytest.mark.parametrize("change", ["is none", "goes on", "is cut off", "is longer than any compressor makes it"])
async def test_an_encoded_body_that_cannot_be_read_is_refused(change: str) -> None:
    changes: dict[str, Callable[[bytes], bytes]] = {
        "is none": lambda body: body,
        "goes on": lambda body: gzip.compress(body) + b"more",
        "is cut off": lambda body: gzip.compress(body)[:-4],
        "is longer than any compressor makes it": named_gzip,
    }

    def encoded(connection: HTTPConnection, message: Message) -> Message:
        if "headers" in message:
            headers = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            return {**message, "headers": [*headers, (b"content-encoding", b"gzip")]}
        return {**message, "body": changes[change](message["body"])}

    answer, raw = await raw_of(wrapped(changing(encoded)))
    assert is_nowhere(answer)
    assert raw


def named_gzip(body: bytes) -> bytes:
    """The body, with a file name of 5,000 letters, which is no part of it."""
    written = io.BytesIO()
    with gzip.GzipFile("a" * 5_000, "wb", fileobj=written) as file:
        file.write(body)
    return written.getvalue()


async def test_the_head_of_an_encoded_answer_is_public() -> None:
    def encoded(connection: HTTPConnection, message: Message) -> Message:
        if "headers" not in message:
            return message
        return {**message, "headers": [*message["headers"], (b"content-encoding", b"gzip")]}

    answer = await asked(wrapped(changing(encoded)), method="HEAD")
    assert (answer.headers["cache-control"], answer.headers["vary"]) == (PUBLIC, "Accept-Encoding")


async def test_trailers_keep_an_answer_from_caches() -> None:
    def announced(connection: HTTPConnection, message: Message) -> Message:
        return {**message, "trailers": True} if "headers" in message else message

    assert is_nowhere(await asked(wrapped(changing(announced))))
