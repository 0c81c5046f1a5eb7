"""Readers at routes of their own are kept at the origin as bundles are (protocol, section 9), and so by `respond`."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import Context, DeclarationError, Identity, Me, RedisCache, build, client, no_store
from mizan_core.testing.redis_server import RedisServer
from tests.http.site import KEPT, KEYS, PUBLIC, VARY, Clock, hosting, http, refusal, token

pytestmark = pytest.mark.asyncio

SECRET = "another-secret-of-the-tests-alone-32b"
PRIVATE = "private, no-cache"
MISS, HIT = "mizan; fwd=uri-miss; stored", "mizan; hit"

User = Context("user")


class Site:
    """Names with a page and data of each, a page of all, and how often each was made."""

    def __init__(self, make: Callable[[str], Any] = HTMLResponse, *functions: Any, **declared: Any) -> None:
        self.names = {5: "Ada", 7: "Bo"}
        self.made: Counter[str] = Counter()
        self.clock = Clock()

        @client(context=User, route="/name/{user_id}/", **declared)
        async def name_page(user_id: int) -> HTMLResponse:
            self.made["name_page"] += 1
            await asyncio.sleep(0)
            return make(self.names[user_id])  # type: ignore[no-any-return]

        @client(context=User, route="/data/{user_id}/", **declared)
        async def name_data(user_id: int) -> dict[str, str]:
            self.made["name_data"] += 1
            return {"name": self.names[user_id]}

        @client(context=User, route="/everyone/", **declared)
        async def everyone() -> HTMLResponse:
            self.made["everyone"] += 1
            return HTMLResponse(" ".join(self.names.values()), headers={"X-Own": "é"})

        @client(affects=User, route="/rename/{user_id}/")
        async def rename(user_id: int, name: str) -> PlainTextResponse:
            self.names[user_id] = name
            return PlainTextResponse(name)

        self.everyone, self.name_page, self.rename = everyone, name_page, rename
        self.functions = [name_page, name_data, everyone, rename, *functions]

    def mizan(self, **options: Any) -> Mizan:
        return Mizan(build(self.functions), mwt_keys=KEYS, clock=self.clock, **options)


@pytest.fixture(params=["memory", "redis"])
def options(request: pytest.FixtureRequest, redis: RedisServer) -> dict[str, Any]:
    if request.param == "memory":
        return {}
    return {"cache": RedisCache(redis.url, prefix=f"{request.node.name}:", timeout=1e9), "cache_secret": SECRET}


async def statuses(web: httpx.AsyncClient, *urls: str) -> list[str]:
    return [(await web.get(url)).headers["cache-status"].removeprefix("mizan; ") for url in urls]


@pytest.mark.parametrize(
    ("url", "body", "media"),
    [
        ("/name/5/", b"Ada", "text/html; charset=utf-8"),
        ("/data/5/", b'{"name":"Ada"}', "application/json"),
        ("/everyone/", b"Ada Bo", "text/html; charset=utf-8"),
    ],
)
async def test_a_page_is_a_hit_and_304_until_purged(url: str, body: bytes, media: str, options: dict[str, Any]) -> None:
    site = Site()
    mizan = site.mizan(**options)
    async with mizan.engine, http(hosting(mizan)) as web:
        miss, hit = await web.get(url), await web.get(url)
        assert (miss.headers["cache-status"], hit.headers["cache-status"]) == (MISS, HIT)
        assert {**miss.headers, "cache-status": HIT} == dict(hit.headers)
        assert (miss.content, hit.content) == (body, body)
        assert (hit.headers["content-type"], hit.headers["cache-control"]) == (media, PUBLIC)
        assert hit.headers["content-length"] == str(len(body))
        assert hit.headers.get("x-own") == ("é" if "everyone" in url else None)
        head = await web.head(url)
        assert (dict(head.headers), head.content) == (dict(hit.headers), b"")
        known = await web.get(url, headers={"If-None-Match": hit.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        expected = {
            name: value for name, value in hit.headers.items() if name not in ("content-type", "content-length")
        }
        assert dict(known.headers) == expected
        assert site.made.total() == 1
        await web.post("/rename/5/", data={"name": "Eve"})
        fresh = await web.get(url, headers={"If-None-Match": hit.headers["etag"]})
        assert fresh.content == body.replace(b"Ada", b"Eve")
        assert fresh.headers["etag"] != hit.headers["etag"]


async def test_it_is_purged_exactly_with_its_scope(options: dict[str, Any]) -> None:
    mizan = Site().mizan(**options)
    urls = "/name/5/", "/name/7/", "/data/5/", "/data/7/", "/everyone/"
    async with mizan.engine, http(hosting(mizan)) as web:
        await statuses(web, *urls)
        assert await statuses(web, *urls) == ["hit"] * 5
        await web.post("/rename/5/", data={"name": "Eve"})
        found = await statuses(web, *urls)
        assert [one == "hit" for one in found] == [False, True, False, True, False]
        await mizan.engine.invalidate("user")
        assert "hit" not in await statuses(web, *urls)


async def test_another_spelling_is_the_same_page_for_no_cache() -> None:
    mizan = Site().mizan()
    async with mizan.engine, http(hosting(mizan)) as web:
        await web.get("/name/5/")
        for url in ("/name/05/", "/name/5", "/name/5/?utm=x"):
            other = await web.get(url)
            assert other.headers["cache-status"] == HIT
            assert other.headers["cache-control"] == "no-store"


async def lines() -> AsyncIterator[str]:
    yield "a"


def with_task(text: str) -> Response:
    return HTMLResponse(text, background=BackgroundTask(str))


@pytest.mark.parametrize(
    ("make", "control"),
    [
        (lambda text: HTMLResponse(text, headers={"set-cookie": "a=b"}), PRIVATE),
        (lambda text: HTMLResponse(text, headers={"vary": "Accept-Language"}), PRIVATE),
        (lambda text: HTMLResponse(text, headers={"cache-control": "private, max-age=5"}), "private, max-age=5"),
        (lambda text: HTMLResponse(text, headers={"cache-control": "no-store"}), "no-store"),
        (lambda text: HTMLResponse(text, headers={"cache-control": "max-age=0"}), KEPT.replace("31536000", "0")),
        (lambda text: HTMLResponse(text, 201), "no-store"),
        (lambda text: StreamingResponse(lines()), "no-store"),
        (with_task, "no-store"),
    ],
)
async def test_a_response_that_is_its_callers_is_not_kept(make: Callable[[str], Any], control: str) -> None:
    site = Site(make)
    mizan = site.mizan(edge=HeaderOnly())
    async with mizan.engine, http(hosting(mizan)) as web:
        answers = await asyncio.gather(*(web.get("/name/5/") for _ in range(3)))
        for answer in (*answers, await web.get("/name/5/")):
            assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=response"
            assert answer.headers["cache-control"] == control
            assert "etag" not in answer.headers
        assert site.made["name_page"] == 4


async def test_a_pages_own_lifetime_bounds_the_origins_too(options: dict[str, Any]) -> None:
    site = Site(lambda text: HTMLResponse(text, headers={"cache-control": "max-age=60"}))
    mizan = site.mizan(**options, edge=HeaderOnly())
    left = {}
    async with mizan.engine, http(hosting(mizan)) as web:
        for passed in (0.0, 20.5, 59.0, 61.0):
            site.clock.now = 1_800_000_000.0 + passed
            left[passed] = (await web.get("/name/5/")).headers["cache-control"].rpartition("=")[2]
    assert left == {0.0: "60", 20.5: "39", 59.0: "1", 61.0: "60"}
    assert site.made["name_page"] == 2


async def test_a_page_that_is_kept_for_seconds_counts_down() -> None:
    site = Site(cache=30)
    mizan = site.mizan(edge=HeaderOnly())
    async with mizan.engine, http(hosting(mizan)) as web:
        for url in ("/name/5/", "/data/5/"):
            site.clock.now = 1_800_000_000.0
            assert (await web.get(url)).headers["cache-control"].endswith("s-maxage=30")
            site.clock.now += 10
            assert (await web.get(url)).headers["cache-control"].endswith("s-maxage=20")
            site.clock.now += 21
            assert (await web.get(url)).headers["cache-control"].endswith("s-maxage=30")


async def test_a_page_that_looks_at_the_request_is_that_requests() -> None:
    made = 0

    @client(context="looking", route="/looking/{code}/")
    async def looking(request: Request, code: int) -> HTMLResponse:
        nonlocal made
        made += 1
        return HTMLResponse(f"{request.headers.get('x-own') if code else ''}{request.path_params['code']}")

    mizan = Mizan(build([looking]))
    async with mizan.engine, http(hosting(mizan)) as web:
        for own in ("a", "b"):
            answer = await web.get("/looking/1/", headers={"x-own": own})
            assert (answer.text, answer.headers["cache-control"]) == (f"{own}1", "private, no-store")
            assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=personal"
            same = await web.get("/looking/0/", headers={"x-own": own})
            assert (same.text, same.headers["cache-control"]) == ("0", PUBLIC)
        assert same.headers["cache-status"] == HIT
    assert made == 3


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"cache": False}, ["no-store bypass"] * 3),
        ({"per": "user"}, [f"{PRIVATE} miss", f"{PRIVATE} hit", f"{PRIVATE} miss"]),
        ({"auth": True}, [f"{PRIVATE} miss", f"{PRIVATE} hit", f"{PRIVATE} miss"]),
        ({"auth": "staff", "per": "all"}, [f"{PRIVATE} miss", f"{PRIVATE} hit", f"{PRIVATE} hit"]),
    ],
)
async def test_a_page_is_kept_as_it_is_declared(declared: dict[str, Any], expected: list[str]) -> None:
    mizan = Site(**declared).mizan()
    kinds = {"hit": "hit", "fwd=uri-miss; stored": "miss"}
    async with mizan.engine, http(hosting(mizan)) as web:
        found = []
        for user in ("1", "1", "2"):
            answer = await web.get("/name/5/", headers={"X-Mizan-Token": token(user, staff=True)})
            told = kinds.get(answer.headers["cache-status"].removeprefix("mizan; "), "bypass")
            found.append(f"{answer.headers['cache-control']} {told}")
            assert answer.headers.get("vary") == (VARY if PRIVATE in found[-1] else None)
        assert found == expected
        if "auth" in declared:
            refusal(await web.get("/name/5/"), 401, "unauthorized")


async def test_identities_fill_in_what_a_page_is_kept_by() -> None:
    @client(context="mine", route="/mine/")
    async def mine(user_id: Annotated[int, Me]) -> HTMLResponse:
        return HTMLResponse(f"of {user_id}")

    @client(affects="mine")
    async def change(user_id: Annotated[int, Me]) -> None: ...

    mizan = Mizan(build([mine, change]), mwt_keys=KEYS, clock=Clock())
    async with mizan.engine, http(hosting(mizan)) as web:
        one, two = ({"X-Mizan-Token": token(user)} for user in ("1", "2"))
        for headers in (one, two):
            await web.get("/mine/", headers=headers)
        assert (await web.get("/mine/", headers=one)).text == "of 1"
        await web.post("/api/mizan/call/", headers=one, json={"fn": "change", "args": {}})
        assert (await web.get("/mine/", headers=one)).headers["cache-status"] != HIT
        assert (await web.get("/mine/", headers=two)).headers["cache-status"] == HIT


async def test_rev_leaves_older_pages_behind(redis: RedisServer) -> None:
    for rev, status in ((1, MISS), (1, HIT), (2, MISS)):
        cache = RedisCache(redis.url, prefix="rev-of-pages:", timeout=1e9)
        mizan = Site(rev=rev).mizan(cache=cache, cache_secret=SECRET)
        async with mizan.engine, http(hosting(mizan)) as web:
            assert (await web.get("/name/5/")).headers["cache-status"] == status


@pytest.mark.parametrize("cookie", [{}, {"set-cookie": "a=b"}])
async def test_one_answer_that_is_not_to_be_kept(cookie: dict[str, str]) -> None:
    def make(text: str) -> Response:
        no_store("the search is down")
        return HTMLResponse(text, headers=cookie)

    mizan = Site(make).mizan()
    async with mizan.engine, http(hosting(mizan)) as web:
        for _ in range(2):
            answer = await web.get("/name/5/")
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=no-store"


async def test_a_tag_of_the_pages_own_is_what_is_compared() -> None:
    site = Site(lambda text: HTMLResponse(text, headers={"ETag": '"mine"'}))
    mizan = site.mizan()
    async with mizan.engine, http(hosting(mizan)) as web:
        for _ in range(2):
            assert (await web.get("/name/5/")).headers.get_list("etag") == ['"mine"']
            assert (await web.get("/name/5/", headers={"If-None-Match": '"mine"'})).status_code == 304


async def test_a_guard_of_arguments_sees_loaded_permissions() -> None:
    def may(me: Identity, code: int) -> bool:
        return me.permissions is not None and "read" in me.permissions

    @client(context="secret", route="/secret/{code}/", auth=may, per="permissions")
    async def secret(code: int) -> HTMLResponse:
        return HTMLResponse("x", headers={"set-cookie": "a=b"} if code else {})

    mizan = Mizan(build([secret]), mwt_keys=KEYS, clock=Clock(), permissions=lambda me: ["read"])
    async with mizan.engine, http(hosting(mizan), x_mizan_token=token("1", permission_key="k")) as web:
        for _ in range(2):
            assert (await web.get("/secret/1/")).headers["set-cookie"] == "a=b"
            kept = await web.get("/secret/0/")
        assert kept.headers["cache-status"] == HIT


def responding(site: Site, mizan: Mizan) -> Starlette:
    """Pages of the site at URLs of the host's."""

    async def page(request: Request) -> Response:
        response = await mizan.respond(request, site.name_page, user_id=int(request.path_params["user_id"]))
        response.headers["X-Host"] = "mine"
        return response

    async def first(request: Request) -> Response:
        return await mizan.respond(request, site.name_page, user_id=5)

    async def rename(request: Request) -> Response:
        return await mizan.respond(request, site.rename, user_id=5, name=request.query_params["name"])

    routes = [Route("/people/{user_id}", page), Route("/first", first), Route("/first", rename, methods=["PUT"])]
    return Starlette(routes=routes)


