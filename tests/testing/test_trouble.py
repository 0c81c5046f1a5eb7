"""Trouble goes on until it is ended, is counted, and is written down where it matters to what a read had to see."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from mizan_core.testing.consistency import trouble
from mizan_core.testing.consistency.faults import KILL, Fault
from mizan_core.testing.consistency.fleet import WorkerProcess
from mizan_core.testing.consistency.history import History
from mizan_core.testing.consistency.traffic import Traffic
from mizan_core.testing.consistency.trouble import KILL_BEFORE_PURGE, Trouble
from mizan_core.testing.redis_server import RedisServer
from tests.testing.fleet import fleet, run, until


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("_BETWEEN_FAULTS", "_BETWEEN_KILLS", "_BETWEEN_STORMS"):
        monkeypatch.setattr(trouble, pause, (0.0, 0.01))
    monkeypatch.setattr(trouble, "SETTLED_SECONDS", 0.0)


@asynccontextmanager
async def going_on(*works: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


class Made:
    """Trouble without workers, and a fault that lasts until the test ends it."""

    def __init__(self, *, one_at_a_time: bool) -> None:
        self.history = History(1.0)
        self.workers: list[WorkerProcess] = []
        self.traffic = Traffic(self.workers, self.history, time.monotonic, random.Random(0))
        self.fault = Fault("wait", self._strike, forgets=True)
        self.may_end = asyncio.Event()
        self.trouble = Trouble(
            [self.fault], self.workers, self.traffic, self.history, random.Random(0), one_at_a_time=one_at_a_time
        )

    async def _strike(self) -> None:
        await self.may_end.wait()


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_faults_strike_one_after_the_other_and_are_outages(one_at_a_time: bool) -> None:
    async def story() -> None:
        made = Made(one_at_a_time=one_at_a_time)
        made.may_end.set()
        async with going_on(made.trouble.strikes):
            await until(lambda: made.trouble.struck["wait"] > 2)
        outages = made.history.outages
        assert {(outage.kind, outage.forgets) for outage in outages} == {("wait", True)}
        assert len(outages) >= 2
        assert all(one.ended <= other.began for one, other in pairwise(outages))

    run(story)


def test_a_fault_that_is_broken_off_was_an_outage() -> None:
    async def story() -> None:
        made = Made(one_at_a_time=False)
        async with going_on(made.trouble.strikes):
            await until(lambda: made.trouble.struck["wait"])
        assert len(made.history.outages) == 1

    run(story)


def test_one_at_a_time_the_next_waits_until_every_worker_is_well() -> None:
    async def story() -> None:
        made = Made(one_at_a_time=True)
        made.may_end.set()
        made.traffic._note((0, 0), 0.0, calm=False)
        async with going_on(made.trouble.strikes):
            await until(lambda: made.history.outages)
            await asyncio.sleep(0.1)
            assert made.trouble.struck["wait"] == 1
            made.traffic.forget((0, 0))
            await until(lambda: made.trouble.struck["wait"] > 1)

    run(story)


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_one_at_a_time_kills_no_process_during_a_fault(one_at_a_time: bool, redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        made = Made(one_at_a_time=one_at_a_time)
        async with fleet(redis.url, tmp_path) as one, going_on(made.trouble.strikes):
            made.workers.append(one.worker)
            await until(lambda: made.trouble.struck["wait"])
            async with going_on(made.trouble.kills):
                await asyncio.sleep(0.1)
                assert (made.trouble.struck[KILL] == 0) is one_at_a_time
                made.may_end.set()
                await until(lambda: one.worker.incarnation > (0, 0))

    run(story)


def test_in_some_of_the_storms_a_worker_dies_before_its_purge(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            made = Trouble([], [one.worker], one.traffic, one.history, random.Random(0), one_at_a_time=False)
            await made._storm(deadly=False)
            assert made.struck.total() == 0
            async with going_on(made.storms):
                await until(lambda: made.struck[KILL_BEFORE_PURGE])
            await until(lambda: one.worker.incarnation > (0, 0))
            assert set(made.struck) == {KILL_BEFORE_PURGE}

    run(story)
