"""A page as a test sees it: its requests, and everything that it ever showed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import BrowserContext, Locator, Page, Request, Route

# Writes down each text that an element has from now on, at every change of the document.
_WATCH = """(selector) => {
  const seen = (window.seen ??= {})[selector] = [];
  const look = () => {
    const text = document.querySelector(selector)?.textContent ?? null;
    if (seen.length === 0 || seen.at(-1) !== text) seen.push(text);
  };
  look();
  const everything = { subtree: true, childList: true, characterData: true, attributes: true };
  new MutationObserver(look).observe(document, everything);
}"""


# Time for what has arrived to be handled and painted.
_A_WHILE = (
    """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20))))"""
)


class Window:
    """A browser's window, with tabs that share their cookies. What goes wrong in its pages fails the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.errors: list[str] = []

    async def open(self, url: str) -> "Tab":
        tab = Tab(await self.context.new_page())
        tab.page.on("pageerror", lambda error: self.errors.append(str(error)))
        await tab.page.goto(url)
        return tab


class Tab:
    """A page that writes down its requests to Mizan as they are sent: `GET board?project_id=1`, `POST rename_issue`."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[str] = []
        self._under_way: set[Request] = set()
        self._changed = asyncio.Event()
        page.on("request", self._begun)
        page.on("requestfinished", self._ended)
        page.on("requestfailed", self._ended)

    def __call__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    async def settled(self, *, held: int = 0) -> None:
        """Wait until no more requests than those that are held are under way, and nothing follows from what came."""
        while True:
            while len(self._under_way) > held:
                self._changed.clear()
                await self._changed.wait()
            sent = len(self.sent)
            await self.page.evaluate(_A_WHILE)
            if len(self._under_way) <= held and len(self.sent) == sent:
                return

    async def watch(self, selector: str) -> None:
        await self.page.evaluate(_WATCH, selector)

    async def seen(self, selector: str) -> list[str | None]:
        """Every text that the element had since it was watched, in order."""
        seen: list[str | None] = await self.page.evaluate("(selector) => window.seen[selector]", selector)
        return seen

    @asynccontextmanager
    async def holding(self, pattern: str, *, answered: bool = False) -> AsyncIterator["Held"]:
        """Requests to URLs like this, or the answers to them, wait on their way, at the longest until the end."""
        held = Held(answered)
        await self.page.route(pattern, held)
        yield held
        await held.end()
        await self.page.unroute(pattern, held)

    def _begun(self, request: Request) -> None:
        self._under_way.add(request)
        _, mizan, path = request.url.partition("/api/mizan/")
        if mizan and not path.endswith(".js"):
            name = path.partition("/")[2] or path
            self.sent.append(f"{request.method} {name.replace('/?', '?').removesuffix('/')}")

    def _ended(self, request: Request) -> None:
        self._under_way.discard(request)
        self._changed.set()


class Held:
    """A handler of routes that waits. `arrived` is set when the first request has come."""

    def __init__(self, answered: bool) -> None:
        self._answered = answered
        self.arrived = asyncio.Event()
        self._gate = asyncio.Event()
        self._waiting = 0
        self._none = asyncio.Event()
        self._none.set()

    async def __call__(self, route: Route) -> None:
        self._waiting += 1
        self._none.clear()
        answer = await route.fetch() if self._answered else None
        self.arrived.set()
        await self._gate.wait()
        await (route.continue_() if answer is None else route.fulfill(response=answer))
        self._waiting -= 1
        if self._waiting == 0:
            self._none.set()

    def let_go(self) -> None:
        self._gate.set()

    async def end(self) -> None:
        self.let_go()
        await self._none.wait()


async def sign_in(tab: Tab, person_id: int) -> None:
    await tab("#person").select_option(str(person_id))
    await tab("#sign-in").click()
    await tab("#sign-out").wait_for()
    await tab.settled()


async def until_text(locator: Locator, text: str) -> None:
    """Wait until the element has this text, as people read it."""
    await locator.filter(has_text=text).first.wait_for()
