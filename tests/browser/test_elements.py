"""The helper for pages of HTML, in a real browser: what it hears, what it fetches, and what it shows."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Route

from tests.asgi.servers import listening
from tests.js.site import Door, Hold, names, site
from tests.node import package_file

from .pages import Tab, Window, until_text

pytestmark = pytest.mark.anyio

# Says so in `told` when an element has been refreshed, or could not be.
TOLD = """() => {
  window.told = [];
  for (const what of ["stale", "refreshed", "error"]) {
    addEventListener(`mizan:${what}`, (event) => window.told.push(`${what} ${event.target.id}`));
  }
}"""

RENAME = """(name) => fetch("/api/mizan/call/rename/", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user_id: 5, name }),
}).then((response) => response.json())"""


@pytest.fixture
def door() -> Door:
    names.clear()
    return site()


@pytest.fixture
async def tab(window: Window, door: Door) -> AsyncIterator[Tab]:
    """An empty page of a site that has loaded the helper."""
    async with listening(door) as (host, port):
        tab = await window.open(f"http://{host}:{port}/blank/")
        await tab.page.evaluate(TOLD)
        yield tab
        await tab.page.close()


async def shows(tab: Tab, html: str) -> None:
    await tab.page.evaluate("(html) => { document.body.innerHTML = html }", html)


def element(name: str, shown: str = "user?user_id=5", source: str = "/profile/5/", inside: str = "old") -> str:
    return f'<div id="{name}" data-mizan="{shown}" data-mizan-src="{source}">{inside}</div>'


def held(door: Door, target: str) -> Hold:
    door.holds.append(Hold(target, before=False))
    return door.holds[-1]


async def refreshed(tab: Tab, number: int) -> None:
    """Wait until so many elements have been refreshed since the last time."""
    count = "(number) => told.filter((one) => one.startsWith('refreshed')).length === number"
    await tab.page.wait_for_function(count, arg=number)
    await tab.page.evaluate("void (told.length = 0)")


async def lost(route: Route) -> None:
    """The server has done what it was asked for, and nobody hears of it."""
    await route.fetch()
    await route.abort()


async def fetched(tab: Tab, door: Door) -> list[str]:
    """What was asked for since the last time, when everything is at rest."""
    await tab.settled()
    asked, door.log = [one["target"] for one in door.log if one["target"].startswith("GET /profile/")], []
    return asked


async def test_an_answer_to_fetch_refreshes_exactly_what_it_touches(tab: Tab, door: Door) -> None:
    await shows(
        tab,
        element("all", "inbox, user?user_id=5")
        + element("page", "user?page=2&user_id=5", "/profile/5/?page=2")
        + element("other", "user?user_id=7", "/profile/7/")
        + element("else", "inbox"),
    )
    assert await tab.page.evaluate(RENAME, "Eve")
    await until_text(tab("#all"), "Eve")
    assert sorted(await fetched(tab, door)) == ["GET /profile/5/", "GET /profile/5/?page=2"]
    assert [await tab(f"#{one}").inner_html() for one in ("all", "other", "else")] == ["<b>Eve</b>", "old", "old"]


async def test_an_answer_to_xmlhttprequest_refreshes_too_and_elements_may_come_later(tab: Tab, door: Door) -> None:
    xhr = """([method, url, body]) => new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open(method, url);
      request.onloadend = () => done(request.status);
      request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
      request.send(body);
    })"""
    assert await tab.page.evaluate(xhr, ["POST", "/rename/", "user_id=5&name=Ann"]) == 200
    await shows(tab, element("late"))
    assert await tab.page.evaluate(xhr, ["GET", "/profile/5/#fragment", None]) == 200
    assert await fetched(tab, door) == ["GET /profile/5/"]
    assert await tab.page.evaluate(xhr, ["POST", "/rename/", "user_id=5&name=Eve"]) == 200
    await until_text(tab("#late"), "Eve")
    assert await fetched(tab, door) == ["GET /profile/5/"]


@pytest.mark.parametrize("version", ["htmx.org", "htmx4"])
async def test_htmx_refreshes_what_it_does_not_swap_itself(tab: Tab, door: Door, version: str) -> None:
    await tab.page.add_script_tag(path=package_file(f"{version}/dist/htmx.min.js"))
    fields = '<input name="user_id" value="5"><input name="name"><button></button>'
    form = f'<form hx-post="/rename/" hx-target="#answer">{fields}</form>'
    listening = '<p id="asks" data-mizan="user?user_id=5" hx-get="/profile/5/?p" hx-trigger="mizan:stale">old</p>'
    await shows(tab, form + '<p id="answer"></p>' + element("shown") + listening)
    await tab.page.evaluate("htmx.process(document.body)")
    await tab("[name=name]").fill("Eve")
    await tab("[name=name]").press("Enter")
    await until_text(tab("#answer"), "Eve")
    for name in ("shown", "asks"):
        await until_text(tab(f"#{name}"), "Eve")
    assert sorted(await fetched(tab, door)) == ["GET /profile/5/", "GET /profile/5/?p"]


async def test_what_htmx_is_to_do_in_new_html_works(tab: Tab) -> None:
    await tab.page.add_script_tag(path=package_file("htmx.org/dist/htmx.min.js"))
    names[5] = '<i hx-get="/profile/7/" hx-trigger="click">more</i>'
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await tab("#shown i").click()
    await until_text(tab("#shown i"), "user 7")


async def test_an_answer_that_was_overtaken_is_never_shown(tab: Tab, door: Door) -> None:
    await shows(tab, element("shown"))
    await tab.watch("#shown")
    first = held(door, "GET /profile/5/")
    await tab.page.evaluate(RENAME, "Ann")
    await first.arrived.wait()
    await tab.page.evaluate(RENAME, "Eve")
    await first.gone.wait()
    await until_text(tab("#shown"), "Eve")
    await tab.settled()
    assert await tab.seen("#shown") == ["old", "Eve"]
    assert await tab.page.evaluate("told") == ["stale shown", "stale shown", "refreshed shown"]


async def test_what_is_around_a_stale_element_and_on_its_way_is_fetched_again(tab: Tab, door: Door) -> None:
    await shows(tab, element("around", "inbox", inside=element("inside")))
    await tab.watch("#around")
    first = held(door, "GET /profile/5/")
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('inbox'))")
    await first.arrived.wait()
    await tab.page.evaluate(RENAME, "Eve")
    await first.gone.wait()
    await until_text(tab("#around"), "Eve")
    assert await fetched(tab, door) == ["GET /profile/5/"] * 2
    assert await tab.seen("#around") == ["old", "Eve"]


async def test_a_burst_is_one_request_and_what_is_inside_comes_with_what_is_around(tab: Tab, door: Door) -> None:
    await shows(tab, element("around", inside=element("inside")))
    burst = "import('/api/mizan/elements.js').then(({ invalidate }) => { invalidate('user'); invalidate('user') })"
    await tab.page.evaluate(burst)
    await until_text(tab("#around"), "user 5")
    assert await fetched(tab, door) == ["GET /profile/5/"]


async def test_an_element_that_was_removed_meanwhile_is_left_alone(tab: Tab, door: Door) -> None:
    await shows(tab, element("gone") + element("stays"))
    first = held(door, "GET /profile/5/")
    await tab.page.evaluate("window.gone = document.querySelector('#gone')")
    await tab.page.evaluate(RENAME, "Eve")
    await first.arrived.wait()
    await tab.page.evaluate("gone.remove()")
    first.end.set_result("send")
    await until_text(tab("#stays"), "Eve")
    await tab.settled()
    assert await tab.page.evaluate("gone.innerHTML") == "old"
    await tab.page.evaluate(RENAME, "Zoe")
    await until_text(tab("#stays"), "Zoe")
    assert "error gone" not in await tab.page.evaluate("told")


async def test_what_cannot_be_fetched_leaves_what_was_shown_and_is_told(tab: Tab) -> None:
    await shows(tab, element("shown", source="/nowhere/") + element("prevented"))
    prevent = "document.querySelector('#prevented').addEventListener('mizan:stale', (event) => event.preventDefault())"
    await tab.page.evaluate(prevent)
    await tab.page.evaluate(RENAME, "Eve")
    await tab.settled()
    assert await tab.page.evaluate("told") == ["stale shown", "stale prevented", "error shown"]
    assert [await tab(one).inner_text() for one in ("#shown", "#prevented")] == ["old", "old"]


async def test_where_an_answer_was_lost_or_redirected_everything_is_fetched(tab: Tab, door: Door) -> None:
    await shows(tab, element("one") + element("other", "inbox", "/profile/7/"))
    both = ["GET /profile/5/", "GET /profile/7/"]
    post = """([url, ask]) => new Promise((done) => {
      const form = new URLSearchParams({ user_id: 5, name: "Eve" });
      if (ask === "fetch") return fetch(url, { method: "POST", body: form }).then((one) => one.text()).then(done, done);
      const request = new XMLHttpRequest();
      request.open("POST", url);
      request.onloadend = () => done();
      request.send(form);
    })"""
    for ask in ("fetch", "xhr"):
        await tab.page.evaluate(post, ["/rename-and-go/", ask])
        await refreshed(tab, 2)
        assert sorted(await fetched(tab, door)) == both
        await tab.page.route("**/rename/", lost)
        await tab.page.evaluate(post, ["/rename/", ask])
        await refreshed(tab, 2)
        assert sorted(await fetched(tab, door)) == both
        await tab.page.unroute("**/rename/")
    await tab.page.evaluate("fetch('http://127.0.0.1:1/', { method: 'POST' }).catch(() => {})")
    await tab.page.evaluate("fetch('http://[', { method: 'POST' }).catch(() => {})")
    await tab.page.evaluate("fetch('/profile/9/', { signal: AbortSignal.abort() }).catch(() => {})")
    assert await fetched(tab, door) == []


async def test_another_origin_has_no_say(tab: Tab, door: Door) -> None:
    await shows(tab, element("shown"))
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Mizan-Invalidate",
        "X-Mizan-Invalidate": "user",
    }
    await tab.page.route("http://elsewhere.test/", lambda route: route.fulfill(headers=headers, body="user"))
    ask = "fetch('http://elsewhere.test/').then((one) => one.headers.get('X-Mizan-Invalidate'))"
    assert await tab.page.evaluate(ask) == "user"
    assert await fetched(tab, door) == []


async def test_of_a_whole_page_the_element_of_the_same_id_is_taken_and_no_script_is_run(tab: Tab) -> None:
    names[5] = '</b><main id="shown"><script>window.ran = true</script><em>new</em></main><b>'
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await until_text(tab("#shown"), "new")
    assert await tab("#shown > em").count() == 1
    assert await tab.page.evaluate("window.ran") is None


async def test_the_field_that_has_the_focus_keeps_it_and_what_was_typed(tab: Tab) -> None:
    names[5] = 'new <input id="field" value="from the server">'
    await shows(tab, element("shown", inside='<input id="field"> <input id="gone">'))
    await tab("#field").fill("typed")
    await tab.page.evaluate("document.querySelector('#field').setSelectionRange(1, 3)")
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await until_text(tab("#shown"), "new")
    state = "(({ id, value, selectionStart, selectionEnd }) => [id, value, selectionStart, selectionEnd])"
    assert await tab.page.evaluate(f"{state}(document.activeElement)") == ["field", "typed", 1, 3]


async def test_lists_do_not_set_elements_apart(tab: Tab, door: Door) -> None:
    await shows(tab, element("shown", "orders?customer_id=5&tags=a&tags=b"))
    call = """(params) => import('/api/mizan/elements.js').then(({ invalidate }) =>
      invalidate({ context: "orders", params }))"""
    await tab.page.evaluate(call, {"customer_id": 7, "tags": ["a", "b"]})
    assert await fetched(tab, door) == []
    for tags in (["a", "b"], '["c"]'):
        await tab.page.evaluate(call, {"customer_id": 5, "tags": tags})
        await refreshed(tab, 1)
        assert await fetched(tab, door) == ["GET /profile/5/"]


async def test_loaded_twice_it_works_once(tab: Tab, door: Door) -> None:
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js#again')")
    await tab.page.evaluate(RENAME, "Eve")
    await until_text(tab("#shown"), "Eve")
    assert await fetched(tab, door) == ["GET /profile/5/"]


async def test_beside_the_runtime_it_hears_of_its_calls(tab: Tab, door: Door) -> None:
    await shows(tab, element("shown"))
    call = """import('/api/mizan/client.js').then(({ createClient }) =>
      createClient().call("rename", { user_id: 5, name: "Eve" }))"""
    assert await tab.page.evaluate(call) == "Eve"
    await until_text(tab("#shown"), "Eve")
    assert await fetched(tab, door) == ["GET /profile/5/"]
