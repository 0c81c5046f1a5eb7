"""The checker finds what a missing safeguard does to real workers: orders of events that are made, not hoped for."""

import asyncio
import itertools
import random
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from mizan_core import Identity
from mizan_core.cache.slots import Slot
from mizan_core.engine.cache_keys import CacheKeys
from mizan_core.graph.model import ContextPlan
from mizan_core.testing.consistency.fleet import WorkerProcess
from mizan_core.testing.consistency.history import Breach, History, Incarnation, violations
from mizan_core.testing.consistency.traffic import Client, Traffic
from mizan_core.testing.consistency.worker import Settings, Worker
from mizan_core.testing.consistency.world import Database, Kind, Pauses
from mizan_core.testing.redis_server import RedisServer
from mizan_core.testing.safeguards import without
from tests.testing.fleet import listening, run, settings, until

TEAM, USER = 1, 2


class Watched:
    """Workers whose clients record a history, by a clock that advances each time it is read."""

    def __init__(self, told: Settings) -> None:
        self.now = itertools.count()
        self.history = History(told.hold)
        self.traffic = Traffic([], self.history, self.clock, random.Random(0))
        self._database = told.database

    def clock(self) -> float:
        return float(next(self.now))

    def died(self, incarnation: Incarnation) -> None:
        self.history.deaths[incarnation] = self.clock()

    async def read(self, client: Client, worker: WorkerProcess) -> str | None:
        return await self.traffic.read(client, worker, TEAM, None)

    async def rename(self, client: Client, worker: WorkerProcess, *, doomed: bool = False) -> None:
        await self.traffic.change(client, worker, Kind.RENAME, TEAM, USER, doomed=doomed)

    async def refuse(self, client: Client, worker: WorkerProcess) -> None:
        await self.traffic.change(client, worker, Kind.REFUSE, TEAM, USER)

    def breaches(self) -> set[Breach]:
        with closing(Database(self._database)) as database:
            for operation, row, version in database.commits():
                self.history.commits.setdefault(operation, {})[row] = version
        return {one.breach for one in violations(self.history, allow=False)}


def slot_without_who_asks(keys: CacheKeys, plan: ContextPlan, texts: Mapping[str, str], identity: Identity) -> Slot:
    shared = {name: text for name, text in texts.items() if name in plan.client_parameters}
    return _slot(keys, plan, shared, identity)


_slot = CacheKeys.slot


class StoppedOnce(Pauses):
    """The first function that pauses in a thread stays there until it may go on."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.stopped, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self, *, slow: bool = False) -> float:
        if not self.stopped.is_set():
            self.stopped.set()
            self.may_go_on.wait()
        return 0.0


@asynccontextmanager
async def one_worker(told: Settings) -> AsyncIterator[tuple[Watched, WorkerProcess, StoppedOnce, Client, Client]]:
    """A worker in this process, whose first function that pauses stays there, and two clients of it."""
    watched, pauses = Watched(told), StoppedOnce()
    worker = WorkerProcess(0, told, lambda incarnation: None)
    async with listening(Worker(told, pauses)) as worker.port:
        with closing(Client()) as one, closing(Client()) as other:
            yield watched, worker, pauses, one, other


@pytest.mark.parametrize(("missing", "found"), [((), set()), (("stamps",), {Breach.STALE})])
def test_a_reader_slower_than_a_purge_is_found_without_stamps(
    missing: tuple[str, ...], found: set[Breach], redis: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with one_worker(settings(redis.url, tmp_path)) as (watched, worker, pauses, one, other):
            slow = asyncio.create_task(watched.read(one, worker))
            await asyncio.to_thread(pauses.stopped.wait)
            await watched.rename(other, worker)
            pauses.may_go_on.set()
            await slow
            await watched.read(one, worker)
        assert watched.breaches() == found

    with without(*missing):
        run(story)


@pytest.mark.parametrize(("missing", "found"), [((), set()), (("all-refused",), {Breach.STALE})])
def test_the_checker_finds_a_refusal_that_undoes_a_purge(
    missing: tuple[str, ...], found: set[Breach], redis: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with one_worker(settings(redis.url, tmp_path)) as (watched, worker, pauses, one, other):
            pauses.stopped.set()  # not the readers
            assert [await watched.read(one, worker) for _ in range(2)] == ["miss", "hit"]
            pauses.stopped.clear()
            refused = asyncio.create_task(watched.refuse(other, worker))
            await asyncio.to_thread(pauses.stopped.wait)
            await watched.rename(one, worker)
            pauses.may_go_on.set()
            await refused
            await watched.read(one, worker)
        assert watched.breaches() == found

    with without(*missing):
        run(story)


@pytest.mark.parametrize(("slot", "found"), [(_slot, set()), (slot_without_who_asks, {Breach.OTHERS})])
def test_a_key_without_who_asks_shows_somebody_elses(
    slot: object, found: set[Breach], redis: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with one_worker(settings(redis.url, tmp_path)) as (watched, worker, pauses, one, _):
            pauses.stopped.set()
            for team, user in ((TEAM, USER), (TEAM, USER + 1), (TEAM + 1, USER), (TEAM, None), (TEAM + 1, None)):
                await watched.traffic.read(one, worker, team, user, by_identity=True)
        assert watched.breaches() == found

    with mock.patch.object(CacheKeys, "slot", slot):
        run(story)


@pytest.mark.parametrize(("missing", "found"), [((), set()), (("holds",), {Breach.LEFT_BEHIND})])
def test_a_death_before_the_purge_is_found_without_holds(
    missing: tuple[str, ...], found: set[Breach], redis: RedisServer, tmp_path: Path
) -> None:
    async def story() -> None:
        told = replace(settings(redis.url, tmp_path), hold=1_000.0, without=missing)
        watched = Watched(told)
        survivor, dying = (WorkerProcess(number, told, watched.died) for number in range(2))
        try:
            await survivor.start()
            await dying.start()
            with closing(Client()) as one, closing(Client()) as other:
                assert [await watched.read(one, survivor) for _ in range(2)] == ["miss", "hit"]
                await watched.rename(other, dying, doomed=True)
                await until(lambda: watched.history.deaths)
                watched.now = itertools.count(10_000)  # long after the hold
                await watched.read(one, survivor)
        finally:
            await survivor.aclose()
            await dying.aclose()
        assert watched.breaches() == found

    run(story)