async def test_a_host_responds_with_a_page_from_the_cache(options: dict[str, Any]) -> None:
    site = Site()
    mizan = site.mizan(**options)
    async with mizan.engine, http(responding(site, mizan)) as web:
        first, again = await web.get("/people/5"), await web.get("/people/5")
        assert (first.headers["cache-status"], again.headers["cache-status"]) == (MISS, HIT)
        assert (again.text, again.headers["cache-control"], again.headers["x-host"]) == ("Ada", PUBLIC, "mine")
        assert (await web.get("/people/5", headers={"If-None-Match": again.headers["etag"]})).status_code == 304
        assert (await web.head("/people/5")).content == b""
        unspelled = await web.get("/first")
        assert (unspelled.headers["cache-control"], unspelled.headers["vary"]) == (PRIVATE, VARY)
        told = await web.put("/first?name=Eve")
        assert (told.text, told.headers["x-mizan-invalidate"]) == ("Eve", "user;user_id=5")
        assert (await web.get("/first")).text == "Eve"


async def test_a_host_responds_with_a_response_as_it_is() -> None:
    site = Site(lambda text: HTMLResponse(text, headers={"set-cookie": "a=b", "surrogate-control": "x"}))
    mizan = site.mizan()
    async with mizan.engine, http(responding(site, mizan)) as web:
        for url in ("/people/5", "/first"):
            answer = await web.get(url)
            assert (answer.headers["set-cookie"], answer.headers["cache-control"]) == ("a=b", PRIVATE)
            assert "surrogate-control" not in answer.headers
    aged = Site(lambda text: HTMLResponse(text, headers={"cache-control": "max-age=0"}))
    mizan = aged.mizan()
    async with mizan.engine, http(responding(aged, mizan)) as web:
        assert (await web.get("/first")).headers["cache-control"] == PRIVATE


class Bare:
    """An application that is no response of Starlette's."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("bare")(scope, receive, send)


async def test_a_response_of_another_kind_needs_its_route() -> None:
    @client(context="bare", route="/bare/")
    async def bare() -> Bare:
        return Bare()

    mizan = Mizan(build([bare]))

    async def page(request: Request) -> Response:
        return await mizan.respond(request, bare)

    async with mizan.engine, http(Starlette(routes=[*mizan.routes, Route("/", page)])) as web:
        assert (await web.get("/bare/")).headers["cache-control"] == "no-store"
        with pytest.raises(DeclarationError, match="bare answered a Bare, which is no Response; serve it by mizan"):
            await web.get("/")


def parts(count: int) -> Iterator[int]:
    yield from range(count)


async def test_data_of_a_view_is_kept_with_its_media_type() -> None:
    site = Site(lambda text: JSONResponse({"name": text, "parts": [*parts(2)]}))
    mizan = site.mizan()
    async with mizan.engine, http(hosting(mizan)) as web:
        for _ in range(2):
            answer = await web.get("/name/5/")
        assert (answer.json()["name"], answer.headers["content-type"]) == ("Ada", "application/json")
        assert answer.headers["cache-status"] == HIT
