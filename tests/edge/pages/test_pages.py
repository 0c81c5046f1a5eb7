"""Whole pages behind real edges: kept until a mutation makes them stale, and fetched again where that is asked for."""

import asyncio
import logging

import pytest

from tests.edge.differential import EDGES, Edge
from tests.edge.nodes import Node
from tests.edge.pages.shop import FORM, Shop, shop_behind

pytestmark = pytest.mark.timeout(120)

PAGE = "/product/5/"
CALL = "/api/mizan/call/set_price_in/"


@pytest.fixture(params=EDGES)
def edge(request: pytest.FixtureRequest) -> Edge:
    return EDGES[request.param]


async def seen(node: Node, url: str, **headers: str) -> tuple[str, str]:
    answer = await node.get(url, **headers)
    assert answer.status == 200, answer
    return answer.edge, answer.body.removeprefix("<h1>").removesuffix("</h1>")


async def made(shop: Shop, url: str, times: int) -> None:
    """Until a page has been made so often, and is on its way."""
    while shop.made[url] < times:
        await asyncio.sleep(0.005)


class TestKept:
    @pytest.mark.asyncio
    async def test_a_page_is_kept_until_a_mutation_purges_it(self, edge: Edge) -> None:
        async with Shop().serving() as shop:
            with edge(shop.manifest, shop.url) as node:
                first = await node.get(PAGE, Cookie="session=ada")
                again = await node.get(PAGE, Cookie="session=bo")
                assert (first.edge, again.edge) == ("fwd=uri-miss", "hit")
                assert again.body == first.body == "<h1>product 5 for 0</h1>"
                assert again.headers["content-type"] == first.headers["content-type"]
                other, shelf = await seen(node, "/product/6/"), await seen(node, "/")
                assert (other[0], shelf[0]) == ("fwd=uri-miss", "fwd=uri-miss")
                posted = await node.post("/product/5/price/", "value=7", **FORM)
                assert (posted.status, posted.headers["location"]) == (303, PAGE)
                assert await seen(node, PAGE) == ("fwd=uri-miss", "product 5 for 7")
                assert await seen(node, "/") == ("fwd=uri-miss", "all for 7")
                assert await seen(node, "/product/6/") == ("hit", "product 6 for 0")
                assert shop.made == {PAGE: 2, "/product/6/": 1, "/": 2}
                assert all("cookie" not in headers for path, headers in shop.asked if path == PAGE)

    @pytest.mark.asyncio
    async def test_a_page_without_a_parameter_of_the_scope_is_kept(self, edge: Edge) -> None:
        """A purge by number and currency concerns the page of that number, which has no currency."""
        async with Shop().serving() as shop:
            with edge(shop.manifest, shop.url) as node:
                for url in (PAGE, "/product/6/", "/api/mizan/ctx/product/?number=5"):
                    assert [(await seen(node, url))[0] for _ in range(2)] == ["fwd=uri-miss", "hit"]
                answer = await node.post(CALL, '{"number": 5, "currency": "usd", "value": 8}')
                assert "product;currency=usd;number=5" in answer.headers["x-mizan-invalidate"]
                assert await seen(node, PAGE) == ("fwd=uri-miss", "product 5 for 8")
                assert await seen(node, "/product/6/") == ("hit", "product 6 for 0")
                assert (await seen(node, "/api/mizan/ctx/product/?number=5"))[0] == "hit", "it is in euro"

    @pytest.mark.asyncio
    async def test_a_page_of_the_caller_is_not_kept(self, edge: Edge) -> None:
        async with Shop().serving() as shop:
            with edge(shop.manifest, shop.url) as node:
                assert [(await node.get("/cart/")).edge for _ in range(2)] == ["", ""]


class TestRefetched:
    @pytest.mark.asyncio
    async def test_purged_pages_are_fetched_again(self, edge: Edge) -> None:
        async with shop_behind(edge) as (shop, node):
            await made(shop, "/", 1)  # every context was forgotten at the start, and this one has no parameters
            await shop.mizan.engine.run("set_price_in", {"number": 5, "currency": "usd", "value": 9})
            await made(shop, PAGE, 1)
            await made(shop, "/", 2)
            while (found := await seen(node, PAGE))[0] != "hit":
                assert found[1] == "product 5 for 9"
            assert found == ("hit", "product 5 for 9")
            assert (await seen(node, "/"))[1] == "all for 9"
            assert shop.made["/product/6/"] == 0

    @pytest.mark.asyncio
    async def test_they_are_fetched_without_identity_and_by_their_host(self, edge: Edge) -> None:
        async with shop_behind(edge, headers={"X-Shop": "yes"}) as (shop, _):
            await made(shop, "/", 1)
            [headers] = [headers for path, headers in shop.asked if path == "/"]
            assert headers["x-shop"] == "yes"
            assert headers.keys().isdisjoint({"cookie", "authorization", "x-mizan-token"})

    @pytest.mark.asyncio
    async def test_a_mutation_does_not_wait_for_them(self, edge: Edge) -> None:
        async with shop_behind(edge) as (shop, node):
            await made(shop, "/", 1)
            shop.held = asyncio.Event()
            async with asyncio.timeout(20):
                answer = await node.post(CALL, '{"number": 5, "currency": "usd", "value": 9}')
                assert answer.status == 200
                await made(shop, PAGE, 1)
                answer = await node.post(CALL, '{"number": 6, "currency": "usd", "value": 1}')
                assert answer.status == 200
            shop.held.set()

    @pytest.mark.asyncio
    async def test_an_old_page_under_way_is_not_brought_back(self, edge: Edge) -> None:
        """The page is made again, and changes before that answer has arrived."""
        async with shop_behind(edge, seconds=1.0) as (shop, node):
            await made(shop, "/", 1)
            shop.held, shop.reached = asyncio.Event(), asyncio.Event()
            held = shop.held
            await shop.mizan.engine.run("set_price_in", {"number": 5, "currency": "usd", "value": 1})
            await shop.reached.wait()
            await made(shop, PAGE, 1)
            shop.held = None
            await shop.mizan.engine.run("set_price_in", {"number": 5, "currency": "usd", "value": 2})
            await made(shop, PAGE, 2)
            held.set()
            for _ in range(5):
                assert (await seen(node, PAGE))[1] == "product 5 for 2"

    @pytest.mark.asyncio
    async def test_a_failure_is_logged_and_dropped(self, edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "mizan")
        async with shop_behind(edge) as (shop, node):
            await made(shop, "/", 1)
            shop.error = 500
            await shop.mizan.engine.run("set_price_in", {"number": 5, "currency": "usd", "value": 9})
            while not (said := [one.getMessage() for one in caplog.records if "be fetched again" in one.getMessage()]):
                await asyncio.sleep(0.005)
            assert said[0].startswith("Pages that could not be fetched again through http://127.0.0.1:"), said
            assert "(500)" in said[0]
            shop.error = None
            assert (await seen(node, PAGE))[1] == "product 5 for 9"
