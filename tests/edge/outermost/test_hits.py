"""`outermost(app, mizan, hits_first=True)`: hits for everyone pass nothing of the host, and are Mizan's own answers."""

import asyncio
import itertools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly, outermost
from mizan_core import Identity, RedisCache, build, client
from mizan_core.engine.observers import Fetched, Observer
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.http.site import KEYS, Clock, token

from .hosts import BUNDLE, PAGE, adding, changing, host_of, mizan_of

pytestmark = pytest.mark.asyncio

URLS = pytest.mark.parametrize("url", [BUNDLE, PAGE], ids=["bundle", "page"])
CACHE_SECRET = "a-secret-of-the-caches-and-of-nothing-else"


class Counting:
    """Counts the requests that pass the host."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.passed: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.passed.append((scope["method"], scope["path"]))
        await self.app(scope, receive, send)


class Site:
    """A host that counts, wrapped, and a browser at it."""

    def __init__(self, *middleware: Middleware, host: Any = None, hits_first: bool = True, **options: Any) -> None:
        self.mizan = mizan_of(**options)
        self.host = Counting(host(self.mizan) if host else host_of(self.mizan, middleware))
        self.app = outermost(self.host, self.mizan, hits_first=hits_first)
        self.browser = browser(self.app)

    async def passes(self, url: str, method: str = "GET", **headers: str) -> tuple[bool, httpx.Response]:
        """Whether a request passes the host, and its answer."""
        before = len(self.host.passed)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.browser.request(method, url, headers=named)
        return len(self.host.passed) > before, answer

    async def warmed(self, url: str, **headers: str) -> httpx.Response:
        """An answer that did not pass the host, which it did a few times before."""
        for _ in range(4):
            passed, answer = await self.passes(url, **headers)
        assert not passed
        return answer


def browser(app: Any, base_url: str = "http://site.test", root_path: str = "") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, root_path=root_path), base_url=base_url)


@URLS
async def test_a_hit_passes_nothing_and_is_the_same(url: str) -> None:
    site = Site()
    hit = await site.warmed(url)
    plain = await browser(host_of(site.mizan)).get(url)
    assert hit.headers.multi_items() == plain.headers.multi_items()
    assert hit.headers["cache-status"] == "mizan; hit"
    assert (hit.status_code, hit.content) == (200, plain.content)


@URLS
async def test_without_it_each_request_passes_the_host(url: str) -> None:
    site = Site(hits_first=False)
    for _ in range(5):
        assert (await site.passes(url))[0]


@URLS
async def test_what_middleware_would_add_is_not_there(url: str) -> None:
    site = Site(adding(("Set-Cookie", "a=b")))
    assert (await site.passes(url))[1].headers["set-cookie"] == "a=b"
    hit = await site.warmed(url)
    assert "set-cookie" not in hit.headers
    assert hit.headers["cache-control"] == "public, max-age=0, must-revalidate, s-maxage=31536000"


@URLS
async def test_head_and_304_are_answered_too(url: str) -> None:
    site = Site()
    hit = await site.warmed(url)
    passed, head = await site.passes(url, "HEAD")
    assert not passed
    assert (head.headers.multi_items(), head.content) == (hit.headers.multi_items(), b"")
    passed, unchanged = await site.passes(url, If_None_Match=hit.headers["etag"])
    assert not passed
    plain = await browser(host_of(site.mizan)).get(url, headers={"If-None-Match": hit.headers["etag"]})
    assert unchanged.headers.multi_items() == plain.headers.multi_items()
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    passed, changed = await site.passes(url, If_None_Match='"another"')
    assert (passed, changed.status_code) == (False, 200)


@URLS
@pytest.mark.parametrize("known", ["*", '"other", {}', "{}, {}"])
async def test_tags_that_have_to_be_parsed_pass_the_host(url: str, known: str) -> None:
    site = Site()
    etag = (await site.warmed(url)).headers["etag"]
    passed, answer = await site.passes(url, If_None_Match=known.replace("{}", etag))
    assert (passed, answer.status_code) == (True, 304)


@URLS
async def test_two_lists_of_tags_pass_the_host(url: str) -> None:
    site = Site()
    etag = (await site.warmed(url)).headers["etag"]
    before = len(site.host.passed)
    answer = await site.browser.get(url, headers=[("If-None-Match", '"other"'), ("If-None-Match", etag)])
    assert (len(site.host.passed), answer.status_code) == (before + 1, 304)


@URLS
async def test_a_purge_sends_the_next_request_to_the_host(url: str) -> None:
    site = Site()
    await site.warmed(url)
    written = await site.browser.post(
        "/api/mizan/call/write/", json={"kind": "a"}, headers={"Origin": "http://site.test"}
    )
    assert written.status_code == 200
    passed, fresh = await site.passes(url)
    assert passed
    assert "hit" not in fresh.headers["cache-status"]
    await site.warmed(url)


@URLS
async def test_an_entry_that_has_expired_is_not_answered(url: str) -> None:
    clock = Clock()
    site = Site(clock=clock)
    await site.warmed(url)
    clock.now += 86_401
    assert (await site.passes(url))[0]


async def test_a_lifetime_in_seconds_counts_down() -> None:
    @client(context="short", cache=60)
    async def short() -> int:
        return 1

    @client(context="short", route="/short/", cache=60)
    async def short_page() -> HTMLResponse:
        return HTMLResponse("1")

    clock = Clock()
    mizan = Mizan(build([short, short_page]), edge=HeaderOnly(), clock=clock)
    host = Counting(host_of(mizan))
    web = browser(outermost(host, mizan, hits_first=True))
    for url in ("/api/mizan/ctx/short/", "/short/"):
        for _ in range(4):
            await web.get(url)
    before = len(host.passed)
    clock.now += 20.5
    for url in ("/api/mizan/ctx/short/", "/short/"):
        assert (await web.get(url)).headers["cache-control"].endswith("s-maxage=39")
    assert len(host.passed) == before


@pytest.mark.parametrize(
    ("url", "method", "headers"),
    [
        ("/api/mizan/ctx/mine/", "GET", {}),
        (BUNDLE, "OPTIONS", {}),
        (BUNDLE, "DELETE", {}),
        (PAGE, "POST", {}),
        (BUNDLE, "GET", {"Authorization": f"Bearer {token('5')}"}),
        (BUNDLE, "GET", {"X_Mizan_Token": token("5")}),
        (PAGE, "GET", {"Authorization": f"Bearer {token('5')}"}),
        (BUNDLE + "&other=1", "GET", {}),
        (BUNDLE + "&", "GET", {}),
        (PAGE + "?utm=1", "GET", {}),
        (BUNDLE.replace("/?", "?"), "GET", {}),
        ("/own/", "GET", {}),
        ("/responded/", "GET", {}),
        ("/api/mizan/ctx/nothing/", "GET", {}),
        ("/api/mizan/client.js", "GET", {}),
    ],
)
async def test_all_else_passes_the_host(url: str, method: str, headers: dict[str, str]) -> None:
    site = Site(mwt_keys=KEYS, clock=Clock())
    await site.warmed(BUNDLE)
    await site.warmed(PAGE)
    for _ in range(4):
        passed, answer = await site.passes(url, method, **headers)
        plain = await browser(host_of(site.mizan)).request(
            method, url, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        assert passed
        assert (answer.status_code, answer.content) == (plain.status_code, plain.content)


async def test_a_token_that_is_not_valid_is_refused_before_any_hit() -> None:
    site = Site(mwt_keys=KEYS, clock=Clock())
    await site.warmed(BUNDLE)
    assert (await site.passes(BUNDLE, Authorization="Bearer x.y.z"))[1].status_code == 401
    assert (await site.passes(BUNDLE, X_Mizan_Token="x.y.z"))[1].status_code == 401


@pytest.mark.parametrize("url", ["/api/mizan/ctx/team/", "/team/"])
async def test_a_guarded_answer_passes_the_host(url: str) -> None:
    @client(context="team", auth=True, per="all")
    async def team() -> str:
        return "secret"

    @client(context="team", route="/team/", auth=True, per="all")
    async def team_page() -> HTMLResponse:
        return HTMLResponse("secret")

    mizan = Mizan(build([team, team_page]), mwt_keys=KEYS, edge=HeaderOnly(), clock=Clock())
    web = browser(outermost(host_of(mizan), mizan, hits_first=True))
    for _ in range(4):
        assert (await web.get(url, headers={"X-Mizan-Token": token("5")})).status_code == 200
    assert (await web.get(url)).status_code == 401


async def test_a_miss_is_passed_on_with_its_body() -> None:
    bodies: list[bytes] = []

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append((await receive()).get("body", b""))
        await inner(scope, receive, send)

    mizan = mizan_of()
    inner = host_of(mizan)
    web = browser(outermost(host, mizan, hits_first=True))
    for _ in range(5):
        await web.request("GET", BUNDLE, content=b"sent")
    assert bodies
    assert set(bodies) == {b"sent"}
    assert len(bodies) < 5


@URLS
async def test_observers_see_every_hit(url: str) -> None:
    class Watching(Observer):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def fetched(self, event: Fetched) -> None:
            self.seen.append(event.status)

    watching = Watching()
    site = Site(observers=[watching])
    for _ in range(5):
        await site.passes(url)
    assert watching.seen == ["miss", "hit", "hit", "hit", "hit"]


@URLS
@pytest.mark.parametrize("by", ["host", "x-forwarded-host", "x-forwarded-prefix"])
async def test_two_sites_at_one_path_are_told_apart(url: str, by: str) -> None:
    def mizan_saying(word: str) -> Mizan:
        @client(context="feed")
        async def feed(kind: str) -> str:
            return word

        @client(context="feed", route="/feed/{kind}/")
        async def feed_page(kind: str) -> HTMLResponse:
            return HTMLResponse(word)

        return Mizan(build([feed, feed_page]), edge=HeaderOnly())

    one, other = mizan_saying("one"), mizan_saying("other")
    hosts = {"one": host_of(one), "other": host_of(other)}

    async def by_name(scope: Scope, receive: Receive, send: Send) -> None:
        await hosts[dict(scope["headers"])[by.encode()].decode()](scope, receive, send)

    web = browser(outermost(by_name, one, hits_first=True))
    for _, name in itertools.product(range(4), hosts):
        answer = await web.get(url, headers={by: name})
        assert name in answer.text
    assert answer.headers["cache-status"] == "mizan; hit"


@pytest.mark.parametrize("part", ["path", "host", "method"])
async def test_a_rewritten_request_is_not_learned(part: str) -> None:
    """The next request to the same URL may be rewritten otherwise: by its language, its cookie or its sender."""

    class Rewriting(Counting):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                path = BUNDLE.partition("?")[0]
                changes: dict[str, Any] = {
                    "path": {"path": path, "raw_path": path.encode()},
                    "host": {"headers": [(b"host", b"another.test")]},
                    "method": {"method": "GET"},
                }
                scope = {**scope, **changes[part]}
            await super().__call__(scope, receive, send)

    mizan = mizan_of()
    host = Rewriting(host_of(mizan))
    web = browser(outermost(host, mizan, hits_first=True))
    sent = {
        "path": ("GET", "/news/?kind=a"),
        "host": ("GET", BUNDLE),
        "method": ("HEAD", BUNDLE),
    }
    for _ in range(5):
        await web.request(*sent[part])
    assert len(host.passed) == 5


@pytest.mark.parametrize("where", ["root path", "base_url", "FastAPI", "alone", "wrong base_url", "a tenant's mount"])
async def test_hits_are_answered_where_mizan_is(where: str) -> None:
    hosts: dict[str, Any] = {
        "base_url": lambda mizan: Starlette(routes=[Mount("/x/y", mizan)]),
        "FastAPI": lambda mizan: FastAPI(routes=[Mount("/api/mizan", mizan)]),
        "alone": lambda mizan: mizan,
        "wrong base_url": lambda mizan: Starlette(routes=[Mount("/elsewhere", mizan)]),
        "a tenant's mount": lambda mizan: Starlette(routes=[Mount("/{tenant}/api/mizan", mizan)]),
    }
    prefixes = {"base_url": "/x/y", "wrong base_url": "/elsewhere", "a tenant's mount": "/acme/api/mizan"}
    base_urls = {"base_url": "/x/y", "root path": "/v1/api/mizan"}
    site = Site(host=hosts.get(where), base_url=base_urls.get(where, "/api/mizan"))
    url = prefixes.get(where, "/api/mizan") + BUNDLE.removeprefix("/api/mizan")
    if where == "root path":
        site.browser, url = browser(site.app, root_path="/v1"), "/v1" + url
    is_canonical = where not in ("wrong base_url", "a tenant's mount")
    for _ in range(4):
        passed, answer = await site.passes(url)
    assert answer.status_code == 200
    assert passed is not is_canonical
    assert answer.headers["cache-control"].startswith("public" if is_canonical else "no-store")


async def test_a_page_of_mizan_alone_is_answered_first() -> None:
    site = Site(host=lambda mizan: mizan)
    await site.warmed(PAGE)


async def test_a_page_below_a_prefix_passes_the_host() -> None:
    site = Site(host=lambda mizan: Starlette(routes=[Mount("/below", routes=mizan.routes), Mount("/api/mizan", mizan)]))
    for _ in range(4):
        passed, answer = await site.passes("/below" + PAGE)
        assert (passed, answer.headers["cache-control"]) == (True, "no-store")


@URLS
async def test_a_hit_is_sent_as_a_list_of_headers_of_its_own(url: str) -> None:
    """Servers add to it, and it is kept."""
    site = Site()
    await site.warmed(url)
    path, _, query = url.partition("?")
    named = {"path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": ""}
    scope = {"type": "http", "headers": [(b"host", b"site.test")], **named}
    for method in ("HEAD", "GET", "HEAD"):
        sent: asyncio.Queue[Message] = asyncio.Queue()
        before = len(site.host.passed)
        await site.app({**scope, "method": method}, unasked, sent.put)
        start, body = sent.get_nowait(), sent.get_nowait()
        assert len(site.host.passed) == before
        assert b"x-added" not in dict(start["headers"])
        assert bool(body["body"]) is (method == "GET")
        start["headers"].append((b"x-added", b"by the server"))


async def unasked() -> Message:
    raise AssertionError("A hit reads nothing of the request's body.")


async def test_a_path_of_the_hosts_own_is_never_mizans() -> None:
    async def shadowing(request: Request) -> HTMLResponse:
        return HTMLResponse("the host's")

    mizan = mizan_of()
    host = Counting(Starlette(routes=[Route(PAGE, shadowing), *mizan.routes, Mount("/api/mizan", mizan)]))
    web = browser(outermost(host, mizan, hits_first=True))
    for _ in range(4):
        assert (await web.get(PAGE)).text == "the host's"


async def test_an_answer_that_the_host_refused_is_not_learned() -> None:
    def refusing(connection: Any, message: Message) -> Message:
        return {**message, "status": 403} if "status" in message else message

    site = Site(changing(refusing))
    for _ in range(5):
        passed, answer = await site.passes(BUNDLE)
        assert (passed, answer.status_code) == (True, 403)


async def test_made_up_hosts_do_not_fill_the_memory() -> None:
    site = Site()
    await site.warmed(BUNDLE)
    for number in range(8_000):
        site.app._hits.learn(_marked(f"{number}.test", site.app._hits), 200)
    assert len(site.app._hits._known) < 6_000
    assert not (await site.passes(BUNDLE))[0]


def _marked(host: str, hits: Any) -> Any:
    scope = {"path": "/api/mizan/ctx/feed/", "method": "GET", "headers": [(b"host", host.encode())]}
    mark = hits.mark(scope)
    mark.note(200, [], b"")
    mark.again = lambda scope: None
    return mark


@URLS
async def test_a_hit_in_redis_is_answered_first(url: str, redis: RedisServer) -> None:
    cache = RedisCache(redis.url, prefix=f"first-{url[1:5]}:")
    site = Site(cache=cache, cache_secret=CACHE_SECRET)
    async with site.mizan.engine:
        hit = await site.warmed(url)
        plain = await browser(host_of(site.mizan)).get(url)
        assert (hit.headers.multi_items(), hit.content) == (plain.headers.multi_items(), plain.content)
        passed, unchanged = await site.passes(url, If_None_Match=hit.headers["etag"])
        assert (passed, unchanged.status_code, unchanged.content) == (False, 304, b"")
        assert (await site.passes(url, "HEAD"))[1].content == b""
        await site.mizan.engine.invalidate("feed")
        passed, fresh = await site.passes(url)
        assert passed
        assert "hit" not in fresh.headers["cache-status"]


@URLS
async def test_while_redis_is_down_each_request_passes_the_host(url: str) -> None:
    with redis_server() as own_redis:
        site = Site(cache=RedisCache(own_redis.url), cache_secret=CACHE_SECRET)
        await site.warmed(url)
        own_redis.stop()
        passed, answer = await site.passes(url)
        await site.mizan.engine.aclose()
    assert passed
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=cache-down"


@URLS
async def test_what_a_mutation_holds_passes_the_host(url: str) -> None:
    site = Site()
    await site.warmed(url)
    async with site.mizan.changing(site.mizan.graph.contexts["feed"].name):
        passed, answer = await site.passes(url)
    assert passed
    assert answer.headers["cache-control"] == "no-store"


async def test_only_kept_answers_for_everyone_are_looked_up() -> None:
    @client(context="rain", cache=False)
    async def rain() -> int:
        return 1

    engine = Mizan(build([*mizan_of().graph.sources, rain])).engine
    for context, params in (("rain", {}), ("mine", {}), ("feed", {"kind": "a"})):
        plan = engine.graph.contexts[context]
        asked = engine.query(plan, params, Identity("5"))
        await engine.answer(asked, identity=Identity("5"))
        assert (await engine.stored(asked) is not None) is (context == "feed")
