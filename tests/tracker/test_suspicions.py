"""Every function of the tracker once, under suspicion: what is written and read without `affects=` is spared."""

import pytest

from examples.tracker.database import reading, writing
from mizan_core.integrations.sqlalchemy import Report, Suspicions

from .test_freshness import signed
from .world import ADMIN, Tracker


async def run_everything(tracker: Tracker) -> Report:
    """Run every function of the tracker once, and report what was suspected."""
    with Suspicions(tracker.mizan, reading, writing) as suspicions:
        async with tracker.watched():
            pass  # every bundle was asked for
        async with tracker.web(ADMIN) as web:
            fix = signed({"issue_id": tracker.issue()["id"], "commit": "1f3c9ab"})
            assert (await web.post("/webhooks/git/", **fix)).status_code == 204
            assert (await web.get("/p/1/")).status_code == 200
            assert (await web.post("/p/1/report/", data={"title": "It creaks"})).status_code == 303
        issue_id = tracker.issue()["id"]
        await tracker.call("rename_issue", issue_id=issue_id, title="Another title")
        await tracker.call("set_status", issue_id=issue_id, status="active")
        await tracker.call("assign_issue", issue_id=issue_id, assignee_id=ADMIN)
        await tracker.call("take_issue", issue_id=issue_id)
        await tracker.call("move_issue", issue_id=issue_id, to_project_id=2)
        await tracker.call("add_comment", issue_id=issue_id, text="Soon")
        comment = tracker.comment_of(ADMIN)
        await tracker.call("edit_comment", issue_id=comment["issue_id"], comment_id=comment["id"], text="Now")
        await tracker.call("close_issues", issue_ids=[issue_id])
        await tracker.call("archive_project", project_id=3)
    return suspicions.report()


@pytest.mark.asyncio
async def test_no_function_is_suspected(tracker: Tracker) -> None:
    report = await run_everything(tracker)
    assert (report.suspects, report.opaque, report.written_outside) == ((), (), ()), report
    assert report.not_run == ()
