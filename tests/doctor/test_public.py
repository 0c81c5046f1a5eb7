"""Answers for everyone that are personal, vary, set cookies or are not public; and what is wrong on the way to them."""

import gzip
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request

from mizan_asgi.edge import HeaderOnly

from . import sites
from .sites import Front, Site, doctored, token_of

Headers = list[tuple[bytes, bytes]]


class Changing:
    """A middleware that changes the headers of answers by the request."""

    def __init__(self, app: Any, change: Callable[[Request, Headers], Headers]) -> None:
        self.app, self.change = app, change

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def changed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self.change(Request(scope), list(message["headers"]))}
            await send(message)

        await self.app(scope, receive, changed if scope["type"] == "http" else send)


class Compressing:
    """A middleware that compresses everything, and says so to nobody."""

    def __init__(self, app: Any, *, always: bool) -> None:
        self.app, self.always = app, always

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = scope["type"] == "http" and (self.always or b"gzip" in dict(scope["headers"])[b"accept-encoding"])
        started: list[Any] = []

        async def compressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
                return
            body = gzip.compress(message["body"])
            kept = [(name, value) for name, value in started[0]["headers"] if name != b"content-length"]
            if started[0]["status"] in (200, 404, 403, 401):
                kept += [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
            else:
                body = message["body"]
            await send({**started[0], "headers": kept})
            await send({**message, "body": body})

        await self.app(scope, receive, compressed if asked else send)


class Opening:
    """A middleware that writes to the session on every request."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["session"]["seen"] = True
        await self.app(scope, receive, send)


class Reading(Opening):
    """A middleware that reads the session on every request."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            Request(scope).session.get("seen")
        await self.app(scope, receive, send)


def adding(name: str, value: Callable[[Request], str | None]) -> Middleware:
    def change(request: Request, headers: Headers) -> Headers:
        text = value(request)
        return headers if text is None else [*headers, (name.encode(), text.encode())]

    return Middleware(Changing, change=change)


def user(request: Request) -> str | None:
    return str(sum(request.headers.get("x-mizan-token", "").encode()))


SESSION = Middleware(SessionMiddleware, secret_key="s" * 32)
CASES = {
    "written-session": ([SESSION, Middleware(Opening)], {"cookie", "vary"}),
    "read-session": ([SESSION, Middleware(Reading)], {"vary"}),
    "idle-session": ([SESSION], set()),
    "personal-header": ([adding("x-user", user)], {"personal"}),
    "same-header": ([adding("x-frame-options", lambda _: "DENY")], set()),
    "request-id": ([adding("x-request-id", lambda _: uuid.uuid4().hex)], set()),
    "language": ([adding("content-language", lambda one: one.headers.get("accept-language", "en"))], {"language"}),
    "one-language": ([adding("content-language", lambda _: "en")], set()),
    "one-request-id": ([adding("x-request-id", lambda _: "none")], set()),
    "cors-for-all": ([Middleware(CORSMiddleware, allow_origins=["*"])], set()),
    "cors-listed": ([Middleware(CORSMiddleware, allow_origins=["https://a.example"])], set()),
    "cors-reflected": ([Middleware(CORSMiddleware, allow_origin_regex=".*")], {"cors"}),
    "gzip": ([Middleware(GZipMiddleware)], set()),
    "gzip-without-vary": ([Middleware(Compressing, always=False)], {"encoding"}),
    "gzip-for-all": ([Middleware(Compressing, always=True)], {"encoding"}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", CASES)
async def test_a_middleware_is_found_or_harmless(case: str) -> None:
    middleware, codes = CASES[case]
    found = await doctored(Site(middleware=middleware))
    assert found.codes == codes, found.text
    assert token_of(7) not in found.text


def replaced(name: bytes, value: bytes | None) -> Middleware:
    def change(_: Request, headers: Headers) -> Headers:
        kept = [pair for pair in headers if pair[0] != name]
        return kept if value is None else [*kept, (name, value)]

    return Middleware(Changing, change=change)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("middleware", "codes"),
    [
        (replaced(b"cache-control", b"private, no-store"), {"not-public"}),
        (replaced(b"cache-control", None), {"not-public", "private-control"}),
        (replaced(b"cache-control", b"public, max-age=60"), {"private-control"}),
        (replaced(b"cache-control", b"public, s-maxage=60"), {"private-control", "lifetime"}),
        (replaced(b"etag", None), {"etag"}),
        (adding("set-cookie", lambda _: "seen=1"), {"cookie"}),
        (adding("access-control-allow-origin", lambda _: "https://a.example"), {"cors"}),
    ],
    ids=["no-store", "none", "max-age", "s-maxage", "etag", "cookie", "cors"],
)
async def test_a_spoilt_header_is_found(middleware: Middleware, codes: set[str]) -> None:
    found = await doctored(Site(middleware=[middleware]))
    assert found.codes == codes, found.text


@pytest.mark.asyncio
async def test_a_body_that_looks_at_its_reader_is_found() -> None:
    """A middleware that rewrites bodies: Mizan's own readers cannot see who asks."""

    class Personal(Opening):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            asker = Request(scope).headers.get("x-mizan-token", "") if scope["type"] == "http" else ""

            async def rewritten(message: Any) -> None:
                if message["type"] == "http.response.body" and message["body"].startswith(b'{"profile"'):
                    message = {**message, "body": b'{"profile":"%04d"}' % (sum(asker.encode()) % 10_000)}
                elif message["type"] == "http.response.start":
                    headers = [pair for pair in message["headers"] if pair[0] != b"content-length"]
                    message = {**message, "headers": headers}
                await send(message)

            await self.app(scope, receive, rewritten)

    found = await doctored(Site(middleware=[Middleware(Personal)]))
    assert found.codes == {"personal"}, found.text
    assert [url.rpartition("/")[2] for url in found.by_code["personal"]] == ["?user_id=5"]


@pytest.mark.asyncio
@pytest.mark.parametrize("front", [sites.varnish_by_mizan, sites.nginx_by_mizan], ids=["varnish", "nginx"])
async def test_a_personal_header_stops_at_a_node(front: Front) -> None:
    """The node asks as nobody, so the header is the same for all."""
    middleware = [adding("x-user", user), Middleware(GZipMiddleware)]
    found = await doctored(Site(edge=HeaderOnly(), middleware=middleware), front)
    assert found.codes == set(), found.text


@pytest.mark.asyncio
async def test_a_session_behind_a_node_keeps_it_from_keeping() -> None:
    site = Site(edge=HeaderOnly(), middleware=[SESSION, Middleware(Opening)])
    found = await doctored(site, sites.varnish_by_mizan)
    assert found.codes == {"cookie", "vary", "keeps-nothing"}, found.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ("proxy_set_header Host origin.internal;", {"host-lost"}),
        ('proxy_set_header Origin ""; proxy_set_header Sec-Fetch-Site "";', {"origin-lost"}),
        ("rewrite ^(/api/.*)/$ $1 redirect;", {"redirect"}),
        ("return 404;", {"not-there"}),
        ("rewrite ^/api/mizan/(.*)$ /other/$1 break;", {"not-there"}),
        ("return 301 /moved;", {"redirect"}),
    ],
    ids=["host", "origin", "slash", "404", "prefix", "moved"],
)
async def test_a_proxy_that_changes_requests_is_found(settings: str, codes: set[str]) -> None:
    front = sites.nginx(settings, host="Host $http_host" if "Host" not in settings else "X-Test 1")
    found = await doctored(Site(), front)
    assert found.codes == codes, found.text
