"""Hosts of a small Mizan with the middleware that hosts have: each makes answers personal in its own way."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import build, client

BUNDLE = "/api/mizan/ctx/feed/?kind=a"
PAGE = "/feed/a/"
WORDS = "A feed that is the same for everyone. " * 40

SECRET = "a-secret-of-these-tests-and-of-nothing-else"


def mizan_of(**options: Any) -> Mizan:
    """A bundle and a page for everyone, a private bundle, and a mutation."""

    @client(context="feed")
    async def feed(kind: str) -> str:
        return f"{kind}: {WORDS}"

    @client(context="feed", route="/feed/{kind}/")
    async def feed_page(kind: str) -> HTMLResponse:
        return HTMLResponse(f"<p>{kind}: {WORDS}</p>")

    @client(context="mine", per="user", cache=True)
    async def mine() -> str:
        return "mine"

    @client(affects="feed")
    async def write(kind: str) -> None: ...

    return Mizan(build([feed, feed_page, mine, write]), **{"edge": HeaderOnly(), **options})


def host_of(mizan: Mizan, middleware: Sequence[Middleware] = ()) -> Starlette:
    async def responded(request: Request) -> Response:
        return await mizan.respond(request, "feed", kind="a")

    return Starlette(
        routes=[
            *mizan.routes,
            Route("/own/", own),
            Route("/responded/", responded),
            Mount("/api/mizan", mizan),
        ],
        middleware=list(middleware),
        lifespan=mizan.lifespan,
    )


async def own(request: Request) -> PlainTextResponse:
    return PlainTextResponse("own", headers={"Cache-Control": "public, max-age=60", "X-User": "ada"})


class Changing:
    """Middleware that changes messages on their way out."""

    def __init__(self, app: ASGIApp, change: Callable[[HTTPConnection, Message], Message]) -> None:
        self.app = app
        self.change = change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)

        async def changed(message: Message) -> None:
            await send(self.change(connection, message))

        await self.app(scope, receive, changed)


def changing(change: Callable[[HTTPConnection, Message], Message]) -> Middleware:
    return Middleware(Changing, change)


def adding(*headers: tuple[str, str]) -> Middleware:
    return setting(lambda _: headers)


def setting(headers: Callable[[HTTPConnection], Sequence[tuple[str, str]]]) -> Middleware:
    """Adds headers to each answer."""

    def change(connection: HTTPConnection, message: Message) -> Message:
        if message["type"] != "http.response.start":
            return message
        added = [(name.lower().encode(), value.encode()) for name, value in headers(connection)]
        return {**message, "headers": [*message["headers"], *added]}

    return changing(change)


def without(name: str) -> Middleware:
    """Drops a header from each answer."""

    def change(connection: HTTPConnection, message: Message) -> Message:
        if message["type"] != "http.response.start":
            return message
        return {**message, "headers": [pair for pair in message["headers"] if pair[0] != name.encode()]}

    return changing(change)


def who(connection: HTTPConnection) -> str:
    """The person who asks, by a cookie or, as behind a proxy that signs in, by a header."""
    return connection.cookies.get("who") or connection.headers.get("x-forwarded-user") or "nobody"


class InSession:
    """Uses the session in each request."""

    def __init__(self, app: ASGIApp, use: Callable[[dict[str, Any], str], object]) -> None:
        self.app = app
        self.use = use

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connection = HTTPConnection(scope)
            self.use(connection.session, who(connection))
        await self.app(scope, receive, send)


def session(use: Callable[[dict[str, Any], str], object] | None = None) -> list[Middleware]:
    inner = [] if use is None else [Middleware(InSession, use)]
    return [Middleware(SessionMiddleware, secret_key=SECRET), *inner]


def _language(connection: HTTPConnection) -> str:
    return connection.headers.get("accept-language", "en")


def _origin(connection: HTTPConnection) -> str:
    return connection.headers.get("origin", "null")


_tokens = itertools.count()

ORIGINS = ("https://ada.example", "https://bo.example")

# The rows of the table.
MIDDLEWARE: Mapping[str, list[Middleware]] = {
    "session, idle": session(),
    "session, read": session(lambda kept, _: kept.get("user")),
    "session, written": session(lambda kept, name: kept.update(user=name)),
    "session, rolling": [setting(lambda one: [("Set-Cookie", f"sid={who(one)}; Max-Age=3600")])],
    "CSRF cookie": [setting(lambda one: [("Set-Cookie", f"csrftoken={who(one)}-{next(_tokens)}")])],
    "personal header": [setting(lambda one: [("X-User", who(one))])],
    "language": [setting(lambda one: [("Content-Language", _language(one))])],
    "language, with Vary": [setting(lambda one: [("Content-Language", _language(one)), ("Vary", "Accept-Language")])],
    "CORS, reflected": [setting(lambda one: [("Access-Control-Allow-Origin", _origin(one))])],
    "CORS, reflected with Vary": [
        Middleware(CORSMiddleware, allow_origin_regex=".*", allow_credentials=True),
    ],
    "CORS, listed": [Middleware(CORSMiddleware, allow_origins=ORIGINS)],
    "gzip, with Vary": [Middleware(GZipMiddleware)],
    "gzip, without Vary": [without("vary"), Middleware(GZipMiddleware)],
}
