"""The history of a run, and the judgement of every read in it.

A read of a row has to see at least

- the newest version that was acknowledged before the read began (otherwise it is *stale*);
- the version of a process that died between its commit and its purge, once its hold has expired (*left behind*);
- no row but those that were asked for, and each of them (otherwise it is *somebody else's*);
- the version that an earlier read has shown, since bundles of a held scope are not served from the cache (*went back*).

The last two are required only of mutations whose arguments determine their scope, so that it is held before they run,
and only if the hold was neither lost nor expired while they ran (protocol, section 7, on the windows that remain).
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import TypeAlias

from .world import Kind

# Redis and the checker have two clocks, and Redis deletes an expired key when it is next read.
_EXPIRY_SECONDS = 0.25

# Stale reads that "allow" permits end so long after an outage: each process has noticed that the store is back (half a
# second), has made the purges that it owes, and has bypassed the cache for a second.
SETTLED_SECONDS = 3.0

# A worker's number and how often it has been started.
Incarnation: TypeAlias = tuple[int, int]


class Ended(StrEnum):
    """How a mutation ended for its caller."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Breach(StrEnum):
    """The ways in which a read can be wrong."""

    STALE = "stale"
    LEFT_BEHIND = "left behind"
    WENT_BACK = "went back"
    OTHERS = "somebody else's"


@dataclass(frozen=True, slots=True)
class Read:
    """A request for a bundle, and the version of every row in its answer. `own`: the rows that it has to have."""

    context: str
    worker: Incarnation
    began: float
    ended: float
    status: str
    versions: dict[str, int]
    own: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Mutation:
    """A call, and how it ended for its caller."""

    operation: str
    kind: Kind
    worker: Incarnation
    began: float
    ended: float
    outcome: Ended


@dataclass(frozen=True, slots=True)
class Outage:
    """A period of a fault, or of a worker's report of one. `forgets`: holds may be lost."""

    kind: str
    began: float
    ended: float
    forgets: bool = False

    def overlaps(self, began: float, ended: float) -> bool:
        return self.began <= ended and began <= self.ended


@dataclass(frozen=True, slots=True)
class Violation:
    """A read of a row that showed version `saw`, while `expected`, made by `operation`, was due from `since` on."""

    breach: Breach
    read: Read
    row: str
    saw: int
    expected: int
    operation: str
    since: float
    documented: bool

    def __str__(self) -> str:
        if self.breach is Breach.OTHERS:
            return f"{self.breach}: {self.read.context} ({self.read.status}) and row {self.row}"
        age = self.read.began - self.since
        return (
            f"{self.breach}: {self.read.context} ({self.read.status}, worker {self.read.worker[0]}) showed row "
            f"{self.row} in version {self.saw}; {self.expected} was due {age:.3f} s before ({self.operation})"
        )


@dataclass(slots=True)
class History:
    """All that was recorded, in seconds of one clock. `commits`: the versions that each operation made, by row."""

    hold: float
    reads: list[Read] = field(default_factory=list)
    mutations: list[Mutation] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    deaths: dict[Incarnation, float] = field(default_factory=dict)
    commits: dict[str, dict[str, int]] = field(default_factory=dict)


def violations(history: History, *, allow: bool) -> list[Violation]:
    """Every violation. `allow`: the run had `on_cache_failure="allow"`."""
    judge = _Judge(history, allow)
    return [one for read in history.reads for one in judge.breaches(read)]


@dataclass(frozen=True, slots=True)
class _Duty:
    """Reads that begin after `since` have to see at least `version`, which `mutation` made."""

    since: float
    version: int
    breach: Breach
    mutation: Mutation


class _Duties:
    """The duties for one row and one kind of breach, searched by the moment at which a read begins."""

    def __init__(self, duties: Iterable[_Duty]) -> None:
        self._ordered = sorted(duties, key=lambda duty: duty.since)
        self._since = [duty.since for duty in self._ordered]
        self._highest = list(accumulate(self._ordered, _higher))

    def highest(self, moment: float) -> _Duty | None:
        place = bisect_left(self._since, moment)
        return self._highest[place - 1] if place else None

    def missed(self, moment: float, saw: int) -> list[_Duty]:
        return [duty for duty in self._ordered[: bisect_left(self._since, moment)] if duty.version > saw]


