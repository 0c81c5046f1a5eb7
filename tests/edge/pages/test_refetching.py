"""What is fetched again, how much of it, and what happens when a node does not answer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mizan_asgi.edge import Nodes, Refetch
from mizan_asgi.edge.refetching import Refetching
from mizan_core import DeclarationError, Invalidation, build, build_manifest
from mizan_core.edge import EdgeMap, read_manifest
from tests.declaring import reader
from tests.http.servers import listening

TABLES: EdgeMap = read_manifest(
    build_manifest(build([reader("page", "page", HTMLResponse, options={"route": "/p/{text}/"}, text=str)]))
)


def pages(*texts: str) -> list[Invalidation]:
    return [Invalidation("page", {"text": text}) for text in texts]


class Public:
    """The public address of a node: what was asked for, and how many at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hosts: set[str] = set()
        self.status = 200
        self.open = asyncio.Event()
        self.open.set()
        self.at_once = self.most_at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.answer if scope["type"] == "http" else Starlette())(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["raw_path"].decode())
        self.hosts |= {value.decode() for name, value in scope["headers"] if name == b"host"}
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        await HTMLResponse("page", status_code=self.status)(scope, receive, send)

    async def was_asked(self, times: int) -> None:
        while len(self.asked) < times:
            await asyncio.sleep(0.002)


@asynccontextmanager
async def refetching(public: Public, **options: Any) -> AsyncIterator[Refetching]:
    async with listening(public) as (host, port):
        url = f"http://{host}:{port}"
        one = Refetching(url, Refetch(url, **options), TABLES)
        try:
            yield one
        finally:
            await one.aclose()


@pytest.mark.asyncio
async def test_urls_are_sent_as_they_are_spelled() -> None:
    public = Public()
    async with refetching(public, host="example.com", at_once=1) as one:
        one.begin(pages("a..b", "a b", "é/", "%2F", "~"))
        await public.was_asked(5)
    assert public.asked == ["/p/a..b/", "/p/a%20b/", "/p/%C3%A9%2F/", "/p/%252F/", "/p/~/"]
    assert public.hosts == {"example.com"}


@pytest.mark.asyncio
async def test_a_page_that_several_purges_name_is_fetched_once() -> None:
    public = Public()
    async with refetching(public, at_once=1) as one:
        for _ in range(5):
            one.begin(pages("a"))
        one.begin(pages("b"))
        await public.was_asked(2)
    assert public.asked == ["/p/a/", "/p/b/"]


@pytest.mark.asyncio
async def test_a_page_purged_while_it_is_fetched_is_fetched_again() -> None:
    public = Public()
    public.open.clear()
    async with refetching(public) as one:
        one.begin(pages("a"))
        await public.was_asked(1)
        one.begin(pages("a"))
        public.open.set()
        await public.was_asked(2)
    assert public.asked == ["/p/a/", "/p/a/"]


@pytest.mark.asyncio
async def test_no_more_are_asked_for_at_once_than_allowed() -> None:
    public = Public()
    public.open.clear()
    async with refetching(public, at_once=3) as one:
        one.begin(pages(*map(str, range(9))))
        await public.was_asked(3)
        public.open.set()
        await public.was_asked(9)
    assert public.most_at_once == 3


@pytest.mark.asyncio
async def test_pages_too_many_are_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    public = Public()
    async with refetching(public, at_most=2) as one:
        one.begin(pages("a", "b", "c", "d", "e"))
        await public.was_asked(2)
    assert public.asked == ["/p/a/", "/p/b/"]
    assert ": 3" in caplog.text


@pytest.mark.asyncio
async def test_a_page_that_takes_too_long_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    public = Public()
    public.open.clear()
    async with refetching(public, seconds=0.2, at_once=1) as one:
        one.begin(pages("a"))
        while "could not be fetched again" not in caplog.text:
            await asyncio.sleep(0.002)
        public.open.set()
        while "/p/b/" not in public.asked:
            one.begin(pages("b"))
            await asyncio.sleep(0.1)
    assert ": 1, such as /p/a/ (TimeoutError" in caplog.text


@pytest.mark.asyncio
async def test_a_page_that_is_gone_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mizan")
    public = Public()
    public.status = 404
    async with refetching(public, at_once=1) as one:
        one.begin(pages("a", "b"))
        await public.was_asked(2)
        one.begin(pages("c"))
        await public.was_asked(3)
    assert "fetched again" not in caplog.text


@pytest.mark.asyncio
async def test_closing_drops_what_waits_and_what_is_under_way() -> None:
    public = Public()
    public.open.clear()
    async with refetching(public, at_once=1) as one:
        one.begin(pages("a", "b"))
        await public.was_asked(1)
        async with asyncio.timeout(20):
            await one.aclose()
        public.open.set()
        one.begin(pages("c"))
        await public.was_asked(2)
    assert public.asked == ["/p/a/", "/p/c/"]


def test_another_event_loop_begins_anew() -> None:
    """A loop that was closed in the middle leaves a task behind that never ends."""
    one = Refetching("http://127.0.0.1:9", Refetch("http://127.0.0.1:9"), TABLES)

    async def begin() -> None:
        one.begin(pages("a"))

    loops = [asyncio.new_event_loop() for _ in range(2)]
    loops[0].run_until_complete(begin())

    async def again() -> None:
        one.begin(pages("b"))
        assert len(asyncio.all_tasks()) == 2
        await one.aclose()

    loops[1].run_until_complete(again())
    for task in asyncio.all_tasks(loops[0]):
        task.cancel()
        loops[0].run_until_complete(asyncio.gather(task, return_exceptions=True))
    for loop in loops:
        loop.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Refetch("varnish"), "address of a node"),
        (lambda: Refetch("http://a", seconds=0), "seconds"),
        (lambda: Refetch("http://a", at_most=0), "at_most"),
        (lambda: Refetch("http://a", at_once=1.5), "at_once"),  # type: ignore[arg-type]
        (lambda: Nodes("http://a", refetch=Refetch()), "0 public addresses for 1 nodes"),
        (lambda: Nodes("http://a", "http://b", refetch=Refetch("http://a")), "1 public addresses for 2 nodes"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        make()


@pytest.mark.asyncio
async def test_headers_go_with_each_purge_and_are_not_shown() -> None:
    heard: list[dict[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append({name.decode(): value.decode() for name, value in scope.get("headers", ())})
        await Starlette(routes=[Route("/", PlainTextResponse(""), methods=["PURGE"])])(scope, receive, send)

    async with listening(app) as (host, port):
        (edge,) = Nodes(f"http://{host}:{port}", headers={"Authorization": "Bearer secret"}).edges(TABLES)
        await edge.purge(pages("a"))
        await edge.aclose()
    heard = [one for one in heard if one]
    assert heard[0]["authorization"] == "Bearer secret"
    assert heard[0]["x-mizan-invalidate"] == "page;text=a"
    assert "secret" not in repr(edge)
