"""Chromium, started once for each process that runs tests of this folder, and a tracker for each test.

The tests share the event loop that the browser was started in, and their servers run in it too: what a server answers
when, a test decides.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from examples.tracker.app import authenticate, hosting
from mizan_asgi import Mizan
from tests.http.servers import listening
from tests.tracker.conftest import filled, small
from tests.tracker.world import GRAPH

from .chromium import FLAGS, NAMES, executable
from .pages import Window

__all__ = ["filled", "small"]  # fixtures of the tracker's own tests


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    found = executable()
    if found is None:
        missing = f"There is none of {', '.join(NAMES)} here: nothing of this was seen in a real browser."
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def window(browser: Browser) -> AsyncIterator[Window]:
    """A window with empty storage and cache."""
    context: BrowserContext = await browser.new_context(viewport={"width": 1440, "height": 900}, locale="en")
    context.set_default_timeout(30_000)  # of a machine that is busy
    window = Window(context)
    yield window
    await context.close()
    assert window.errors == []


@pytest_asyncio.fixture(loop_scope="package")
async def tracker(small: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Where a tracker of this test's own is served."""
    monkeypatch.setenv("TRACKER_DB", str(small))
    async with listening(hosting(Mizan(GRAPH, authenticate=authenticate))) as (host, port):
        yield f"http://{host}:{port}"
