"""Generated hooks in a real browser, in React's development build under StrictMode, which mounts everything twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from mizan_asgi.codegen.client import client_files
from mizan_asgi.codegen.modules import Language
from tests.codegen.compiling import complaints, project
from tests.http.servers import listening
from tests.http.site import Site
from tests.node import run_tool

from .pages import Tab, Window, until_text

PAGE = Path(__file__).with_name("page.tsx")
HTML = '<!doctype html><title>React</title><div id="root"></div><script type="module" src="/page.js"></script>'


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The page with everything that it imports, in one file. It compiles as strictly as users may want it to."""
    folder = tmp_path_factory.mktemp("react") / "page"
    files = client_files(Site().graph, Language.TS, base_url="/api/mizan", react=True, command="the tests")
    project(folder, {**files, PAGE.name: PAGE.read_bytes()})
    assert complaints(folder) == ""
    ran = run_tool("esbuild", PAGE.name, "--bundle", "--format=esm", "--outfile=page.js", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return (folder / "page.js").read_bytes()


@pytest_asyncio.fixture(loop_scope="package")
async def tab(window: Window, site: Site, script: bytes) -> AsyncIterator[Tab]:
    routes = [
        Mount("/api/mizan", site.mizan()),
        Route("/page.js", lambda request: Response(script, media_type="text/javascript")),
        Route("/", lambda request: HTMLResponse(HTML)),
    ]
    async with listening(Starlette(routes=routes)) as (host, port):
        yield await window.open(f"http://{host}:{port}/")


@pytest.fixture
def site() -> Site:
    return Site()


async def shown(tab: Tab) -> list[str]:
    return [await tab(f"#{name}").inner_text() for name in ("one", "same", "other", "badges")]


@pytest.mark.asyncio(loop_scope="package")
async def test_strict_mode_mounts_twice_and_fetches_each_bundle_once(tab: Tab, site: Site) -> None:
    await tab("#badges").wait_for()
    await tab.settled()
    assert await shown(tab) == ["Ada", "Ada", "Bo", "Ada-1"]
    assert await tab.page.evaluate("window.mounts") == {"one": 2, "same": 2, "other": 2}
    assert sorted(tab.sent) == ["GET user?user_id=5", "GET user?user_id=7"]
    assert site.ran["user_profile"] == 2


@pytest.mark.asyncio(loop_scope="package")
async def test_a_mutation_refreshes_every_component_of_its_bundle_only(tab: Tab) -> None:
    await tab("#badges").wait_for()
    await tab.settled()
    tab.sent.clear()
    before = await tab.page.evaluate("window.renders.other")
    await tab("#name").fill("Eve")
    await tab("#name").press("Enter")
    await until_text(tab("#badges"), "Eve-1")
    await tab.settled()
    assert await shown(tab) == ["Eve", "Eve", "Bo", "Eve-1"]
    assert tab.sent == ["POST update_profile"]
    assert await tab.page.evaluate("window.renders.other") == before


@pytest.mark.asyncio(loop_scope="package")
async def test_an_optimistic_edit_on_a_slow_network_does_not_flicker(tab: Tab) -> None:
    await tab("#badges").wait_for()
    for name in ("one", "same", "waiting", "progress"):
        await tab.watch(f"#{name}")
    async with tab.holding("**/call/**") as held:
        await tab("#name").fill("Eve")
        await tab("#name").press("Enter")
        await held.arrived.wait()
        assert await shown(tab) == ["Eve", "Eve", "Bo", "Ada-1"]
        held.let_go()
        await until_text(tab("#badges"), "Eve-1")
    await tab.settled()
    assert [await tab.seen(f"#{name}") for name in ("one", "same")] == [["Ada", "Eve"]] * 2
    assert await tab.seen("#progress") == ["", "saving", ""]
    assert await tab.seen("#waiting") == [None], "what is refreshed does not suspend"


@pytest.mark.asyncio(loop_scope="package")
async def test_a_refusal_is_taken_back_and_told(tab: Tab, site: Site) -> None:
    await tab("#badges").wait_for()
    await tab.watch("#one")
    await tab.page.route("**/call/**", lambda route: route.fulfill(status=403, json={"code": "forbidden"}))
    await tab("#name").fill("Eve")
    await tab("#name").press("Enter")
    await until_text(tab("#progress"), "HTTP 403")
    await tab.settled()
    assert await tab.seen("#one") == ["Ada", "Eve", "Ada"]


@pytest.mark.asyncio(loop_scope="package")
async def test_the_error_of_a_call_is_gone_while_the_next_one_runs(tab: Tab) -> None:
    await tab("#badges").wait_for()
    await tab.page.route("**/call/**", lambda route: route.fulfill(status=403, json={"code": "forbidden"}), times=1)
    await tab("#name").press("Enter")
    await until_text(tab("#progress"), "HTTP 403")
    async with tab.holding("**/call/**") as held:
        await tab("#name").press("Enter")
        await held.arrived.wait()
        await until_text(tab("#progress"), "saving")
        held.let_go()


@pytest.mark.asyncio(loop_scope="package")
async def test_a_failed_refetch_is_reported_by_the_hook_alone(tab: Tab, window: Window) -> None:
    await tab("#badges").wait_for()
    problem = {"status": 409, "code": "conflict", "title": "Not now"}
    await tab.page.route("**/ctx/**", lambda route: route.fulfill(status=409, json=problem))
    await tab("#other").click()
    await tab.settled()
    assert tab.sent.count("GET user?user_id=7") == 2
    assert window.errors == [], "a rejection that nobody handles"


@pytest.mark.asyncio(loop_scope="package")
async def test_an_error_boundary_that_retries_shows_the_data(tab: Tab, window: Window) -> None:
    await tab("#badges").wait_for()
    failing = "**/ctx/**user_id=9"
    await tab.page.route(failing, lambda route: route.fulfill(status=500, body="broken"))
    await tab.page.goto(tab.page.url + "#guarded")
    await tab.page.reload()
    await tab("#again").wait_for()
    window.errors.clear()  # React tells of what a boundary has caught
    body = {"user_badges": ["Cy-1"], "user_profile": {"name": "Cy", "user_id": 9}}
    await tab.page.unroute(failing)
    await tab.page.route(failing, lambda route: route.fulfill(json=body))
    await tab("#again").click()
    await until_text(tab("#guarded"), "Cy-1")
    assert window.errors == []
