"""Two organisations in one tracker: nothing that one writes or asks for shows anything of the other, or purges it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from examples.tracker.seed import SECOND

from .truth import Truth
from .world import ADMIN, SMALL, Tracker

API = "/api/mizan"
THERE = "kestrel.tracker.test"
THEIR_ADMIN, THEIR_PROJECT, THEIR_ISSUE = SMALL.people + 1, SMALL.projects + 1, SMALL.issues + 1

CONTEXTS = ("organisation/", "people/", "projects/", "board/?project_id={}", "issue/?issue_id={}", "workload/", "work/")


@asynccontextmanager
async def both(tracker: Tracker) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Signed in as the admin of each organisation, at its own host."""
    async with tracker.web(ADMIN) as here, tracker.web(THEIR_ADMIN, host=THERE) as there:
        yield here, there


def path(context: str, issue_id: int, project_id: int) -> str:
    return f"{API}/ctx/{context.format(project_id if context.startswith('board') else issue_id)}"


@pytest.mark.asyncio
async def test_each_organisation_sees_its_own_rows(tracker: Tracker) -> None:
    theirs = Truth(tracker.path, SECOND)
    async with both(tracker) as (here, there):
        for web, truth in ((here, tracker.truth), (there, theirs)):
            people = (await web.get(f"{API}/ctx/people/")).json()["people_list"]
            assert {one["person_id"] for one in people} == set(truth.people)
            projects = (await web.get(f"{API}/ctx/projects/")).json()["project_list"]
            assert {one["project_id"] for one in projects} == set(truth.projects)
            named = (await web.get(f"{API}/ctx/organisation/")).json()["organisation"]["name"]
            assert named == truth.organisation["name"]
            workload = (await web.get(f"{API}/ctx/workload/")).json()["workload"]
            assert {row["who"] for row in workload} <= {row["name"] for row in truth.people.values()} | {None}


@pytest.mark.asyncio
async def test_another_organisations_rows_are_not_there(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with both(tracker) as (here, there):
        for web, issue_id, project_id in ((there, issue["id"], 1), (here, THEIR_ISSUE, THEIR_PROJECT)):
            for context in ("board/?project_id={}", "issue/?issue_id={}"):
                assert (await web.get(path(context, issue_id, project_id))).status_code == 404
            comments = await web.post(f"{API}/call/", json={"fn": "issue_comments", "args": {"issue_id": issue_id}})
            assert comments.json()["result"] == []
        assert (await there.get("/p/1/")).status_code == 200  # open to the world
        assert (await here.get(f"/p/{THEIR_PROJECT}/")).status_code == 404
        assert (await there.get(f"/p/{THEIR_PROJECT}/")).status_code == 404


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("rename_issue", {"issue_id": THEIR_ISSUE, "title": "Ours now"}),
    ("set_status", {"issue_id": THEIR_ISSUE, "status": "closed"}),
    ("assign_issue", {"issue_id": THEIR_ISSUE, "assignee_id": None}),
    ("assign_issue", {"issue_id": 1, "assignee_id": THEIR_ADMIN}),
    ("take_issue", {"issue_id": THEIR_ISSUE}),
    ("move_issue", {"issue_id": THEIR_ISSUE, "to_project_id": 1}),
    ("move_issue", {"issue_id": 1, "to_project_id": THEIR_PROJECT}),
    ("add_comment", {"issue_id": THEIR_ISSUE, "text": "Hello there."}),
    ("edit_comment", {"issue_id": THEIR_ISSUE, "comment_id": SMALL.comments + 1, "text": "Not said."}),
    ("close_issues", {"issue_ids": [1, THEIR_ISSUE]}),
    ("archive_project", {"project_id": THEIR_PROJECT}),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "args"), CHANGES)
async def test_a_mutation_cannot_reach_across(tracker: Tracker, name: str, args: dict[str, Any]) -> None:
    before = Truth(tracker.path, SECOND)
    async with both(tracker) as (here, there):
        shown = await every_bundle(there)
        answer = await here.post(f"{API}/call/", json={"fn": name, "args": args})
        assert answer.status_code == 404
        assert "x-mizan-invalidate" not in answer.headers
        assert await statuses(there) == {"mizan; hit"}
        assert await every_bundle(there) == shown
    after = Truth(tracker.path, SECOND)
    assert (after.issues, after.comments, after.projects) == (before.issues, before.comments, before.projects)


@pytest.mark.asyncio
async def test_a_report_cannot_reach_across(tracker: Tracker) -> None:
    async with both(tracker) as (here, _):
        answer = await here.post(f"/p/{THEIR_PROJECT}/report/", data={"title": "From elsewhere"})
    assert answer.status_code == 404


@pytest.mark.asyncio
async def test_a_mutation_leaves_the_other_organisations_bundles_hits(tracker: Tracker) -> None:
    issue = tracker.issue("open")
    async with both(tracker) as (here, there):
        await every_bundle(there)
        await every_bundle(here)
        for name, args in (
            ("set_status", {"issue_id": issue["id"], "status": "active"}),
            ("take_issue", {"issue_id": issue["id"]}),
            ("add_comment", {"issue_id": issue["id"], "text": "On it."}),
            ("close_issues", {"issue_ids": [issue["id"]]}),
        ):
            assert (await here.post(f"{API}/call/", json={"fn": name, "args": args})).status_code == 200
            assert await statuses(there) == {"mizan; hit"}


@pytest.mark.asyncio
async def test_a_session_of_one_organisation_is_a_visitor_at_the_other(tracker: Tracker) -> None:
    async with tracker.web(ADMIN, host=THERE) as web:
        assert (await web.get(f"{API}/ctx/me/")).json() == {"whoami": None}
        assert (await web.get(f"{API}/ctx/work/")).status_code == 401
        people = (await web.get(f"{API}/ctx/people/")).json()["people_list"]
    assert {one["person_id"] for one in people} == set(Truth(tracker.path, SECOND).people)


@pytest.mark.asyncio
async def test_visitors_of_one_host_share_and_of_two_do_not(tracker: Tracker) -> None:
    async with tracker.web() as one, tracker.web() as same, tracker.web(host=THERE) as other:
        found = [await web.get(f"{API}/ctx/projects/") for web in (one, same, other)]
    assert [answer.headers["cache-status"] == "mizan; hit" for answer in found] == [False, True, False]
    assert found[0].json() == found[1].json() != found[2].json()


async def every_bundle(web: httpx.AsyncClient) -> list[Any]:
    return [json.loads((await web.get(one)).content) for one in _own_paths(web)]


async def statuses(web: httpx.AsyncClient) -> set[str]:
    return {(await web.get(one)).headers["cache-status"] for one in _own_paths(web)}


def _own_paths(web: httpx.AsyncClient) -> list[str]:
    is_there = web.base_url.host == THERE
    ids = (THEIR_ISSUE, THEIR_PROJECT) if is_there else (1, 1)
    return [path(context, *ids) for context in CONTEXTS]
