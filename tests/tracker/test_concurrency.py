"""Several at once: what a mutation names of the past is the past of its own transaction."""

import asyncio
import json
import random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from examples.tracker import clients
from examples.tracker.roles import visitor_of
from examples.tracker.seed import FIRST
from mizan_core import CallError

from .truth import Truth
from .world import LEAD, Tracker

# How long the second move gets to read too early, if nothing keeps it from reading.
EVERY_CHANCE = 0.2


class Pausing:
    """Stands in the way of moves, just before they name the boards, until it lets each of them through."""

    def __init__(self, targets: list[int], go_on: Any) -> None:
        self.reached = {target: asyncio.Event() for target in targets}
        self.through = {target: asyncio.Event() for target in targets}
        self._go_on = go_on

    async def __call__(self, session: AsyncSession, project_id: int, org_id: int) -> None:
        await self._go_on(session, project_id, org_id)
        if project_id in self.reached:
            self.reached[project_id].set()
            await self.through[project_id].wait()


@pytest.mark.asyncio
async def test_two_moves_of_one_issue_leave_no_board_stale(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = tracker.issue(project_id=1)
    pausing = Pausing([2, 3], clients._unarchived)
    monkeypatch.setattr(clients, "_unarchived", pausing)
    first = asyncio.create_task(tracker.call("move_issue", issue_id=issue["id"], to_project_id=2))
    await pausing.reached[2].wait()
    second = asyncio.create_task(tracker.call("move_issue", issue_id=issue["id"], to_project_id=3))
    await asyncio.wait([asyncio.create_task(pausing.reached[3].wait())], timeout=EVERY_CHANCE)
    pausing.through[2].set()
    await first
    assert issue["id"] in await on_board(tracker, 2)
    pausing.through[3].set()
    await second
    assert issue["id"] not in await on_board(tracker, 2)
    assert issue["id"] in await on_board(tracker, 3)


@pytest.mark.asyncio
async def test_after_concurrent_reads_and_writes_every_bundle_is_true(tracker: Tracker) -> None:
    rng = random.Random(7)
    issues = tracker.watched_issues[:12]

    def change() -> tuple[str, dict[str, Any]]:
        issue_id = rng.choice(issues)
        changes: list[tuple[str, dict[str, Any]]] = [
            ("rename_issue", {"issue_id": issue_id, "title": f"Title {rng.random()}"}),
            ("set_status", {"issue_id": issue_id, "status": rng.choice(["open", "active", "closed"])}),
            ("assign_issue", {"issue_id": issue_id, "assignee_id": rng.choice([None, 5, 6, 7])}),
            ("move_issue", {"issue_id": issue_id, "to_project_id": rng.choice([1, 2, 3])}),
            ("add_comment", {"issue_id": issue_id, "text": "Me too."}),
            ("close_issues", {"issue_ids": rng.sample(issues, 3)}),
            ("archive_project", {"project_id": 3, "archived": rng.random() < 0.3}),
        ]
        return rng.choice(changes)

    async def write() -> None:
        for _ in range(15):
            name, args = change()
            try:
                await tracker.call(name, by=LEAD, **args)
            except CallError:  # the project is archived at the moment
                continue

    async def read() -> None:
        for _ in range(60):
            context, params = rng.choice(
                [("board", {"project_id": rng.choice([1, 2, 3])}), ("issue", {"issue_id": rng.choice(issues)})]
            )
            await tracker.engine.fetch(context, params, identity=visitor_of(FIRST))

    await asyncio.gather(*(write() for _ in range(4)), *(read() for _ in range(4)))
    tracker.truth = Truth(tracker.path)
    async with tracker.watched():
        pass


async def on_board(tracker: Tracker, project_id: int) -> set[int]:
    """The issues that a board's cached pages show."""
    found: set[int] = set()
    page = pages = 1
    while page <= pages:
        bundle = await tracker.engine.fetch(
            "board", {"project_id": project_id, "page": page}, identity=visitor_of(FIRST)
        )
        board = json.loads(bundle.body)["board_page"]
        found |= {row["issue_id"] for row in board["issues"]}
        page, pages = page + 1, board["pages"]
    return found
