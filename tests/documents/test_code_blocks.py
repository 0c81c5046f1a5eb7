"""Every block of Python in the documents runs; what a page only defines is called as its reader would call it."""

import asyncio
import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import mizan_asgi.client
from mizan_asgi import Mizan
from mizan_core import Engine, Graph, NotFound, RedisCache, Unavailable, build, client
from mizan_core.testing.redis_server import RedisServer

from .pages import DOCS, PAGES, ROOT, blocks
from .running import page_run

pytestmark = pytest.mark.timeout(300)  # a page runs several programs, on a machine with a lot to do

SECRET = "the same in every process, 32 bytes"  # as the page about caches has it

FOLLOWED = DOCS / "tutorial.md"  # by test_tutorial.py

WITH_PYTHON = [page for page in PAGES if page != FOLLOWED and any(one.language == "python" for one in blocks(page))]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=[str(page.relative_to(ROOT)) for page in WITH_PYTHON])
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with page_run(page, tmp_path) as module:
        functions = marked(module)
        if functions:
            graph = vars(module).get("graph")
            build(functions, provide=graph.provided if isinstance(graph, Graph) else {})


def marked(module: ModuleType) -> list[Any]:
    return [one for one in vars(module).values() if hasattr(one, "__mizan__")]


@pytest.mark.asyncio
async def test_sessions_of_the_databases_page_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with page_run(DOCS / "how-to" / "databases.md", tmp_path) as page:
        engine = page.mizan.engine

        async def titles(customer_id: int) -> list[str]:
            bundle = await engine.fetch("orders", {"customer_id": customer_id})
            return [order["title"] for order in json.loads(bundle.body)["customer_orders"]]

        async with page.lifespan(page.app):
            assert (await titles(7), await titles(8)) == ([], [])
            lamp = (await engine.call("add_order", {"customer_id": 7, "title": "A lamp"})).result
            assert (await titles(7), await titles(8)) == (["A lamp"], [])
            moved = await engine.call("move_order", {"order_id": lamp, "to_customer": 8})
            assert [one.params for one in moved.invalidations] == [{"customer_id": 7}, {"customer_id": 8}]
            assert (await titles(7), await titles(8)) == ([], ["A lamp"])
            with pytest.raises(NotFound, match="There is no such order"):
                await engine.call("move_order", {"order_id": 99, "to_customer": 8})


@pytest.mark.asyncio
async def test_the_engines_page_passes_on_invalidations(tmp_path: Path) -> None:
    @client(context="years")
    async def is_closed(year: int) -> bool:
        return False

    @client(affects="years")
    async def close_year(year: int) -> None:
        if year > 2026:
            raise Unavailable

    with page_run(DOCS / "how-to" / "engine.md", tmp_path) as page:
        async with Engine(build([is_closed, close_year])) as engine:
            assert await page.answer(engine, "close_year", {"year": 2026}) == (
                200,
                {"X-Mizan-Invalidate": "years;year=2026"},
            )
            assert await page.answer(engine, "close_year", {"year": 2027}) == (
                503,
                {"X-Mizan-Invalidate": "years;year=2027"},
            )
            assert await page.answer(engine, "close_year", {"year": "soon"}) == (422, {})
        async with page.mizan.engine, asgi(page.app) as http:
            query = "/api/mizan/ctx/orders/?customer_id=7"
            assert (await http.get(query)).json() == {"customer_orders": ["A lamp"]}
            assert (await http.post("/import/7?title=A chair")).status_code == 200
            assert (await http.get(query)).json() == {"customer_orders": ["A lamp", "A chair"]}


@pytest.mark.asyncio
async def test_the_python_clients_page_is_told_of_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {5: "Ada"}

    @client(context="user")
    async def user_profile(user_id: int, page: int = 1) -> str:
        return names[user_id]

    @client(affects="user")
    async def rename(user_id: int, name: str) -> None:
        names[user_id] = name

    served = Mizan(build([user_profile, rename]))
    monkeypatch.setattr(mizan_asgi.client, "Client", partial(mizan_asgi.client.Client, transport=asgi_of(served)))
    with page_run(DOCS / "how-to" / "python-client.md", tmp_path, {'token="...", ': ""}) as page:
        following = asyncio.create_task(page.main())
        while not capsys.readouterr().out.startswith("Eve"):
            assert not following.done(), await following
            await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.mark.asyncio
async def test_the_caches_page_purges_in_redis(tmp_path: Path, redis: RedisServer) -> None:
    @client(context="orders")
    async def customer_orders(customer_id: int) -> list[int]:
        return []

    with page_run(DOCS / "how-to" / "caches.md", tmp_path, {"redis://localhost:6379/0": redis.url}) as page:
        shared = Engine(build([customer_orders]), cache=RedisCache(redis.url), cache_secret=SECRET)
        async with shared as engine:
            await engine.fetch("orders", {"customer_id": 7})
            assert (await engine.fetch("orders", {"customer_id": 7})).status == "hit"
            await page.main([customer_orders])
            assert (await engine.fetch("orders", {"customer_id": 7})).status == "miss"


def asgi_of(app: Any) -> httpx.ASGITransport:
    return httpx.ASGITransport(app)


def asgi(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=asgi_of(app), base_url="http://test")
