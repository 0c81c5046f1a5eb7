"""`make screenshots`: the tracker and the inspector as the documents show them, after a change.

With the typeface Inter, if it is there.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Literal

import httpx
from playwright.async_api import Browser, async_playwright

from examples.tracker.app import authenticate, hosting
from mizan_asgi import Mizan
from tests.http.servers import listening
from tests.inspector.shop import Shop
from tests.tracker.world import GRAPH, LEAD

from .chromium import FLAGS, executable
from .pages import Window, sign_in

DOCS = Path(__file__).parents[2] / "docs"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRACKER_DB"] = str(Path(folder) / "tracker.db")
        async with listening(hosting(Mizan(GRAPH, authenticate=authenticate))) as (host, port):
            url = f"http://{host}:{port}"
            async with async_playwright() as playwright:
                browser = await playwright.chromium.launch(executable_path=executable(), args=FLAGS)
                for scheme, width, height, name in (
                    ("light", 1440, 900, "tracker"),
                    ("dark", 1440, 900, "tracker-dark"),
                    ("light", 390, 844, "tracker-phone"),
                ):
                    await take(browser, url, scheme, width, height, DOCS / f"{name}.png")  # type: ignore[arg-type]
                await take_inspector(browser, DOCS / "inspector.png")
                await browser.close()


async def take(
    browser: Browser, url: str, scheme: Literal["light", "dark"], width: int, height: int, path: Path
) -> None:
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en")
    tab = await Window(context).open(f"{url}/#/p/4")
    await sign_in(tab, LEAD)
    await tab("#board-list a").nth(1).click()
    await tab("#board-list a").nth(2).click()
    await tab.settled()
    await tab("#status input:not(:checked)").first.check()
    await tab.settled()
    await tab("#status input[value=active]").check()
    await tab.settled()
    await tab.page.wait_for_timeout(2_000)  # until what was refreshed has stopped glowing
    await tab.page.screenshot(path=path)
    await context.close()


async def take_inspector(browser: Browser, path: Path) -> None:
    async with listening(Shop().mizan()) as (host, port):
        url = f"http://{host}:{port}/api/mizan"
        context = await browser.new_context(viewport={"width": 1440, "height": 1180}, reduced_motion="reduce")
        tab = await Window(context).open(f"{url}/inspector/")
        await tab('#state[data-state="live"]').wait_for()
        async with httpx.AsyncClient(base_url=url) as web:
            for customer_id in (6, 6, 7):
                await web.get("/ctx/orders/", params={"customer_id": customer_id})
            await web.get("/ctx/customer/", params={"customer_id": 6})
            await web.post("/call/touch/", json={"customer_id": 7})
            await web.get("/ctx/orders/", params={"customer_id": 7})
            await web.post("/call/ship/", json={"order_id": 1})
            await web.get("/ctx/orders/", params={"customer_id": 6})
        await tab("#try-what").select_option("call ship")
        await tab("#stale").wait_for()
        await tab("#calls .following").nth(1).wait_for()
        await tab.page.screenshot(path=path)
        await context.close()


if __name__ == "__main__":
    asyncio.run(main())
