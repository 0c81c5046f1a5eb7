"""The judge: which reads saw too little, and which of those `on_cache_failure="allow"` accounts for."""

from itertools import count

import pytest

from mizan_core.testing.consistency.history import (
    SETTLED_SECONDS,
    Breach,
    Ended,
    History,
    Mutation,
    Outage,
    Read,
    Violation,
    violations,
)
from mizan_core.testing.consistency.world import Kind

HOLD = 10.0
ROW = "1.2"
FIRST, SECOND = (0, 0), (1, 0)


class Story:
    """A history of one row, told in seconds."""

    def __init__(self) -> None:
        self.history = History(HOLD)
        self._versions = count(1)

    def change(
        self,
        began: float,
        ended: float,
        outcome: Ended = Ended.ACKNOWLEDGED,
        kind: Kind = Kind.RENAME,
        *,
        commits: bool = True,
    ) -> None:
        operation = f"{kind}-{len(self.history.mutations)}"
        self.history.mutations.append(Mutation(operation, kind, FIRST, began, ended, outcome))
        if commits:
            self.history.commits[operation] = {ROW: next(self._versions)}

    def read(self, began: float, saw: int) -> None:
        self.history.reads.append(Read("card", SECOND, began, began + 0.1, "hit", {ROW: saw}))

    def outage(self, began: float, ended: float, *, forgets: bool = False) -> None:
        self.history.outages.append(Outage("some", began, ended, forgets))

    def dies(self, at: float) -> None:
        self.history.deaths[FIRST] = at

    def found(self, *, allow: bool = False) -> list[Violation]:
        return violations(self.history, allow=allow)

    def breaches(self, *, allow: bool = False) -> list[Breach]:
        return [one.breach for one in self.found(allow=allow)]


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_read_sees_the_newest_version_acknowledged_before(story: Story) -> None:
    story.change(1, 2)
    story.change(3, 4)
    story.read(1.5, 0)
    story.read(2.5, 1)
    story.read(3.5, 1)
    story.read(4.5, 2)
    assert story.breaches() == []
    story.read(4.5, 1)
    (found,) = story.found()
    assert (found.breach, found.saw, found.expected, found.operation) == (Breach.STALE, 1, 2, "rename-1")
    assert str(found) == (
        "stale: card (hit, worker 1) showed row 1.2 in version 1; 2 was due 0.500 s before (rename-1)"
    )


def test_a_read_begun_before_the_acknowledgement_may_see_either(story: Story) -> None:
    story.change(1, 2)
    story.read(1.9, 0)
    assert story.breaches() == []


def test_a_late_acknowledgement_of_an_older_version_counts_less(story: Story) -> None:
    story.change(1, 5)
    story.change(1, 2)
    story.read(6, 1)
    assert story.breaches() == [Breach.STALE]


def test_a_dead_processs_commit_is_due_after_its_hold_expired(story: Story) -> None:
    story.change(1, 2.1, Ended.UNKNOWN)
    story.dies(2)
    story.read(2 + HOLD, 0)
    assert story.breaches() == []
    story.read(2 + HOLD + 1, 0)
    assert story.breaches() == [Breach.LEFT_BEHIND]


@pytest.mark.parametrize("kind", [Kind.PROMOTE, Kind.TOUCH])
def test_a_dead_processs_result_and_body_scopes_may_stay_stale(story: Story, kind: Kind) -> None:
    story.change(1, 2.1, Ended.UNKNOWN, kind)
    story.dies(2)
    story.read(2 + HOLD + 1, 0)
    assert story.breaches() == []


def test_an_uncommitted_version_is_never_due(story: Story) -> None:
    story.change(1, 2.1, Ended.UNKNOWN, commits=False)
    story.change(1, 2.1, Ended.REFUSED, commits=False)
    story.dies(2)
    story.read(2 + HOLD + 1, 0)
    assert story.breaches() == []


def test_a_shown_version_is_not_followed_by_an_older_one(story: Story) -> None:
    story.change(1, 4)
    story.read(2, 1)
    story.read(2.05, 0)
    assert story.breaches() == []
    story.read(3, 0)
    assert story.breaches() == [Breach.WENT_BACK]


def test_an_older_version_may_follow_if_a_hold_was_forgotten(story: Story) -> None:
    story.change(1, 4)
    story.read(2, 1)
    story.read(3, 0)
    story.outage(0, 1.5, forgets=True)
    assert story.breaches() == []


def test_an_older_version_may_follow_if_a_hold_expired(story: Story) -> None:
    story.change(1, 2 + HOLD)
    story.read(2, 1)
    story.read(3, 0)
    assert story.breaches() == []


def test_only_acknowledged_writes_of_a_live_process_are_due(story: Story) -> None:
    story.change(1, 2, Ended.UNKNOWN)
    story.read(2, 1)
    story.read(3, 0)
    assert story.breaches() == []


def test_an_outage_that_forgets_nothing_excuses_nothing(story: Story) -> None:
    story.change(1, 4)
    story.outage(0, 1.5)
    story.read(2, 1)
    story.read(3, 0)
    assert story.breaches() == [Breach.WENT_BACK]
    assert story.breaches(allow=True) == []


def test_a_purge_may_be_late_where_that_is_allowed(story: Story) -> None:
    story.change(1, 2)
    story.outage(1.5, 3)
    story.read(3 + SETTLED_SECONDS - 1, 0)
    assert [one.documented for one in story.found(allow=True)] == [True]
    assert [one.documented for one in story.found()] == [False]
    story.read(3 + SETTLED_SECONDS + 1, 0)
    assert [one.documented for one in story.found(allow=True)] == [True, False]


def test_an_outage_before_the_last_has_settled_prolongs_it(story: Story) -> None:
    story.change(1, 2)
    story.outage(1.5, 3)
    story.outage(4, 8)
    story.outage(20, 21)
    story.read(8.5, 0)
    assert [one.documented for one in story.found(allow=True)] == [True]


def test_a_late_purge_does_not_excuse_one_that_was_in_time(story: Story) -> None:
    story.change(1, 2)
    story.change(10, 11)
    story.outage(10, 12)
    story.read(12.5, 1)
    story.read(12.5, 0)
    assert [one.documented for one in story.found(allow=True)] == [True, False]


def test_a_purge_that_was_owed_may_be_lost_with_its_process(story: Story) -> None:
    story.change(1, 2)
    story.outage(1.5, 3)
    story.dies(4)
    story.read(100, 0)
    assert [one.documented for one in story.found(allow=True)] == [True]


def test_each_row_of_a_bundle_is_looked_at(story: Story) -> None:
    story.change(1, 2)
    story.history.reads.append(Read("board", SECOND, 3, 3.1, "hit", {"1.1": 0, ROW: 0, "1.3": 0}))
    assert [one.row for one in story.found()] == [ROW]


def test_a_row_of_somebody_else_or_a_missing_one_is_found() -> None:
    story = Story()
    own = Read("desk", SECOND, 1.0, 1.1, "hit", {ROW: 0}, frozenset([ROW]))
    story.history.reads += [own, Read("desk", SECOND, 2.0, 2.1, "hit", {ROW: 0}, frozenset(["1.3"]))]
    assert story.breaches() == [Breach.OTHERS] * 2
    assert [str(one) for one in story.found()] == [f"somebody else's: desk (hit) and row {row}" for row in (ROW, "1.3")]
