"""Every block of Python in the documents runs; what a page only defines is called as its reader would call it."""

import asyncio
import base64
import json
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware

import mizan_asgi.client
from mizan_asgi import Mizan
from mizan_core import Engine, Graph, NotFound, RedisCache, Unavailable, build, client
from mizan_core.testing.redis_server import RedisServer

from .pages import DOCS, PAGES, ROOT, blocks
from .running import page_run

pytestmark = pytest.mark.timeout(300)  # a page runs several programs, on a machine with a lot to do

SECRET = "the same in every process, 32 bytes"  # as the page about caches has it

FOLLOWED = (DOCS / "tutorial.md", DOCS / "how-to" / "workers.md")  # by test_tutorial.py and test_workers_page.py

WITH_PYTHON = [page for page in PAGES if page not in FOLLOWED and any(one.language == "python" for one in blocks(page))]


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
async def test_the_fastapi_page_is_at_home_in_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with page_run(DOCS / "how-to" / "fastapi.md", tmp_path) as page:
        async with page.lifespan(page.app), asgi(page.app) as http:
            ada, bo = ({"authorization": f"Bearer token-of-{name}"} for name in ("ada", "bo"))
            added = await http.post("/notes", params={"text": "Buy milk"}, headers=ada)
            assert (added.json(), added.headers["x-mizan-invalidate"]) == (1, "notes;user_id=5")
            for is_hit in (False, True):
                listed = await http.get("/notes", headers=ada)
                assert (listed.json(), listed.headers["cache-status"] == "mizan; hit") == (["Buy milk"], is_hit)
            assert (await http.get("/notes", headers=bo)).json() == []
            refused = await http.post("/notes", params={"text": "Buy milk"}, headers=bo)
            assert (refused.status_code, refused.json()) == (409, {"detail": "There is such a note."})
            assert (await http.post("/notes", params={"text": "Mine"})).status_code == 401
            for headers, note_id, status in ((bo, 1, 404), (ada, 2, 404), (ada, 1, 200)):
                edited = await http.post(
                    "/api/mizan/call/edit_note/", json={"note_id": note_id, "text": "Buy oat milk"}, headers=headers
                )
                assert (edited.status_code, "x-mizan-invalidate" in edited.headers) == (status, status == 200)
            assert (await http.get("/notes", headers=ada)).json() == ["Buy oat milk"]
            await page.test_a_note_is_listed()
            assert (await http.get("/notes", headers=ada)).json() == ["Buy oat milk"]
            await page.forget_daily()
            assert (await http.get("/notes", headers=ada)).json() == []
        mizan = Mizan(build([page.whoami]), fastapi=page.app, authenticate=page.authenticate)
        async with asgi(mizan) as http:
            assert (await http.post("/call/whoami/", json={}, headers=bo)).json()["result"] == 6
            for headers, told in (({}, "Not authenticated"), ({"authorization": "Bearer of-eve"}, "The token")):
                asked = await http.post("/call/whoami/", json={}, headers=headers)
                assert (asked.status_code, told in asked.json()["detail"]) == (401, True)
                assert asked.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio
async def test_the_identity_page_narrows_to_who_asks(tmp_path: Path) -> None:
    def at(tenant: str, user: int | None = None) -> httpx.AsyncClient:
        transport = asgi_of(SessionMiddleware(page.mizan, secret_key=SECRET))
        cookies = {} if user is None else {"session": session_cookie({"user_id": user})}
        return httpx.AsyncClient(transport=transport, base_url=f"http://{tenant}.test", cookies=cookies)

    with page_run(DOCS / "how-to" / "identity.md", tmp_path) as page:
        async with at("acme", 5) as ada, at("acme", 6) as bo, at("globex", 5) as moved, at("acme") as visitor:
            for web, org in ((ada, "1"), (bo, "1"), (moved, "2")):
                told = await web.post("/call/add_project/", json={"name": "X"})
                assert told.headers["x-mizan-invalidate"] == f"projects;org_id={org}"
            assert (await visitor.get("/ctx/projects/")).json() == {"project_list": ["X", "X"]}
            assert (await ada.get("/ctx/projects/")).headers["cache-status"] == "mizan; hit"
            assert (await visitor.get("/ctx/cart/")).status_code == 401
            assert (await bo.get("/ctx/cart/")).json() == {"cart_lines": []}
            added = await ada.post("/call/add_to_cart/", json={"sku": "pen"})
            assert (added.json()["invalidate"], added.headers["x-mizan-invalidate"]) == (["cart"], "cart;user_id=5")
            assert (await bo.get("/ctx/cart/")).headers["cache-status"] == "mizan; hit"
            given = await ada.post("/call/give/", json={"to_user": 6, "sku": "pen"})
            assert given.headers["x-mizan-invalidate"] == "cart;user_id=6"
            assert "invalidate" not in given.json()
            assert (await bo.get("/ctx/cart/")).json() == {"cart_lines": ["pen"]}
    basket = Engine(build([page.basket, page.drop_in]))
    dropped = await basket.run("drop_in", {"sku": "cup"})
    assert [one.params for one in dropped.invalidations] == [{"user_id": None}]


def test_the_page_about_writes_imports_a_file_without_a_loop(tmp_path: Path) -> None:
    with page_run(DOCS / "how-to" / "writes.md", tmp_path) as page:
        for titles in (["A lamp"], ["A lamp", "A chair"]):
            shown = page.mizan.blocking.fetch("orders", {"customer_id": 7})
            assert json.loads(shown.body) == {"customer_orders": titles}
            page.import_file({7: "A chair"})
        page.mizan.blocking.close()


@pytest.mark.asyncio
async def test_the_page_about_writes_tells_of_its_routes(tmp_path: Path) -> None:
    with page_run(DOCS / "how-to" / "writes.md", tmp_path) as page:
        async with page.mizan.engine, asgi(page.app) as http:
            query = "/api/mizan/ctx/orders/?customer_id=7"
            assert (await http.get(query)).json() == {"customer_orders": ["A lamp"]}
            for title, status in (("A chair", 200), ("", 422)):
                answer = await http.post("/customers/7/orders", params={"title": title})
                assert (answer.status_code, answer.headers["x-mizan-invalidate"]) == (
                    status,
                    "orders;customer_id=7, report",
                )
            assert (await http.get(query)).json() == {"customer_orders": ["A lamp", "A chair"]}
            assert await page.move("A lamp", 7, 8) == "orders;customer_id=8, report, orders;customer_id=7"
            assert (await http.get(query)).json() == {"customer_orders": ["A chair"]}


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


def session_cookie(session: dict[str, Any]) -> str:
    """A session as Starlette's middleware signs it."""
    return TimestampSigner(SECRET).sign(base64.b64encode(json.dumps(session).encode())).decode()


def asgi_of(app: Any) -> httpx.ASGITransport:
    return httpx.ASGITransport(app)


def asgi(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=asgi_of(app), base_url="http://test")
