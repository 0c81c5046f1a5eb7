"""The helper for pages of HTML, in a real browser: what it hears, what it fetches, and what it shows."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Route

from tests.http.servers import listening
from tests.js.site import Hold, RequestGate, carts, names, site
from tests.node import package_file

from .pages import Tab, Window, until_text

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
def gate() -> RequestGate:
    names.clear()
    return site()


@pytest_asyncio.fixture(loop_scope="package")
async def tab(window: Window, gate: RequestGate) -> AsyncIterator[Tab]:
    """An empty page of a site that has loaded the helper."""
    async with listening(gate) as (host, port):
        tab = await window.open(f"http://{host}:{port}/blank/")
        await tab.page.evaluate(TOLD)
        yield tab
        await tab.page.close()


async def shows(tab: Tab, html: str) -> None:
    await tab.page.evaluate("(html) => { document.body.innerHTML = html }", html)


def element(name: str, shown: str = "user?user_id=5", source: str = "/profile/5/", inside: str = "old") -> str:
    return f'<div id="{name}" data-mizan="{shown}" data-mizan-src="{source}">{inside}</div>'


def held(gate: RequestGate, target: str) -> Hold:
    gate.holds.append(Hold(target, before=False))
    return gate.holds[-1]


async def refreshed(tab: Tab, number: int) -> None:
    """Wait until so many elements have been refreshed since the last time."""
    count = "(number) => told.filter((one) => one.startsWith('refreshed')).length === number"
    await tab.page.wait_for_function(count, arg=number)
    await tab.page.evaluate("void (told.length = 0)")


async def lost(route: Route) -> None:
    """The server runs the call, and its answer is lost."""
    await route.fetch()
    await route.abort()


async def fetched(tab: Tab, gate: RequestGate) -> list[str]:
    """What was asked for since the last time, when everything is at rest."""
    await tab.settled()
    asked, gate.log = [one["target"] for one in gate.log if one["target"].startswith("GET /profile/")], []
    return asked


@pytest.mark.asyncio(loop_scope="package")
async def test_an_answer_to_fetch_refreshes_exactly_what_it_touches(tab: Tab, gate: RequestGate) -> None:
    await shows(
        tab,
        element("all", "inbox, user?user_id=5")
        + element("page", "user?page=2&user_id=5", "/profile/5/?page=2")
        + element("other", "user?user_id=7", "/profile/7/")
        + element("else", "inbox"),
    )
    assert await tab.page.evaluate(RENAME, "Eve")
    await until_text(tab("#all"), "Eve")
    assert sorted(await fetched(tab, gate)) == ["GET /profile/5/", "GET /profile/5/?page=2"]
    assert [await tab(f"#{one}").inner_html() for one in ("all", "other", "else")] == ["<b>Eve</b>", "old", "old"]


@pytest.mark.asyncio(loop_scope="package")
async def test_xmlhttprequest_refreshes_elements_also_late_ones(tab: Tab, gate: RequestGate) -> None:
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
    assert await fetched(tab, gate) == ["GET /profile/5/"]
    assert await tab.page.evaluate(xhr, ["POST", "/rename/", "user_id=5&name=Eve"]) == 200
    await until_text(tab("#late"), "Eve")
    assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("version", ["htmx.org", "htmx4"])
async def test_htmx_refreshes_what_it_does_not_swap_itself(tab: Tab, gate: RequestGate, version: str) -> None:
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
    assert sorted(await fetched(tab, gate)) == ["GET /profile/5/", "GET /profile/5/?p"]


@pytest.mark.asyncio(loop_scope="package")
async def test_htmx_works_in_refreshed_html(tab: Tab) -> None:
    await tab.page.add_script_tag(path=package_file("htmx.org/dist/htmx.min.js"))
    names[5] = '<i hx-get="/profile/7/" hx-trigger="click">more</i>'
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await tab("#shown i").click()
    await until_text(tab("#shown i"), "user 7")


@pytest.mark.asyncio(loop_scope="package")
async def test_an_answer_that_was_overtaken_is_never_shown(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown"))
    await tab.watch("#shown")
    first = held(gate, "GET /profile/5/")
    await tab.page.evaluate(RENAME, "Ann")
    await first.arrived.wait()
    await tab.page.evaluate(RENAME, "Eve")
    await first.gone.wait()
    await until_text(tab("#shown"), "Eve")
    await tab.settled()
    assert await tab.seen("#shown") == ["old", "Eve"]
    assert await tab.page.evaluate("told") == ["stale shown", "stale shown", "refreshed shown"]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_stale_elements_ancestor_in_flight_is_fetched_again(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("around", "inbox", inside=element("inside")))
    await tab.watch("#around")
    first = held(gate, "GET /profile/5/")
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('inbox'))")
    await first.arrived.wait()
    await tab.page.evaluate(RENAME, "Eve")
    await first.gone.wait()
    await until_text(tab("#around"), "Eve")
    assert await fetched(tab, gate) == ["GET /profile/5/"] * 2
    assert await tab.seen("#around") == ["old", "Eve"]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_burst_is_one_request_and_inner_elements_join_outer(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("around", inside=element("inside")))
    burst = "import('/api/mizan/elements.js').then(({ invalidate }) => { invalidate('user'); invalidate('user') })"
    await tab.page.evaluate(burst)
    await until_text(tab("#around"), "user 5")
    assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_an_element_removed_during_its_fetch_is_left_alone(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("gone") + element("stays"))
    first = held(gate, "GET /profile/5/")
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


@pytest.mark.asyncio(loop_scope="package")
async def test_a_failed_fetch_leaves_the_old_html_and_is_reported(tab: Tab) -> None:
    await shows(tab, element("shown", source="/nowhere/") + element("prevented"))
    prevent = "document.querySelector('#prevented').addEventListener('mizan:stale', (event) => event.preventDefault())"
    await tab.page.evaluate(prevent)
    await tab.page.evaluate(RENAME, "Eve")
    await tab.settled()
    assert await tab.page.evaluate("told") == ["stale shown", "stale prevented", "error shown"]
    assert [await tab(one).inner_text() for one in ("#shown", "#prevented")] == ["old", "old"]


@pytest.mark.asyncio(loop_scope="package")
async def test_after_a_lost_or_redirected_answer_everything_is_fetched(tab: Tab, gate: RequestGate) -> None:
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
        assert sorted(await fetched(tab, gate)) == both
        await tab.page.route("**/rename/", lost)
        await tab.page.evaluate(post, ["/rename/", ask])
        await refreshed(tab, 2)
        assert sorted(await fetched(tab, gate)) == both
        await tab.page.unroute("**/rename/")
    await tab.page.evaluate("fetch('http://127.0.0.1:1/', { method: 'POST' }).catch(() => {})")
    await tab.page.evaluate("fetch('http://[', { method: 'POST' }).catch(() => {})")
    await tab.page.evaluate("fetch('/profile/9/', { signal: AbortSignal.abort() }).catch(() => {})")
    assert await fetched(tab, gate) == []


@pytest.mark.asyncio(loop_scope="package")
async def test_another_origin_has_no_say(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown"))
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "X-Mizan-Invalidate",
        "X-Mizan-Invalidate": "user",
    }
    await tab.page.route("http://elsewhere.test/", lambda route: route.fulfill(headers=headers, body="user"))
    ask = "fetch('http://elsewhere.test/').then((one) => one.headers.get('X-Mizan-Invalidate'))"
    assert await tab.page.evaluate(ask) == "user"
    assert await fetched(tab, gate) == []


RUNNING = """
  <img class="click" src="/x" onerror="ran.push('img')" onclick="ran.push('click')">
  <svg onload="ran.push('svg')"><script>ran.push("svg script")</script></svg>
  <svg><a class="click" xlink:href="javascript:ran.push('xlink')"><text>a</text></a>
    <a class="click"><animate attributeName="href" values="javascript:ran.push('animate')"/><text>a</text></a>
    <set attributeName="onload" to="ran.push('set')"/>
    <use href="data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'><a onclick='ran.push(0)'/></svg>#x"/>
  </svg>
  <script>ran.push("script")</script>
  <a class="click" href="&#1; java&#10;script:ran.push('href')">a</a>
  <form action="javascript:ran.push('action')"><button class="click">b</button></form>
  <form><button class="click" formaction="JavaScript:ran.push('formaction')">b</button></form>
  <iframe srcdoc="<script>parent.ran.push('srcdoc')</script>"></iframe>
  <iframe src="javascript:parent.ran.push('iframe')"></iframe>
  <object data="/control/file?content-type=text/html"></object><embed src="/control/file?content-type=text/html">
  <meta http-equiv="refresh" content="0;url=/blank/?refreshed"><base href="/elsewhere/">
  <details open ontoggle="ran.push('toggle')"></details><input autofocus onfocus="ran.push('focus')">
  <template><img src="/x" onerror="ran.push('template')"></template>
  <i class="click" hx-on:click="ran.push('hx-on')" data-hx-on:click="ran.push('data-hx-on')">i</i>
  <i class="click" hx-get="/x/" hx-trigger="click[ran.push('filter')]">i</i>
  <i class="click" hx-get="/x/" hx-vals="js:{a: ran.push('vals')}" hx-vars="a: ran.push('vars')">i</i>
