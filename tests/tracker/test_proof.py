"""Every function of the tracker once, under proof: no bundle is stale that a function did not invalidate."""

import pytest

from mizan_core.proof import Verify

from .test_suspicions import run_everything
from .world import DEVELOPER, Tracker


@pytest.mark.asyncio
async def test_nothing_of_the_tracker_is_proved_stale(tracker: Tracker) -> None:
    verify = Verify()
    verify.attach(tracker.engine)
    await run_everything(tracker)
    assert verify.proved == []
    assert verify.unstable == {}
    assert verify.checked > 100


@pytest.mark.asyncio
async def test_a_write_past_the_tracker_is_proved(tracker: Tracker) -> None:
    verify = Verify()
    verify.attach(tracker.engine)
    async with tracker.watched():
        pass
    issue = tracker.issue()
    tracker.write("UPDATE issues SET title = 'By hand' WHERE id = ?", issue["id"])
    await tracker.call("take_issue", by=DEVELOPER, issue_id=tracker.issue("active")["id"])
    assert {(one.mutation, one.context) for one in verify.proved} >= {(None, "issue"), (None, "board")}