def _higher(one: _Duty, other: _Duty) -> _Duty:
    return max(one, other, key=lambda duty: duty.version)


class _Judge:
    def __init__(self, history: History, allow: bool) -> None:
        self._history = history
        self._harmful = [one for one in history.outages if allow or one.forgets]
        self._unsettled = _merged(history.outages) if allow else []
        self._duties: dict[tuple[str, Breach], _Duties] = {}
        by_row = defaultdict(list)
        for row, duty in self._all_duties():
            by_row[row, duty.breach].append(duty)
        self._duties = {row: _Duties(duties) for row, duties in by_row.items()}

    def breaches(self, read: Read) -> Iterator[Violation]:
        """At most one violation for each row of the bundle, the first of the kinds in `Breach`."""
        for row in () if read.own is None else sorted(read.own ^ read.versions.keys()):
            saw = read.versions.get(row, -1)
            yield Violation(Breach.OTHERS, read, row, saw, -1, "", read.began, documented=False)
        for row, saw in read.versions.items():
            for breach in Breach:
                duties = self._duties.get((row, breach))
                duty = None if duties is None else duties.highest(read.began)
                if duties is not None and duty is not None and duty.version > saw:
                    documented = all(self._is_documented(one, read) for one in duties.missed(read.began, saw))
                    yield Violation(
                        breach, read, row, saw, duty.version, duty.mutation.operation, duty.since, documented
                    )
                    break

    def _all_duties(self) -> Iterator[tuple[str, _Duty]]:
        shown: dict[tuple[str, int], Mutation] = {}
        for mutation in self._history.mutations:
            keeps = self._kept_its_hold(mutation)
            died = self._died(mutation)
            for row, version in self._history.commits.get(mutation.operation, {}).items():
                if mutation.outcome is Ended.ACKNOWLEDGED:
                    yield row, _Duty(mutation.ended, version, Breach.STALE, mutation)
                elif keeps and died < math.inf:
                    since = died + self._history.hold + _EXPIRY_SECONDS
                    yield row, _Duty(since, version, Breach.LEFT_BEHIND, mutation)
                if keeps:
                    shown[row, version] = mutation
        for read in self._history.reads:
            for row, version in read.versions.items():
                if (row, version) in shown:
                    yield row, _Duty(read.ended, version, Breach.WENT_BACK, shown[row, version])

    def _kept_its_hold(self, mutation: Mutation) -> bool:
        """Whether the scope was certainly held from before the commit until the purge or the death of the process."""
        ended = mutation.ended if mutation.outcome is Ended.ACKNOWLEDGED else self._died(mutation)
        return (
            mutation.kind.holds
            and ended - mutation.began < self._history.hold
            and not any(one.overlaps(mutation.began, ended) for one in self._harmful)
        )

    def _died(self, mutation: Mutation) -> float:
        """The moment at which the process of an unanswered mutation died; infinity if there is none."""
        if mutation.outcome is not Ended.UNKNOWN:
            return math.inf
        return self._history.deaths.get(mutation.worker, math.inf)

    def _is_documented(self, duty: _Duty, read: Read) -> bool:
        """Whether `on_cache_failure="allow"` permits this: the purge was late, or was lost with its process."""
        began, ended = duty.mutation.began, duty.mutation.ended
        died = self._history.deaths.get(duty.mutation.worker, math.inf)
        return duty.breach is Breach.STALE and any(
            period.overlaps(began, ended) and min(read.began, died) <= period.ended for period in self._unsettled
        )


def _merged(outages: Iterable[Outage]) -> list[Outage]:
    """The outages, each extended by the time to settle, with overlapping ones joined."""
    periods: list[Outage] = []
    for one in sorted(outages, key=lambda outage: outage.began):
        ended = one.ended + SETTLED_SECONDS
        if periods and one.began <= periods[-1].ended:
            last = periods.pop()
            periods.append(Outage("unsettled", last.began, max(last.ended, ended)))
        else:
            periods.append(Outage("unsettled", one.began, ended))
    return periods
