"""Two organisations in one tracker: nothing that one writes or asks for shows anything of the other, or purges it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from examples.tracker.roles import Role
from examples.tracker.seed import FIRST, SECOND

from .test_freshness import signed
from .truth import Truth
from .world import ADMIN, DEVELOPER, GRAPH, Tracker

CALL = "/api/mizan/call/"

# The contexts that no id of a row is asked for, and those of one row.
OWN = ("organisation", "people", "projects", "workload", "work", "abilities", "me")
OF_A_ROW = ("board", "issue")


@dataclass(frozen=True)
class Side:
    """An organisation: its host name, its admin, and a project with an issue that has a comment by the admin."""

    org_id: int
    host: str
    admin: int
    project: int
    issue: int
    comment: int

    @property
    def bundles(self) -> list[str]:
        return [*(f"/api/mizan/ctx/{context}/" for context in OWN), *self.of_its_rows]

    @property
    def of_its_rows(self) -> list[str]:
        return [f"/api/mizan/ctx/board/?project_id={self.project}", f"/api/mizan/ctx/issue/?issue_id={self.issue}"]


def side(tracker: Tracker, org_id: int) -> Side:
    truth = Truth(tracker.path, org_id)
    admin = min(truth.people)
    comment = next(
        one
        for one in truth.comments
        if one["author_id"] == admin and truth.issues[one["issue_id"]]["status"] != "closed"
    )
    host = {FIRST: "tracker.test", SECOND: "kestrel.tracker.test"}[org_id]
    issue = truth.issues[comment["issue_id"]]
    return Side(org_id, host, admin, issue["project_id"], issue["id"], comment["id"])


def both(tracker: Tracker, org_id: int) -> tuple[Side, Side]:
    """The organisation with this number, and the other one."""
    return side(tracker, org_id), side(tracker, FIRST + SECOND - org_id)


def changes(side: Side) -> list[tuple[str, dict[str, Any]]]:
    """Every mutation that a client calls, of rows of this organisation alone."""
    return [
        ("rename_issue", {"issue_id": side.issue, "title": "Another title"}),
        ("set_status", {"issue_id": side.issue, "status": "active"}),
        ("assign_issue", {"issue_id": side.issue, "assignee_id": None}),
        ("take_issue", {"issue_id": side.issue}),
        ("move_issue", {"issue_id": side.issue, "to_project_id": side.project}),
        ("add_comment", {"issue_id": side.issue, "text": "On it."}),
        ("edit_comment", {"issue_id": side.issue, "comment_id": side.comment, "text": "Not any more."}),
        ("close_issues", {"issue_ids": [side.issue]}),
        ("archive_project", {"project_id": side.project}),
    ]


def across(own: Side, other: Side) -> list[tuple[str, dict[str, Any]]]:
    """Mutations of rows of the other organisation, and of rows of both."""
    return [
        *changes(other),
        ("assign_issue", {"issue_id": own.issue, "assignee_id": other.admin}),
        ("move_issue", {"issue_id": own.issue, "to_project_id": other.project}),
        ("move_issue", {"issue_id": other.issue, "to_project_id": own.project}),
        ("edit_comment", {"issue_id": own.issue, "comment_id": other.comment, "text": "Not said."}),
        ("close_issues", {"issue_ids": [own.issue, other.issue]}),
    ]


def test_every_reader_and_mutation_is_tried(tracker: Tracker) -> None:
    assert {*OWN, *OF_A_ROW, "page"} == set(GRAPH.contexts)
    mutations = {name for name, one in GRAPH.functions.items() if one.affects}
    tried = {name for name, _ in changes(side(tracker, FIRST))}
    assert mutations - tried == {"report_issue", "fix_merged"}  # through routes of their own


@pytest.mark.asyncio
@pytest.mark.parametrize("org_id", [FIRST, SECOND])
@pytest.mark.parametrize("signed_in", [True, False])
async def test_each_organisation_sees_its_own_rows(tracker: Tracker, org_id: int, signed_in: bool) -> None:
    one = side(tracker, org_id)
    truth = Truth(tracker.path, org_id)
    person_id, role = (one.admin, Role.ADMIN) if signed_in else (None, None)
    async with tracker.web(person_id, host=one.host) as web:
        for path in one.bundles:
            answer = await web.get(path)
            context = path.split("/")[4]
            if context in ("work", "workload") and not signed_in:
                assert answer.status_code == 401
                continue
            params = {"project_id": one.project, "issue_id": one.issue, "page": 1}
            assert answer.json() == truth.bundle(context, params, role, person_id)


@pytest.mark.asyncio
@pytest.mark.parametrize("org_id", [FIRST, SECOND])
@pytest.mark.parametrize("signed_in", [True, False])
async def test_the_others_rows_are_not_there(tracker: Tracker, org_id: int, signed_in: bool) -> None:
    own, other = both(tracker, org_id)
    async with tracker.web(own.admin if signed_in else None, host=own.host) as web:
        for _ in range(2):  # before and after the others have asked for them
            for path in other.of_its_rows:
                assert (await web.get(path)).status_code == 404
            for name, args in (
                ("board_page", {"project_id": other.project}),
                ("issue_detail", {"issue_id": other.issue}),
            ):
                assert (await web.post(CALL, json={"fn": name, "args": args})).status_code == 404
            comments = await web.post(CALL, json={"fn": "issue_comments", "args": {"issue_id": other.issue}})
            assert comments.json() == {"result": []}
            async with tracker.web(other.admin, host=other.host) as there:
                await every_bundle(there, other)


@pytest.mark.asyncio
@pytest.mark.parametrize("org_id", [FIRST, SECOND])
async def test_no_client_can_name_an_organisation_or_a_person(tracker: Tracker, org_id: int) -> None:
    own, other = both(tracker, org_id)
    named = {"org_id": other.org_id, "person_id": other.admin, "role": "admin"}
    async with tracker.web(own.admin, host=own.host) as web:
        for path in own.bundles:
            for name, value in named.items():
                joined = f"{path}{'&' if '?' in path else '?'}{name}={value}"
                assert (await web.get(joined)).status_code == 422
        for fn, args in changes(other):
            for name, value in named.items():
                answer = await web.post(CALL, json={"fn": fn, "args": args | {name: value}})
                assert answer.status_code == 422


@pytest.mark.asyncio
@pytest.mark.parametrize("org_id", [FIRST, SECOND])
@pytest.mark.parametrize("signed_in", [True, False])
async def test_a_mutation_cannot_reach_across(tracker: Tracker, org_id: int, signed_in: bool) -> None:
    own, other = both(tracker, org_id)
    before = rows(tracker)
    async with (
        tracker.web(own.admin if signed_in else None, host=own.host) as here,
        tracker.web(other.admin, host=other.host) as there,
    ):
        await every_bundle(there, other)
        for name, args in across(own, other):
            answer = await here.post(CALL, json={"fn": name, "args": args})
            assert answer.status_code == (404 if signed_in else 401), (name, args)
            assert "x-mizan-invalidate" not in answer.headers
            assert "invalidate" not in answer.json()
        reported = await here.post(f"/p/{other.project}/report/", data={"title": "From elsewhere"})
        assert reported.status_code == (404 if signed_in else 403)
        assert await every_bundle(there, other) == Counter({"mizan; hit": len(other.bundles)})
    assert rows(tracker) == before


@pytest.mark.asyncio
@pytest.mark.parametrize("org_id", [FIRST, SECOND])
async def test_a_mutation_leaves_the_others_bundles_hits(tracker: Tracker, org_id: int) -> None:
    own, other = both(tracker, org_id)
    hits = Counter({"mizan; hit": len(other.bundles)})
    async with (
        tracker.web(own.admin, host=own.host) as here,
        tracker.web(other.admin, host=other.host) as there,
    ):
        await every_bundle(there, other)
        fix = signed({"issue_id": own.issue, "commit": "1f3c9ab"})
        assert (await here.post("/webhooks/git/", **fix)).status_code == 204
        reported = await here.post(f"/p/{own.project}/report/", data={"title": "It creaks"}, follow_redirects=True)
        assert reported.status_code == 200
        assert await every_bundle(there, other) == hits
        for name, args in changes(own):
            await every_bundle(here, own)
            assert (await here.post(CALL, json={"fn": name, "args": args})).status_code == 200, name
            assert await every_bundle(there, other) == hits, name
            assert (await every_bundle(here, own))["mizan; hit"] < len(own.bundles), name


@pytest.mark.asyncio
async def test_only_the_page_of_an_open_project_is_public(tracker: Tracker) -> None:
    first, second = both(tracker, FIRST)
    for one in (first, second):
        async with tracker.web(one.admin, host=one.host) as web:
            assert (await web.get(f"/p/{first.project}/")).status_code == 200
            closed = await web.get(f"/p/{second.project}/")
            assert (closed.status_code, closed.headers["cache-control"]) == (404, "no-store")


@pytest.mark.asyncio
async def test_a_session_of_one_organisation_is_a_visitor_at_the_other(tracker: Tracker) -> None:
    other = side(tracker, SECOND)
    async with tracker.web(ADMIN, host=other.host) as web:
        assert (await web.get("/api/mizan/ctx/me/")).json() == {"whoami": None}
        assert (await web.get("/api/mizan/ctx/abilities/")).json() == {"abilities": {"permissions": []}}
        assert (await web.get("/api/mizan/ctx/work/")).status_code == 401
        people = (await web.get("/api/mizan/ctx/people/")).json()["people_list"]
    assert {one["person_id"] for one in people} == set(Truth(tracker.path, SECOND).people)


@pytest.mark.asyncio
async def test_callers_with_the_same_values_share_and_no_others(tracker: Tracker) -> None:
    other = side(tracker, SECOND)
    callers: list[tuple[int | None, str]] = [
        *[(None, "tracker.test")] * 2,
        *((DEVELOPER, "tracker.test"), (DEVELOPER + 2, "tracker.test")),  # both are developers
        *[(None, other.host)] * 2,
        (other.admin + 2, other.host),  # a developer as well
    ]
    asked: list[tuple[str, str]] = []
    for person_id, host in callers:
        async with tracker.web(person_id, host=host) as web:
            found = [await web.get(f"/api/mizan/ctx/{context}/") for context in ("projects", "abilities")]
        projects, abilities = (answer.headers["cache-status"].removeprefix("mizan; ") for answer in found)
        asked.append((projects, abilities))
    new, hit = "fwd=uri-miss; stored", "hit"
    assert asked == [(new, new), (hit, hit), (hit, new), (hit, hit), (new, hit), (hit, hit), (hit, hit)]


async def every_bundle(web: httpx.AsyncClient, side: Side) -> Counter[str]:
    """Asks for every bundle of an organisation; returns how often the cache said what."""
    answers = [await web.get(path) for path in side.bundles]
    assert {answer.status_code for answer in answers} == {200}
    return Counter(answer.headers["cache-status"] for answer in answers)


def rows(tracker: Tracker) -> list[object]:
    found = [Truth(tracker.path, org_id) for org_id in (FIRST, SECOND)]
    return [(one.people, one.projects, one.issues, one.comments) for one in found]
