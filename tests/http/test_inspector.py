"""The inspector over HTTP: its page and files, the application that it describes, and its changes."""

import re
from typing import Any
from urllib.parse import urljoin

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mizan_asgi.inspector.endpoints import PAGE
from mizan_core import build_manifest
from tests.http.site import KEYS, refusal, token
from tests.inspector.shop import Shop, browse

FILES = sorted(path.name for path in PAGE.iterdir() if path.suffix != ".html")


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def changes(web: Any, *after: str) -> dict[str, Any]:
    answer = await web.get("/inspector/changes.json", params={"after": after})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["", *FILES, "application.json", "changes.json"])
async def test_answers_are_locked_down(path: str, shop: Shop) -> None:
    async with browse(shop.mizan()) as web:
        answer = await web.get(f"/inspector/{path}")
        assert answer.status_code == 200
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect", "img")} == {"'self'"}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await web.head(f"/inspector/{path}")).headers["content-type"] == answer.headers["content-type"]
        refusal(await web.post(f"/inspector/{path}"), 405, "method_not_allowed")


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(name: str) -> None:
    text = (PAGE / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?:|//[a-z]+\.|innerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", text) == []


@pytest.mark.asyncio
async def test_the_page_names_files_that_are_served(shop: Shop) -> None:
    async with browse(shop.mizan()) as web:
        page = await web.get("/inspector/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        named = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert named == ["icon.svg", "inspector.css", "inspector.js"]
        scripts = {name for path in PAGE.glob("*.js") for name in re.findall(r'from "\./(.+?)"', path.read_text())}
        for name in [*named, *scripts]:
            assert (await web.get(f"/inspector/{name}")).content == (PAGE / name).read_bytes()


@pytest.mark.asyncio
@pytest.mark.parametrize("mount", ["/api/mizan", "/elsewhere"])
async def test_the_page_is_found_without_its_slash(mount: str, shop: Shop) -> None:
    app = Starlette(routes=[Mount(mount, shop.mizan())])
    async with browse(app) as web:
        moved = await web.get(f"http://localhost{mount}/inspector")
        assert moved.status_code == 308
        place = urljoin(str(moved.url), moved.headers["location"])
        assert place == f"http://localhost{mount}/inspector/"
        assert (await web.get(place)).status_code == 200


@pytest.mark.asyncio
async def test_the_application_is_its_manifest_and_schemas(shop: Shop) -> None:
    mizan = shop.mizan()
    async with browse(mizan) as web:
        described = (await web.get("/inspector/application.json")).json()
        assert described == (await web.get("/inspector/application.json")).json()
    assert described["manifest"] == build_manifest(mizan.graph)
    calls = {one["name"]: one for one in described["calls"]}
    assert {name for name, one in calls.items() if one["changes"]} == {
        *("ship", "touch", "restock", "wait", "explode", "sign_in")
    }
    assert calls["ship"]["arguments"][0] == {
        "name": "order_id",
        "required": True,
        "default": None,
        "schema": {"type": "integer"},
    }
    assert [one["name"] for one in described["bundles"]] == ["cart", "catalogue", "customer", "orders"]


@pytest.mark.asyncio
async def test_a_page_asks_for_what_changed_after_what_it_has(shop: Shop) -> None:
    async with browse(shop.mizan()) as web:
        first = await changes(web)
        assert (first["records"], first["change"]) == ([], 0)
        await web.get("/ctx/catalogue/")
        await web.post("/call/touch/", json={"customer_id": 5})
        second = await changes(web, f"{first['worker']}.{first['change']}")
        assert [one["kind"] for one in second["records"]] == ["fetch", "call"]
        third = await changes(web, "another.7", f"{second['worker']}.{second['change']}")
        assert third["records"] == []
        assert "contexts" not in third
        await web.get("/ctx/orders/?customer_id=5")
        fourth = await changes(web, f"{second['worker']}.{second['change']}", "another.7")
        assert [(one["kind"], one["followed"]) for one in fourth["records"]] == [("call", 1)]


@pytest.mark.asyncio
@pytest.mark.parametrize("after", ["", "x", "{worker}", "{worker}.x", "other.9", "{worker}.-1", "{worker}." + "9" * 20])
async def test_a_place_that_is_none_gives_everything(after: str, shop: Shop) -> None:
    async with browse(shop.mizan()) as web:
        worker = (await changes(web))["worker"]
        await web.get("/ctx/catalogue/")
        assert len((await changes(web, after.format(worker=worker)))["records"]) == 1


@pytest.mark.asyncio
async def test_several_pages_are_told_the_same(shop: Shop) -> None:
    mizan = shop.mizan()
    async with browse(mizan) as one, browse(mizan) as other:
        await changes(one)
        await changes(other)
        await one.get("/ctx/catalogue/")
        assert await changes(one) == await changes(other)


@pytest.mark.asyncio
async def test_tokens_and_cookies_are_never_shown(shop: Shop) -> None:
    sent, cookie = token("9"), "the-cookie-of-a-session"
    async with browse(shop.mizan(mwt_keys=KEYS, clock=lambda: 1_800_000_000.0)) as web:
        await changes(web)
        headers = {"Authorization": f"Bearer {sent}", "Cookie": f"session={cookie}"}
        await web.get("/ctx/cart/", headers=headers)
        await web.post("/call/sign_in/", json={"name": "Ada", "password": "hunter2"}, headers=headers)
        await web.post("/call/mwt_obtain/", json={}, headers=headers)
        found = (await web.get("/inspector/changes.json", headers=headers)).text
        found += (await web.get("/inspector/application.json", headers=headers)).text
    assert '"caller":"9"' in found
    assert [one for one in (sent, cookie, "hunter2", "a-token", KEYS["k1"], "eyJ") if one in found] == []