"""

# In a form, fields hide the properties and methods that they are called like.
CLOBBERING = """
  <form onclick="ran.push('clobbered')" data-mizan="user" data-mizan-src="/profile/7/">
    <input name="attributes"><input name="getAttributeNames"><input name="getAttribute"><input name="removeAttribute">
    <input name="matches"><input name="closest"><input name="remove"><input name="dispatchEvent"><input name="dataset">
    <input name="contains"><input name="isConnected"><input name="replaceChildren"><input name="id">
  </form>
"""


SET_OFF = """() => {
  const all = (selector) => document.querySelectorAll(selector);
  for (const one of all("#shown template")) document.body.append(one.content.cloneNode(true));
  for (const one of all(".click")) one.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  return new Promise((done) => Object.assign(new Image(), { onerror: done, src: "/x" }));
}"""


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("version", ["htmx.org", "htmx4"])
async def test_nothing_in_an_answer_runs(tab: Tab, version: str) -> None:
    await tab.page.add_script_tag(path=package_file(f"{version}/dist/htmx.min.js"))
    names[5] = f"{RUNNING}<em title='JavaScript: the parts' hx-get='/y/'>end</em>"
    await shows(tab, element("shown"))
    await tab.page.evaluate("window.ran = []; addEventListener('submit', (event) => event.preventDefault())")
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await refreshed(tab, 1)
    await tab.page.evaluate(SET_OFF)
    await tab.settled()
    left = r"/ on\w+=|srcdoc|hx-on|ran\.push|<(script|iframe|object|embed|meta|base)|href=.data:/i"
    assert await tab.page.evaluate(f"document.body.innerHTML.match({left})") is None
    assert await tab.page.evaluate("window.ran") == []
    assert await tab("#shown em").evaluate("(one) => [one.title, one.getAttribute('hx-get')]") == [
        "JavaScript: the parts",
        "/y/",
    ]


@pytest.mark.asyncio(loop_scope="package")
async def test_form_fields_named_like_methods_do_no_harm(tab: Tab) -> None:
    names[5] = CLOBBERING
    await shows(tab, CLOBBERING.replace("onclick", "data-x") + element("shown"))
    await tab.page.evaluate(RENAME, CLOBBERING)
    await refreshed(tab, 2)
    assert (
        await tab("#shown form").evaluate("(one) => HTMLElement.prototype.hasAttribute.call(one, 'onclick')") is False
    )


@pytest.mark.asyncio(loop_scope="package")
async def test_unchanged_html_is_not_replaced(tab: Tab) -> None:
    kept = (
        '<a href="/there/" class="a">a</a><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="on">'
        '<svg><use href="#icon" style="fill:red"></use><use xlink:href="/icons.svg#icon"></use></svg>'
        '<form action="/rename/" method="post"><input name="id" value="js: 5"></form><p itemscope=""></p>'
    )
    names[5] = kept
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await refreshed(tab, 1)
    assert await tab("#shown > b").inner_html() == kept


FILE = "<img src=x onerror=ran=true>"


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize(
    "source",
    [
        f"data:text/html,{FILE}",
        "blob",
        "javascript:document.title",
        "//elsewhere.test/file",
        "http://elsewhere.test/file",
        "/control/go?to=http://elsewhere.test/file",
        "/control/file?content-type=text/plain",
        "/control/file?content-type=image/svg%2Bxml",
        "/control/file?content-type=text/html%3B+charset=utf-8&content-disposition=attachment",
        "http://[",
    ],
)
async def test_html_is_taken_from_pages_of_this_origin_alone(tab: Tab, source: str) -> None:
    headers = {"Access-Control-Allow-Origin": "*"}
    asked = []

    async def elsewhere(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(headers=headers, content_type="text/html", body=FILE)

    await tab.page.route("http://elsewhere.test/**", elsewhere)
    if source == "blob":
        make = "(html) => URL.createObjectURL(new Blob([html], { type: 'text/html' }))"
        source = await tab.page.evaluate(make, FILE)
    await shows(tab, element("shown", source=source))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await tab.page.wait_for_function("told.includes('error shown')")
    assert await tab("#shown").inner_html() == "old"
    assert asked == []


@pytest.mark.asyncio(loop_scope="package")
async def test_ignored_answers_refresh_nothing(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, f"<article data-mizan-ignore>{element('written')}</article>{element('shown')}")
    await tab.page.evaluate(RENAME, "Eve")
    await until_text(tab("#shown"), "Eve")
    assert await fetched(tab, gate) == ["GET /profile/5/"]
    assert await tab.page.evaluate("told") == ["stale shown", "refreshed shown"]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_whole_page_gives_its_element_and_runs_no_script(tab: Tab) -> None:
    names[5] = '</b><main id="shown"><script>window.ran = true</script><em>new</em></main><b>'
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await until_text(tab("#shown"), "new")
    assert await tab("#shown > em").count() == 1
    assert await tab.page.evaluate("window.ran") is None


@pytest.mark.asyncio(loop_scope="package")
async def test_the_focused_field_keeps_focus_and_typed_text(tab: Tab) -> None:
    names[5] = 'new <input id="field" value="from the server">'
    await shows(tab, element("shown", inside='<input id="field"> <input id="gone">'))
    await tab("#field").fill("typed")
    await tab.page.evaluate("document.querySelector('#field').setSelectionRange(1, 3)")
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    await until_text(tab("#shown"), "new")
    state = "(({ id, value, selectionStart, selectionEnd }) => [id, value, selectionStart, selectionEnd])"
    assert await tab.page.evaluate(f"{state}(document.activeElement)") == ["field", "typed", 1, 3]


@pytest.mark.asyncio(loop_scope="package")
async def test_lists_do_not_set_elements_apart(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown", "orders?customer_id=5&tags=a&tags=b"))
    call = """(params) => import('/api/mizan/elements.js').then(({ invalidate }) =>
      invalidate({ context: "orders", params }))"""
    await tab.page.evaluate(call, {"customer_id": 7, "tags": ["a", "b"]})
    assert await fetched(tab, gate) == []
    for tags in (["a", "b"], '["c"]'):
        await tab.page.evaluate(call, {"customer_id": 5, "tags": tags})
        await refreshed(tab, 1)
        assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_loaded_twice_it_works_once(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown"))
    await tab.page.evaluate("import('/api/mizan/elements.js#again')")
    await tab.page.evaluate(RENAME, "Eve")
    await until_text(tab("#shown"), "Eve")
    assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_the_elements_helper_hears_the_runtimes_calls(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown"))
    call = """import('/api/mizan/client.js').then(({ createClient }) =>
      createClient().call("rename", { user_id: 5, name: "Eve" }))"""
    assert await tab.page.evaluate(call) == "Eve"
    await until_text(tab("#shown"), "Eve")
    assert await fetched(tab, gate) == ["GET /profile/5/"]


CLIENT = """import('/api/mizan/client.js').then(({ createClient }) => {
  window.client = createClient(%s);
  window.states = [];
  client.subscribe("user", { user_id: 5 }, (state) => states.push(state.data?.user_profile.name));
  return client.load("user", { user_id: 5 });
})"""


async def bundles(tab: Tab) -> list[str]:
    """What was asked of Mizan since the last time, when everything is at rest."""
    await tab.settled()
    sent, tab.sent = tab.sent, []
    return sent


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("options", ["", "{ baseUrl: location.origin + '/api/mizan/' }", "{ channel: false }"])
async def test_a_call_of_a_client_of_the_page_is_heard_once(tab: Tab, gate: RequestGate, options: str) -> None:
    await shows(tab, element("shown"))
    await tab.page.evaluate(CLIENT % options)
    assert await bundles(tab) == ["GET user?user_id=5"]
    await tab.page.evaluate("client.call('rename', { user_id: 5, name: 'Eve' })")
    await until_text(tab("#shown"), "Eve")
    assert await bundles(tab) == ["POST rename"], "what it showed came with the answer"
    assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_client_of_the_page_hears_what_the_page_does(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown"))
    await tab.page.evaluate(CLIENT % "")
    await tab.page.evaluate(RENAME, "Eve")
    await tab.page.wait_for_function("states.at(-1) === 'Eve'")
    assert await bundles(tab) == ["GET user?user_id=5", "POST rename", "GET user?user_id=5"]
    assert await fetched(tab, gate) == ["GET /profile/5/"]
    await tab.page.evaluate("import('/api/mizan/elements.js').then(({ invalidate }) => invalidate('user'))")
    assert await bundles(tab) == ["GET user?user_id=5"]
    assert await fetched(tab, gate) == ["GET /profile/5/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_elements_hear_a_clients_invalidate_and_identify(tab: Tab, gate: RequestGate) -> None:
    await shows(tab, element("shown") + element("other", "inbox", "/profile/7/"))
    await tab.page.evaluate(CLIENT % "")
    await tab.page.evaluate("client.invalidate({ context: 'user', params: { user_id: 5 } })")
    await refreshed(tab, 1)
    assert await fetched(tab, gate) == ["GET /profile/5/"]
    await tab.page.evaluate("client.identify()")
    await refreshed(tab, 2)
    assert sorted(await fetched(tab, gate)) == ["GET /profile/5/", "GET /profile/7/"]


@pytest.mark.asyncio(loop_scope="package")
async def test_elements_and_clients_of_other_tabs_hear_of_a_change(window: Window, tab: Tab, gate: RequestGate) -> None:
    there = await window.open(tab.page.url)
    await shows(there, element("there") + element("other", "user?user_id=7", "/profile/7/"))
    await shows(tab, element("shown"))
    await there.page.evaluate(CLIENT % "")
    await tab.page.evaluate(RENAME, "Eve")
    await until_text(there("#there"), "Eve")
    await there.page.wait_for_function("states.at(-1) === 'Eve'")
    await there.page.evaluate("client.call('rename', { user_id: 5, name: 'Zoe' })")
    await until_text(tab("#shown"), "Zoe")
    await until_text(there("#there"), "Zoe")
    assert await fetched(tab, gate) == ["GET /profile/5/"] * 4
    await there.page.close()


CALL = """(name) => fetch(`/api/mizan/call/${name}/`, {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ sku: "pen" }),
}).then((response) => response.status)"""


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize(("call", "status"), [("add_line", 200), ("add_and_explode", 500), ("add_and_refuse", 409)])
async def test_elements_of_ones_own_need_not_know_who_asks(
    window: Window, tab: Tab, gate: RequestGate, call: str, status: int
) -> None:
    carts.clear()
    await tab.page.evaluate("document.cookie = 'user=5; path=/'")
    there = await window.open(tab.page.url)
    shown = element("shown", "cart", "/my/cart/") + element("known", "cart?page=1&user_id=5", "/my/cart/")
    for one in (tab, there):
        await shows(one, shown + element("else", "cart?user_id=6", "/my/cart/"))
    assert await tab.page.evaluate(CALL, call) == status
    for one in (tab, there):
        await until_text(one("#shown"), "pen")
        await until_text(one("#known"), "pen")
        assert await one("#else").inner_html() == "old"
    await there.page.close()


@pytest.mark.asyncio(loop_scope="package")
async def test_a_clients_call_for_another_is_heard_in_other_tabs(window: Window, tab: Tab) -> None:
    carts.clear()
    carts[5] = ["cup"]
    await tab.page.evaluate("document.cookie = 'user=5; path=/'")
    there = await window.open(tab.page.url)
    for one in (tab, there):
        await shows(
            one, element("theirs", "cart?user_id=6", "/my/cart/") + element("own", "cart?user_id=5", "/my/cart/")
        )
    call = """import('/api/mizan/client.js').then(({ createClient }) =>
      createClient().call("give", { to: [6], sku: "pen" }))"""
    await tab.page.evaluate(call)
    for one in (tab, there):
        await until_text(one("#theirs"), "cup")
        assert await one("#own").inner_html() == "old"
    await there.page.close()


@pytest.mark.asyncio(loop_scope="package")
async def test_the_channel_may_have_another_name(window: Window, tab: Tab, gate: RequestGate) -> None:
    html = "<!doctype html><html data-mizan-channel='ours'><script type=module src=/api/mizan/elements.js></script>"
    await tab.page.route("**/ours/", lambda route: route.fulfill(content_type="text/html", body=html))
    await tab.page.goto(tab.page.url.replace("blank", "ours"))
    await shows(tab, element("shown"))
    await tab.page.evaluate(CLIENT % "{ channel: 'ours' }")
    await tab.page.evaluate("client.invalidate('user')")
    await until_text(tab("#shown"), "user 5")


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("event", ["persisted", "history"])
async def test_a_page_that_comes_from_history_is_refreshed(tab: Tab, gate: RequestGate, event: str) -> None:
    html = f"<!doctype html><script type=module src=/api/mizan/elements.js></script>{element('shown')}"
    await tab.page.route("**/kept/", lambda route: route.fulfill(content_type="text/html", body=html))
    blank = tab.page.url
    await tab.page.goto(blank.replace("blank", "kept"))
    assert await fetched(tab, gate) == []
    if event == "persisted":
        await tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: false }))")
        assert await fetched(tab, gate) == []
        await tab.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    else:
        await tab.page.goto(blank)
        await tab.page.go_back()
    await until_text(tab("#shown"), "user 5")
    assert await fetched(tab, gate) == ["GET /profile/5/"]


PROBLEM = {"status": 503, "json": {"status": 503, "code": "unavailable"}, "content_type": "application/problem+json"}


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize(
    ("answer", "fetches"),
    [
        ({"status": 502, "body": "Bad Gateway"}, ["GET /profile/5/", "GET /profile/7/"]),
        (PROBLEM, []),
        ({"status": 404, "body": "Not here"}, []),
    ],
)
async def test_after_the_answer_of_a_proxy_everything_is_fetched(
    tab: Tab, gate: RequestGate, answer: dict[str, Any], fetches: list[str]
) -> None:
    await shows(tab, element("one") + element("other", "inbox", "/profile/7/"))
    await tab.page.route("**/rename/", lambda route: route.fulfill(**answer))
    await tab.page.evaluate("fetch('/rename/', { method: 'POST' }).then((one) => one.text())")
    assert sorted(await fetched(tab, gate)) == fetches
