"""The tracker in a real browser: which requests its page makes, and what it shows until they are answered."""

import pytest
import pytest_asyncio
from playwright.async_api import Route

from tests.tracker.world import DEVELOPER, LEAD, SMALL

from .pages import Tab, Window, sign_in, until_text

NEW = "A new title"


@pytest_asyncio.fixture(loop_scope="package")
async def tab(window: Window, tracker: str) -> Tab:
    """A lead with the first issue of the first project open, which another person owns."""
    tab = await window.open(f"{tracker}/#/p/1")
    await sign_in(tab, LEAD)
    await tab("#board-list a[aria-current]").wait_for()
    await tab.settled()
    tab.sent.clear()
    return tab


async def issue_of(tab: Tab) -> int:
    current = await tab("#board-list a[aria-current]").get_attribute("id")
    assert current is not None
    return int(current.removeprefix("row-"))


async def rename(tab: Tab, title: str = NEW) -> None:
    await tab("#title").fill(title)
    await tab("#title").press("Enter")


async def without_mounted(route: Route) -> None:
    """As an older server would have it, which does not know the header."""
    headers = {name: value for name, value in route.request.headers.items() if name != "x-mizan-mounted"}
    await route.fallback(headers=headers)


@pytest.mark.asyncio(loop_scope="package")
async def test_an_edit_refreshes_the_panels_that_show_it_and_no_other(tab: Tab) -> None:
    issue_id = await issue_of(tab)
    await rename(tab)
    await until_text(tab("#log-list .summary"), "came with the answer, nothing else was fetched")
    await tab.settled()
    for shown in (f"#row-{issue_id}", f"#recent-{issue_id}"):
        assert await tab(shown).inner_text() == NEW
    assert await tab("#title").input_value() == NEW
    assert await tab("#issue .from").inner_text() == "with rename_issue"
    assert tab.sent == ["POST rename_issue"]


@pytest.mark.asyncio(loop_scope="package")
async def test_without_refresh_exactly_the_named_bundles_are_fetched(tab: Tab) -> None:
    issue_id = await issue_of(tab)
    await tab.page.route("**/call/**", without_mounted)
    await rename(tab)
    await until_text(tab("#log-list .summary"), "2 fetched")
    await tab.settled()
    assert tab.sent[0] == "POST rename_issue"
    assert sorted(tab.sent[1:]) == ["GET board?project_id=1", f"GET issue?issue_id={issue_id}"]
    assert await tab(f"#recent-{issue_id}").inner_text() == NEW


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("along", [True, False])
async def test_an_optimistic_edit_on_a_slow_network_does_not_flicker(tab: Tab, along: bool) -> None:
    issue_id = await issue_of(tab)
    shown = [f"#row-{issue_id}", f"#recent-{issue_id}"]
    before = await tab(shown[0]).inner_text()
    for one in shown:
        await tab.watch(one)
    async with tab.holding("**/call/rename_issue/") as held:
        if not along:
            await tab.page.route("**/call/**", without_mounted)
        await rename(tab)
        await held.arrived.wait()
        assert await tab(shown[0]).inner_text() == NEW, "at once"
        assert await tab("#board .from").inner_text() == "saving…"
        async with tab.holding("**/ctx/**") as fetching:
            held.let_go()
            if not along:
                await fetching.arrived.wait()
    await tab.settled()
    assert len(tab.sent) == (1 if along else 3)
    for one in shown:
        assert await tab.seen(one) == [before, NEW]


