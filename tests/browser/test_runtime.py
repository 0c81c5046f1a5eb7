"""The runtime where it is at home: the browser's cache, its tabs, its network going away, and other origins."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from mizan_core import Identity, issue_mwt
from tests.http.servers import listening
from tests.js.site import KEYS, RequestGate, names, site

from .pages import Tab, Window, until_text

SHOW = """async (options) => {
  const { createClient } = await import(`${options.baseUrl ?? "/api/mizan"}/client.js`);
  window.mizan = createClient(options);
  window.shown = [];
  mizan.subscribe("user", { user_id: 5 }, ({ data, error }) => {
    shown.push(error?.code ?? data?.user_profile.name);
    document.body.textContent = shown.at(-1);
  });
}"""

# A page that came with a bundle.
KEPT = """<!doctype html><body></body><script type="module">
import { createClient } from "/api/mizan/client.js";
const params = { user_id: 5 };
const initial = [{ context: "user", params, data: { user_profile: { name: "as it came" } } }];
const mizan = createClient({ initial });
await new Promise((done) => setTimeout(done)); // as in frameworks that draw later
mizan.subscribe("user", params, ({ data }) => { document.body.textContent = data?.user_profile.name });
</script>"""

RENAME = "(name) => mizan.call('rename', { user_id: 5, name })"


@pytest.fixture
def gate() -> RequestGate:
    names.clear()
    return site()


@pytest_asyncio.fixture(loop_scope="package")
async def url(gate: RequestGate) -> AsyncIterator[str]:
    async with listening(gate) as (host, port):
        yield f"http://{host}:{port}"


async def showing(window: Window, url: str, **options: object) -> Tab:
    """A tab that shows user 5."""
    tab = await window.open(f"{url}/blank/")
    await tab.page.evaluate(SHOW, options)
    await until_text(tab("body"), "user 5")
    return tab


async def unheard(tab: Tab) -> None:
    """A change that another client makes."""
    url = tab.page.url.replace("/blank/", "/rename/")
    assert (await tab.page.request.post(url, form={"user_id": 5, "name": "Eve"})).ok


@pytest.mark.asyncio(loop_scope="package")
async def test_the_browsers_cache_revalidates(window: Window, url: str, gate: RequestGate) -> None:
    tab = await showing(window, url)
    first = await tab.page.evaluate("mizan.fetch('user', { user_id: 5 })")
    assert await tab.page.evaluate("mizan.fetch('user', { user_id: 5 })") == first
    bundles = [one["known"] for one in gate.log if one["target"] == "GET /ctx/user/?user_id=5"]
    assert bundles[0] is None
    assert all(one.startswith('W/"') for one in bundles[1:])
    await tab.page.evaluate(RENAME, "Eve")
    assert (await tab.page.evaluate("mizan.fetch('user', { user_id: 5 })"))["user_profile"]["name"] == "Eve"


@pytest.mark.asyncio(loop_scope="package")
async def test_another_tab_shows_a_change_made_here(window: Window, url: str, gate: RequestGate) -> None:
    here, there = await showing(window, url), await showing(window, url)
    gate.log.clear()
    await here.page.evaluate(RENAME, "Eve")
    await until_text(there("body"), "Eve")
    await here.settled()
    assert [one["target"] for one in gate.log] == ["POST /call/rename/", "GET /ctx/user/?user_id=5"]


@pytest.mark.asyncio(loop_scope="package")
async def test_changes_missed_offline_are_fetched_when_online(window: Window, url: str) -> None:
    tab = await showing(window, url, refetchOnReconnect=True)
    await unheard(tab)
    await tab.page.context.set_offline(True)
    await tab.page.evaluate("mizan.invalidate('user')")
    await tab.page.wait_for_function("mizan.state('user', { user_id: 5 }).error")
    await tab.page.context.set_offline(False)
    await until_text(tab("body"), "Eve")


@pytest.mark.asyncio(loop_scope="package")
async def test_changes_missed_in_the_background_are_fetched_on_focus(window: Window, url: str) -> None:
    tab = await showing(window, url, refetchOnFocus=True)
    await unheard(tab)
    await tab.page.evaluate("dispatchEvent(new Event('focus'))")
    await until_text(tab("body"), "Eve")


@pytest.mark.asyncio(loop_scope="package")
async def test_changes_missed_in_the_back_forward_cache_are_fetched(window: Window, url: str) -> None:
    tab = await showing(window, url)
    await unheard(tab)
    await tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await until_text(tab("body"), "Eve")


@pytest.mark.asyncio(loop_scope="package")
async def test_data_inlined_in_a_page_from_history_is_fetched_again(window: Window, url: str) -> None:
    tab = await window.open(f"{url}/blank/")
    await tab.page.route("**/kept/", lambda route: route.fulfill(content_type="text/html", body=KEPT))
    await tab.page.goto(f"{url}/kept/")
    await until_text(tab("body"), "as it came")
    await tab.settled()
    assert tab.sent == []
    await tab.page.goto(f"{url}/blank/")
    await tab.page.go_back()
    await until_text(tab("body"), "user 5")


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("exposed", [["X-Mizan-Invalidate", "Content-Location"], []])
async def test_another_origin_works_with_and_without_exposed_headers(
    window: Window, url: str, exposed: list[str]
) -> None:
    headers = ["Content-Type", "X-Mizan-Token", "X-Mizan-Mounted"]
    allowed = {"allow_origins": [url], "allow_methods": ["GET", "POST"], "allow_headers": headers}
    gate = site(Middleware(CORSMiddleware, **allowed, expose_headers=exposed))
    async with listening(gate) as (host, port):
        token = issue_mwt(Identity("5"), KEYS, now=time.time())
        tab = await showing(window, url, baseUrl=f"http://{host}:{port}/api/mizan", token=token)
        await tab.page.evaluate("void mizan.subscribe('orders', { customer_id: 7 }, () => {})")
        await tab.settled()
        gate.log.clear()
        await tab.page.evaluate(RENAME, "Ann")
        await until_text(tab("body"), "Ann")
        assert [one["target"] for one in gate.log] == ["OPTIONS /call/rename/", "POST /call/rename/"]
        await tab.page.evaluate("mizan.call('explode', { user_id: 5, name: 'Eve' }).catch(() => {})")
        await until_text(tab("body"), "Eve")
        await tab.settled()
        fetched = {one["target"] for one in gate.log if one["target"].startswith("GET")}
        everything = {"GET /ctx/user/?user_id=5", "GET /ctx/orders/?customer_id=7"}
        assert fetched == ({"GET /ctx/user/?user_id=5"} if exposed else everything)
        await tab.page.close()
