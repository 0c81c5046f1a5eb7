"""The inspector in a real browser: what it shows as it happens, in both colour schemes, on a phone, by keyboard."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser
from starlette.applications import Starlette
from starlette.routing import Mount

from mizan_asgi import Mizan
from mizan_core import Claim, Context, Me, build, client
from tests.declaring import mutation, reader
from tests.http.servers import listening
from tests.inspector.shop import Shop

from .pages import Tab, Window, until_text

# The contrast of every text with the ground that it stands on, where that is below 4.5 (WCAG 2.2, 1.4.3).
FAINT = """() => {
  const rgb = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      if (one instanceof SVGElement) {
        const rect = one.parentElement?.querySelector?.(":scope > rect");
        if (rect && rect !== one) return rgb(getComputedStyle(rect).fill);
        continue;
      }
      const color = rgb(getComputedStyle(one).backgroundColor);
      if (color.a === 1) return color;
    }
    return rgb(getComputedStyle(document.documentElement).backgroundColor);
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, title")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgb(element instanceof SVGElement ? style.fill : style.color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${element.tagName}.${element.className} ${texts.currentNode.data} ${contrast}`);
  }
  return faint;
}"""

# Controls without a name, images without a text, headings that skip a level, and ids that are there twice.
UNNAMED = """() => {
  const wrong = [];
  const named = (one) => one.ariaLabel || one.labels?.length || one.textContent.trim() ||
    document.getElementById(one.getAttribute("aria-labelledby"));
  for (const one of document.querySelectorAll("input, select, textarea, button, a, [tabindex], svg, nav, section")) {
    if (one.checkVisibility() && !(one.matches("input, select, textarea") ? one.labels.length : named(one)))
      wrong.push(`unnamed ${one.outerHTML.slice(0, 80)}`);
  }
  for (const one of document.querySelectorAll("img")) if (!one.alt) wrong.push("img without alt");
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4")) {
    const now = Number(one.tagName[1]);
    if (now > level + 1) wrong.push(`h${now} after h${level}`);
    level = now;
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  wrong.push(...ids.filter((id, place) => ids.indexOf(id) !== place));
  for (const role of ["main", "header", "h1"]) if (document.querySelectorAll(role).length !== 1) wrong.push(role);
  if (!document.documentElement.lang) wrong.push("lang");
  return wrong;
}"""

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest_asyncio.fixture(loop_scope="package")
async def url(shop: Shop) -> AsyncIterator[str]:
    """Where the shop is served below `/api/mizan`."""
    mizan = shop.mizan()
    app = Starlette(routes=[Mount("/api/mizan", mizan)], lifespan=mizan.lifespan)
    async with listening(app) as (host, port):
        yield f"http://{host}:{port}/api/mizan"


@pytest_asyncio.fixture(loop_scope="package")
async def elsewhere(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is not the inspector."""
    async with httpx.AsyncClient(base_url=url) as web:
        yield web


@pytest_asyncio.fixture(loop_scope="package")
async def tab(window: Window, url: str) -> Tab:
    return await inspecting(window, url)


async def inspecting(window: Window, url: str) -> Tab:
    """The inspector, which has had its first answer."""
    tab = await window.open(f"{url}/inspector")
    await tab('#state[data-state="live"]').wait_for()
    return tab


async def work(web: httpx.AsyncClient) -> None:
    """A bundle, a call that makes it stale and forgets another bundle, a refusal, and refetches."""
    for context in ("orders", "customer"):
        assert (await web.get(f"/ctx/{context}/", params={"customer_id": 6})).status_code == 200
    assert (await web.post("/call/ship/", json={"order_id": 1})).status_code == 200
    assert (await web.get("/ctx/orders/", params={"customer_id": 6})).status_code == 200
    assert (await web.post("/call/ship/", json={"order_id": 1})).status_code == 409
    assert (await web.post("/call/restock/", json={"skus": ["tea"]})).status_code == 200