@pytest.mark.asyncio(loop_scope="package")
async def test_changes_of_other_users_show_under_an_optimistic_edit(tab: Tab, window: Window) -> None:
    issue_id = await issue_of(tab)
    before = await tab(f"#row-{issue_id}").inner_text()
    await tab.watch(f"#row-{issue_id}")
    other = await window.open(tab.page.url)
    await other("#comment-text").wait_for()
    async with tab.holding("**/call/rename_issue/") as held:
        await rename(tab)
        await held.arrived.wait()
        await other("#comment-text").fill("Seen from the other tab.")
        await other("#comment-send").click()
        await until_text(tab("#comment-list"), "Seen from the other tab.")
        await tab.settled(held=1)
        assert await tab(f"#row-{issue_id}").inner_text() == NEW
    await tab.settled()
    assert await tab.seen(f"#row-{issue_id}") == [before, NEW]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_change_fetched_before_its_answer_is_not_shown_twice(tab: Tab, window: Window) -> None:
    other = await window.open(tab.page.url)
    await other("#title:enabled").wait_for()
    await tab.settled()
    comments = await tab("#comment-list li").count()
    async with tab.holding("**/call/add_comment/", answered=True) as held:
        await tab("#comment-text").fill("Once.")
        await tab("#comment-send").click()
        await held.arrived.wait()
        await rename(other)
        await until_text(tab("#recent-list"), NEW)
        await tab.settled(held=1)
        assert await tab("#comment-list li").count() == comments + 1
    await tab.settled()
    assert await tab("#comment-list li").count() == comments + 1
    assert await tab("#comments-title").inner_text() == f"{comments + 1} comment" + "s" * (comments > 0)


@pytest.mark.asyncio(loop_scope="package")
async def test_a_refused_edit_is_taken_back_and_says_why(tab: Tab) -> None:
    issue_id = await issue_of(tab)
    before = await tab(f"#row-{issue_id}").inner_text()
    await tab.watch(f"#row-{issue_id}")

    async def refuse(route: Route) -> None:
        problem = {"status": 409, "code": "conflict", "title": "Conflict", "detail": "Somebody was faster."}
        await route.fulfill(status=409, json=problem, content_type="application/problem+json")

    await tab.page.route("**/call/**", refuse)
    await rename(tab)
    await until_text(tab("#notice.shown"), "Somebody was faster.")
    await tab.settled()
    assert await tab.seen(f"#row-{issue_id}") == [before, NEW, before]
    assert await tab("#title").input_value() == before
    assert tab.sent == ["POST rename_issue"]


@pytest.mark.asyncio(loop_scope="package")
async def test_another_tab_fetches_exactly_its_stale_bundles(tab: Tab, window: Window) -> None:
    issue_id = await issue_of(tab)
    other = await window.open(tab.page.url)
    await other("#board-list a[aria-current]").wait_for()
    await other.settled()
    other.sent.clear()
    await rename(tab)
    await until_text(other("#board-list"), NEW)
    await other.settled()
    assert sorted(other.sent) == ["GET board?project_id=1", f"GET issue?issue_id={issue_id}"]
    assert await other(f"#recent-{issue_id}").inner_text() == NEW
    assert tab.sent == ["POST rename_issue"]
    other.sent.clear()
    tab.sent.clear()
    await tab("#status input:enabled:not(:checked)").first.check()
    await tab.settled()
    await other.settled()
    assert tab.sent == ["POST set_status"]
    stale = ["GET board?project_id=1", f"GET issue?issue_id={issue_id}", "GET projects", "GET workload"]
    assert set(other.sent) == set(stale), "the work of somebody else is not on this page"


@pytest.mark.asyncio(loop_scope="package")
async def test_each_organisation_has_its_own_page_and_people(window: Window, tracker: str) -> None:
    tab = await window.open(tracker)
    shown: list[tuple[str, list[str], list[str]]] = []
    for name in ("Heron", "Kestrel", "Heron"):
        await until_text(tab("#organisation"), name)
        await tab("#board-list a").first.wait_for()
        await tab("#person option").first.wait_for(state="attached")
        await tab.settled()
        assert await tab("#plain-page").is_visible() == (name == "Heron")
        shown.append((name, await tab("#project-list .title").all_inner_texts(), await options(tab)))
        await tab("#elsewhere").click()
    (_, projects, people), (_, others, strangers), again = shown
    assert again == shown[0]
    assert all((projects, people, others, strangers))
    assert not {*projects, *people} & {*others, *strangers}


@pytest.mark.asyncio(loop_scope="package")
async def test_a_person_of_the_second_organisation_works_there(window: Window, tracker: str) -> None:
    tab = await window.open(tracker.replace("127.0.0.1", "kestrel.localhost"))
    await tab("#board-list a").first.wait_for()
    await tab("#person option").first.wait_for(state="attached")
    await sign_in(tab, SMALL.people + 1)
    await tab("#board-list a[aria-current]").wait_for()
    await tab.settled()
    issue_id = await issue_of(tab)
    tab.sent.clear()
    for _ in range(2):
        await tab("#assignee").select_option("")
        await tab.settled()
        assert await tab(f"#work-{issue_id}").count() == 0
        await tab("#take").click()
        await tab.settled()
        assert await tab(f"#work-{issue_id}").count() == 1
    assert tab.sent == ["POST assign_issue", "POST take_issue"] * 2


