"""The application as a browser, an edge and a person without script see it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from examples.tracker import clients
from examples.tracker.app import STATIC
from mizan_asgi.cli import cli

from .world import DEVELOPER, LEAD, VIEWER, Tracker

PUBLIC = "public, max-age=0, must-revalidate"
API = "/api/mizan"


@pytest.mark.asyncio
async def test_a_public_page_is_public_for_signed_in_users(tracker: Tracker) -> None:
    async with tracker.web(LEAD) as web:
        answer = await web.get("/p/1/")
    assert answer.headers["cache-control"] == PUBLIC
    assert "vary" not in answer.headers
    assert "set-cookie" not in answer.headers


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path",
    ["work/", "workload/", "abilities/", "me/", "projects/", "people/", "board/?project_id=1", "issue/?issue_id=1"],
)
async def test_answers_that_depend_on_the_caller_are_private(tracker: Tracker, path: str) -> None:
    async with tracker.web(LEAD) as web:
        answer = await web.get(f"{API}/ctx/{path}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "Cookie" in answer.headers["vary"]


@pytest.mark.asyncio
async def test_equal_permissions_share_the_workload(tracker: Tracker) -> None:
    statuses = {}
    for person_id in (DEVELOPER, 5, VIEWER, LEAD):
        async with tracker.web(person_id) as web:
            answer = await web.get(f"{API}/ctx/workload/")
            statuses[person_id] = answer.headers["cache-status"]
            names = {row["who"] for row in answer.json()["workload"]}
            assert ("developer" in names) == (person_id != LEAD)
    stored = "mizan; fwd=uri-miss; stored"
    assert statuses == {DEVELOPER: stored, 5: "mizan; hit", VIEWER: stored, LEAD: stored}


@pytest.mark.asyncio
async def test_whoami_is_one_answer_for_all_visitors(tracker: Tracker) -> None:
    async with tracker.web() as web:
        answers = [await web.get(f"{API}/ctx/me/") for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"whoami": None}] * 2
    assert [answer.headers["cache-control"] for answer in answers] == ["private, no-cache"] * 2
    assert answers[1].headers["cache-status"] == "mizan; hit"


@pytest.mark.asyncio
async def test_a_role_that_was_taken_away_is_gone_at_the_next_request(tracker: Tracker) -> None:
    async with tracker.web(LEAD) as web:
        before = await web.get(f"{API}/ctx/abilities/")
        tracker.write("UPDATE people SET role = 'viewer' WHERE id = ?", LEAD)
        after = await web.get(f"{API}/ctx/abilities/")
        refused = await web.post(f"{API}/call/", json={"fn": "close_issues", "args": {"issue_ids": [1]}})
    assert "issue.close" in before.json()["abilities"]["permissions"]
    assert after.json()["abilities"]["permissions"] == ["comment.write"]
    assert refused.status_code == 403


@pytest.mark.asyncio
async def test_without_script_a_person_signs_in_and_reports_an_issue(tracker: Tracker) -> None:
    async with tracker.web() as web:
        refused = await web.post("/p/2/report/", data={"title": "Seen <b>today</b>"})
        assert refused.status_code == 403
        assert "x-mizan-invalidate" not in refused.headers
        assert 'action="/sign-in/"' in refused.text
        signed_in = await web.post("/sign-in/", data={"person_id": DEVELOPER, "project_id": 2})
        assert signed_in.headers["location"] == "/p/2/"
        reported = await web.post("/p/2/report/", data={"title": "Seen <b>today</b>"}, follow_redirects=True)
    assert "Seen &lt;b&gt;today&lt;/b&gt;" in reported.text
    assert "<b>today" not in reported.text


@pytest.mark.asyncio
async def test_signing_out_ends_the_session(tracker: Tracker) -> None:
    async with tracker.web(LEAD) as web:
        await web.post("/sign-out/")
        answer = await web.get(f"{API}/ctx/work/")
    assert answer.status_code == 401


@pytest.mark.asyncio
async def test_another_site_can_neither_call_nor_report(tracker: Tracker) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    call = {"fn": "rename_issue", "args": {"issue_id": 1, "title": "From elsewhere"}}
    async with tracker.web(LEAD) as web:
        called = await web.post(f"{API}/call/", json=call, headers=elsewhere)
        reported = await web.post("/p/1/report/", data={"title": "From elsewhere"}, headers=elsewhere)
    assert (called.status_code, reported.status_code) == (403, 403)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path", ["/p/99/", f"{API}/ctx/board/?project_id=99", f"{API}/ctx/board/?page=99&project_id=1"]
)
async def test_a_missing_page_is_404_and_not_kept(tracker: Tracker, path: str) -> None:
    async with tracker.web() as web:
        answer = await web.get(path)
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.asyncio
@pytest.mark.parametrize("value", ["0", "-1", "9007199254740992", "9" * 400, "x", ""])
async def test_an_id_that_no_row_can_have_is_the_callers_mistake(tracker: Tracker, value: str) -> None:
    async with tracker.web() as web:
        assert (await web.get(f"{API}/ctx/issue/?issue_id={value}")).status_code == 422
        assert (await web.get(f"/p/{value or 'x'}/")).status_code == 422
        assert (await web.post("/sign-in/", data={"person_id": value})).status_code == 422


@pytest.mark.asyncio
async def test_an_unknown_person_is_anonymous(tracker: Tracker) -> None:
    async with tracker.web(777) as web:
        assert (await web.get(f"{API}/ctx/me/")).json() == {"whoami": None}


@pytest.mark.asyncio
async def test_the_page_needs_nothing_from_elsewhere(tracker: Tracker) -> None:
    async with tracker.web() as web:
        page = (await web.get("/")).text
        for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert (await web.get(path)).status_code == 200
    for file in filter(Path.is_file, STATIC.rglob("*")):
        assert not re.findall(r"https?://", file.read_text(encoding="utf-8"))


def test_the_checked_in_client_is_up_to_date() -> None:
    words = ["generate", "js", "examples.tracker.app:mizan", "--runtime", "/api/mizan/client.js", "--check"]
    ran = CliRunner().invoke(cli, [*words, "--out", str(STATIC / "client")])
    assert ran.exit_code == 0, ran.stderr


def test_the_page_calls_functions_that_there_are() -> None:
    script = (STATIC / "tracker.js").read_text(encoding="utf-8")
    called = set(re.findall(r'change\("(\w+)"', script))
    assert {"rename_issue", "set_status", "assign_issue", "close_issues", "add_comment"} <= called
    assert called <= set(vars(clients))
    for id_ in re.findall(r'\$\("([\w-]+)"\)', script):
        assert f'id="{id_}"' in (STATIC / "index.html").read_text(encoding="utf-8")
