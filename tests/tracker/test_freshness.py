"""Never stale: after each mutation every bundle says what the tables say, and what it did not touch stays a hit.

`watched` asks for every bundle of the small world, as several people. `stale == changed` says besides that nothing was
computed again in vain.
"""

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from mizan_core import CallError, Conflict, Forbidden, InvalidInput, NotFound, Unauthorized

from .world import ADMIN, DEVELOPER, LEAD, SECRET, VIEWER, Tracker


@pytest.mark.asyncio
async def test_a_new_title_changes_issue_board_and_assignees_list(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with tracker.watched() as seen:
        await tracker.call("rename_issue", issue_id=issue["id"], title="Another title")
    assert seen.stale == seen.changed == {f"issue {issue['id']}", "board 1", f"work {issue['assignee_id']}"}


@pytest.mark.asyncio
async def test_a_new_status_changes_the_counts_as_well(tracker: Tracker) -> None:
    issue = tracker.issue("open")
    async with tracker.watched() as seen:
        await tracker.call("set_status", issue_id=issue["id"], status="active")
    expected = {f"issue {issue['id']}", "board 1", "projects", "workload", f"work {issue['assignee_id']}"}
    assert seen.stale == seen.changed == expected


@pytest.mark.asyncio
async def test_an_unassigned_issue_changes_no_list(tracker: Tracker) -> None:
    issue = tracker.issue("open", assigned=False)
    async with tracker.watched() as seen:
        await tracker.call("set_status", issue_id=issue["id"], status="closed")
    assert seen.stale == seen.changed == {f"issue {issue['id']}", "board 1", "projects", "workload"}


@pytest.mark.asyncio
async def test_an_assignment_changes_old_and_new_assignees_lists(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with tracker.watched() as seen:
        await tracker.call("assign_issue", issue_id=issue["id"], assignee_id=DEVELOPER)
    lists = {f"work {issue['assignee_id']}", f"work {DEVELOPER}"}
    assert seen.stale == seen.changed == {f"issue {issue['id']}", "board 1", "workload", *lists}


@pytest.mark.asyncio
async def test_removing_an_assignee_changes_one_list(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with tracker.watched() as seen:
        await tracker.call("assign_issue", issue_id=issue["id"], assignee_id=None)
    expected = {f"issue {issue['id']}", "board 1", "workload", f"work {issue['assignee_id']}"}
    assert seen.stale == seen.changed == expected


@pytest.mark.asyncio
async def test_taking_an_issue_changes_old_and_new_assignees_lists(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with tracker.watched() as seen:
        await tracker.call("take_issue", by=DEVELOPER, issue_id=issue["id"])
    lists = {f"work {issue['assignee_id']}", f"work {DEVELOPER}"}
    assert seen.stale == seen.changed == {f"issue {issue['id']}", "board 1", "workload", *lists}


@pytest.mark.asyncio
async def test_a_move_changes_both_boards_and_the_assignees_list(tracker: Tracker) -> None:
    issue = tracker.issue(project_id=1)
    async with tracker.watched() as seen:
        await tracker.call("move_issue", issue_id=issue["id"], to_project_id=3)
    expected = {f"issue {issue['id']}", "board 1", "board 3", "projects", f"work {issue['assignee_id']}"}
    assert seen.stale == seen.changed == expected


@pytest.mark.asyncio
async def test_a_comment_changes_the_issue_and_the_count_on_its_board(tracker: Tracker) -> None:
    issue = tracker.issue()
    async with tracker.watched() as seen:
        answer = await tracker.call("add_comment", by=VIEWER, issue_id=issue["id"], text="I see it too.")
    assert seen.stale == seen.changed == {f"issue {issue['id']}", "board 1"}
    assert answer.invalidations[0].function == "issue_comments"


@pytest.mark.asyncio
async def test_a_changed_comment_changes_one_reader(tracker: Tracker) -> None:
    comment = tracker.comment_of(VIEWER)
    told = {"issue_id": comment["issue_id"], "comment_id": comment["id"], "text": "What I meant is this."}
    async with tracker.watched() as seen:
        answer = await tracker.call("edit_comment", by=VIEWER, **told)
    assert seen.stale == seen.changed == {f"issue {comment['issue_id']}"}
    assert [(one.context, one.function) for one in answer.invalidations] == [("issue", "issue_comments")]


@pytest.mark.asyncio
async def test_closing_several_changes_each_issue_board_and_list(tracker: Tracker) -> None:
    issues = [tracker.issue(project_id=1), tracker.issue("active", project_id=2)]
    async with tracker.watched() as seen:
        answer = await tracker.call("close_issues", by=LEAD, issue_ids=[issue["id"] for issue in issues])
    expected = {"projects", "workload"}
    for issue in issues:
        expected |= {f"issue {issue['id']}", f"board {issue['project_id']}", f"work {issue['assignee_id']}"}
    assert seen.stale == seen.changed == expected
    assert [one.params for one in answer.invalidations if one.context == "issue"] == [
        {"issue_id": issue["id"]} for issue in issues
    ]


@pytest.mark.asyncio
async def test_archiving_changes_every_list_and_no_issue(tracker: Tracker) -> None:
    async with tracker.watched() as seen:
        await tracker.call("archive_project", project_id=2)
    lists = {f"work {person_id}" for person_id in tracker.truth.people}
    assert seen.stale == {"projects", "board 2", "workload", *lists}
    assert seen.changed <= seen.stale
    assert {"projects", "workload"} <= seen.changed


@pytest.mark.asyncio
async def test_unarchiving_brings_the_lists_back(tracker: Tracker) -> None:
    await tracker.call("archive_project", project_id=2)
    async with tracker.watched() as seen:
        await tracker.call("archive_project", project_id=2, archived=False)
    assert {"projects", "workload"} <= seen.changed <= seen.stale


@pytest.mark.asyncio
async def test_a_reported_issue_changes_the_board_and_the_counts(tracker: Tracker) -> None:
    async with tracker.web(DEVELOPER) as web, tracker.watched() as seen:
        answer = await web.post("/p/2/report/", data={"title": "A new one"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/p/2/"
    assert answer.headers["x-mizan-invalidate"] == (
        "board;org_id=1;project_id=2, page;project_id=2, projects;org_id=1, workload;org_id=1"
    )
    assert seen.stale == seen.changed == {"board 2", "projects", "workload"}


@pytest.mark.asyncio
async def test_a_merged_fix_changes_the_same_as_closing_by_hand(tracker: Tracker) -> None:
    issue = tracker.issue("active", project_id=3)
    async with tracker.web() as web, tracker.watched() as seen:
        answer = await web.post("/webhooks/git/", **signed({"issue_id": issue["id"], "commit": "1f3c9ab"}))
    assert answer.status_code == 204
    expected = {f"issue {issue['id']}", "board 3", "projects", "workload", f"work {issue['assignee_id']}"}
    assert seen.stale == seen.changed == expected


@pytest.mark.asyncio
async def test_a_public_page_that_changes_is_named(tracker: Tracker) -> None:
    issue = tracker.issue("open", project_id=1)
    issue_id, comment = issue["id"], tracker.comment_of(ADMIN)
    tracker.write("UPDATE issues SET priority = 1, status = 'active' WHERE id = ?", issue_id)  # on the first page
    changes: list[tuple[str, dict[str, Any], set[int]]] = [
        ("rename_issue", {"issue_id": issue_id, "title": "Another title"}, {1}),
        ("set_status", {"issue_id": issue_id, "status": "open"}, {1}),
        ("assign_issue", {"issue_id": issue_id, "assignee_id": None}, {1}),
        ("take_issue", {"issue_id": issue_id}, {1}),
        ("add_comment", {"issue_id": issue_id, "text": "On it."}, {1}),
        ("edit_comment", {"issue_id": comment["issue_id"], "comment_id": comment["id"], "text": "Now."}, set()),
        ("move_issue", {"issue_id": issue_id, "to_project_id": 2}, {1, 2}),
        ("close_issues", {"issue_ids": [issue_id]}, {2}),
    ]
    async with tracker.web() as web:
        for name, args, changed in changes:
            before = {project_id: (await web.get(f"/p/{project_id}/")).text for project_id in (1, 2, 3)}
            answer = await tracker.call(name, **args)
            named = {one.params["project_id"] for one in answer.invalidations if one.context == "page"}
            after = {project_id: (await web.get(f"/p/{project_id}/")).text for project_id in (1, 2, 3)}
            assert named == changed == {one for one in before if before[one] != after[one]}, name


@pytest.mark.asyncio
async def test_a_refused_mutation_changes_nothing(tracker: Tracker) -> None:
    refused: list[tuple[str, int, dict[str, object], type[CallError]]] = [
        ("rename_issue", VIEWER, {"issue_id": 1, "title": "Mine now"}, Forbidden),
        ("rename_issue", DEVELOPER, {"issue_id": 1, "title": "  "}, InvalidInput),
        ("rename_issue", DEVELOPER, {"issue_id": 99_999, "title": "Nothing there"}, NotFound),
        ("set_status", DEVELOPER, {"issue_id": 1, "status": "closed"}, Forbidden),
        ("assign_issue", DEVELOPER, {"issue_id": 1, "assignee_id": 99}, NotFound),
        ("move_issue", LEAD, {"issue_id": 1, "to_project_id": 99}, NotFound),
        ("close_issues", LEAD, {"issue_ids": [1, 99_999]}, NotFound),
        ("close_issues", LEAD, {"issue_ids": []}, InvalidInput),
        ("close_issues", LEAD, {"issue_ids": list(range(1, 66))}, InvalidInput),
        ("close_issues", DEVELOPER, {"issue_ids": [1]}, Forbidden),
        ("archive_project", DEVELOPER, {"project_id": 1}, Forbidden),
        ("fix_merged", ADMIN, {}, NotFound),
    ]
    async with tracker.watched() as seen:
        for name, by, args, error in refused:
            with pytest.raises(error):
                await tracker.call(name, by=by, **args)
    assert seen.changed == set()


@pytest.mark.asyncio
async def test_an_archived_project_changes_no_more(tracker: Tracker) -> None:
    issue = tracker.issue(project_id=2)
    await tracker.call("archive_project", project_id=2)
    async with tracker.watched() as seen:
        for name, args in {
            "rename_issue": {"issue_id": issue["id"], "title": "Too late"},
            "move_issue": {"issue_id": 1, "to_project_id": 2},
            "close_issues": {"issue_ids": [issue["id"]]},
            "add_comment": {"issue_id": issue["id"], "text": "Too late."},
        }.items():
            with pytest.raises(Conflict):
                await tracker.call(name, **args)
    assert seen.changed == set()


@pytest.mark.asyncio
async def test_a_comment_is_changed_by_its_author_under_its_issue(tracker: Tracker) -> None:
    comment = tracker.comment_of(VIEWER)
    other = next(issue_id for issue_id in tracker.truth.issues if issue_id != comment["issue_id"])
    told = {"comment_id": comment["id"], "text": "Not mine."}
    with pytest.raises(NotFound):
        await tracker.call("edit_comment", by=VIEWER, issue_id=other, **told)
    with pytest.raises(Forbidden):
        await tracker.call("edit_comment", by=DEVELOPER, issue_id=comment["issue_id"], **told)


@pytest.mark.asyncio
async def test_no_person_can_ask_for_anothers_list(tracker: Tracker) -> None:
    async with tracker.web() as web:
        assert (await web.get("/api/mizan/ctx/work/")).status_code == Unauthorized().status
    for person_id in (DEVELOPER, LEAD):
        async with tracker.web(person_id) as web:
            assert (await web.get("/api/mizan/ctx/work/?person_id=5")).status_code == InvalidInput().status
            assert (await web.get("/api/mizan/ctx/work/")).json()["my_issues"]["person_id"] == person_id


@pytest.mark.asyncio
async def test_a_webhook_needs_the_signature_of_its_bytes(tracker: Tracker) -> None:
    issue = tracker.issue("active")
    fix = {"issue_id": issue["id"], "commit": "1f3c9ab"}
    async with tracker.web() as web, tracker.watched() as seen:
        for request, status in [
            (signed(fix, secret="a guess"), 401),
            (signed(fix) | {"content": json.dumps(fix | {"issue_id": 1}).encode()}, 401),
            (signed(fix) | {"headers": {"content-type": "application/json"}}, 401),
            (signed({"issue_id": issue["id"], "commit": "not hexadecimal"}), 400),
            (signed(fix | {"issue_id": 99_999}), 404),
        ]:
            answer: httpx.Response = await web.post("/webhooks/git/", **request)
            assert answer.status_code == status
            assert "x-mizan-invalidate" not in answer.headers
    assert seen.changed == set()


@pytest.mark.asyncio
async def test_without_a_secret_there_are_no_webhooks(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKER_WEBHOOK_SECRET")
    async with tracker.web() as web:
        answer = await web.post("/webhooks/git/", **signed({"issue_id": 1, "commit": "1f3c9ab"}, secret=""))
    assert answer.status_code == 404


def signed(fix: dict[str, object], secret: str = SECRET) -> dict[str, Any]:
    body = json.dumps(fix).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"content": body, "headers": {"content-type": "application/json", "x-signature-256": f"sha256={signature}"}}