async def options(tab: Tab) -> list[str]:
    return await tab("#person option").all_text_contents()


@pytest.mark.asyncio(loop_scope="package")
async def test_signing_out_forgets(tab: Tab, window: Window) -> None:
    other = await window.open(tab.page.url)
    mine = await tab("#work-list a").all_inner_texts()
    assert mine
    await until_text(other("#work-list"), mine[0])
    for one in (tab, other):
        await one.settled()
        one.sent.clear()
        await one.watch("#work-list")
    async with tab.holding("**/ctx/**"), other.holding("**/ctx/**"):
        await tab("#sign-out").click()
        for one in (tab, other):
            await one("#work-list a").first.wait_for(state="detached")
            assert await one("#workload-list .count").count() == 0
    for one in (tab, other):
        await until_text(one("#work-list"), "Sign in to see your issues.")
        await one.settled()
        assert "GET me" in one.sent
        assert not [sent for sent in one.sent if sent.startswith(("GET work", "POST"))]
    await sign_in(tab, DEVELOPER)
    await tab("#work-list a").first.wait_for()
    for one in (tab, other):
        await one.settled()
        seen = await one.seen("#work-list")
        assert not [text for text in seen[1:] if text and mine[0] in text], "what one person saw is never shown again"


@pytest.mark.asyncio(loop_scope="package")
async def test_every_action_of_a_lead_is_refreshed_by_its_answer(tab: Tab) -> None:
    issue_id = await issue_of(tab)
    row = f"#board-list li:has(#row-{issue_id})"
    await tab("#comment-text").fill("First")
    await tab("#comment-text").press("Control+Enter")
    await tab.settled()
    assert "First" in await tab("#comment-list li:last-child").inner_text()
    await tab("#comment-list li:last-child button").click()
    await tab("#comment-text").fill("Second")
    await tab("#comment-send").click()
    await tab.settled()
    assert "edited" in await tab("#comment-list li:last-child").inner_text()
    await tab("#take").click()
    await tab.settled()
    assert await tab(f"#work-{issue_id}").count() == 1
    assert await tab(f"{row} .avatar").get_attribute("title") == await tab("#who .avatar").get_attribute("title")
    await tab("#assignee").select_option("")
    await tab.settled()
    assert await tab(f"{row} .avatar.nobody").count() == 1
    await tab(f"#choose-{issue_id}").check()
    await tab("#close-selected").click()
    await tab.settled()
    assert await tab("#status input[value=closed]").is_checked()
    await tab("#move-to").select_option("2")
    await tab.settled()
    assert await tab(f"#row-{issue_id}").count() == 0
    await tab("#archive").click()
    await tab.settled()
    assert "archived" in await tab("#project-list [aria-current]").inner_text()
    assert await tab("#board-list input:enabled").count() == 0
    await tab("#archive").click()
    await tab.settled()
    assert tab.sent == [
        *("POST add_comment", "POST edit_comment", "POST take_issue", "POST assign_issue", "POST close_issues"),
        *("POST move_issue", "POST archive_project", "POST archive_project"),
    ]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_failed_fetch_is_shown_and_can_be_retried(window: Window, tracker: str) -> None:
    tab = await window.open("about:blank")
    await tab.page.route("**/ctx/projects/", lambda route: route.abort())
    await tab.page.goto(tracker)
    await tab("#projects .error").wait_for()
    await tab.page.unroute("**/ctx/projects/")
    await tab("#projects .error button").click()
    await tab("#project-list a").first.wait_for()
    assert await tab("#projects .error").count() == 0


@pytest.mark.asyncio(loop_scope="package")
async def test_the_tracker_works_by_keyboard_and_on_a_narrow_screen(window: Window, tracker: str) -> None:
    tab = await window.open(tracker)
    await tab("#board-list a").first.focus()
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    second = await tab("#board-list a").nth(1).inner_text()
    await until_text(tab("#recent-list"), second)
    assert await tab("#board-list a[aria-current]").inner_text() == second
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    await tab.settled()
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360