@pytest.mark.asyncio(loop_scope="package")
async def test_a_call_made_elsewhere_appears_with_what_followed(tab: Tab, elsewhere: httpx.AsyncClient) -> None:
    assert await tab("#nothing").is_visible()
    await work(elsewhere)
    await until_text(tab("#calls .call .name"), "restock")
    calls = tab("#calls > .call")
    assert await calls.locator(".name").all_inner_texts() == ["restock", "ship", "ship"]
    shipped = calls.filter(has=tab.page.locator(".name", has_text="ship")).last
    assert await shipped.locator(".scope").all_inner_texts() == ["orders;customer_id=6"]
    assert await shipped.locator(".following code").all_inner_texts() == ["orders?customer_id=6"]
    assert await shipped.locator(".following .tag").all_inner_texts() == ["miss"]
    assert "cache purged" in await shipped.locator(".layers").inner_text()
    await shipped.locator("summary").click()
    assert await shipped.locator("details dd").count() == 1
    assert await calls.filter(has_text="restock").locator(".scope.whole").all_inner_texts() == ["catalogue"]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_proved_staleness_shows_in_red(tab: Tab, elsewhere: httpx.AsyncClient) -> None:
    assert not await tab("#stale").is_visible()
    await work(elsewhere)
    await tab("#stale").wait_for()
    shown = await tab("#stale-list").inner_text()
    assert "customer?customer_id=6 was stale after ship" in shown
    assert "$.open_orders" in shown
    assert "declare affects='customer' on ship" in shown
    for selector in ("#stale-list strong", "#stale-title", "#calls .blame", "#figures .bad dd"):
        color = await tab(selector).first.evaluate("(one) => getComputedStyle(one).color")
        red, green, blue = (int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
        assert red > 2 * green
        assert red > 2 * blue
    assert await tab("#figures .bad").all_inner_texts() == ["proved stale\n1"]
    assert await tab("[role=alert]").inner_text() == "1 declaration proved to miss bundles"


@pytest.mark.asyncio(loop_scope="package")
async def test_the_form_calls_a_function_as_any_client_does(tab: Tab, shop: Shop) -> None:
    await tab("#try-what").select_option("call ship")
    await tab("#try").get_by_label("order_id").fill("2")
    await tab("#try").get_by_label("fast").select_option("true")
    async with tab.page.expect_request("**/call/ship/") as request:
        await tab("#try-send").click()
    assert (await request.value).post_data_json == {"order_id": 2, "fast": True}
    await until_text(tab("#try-answer"), '"status": "shipped"')
    assert shop.orders[2].status == "shipped"
    assert "X-Mizan-Invalidate: orders;customer_id=7" in await tab("#try-answer").inner_text()
    await until_text(tab("#calls .call .name"), "ship")
    await tab("#try-send").click()
    await until_text(tab("#try-answer .tag"), "409")


@pytest.mark.asyncio(loop_scope="package")
async def test_the_form_fetches_a_context_and_sends_lists(tab: Tab) -> None:
    await tab("#try-what").select_option("ctx orders")
    await tab("#try").get_by_label("customer_id").fill("5")
    await tab("#argument-status").select_option("open")
    await tab("#try-send").click()
    await until_text(tab("#try-answer"), "Cache-Status: mizan; fwd=uri-miss; stored")
    await tab("#try-what").select_option("call restock")
    await tab("#try").get_by_label("skus").fill('["tea", "salt"]')
    await tab("#try-send").click()
    await until_text(tab("#try-answer"), '"result": 2')
    await tab("#try").get_by_label("skus").fill("tea")
    await tab("#try-send").click()
    await until_text(tab("#try-answer .tag"), "422")


@pytest.mark.asyncio(loop_scope="package")
async def test_the_graph_shows_what_narrows_and_what_is_near(tab: Tab) -> None:
    assert await tab("#drawing .node.mutation").count() == 5
    assert await tab("#drawing .node.context").count() == 4
    assert await tab("#drawing .node.reader").count() == 4
    ship = tab(
        "#drawing .node.mutation",
    ).filter(has_text="result's customer_id")
    assert "ship" in (await ship.get_attribute("aria-label") or "")
    await ship.focus()
    await tab.page.keyboard.press("Enter")
    assert await ship.get_attribute("aria-pressed") == "true"
    near = await tab("#drawing .node.near").evaluate_all(
        "(all) => all.map((one) => one.querySelector('text').textContent)"
    )
    assert sorted(near) == ["customer_orders", "orders", "ship"]
    await tab.page.keyboard.press("Escape")
    assert await tab("#drawing .node.near").count() == 0
    await tab("#graph summary").click()
    assert "ship: by customer_id = result's customer_id" in await tab("#words").inner_text()


@pytest.mark.asyncio(loop_scope="package")
async def test_the_graph_shows_what_identities_fill_in(window: Window) -> None:
    @client(context="cart")
    async def lines(user_id: Annotated[int, Me], page: int = 1) -> int:
        return page

    @client(context="tickets", per="user")
    async def tickets(org_id: Annotated[int, Claim("org")]) -> int:
        return org_id

    @client(affects=["cart", Context("tickets").where(org_id=Claim("org"))])
    async def add(user_id: Annotated[int, Me]) -> None: ...

    @client(affects=["cart", "tickets"])
    async def reset() -> None: ...

    async with listening(Mizan(build([lines, tickets, add, reset]), inspector=True)) as (host, port):
        tab = await inspecting(window, f"http://{host}:{port}/api/mizan")
        nodes = await tab("#drawing .node").evaluate_all("(all) => all.map((one) => one.getAttribute('aria-label'))")
        assert sorted(nodes) == [
            "context cart; (page, user_id: the caller's); kept for all callers with the same user_id",
            "context tickets; (org_id: the caller's); kept for each user with the same org_id",
            "mutation add; cart: by user_id = the caller's id; tickets: by org_id = claim org",
            "mutation reset; cart: whole; tickets: whole",
            "reader lines",
            "reader tickets",
        ]
        await tab("#graph summary").click()
        words = await tab("#words").inner_text()
        assert "(org_id: the caller's) kept for each user with the same org_id" in words
        assert "add: by user_id = the caller's id" in words


@pytest.mark.asyncio(loop_scope="package")
async def test_rates_and_width_are_tables(tab: Tab, elsewhere: httpx.AsyncClient) -> None:
    await work(elsewhere)
    await until_text(tab("#mutations th[scope=row]"), "restock")
    orders = tab("#contexts tr").filter(has=tab.page.locator("th[scope=row]", has_text="orders"))
    assert (await orders.locator("td").all_inner_texts())[:3] == ["2", "0 %", "1 uri-miss, 1 stale"]
    assert await tab("#contexts-others").inner_text() == "Not fetched yet: cart, catalogue."
    ship = tab("#mutations tr").filter(has=tab.page.locator("th[scope=row]", has_text="ship"))
    assert (await ship.locator("td").all_inner_texts())[:2] == ["2", "1 refused"]
    assert (await tab("#widths tbody tr").first.locator("th, td").all_inner_texts())[:5] == [
        "ship",
        "orders",
        "1",
        "1",
        "0",
    ]


@pytest.mark.asyncio(loop_scope="package")
async def test_the_list_is_filtered_and_cleared(tab: Tab, elsewhere: httpx.AsyncClient) -> None:
    await work(elsewhere)
    await until_text(tab("#calls .call .name"), "restock")
    fetches = tab("#calls > .fetch:visible")
    assert await fetches.count() == 2
    await tab("#show-fetches").uncheck()
    assert await fetches.count() == 0
    await tab("#find").fill("restock")
    assert await tab("#calls > li:visible .name").all_inner_texts() == ["restock"]
    await tab("#clear").click()
    assert await tab("#nothing").is_visible()


@pytest.mark.asyncio(loop_scope="package")
async def test_a_paused_page_asks_for_nothing(window: Window, url: str, elsewhere: httpx.AsyncClient) -> None:
    await window.context.clock.install()
    tab = await inspecting(window, url)
    await tab("#pause").click()
    await tab('#state[data-state="paused"]').wait_for()
    await tab.settled()
    asked = len(tab.sent)
    await work(elsewhere)
    await tab.page.clock.run_for(60_000)
    await tab.settled()
    assert len(tab.sent) == asked
    await tab("#pause").click()
    await until_text(tab("#calls .call .name"), "restock")
    assert len(tab.sent) > asked


@pytest.mark.asyncio(loop_scope="package")
async def test_two_tabs_show_the_same_calls(window: Window, url: str, elsewhere: httpx.AsyncClient) -> None:
    tabs = [await inspecting(window, url) for _ in range(2)]
    await work(elsewhere)
    for tab in tabs:
        await tab.page.bring_to_front()
        await until_text(tab("#calls .call .name"), "restock")


@pytest.mark.asyncio(loop_scope="package")
async def test_a_server_that_is_gone_is_told(window: Window, shop: Shop) -> None:
    async with listening(shop.mizan()) as (host, port):
        tab = await inspecting(window, f"http://{host}:{port}/api/mizan")
    await until_text(tab("#state"), "no answer, asking again")


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
async def test_everything_is_readable_and_named(
    browser: Browser, url: str, elsewhere: httpx.AsyncClient, scheme: Literal["light", "dark"], width: int
) -> None:
    context = await browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    window = Window(context)
    tab = await inspecting(window, url)
    await work(elsewhere)
    await until_text(tab("#calls .call .name"), "restock")
    for number in range(await tab("summary:visible").count()):
        await tab("summary:visible").nth(number).click()
    await tab("#try-what").select_option("call ship")
    await tab("#try").get_by_label("order_id").fill("1")
    await tab("#try-send").click()
    await until_text(tab("#try-answer .tag"), "409")
    assert await tab.page.evaluate(FAINT) == []
    assert await tab.page.evaluate(UNNAMED) == []
    assert await tab.page.evaluate(OVERFLOW) == 0
    dark = await tab("body").evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(19, 20, 18)"
    assert dark == (scheme == "dark")
    await context.close()
    assert window.errors == []


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("width", [1440, 390])
async def test_fifty_functions_are_drawn_without_overlap(browser: Browser, width: int) -> None:
    functions = [reader(f"list_{n}", f"context_{n // 2}", thing_id=int) for n in range(20)]
    functions += [mutation(f"change_{n}", [f"context_{n % 10}", f"context_{n // 3}"], thing_id=int) for n in range(30)]
    async with listening(Mizan(build(functions), inspector=True)) as (host, port):
        context = await browser.new_context(viewport={"width": width, "height": 900})
        window = Window(context)
        tab = await inspecting(window, f"http://{host}:{port}/api/mizan")
        boxes = await tab("#drawing rect").evaluate_all(
            "(all) => all.map((one) => ['x', 'y', 'width', 'height'].map((name) => Number(one.getAttribute(name))))"
        )
        assert len(boxes) == 60
        assert [(a, b) for a in boxes for b in boxes if a < b and overlap(a, b)] == []
        size = await tab("#drawing text").last.evaluate("(one) => one.getBoundingClientRect().height")
        assert size > 9
        assert await tab.page.evaluate(OVERFLOW) == 0
        await context.close()
    assert window.errors == []


def overlap(one: list[float], other: list[float]) -> bool:
    return all(one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2] for axis in (0, 1))


@pytest.mark.asyncio(loop_scope="package")
async def test_the_page_is_used_by_keyboard_alone(tab: Tab, shop: Shop) -> None:
    await tab.page.keyboard.press("Tab")
    assert await tab.page.evaluate("document.activeElement.textContent") == "Skip to the live list"
    await tab("#try-what").focus()
    await tab.page.keyboard.type("ship")
    for key in ("Tab", "3", "Enter"):
        await tab.page.keyboard.press(key)
    await until_text(tab("#try-answer"), '"order_id": 3')
    assert shop.orders[3].status == "shipped"
