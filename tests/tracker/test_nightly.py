"""A script without a web framework, in the same process: it purges what the web application has cached."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.tracker import nightly

from .truth import Truth
from .world import Tracker

LATE = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.mark.asyncio
async def test_the_nightly_script_purges_the_web_applications_cache(tracker: Tracker) -> None:
    before, after = [], []
    async with tracker.web() as here, tracker.web(host="kestrel.tracker.test") as there:
        for web in (here, there):
            before.append(await web.get("/api/mizan/ctx/projects/"))
            assert (await web.get("/api/mizan/ctx/projects/")).headers["cache-status"] == "mizan; hit"
        closed = await nightly.close_untouched(tracker.engine, LATE)
        for web in (here, there):
            after.append(await web.get("/api/mizan/ctx/projects/"))
            assert after[-1].headers["cache-status"] == "mizan; fwd=stale; stored"
    fewer = [open_issues(one.json()) - open_issues(other.json()) for one, other in zip(before, after, strict=True)]
    assert all(fewer)
    assert sum(fewer) == closed


@pytest.mark.asyncio
async def test_the_nightly_script_leaves_no_bundle_stale(tracker: Tracker) -> None:
    async with tracker.watched() as seen:
        await nightly.close_untouched(tracker.engine, LATE)
    assert {"projects", "workload"} <= seen.changed <= seen.stale


@pytest.mark.asyncio
async def test_a_night_with_nothing_to_close_purges_nothing(tracker: Tracker) -> None:
    async with tracker.watched() as seen:
        assert await nightly.close_untouched(tracker.engine, datetime(2024, 1, 1, tzinfo=UTC)) == 0
    assert seen.stale == set()


@pytest.mark.asyncio
async def test_only_untouched_uncommented_issues_are_closed(tracker: Tracker) -> None:
    await nightly.close_untouched(tracker.engine, LATE)
    before, after = tracker.truth, Truth(tracker.path)
    touched = {row["issue_id"] for row in before.comments if row["created_at"] >= f"{LATE:%Y-%m-%d}"}
    touched |= {row["id"] for row in before.issues.values() if row["updated_at"] >= f"{LATE:%Y-%m-%d}"}
    for issue_id, row in before.issues.items():
        expected = "closed" if row["status"] == "open" and issue_id not in touched else row["status"]
        assert after.issues[issue_id]["status"] == expected


def test_the_script_runs_by_itself(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKER_DB", str(small))
    asyncio.run(nightly.main(datetime(2024, 1, 1, tzinfo=UTC)))
    assert capsys.readouterr().out == "Closed 0 issues untouched since 2024-01-01.\n"


@pytest.mark.asyncio
async def test_the_nightly_script_refuses_beside_a_running_server(tracker: Tracker) -> None:
    async with tracker.watched() as seen:
        with pytest.raises(SystemExit, match="Stop it first"):
            await nightly.main(LATE)
    assert seen.changed == set()


def open_issues(bundle: dict[str, list[dict[str, int]]]) -> int:
    return sum(project["open"] for project in bundle["project_list"])
