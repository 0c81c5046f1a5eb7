"""The requests of the checker's clients to a real worker, and the history that they record."""

import asyncio
import random
from contextlib import closing
from pathlib import Path

import pytest

from mizan_core.testing.consistency.fleet import WorkerProcess
from mizan_core.testing.consistency.history import Ended, History
from mizan_core.testing.consistency.traffic import Client, Traffic
from mizan_core.testing.consistency.world import TEAMS, USERS, Kind
from mizan_core.testing.redis_server import RedisServer
from tests.testing.fleet import fleet, run, settings, until

CONTEXTS = {"card", "board", "desk", "lobby"}


def test_a_visitor_reads_and_changes_until_it_is_sent_away(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            visiting = asyncio.create_task(one.traffic.visit())
            await until(lambda: one.history.mutations and {read.context for read in one.history.reads} == CONTEXTS)
            visiting.cancel()
            await asyncio.wait([visiting])
            assert visiting.cancelled()

    run(story)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_mutation_is_committed_or_refused(kind: Kind, redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            with closing(Client()) as client:
                await one.traffic.change(client, one.worker, kind, 1, 2)
            (mutation,) = one.history.mutations
            refuses = kind is Kind.REFUSE
            assert (mutation.kind, mutation.outcome) == (kind, Ended.REFUSED if refuses else Ended.ACKNOWLEDGED)
            assert mutation.began < mutation.ended
            committed = {operation for operation, _, _ in one.database.commits()}
            assert committed == (set() if refuses else {mutation.operation})

    run(story)


def test_a_refused_connection_is_recorded_as_nothing_done(tmp_path: Path) -> None:
    async def story() -> None:
        worker = WorkerProcess(0, settings("redis://nowhere", tmp_path), lambda incarnation: None)
        history = History(1.0)
        traffic = Traffic([worker], history, lambda: 0.0, random.Random(0))
        with closing(Client()) as client:
            assert await traffic.read(client, worker, 1, None) is None
            await traffic.change(client, worker, Kind.RENAME, 1, 2)
        assert history == History(1.0)

    run(story)


def test_a_storm_changes_one_card_twice_while_it_is_read(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            in_turn = set[bool]()
            while len(in_turn) < 2:
                before = len(one.history.mutations)
                assert await one.traffic.storm(deadly=False) in range(TEAMS)
                changes = one.history.mutations[before:]
                (refused,) = (change for change in changes if change.kind is Kind.REFUSE)
                assert refused.outcome is Ended.REFUSED
                first, last = (change for change in changes if change is not refused)
                assert [first.outcome, last.outcome] == [Ended.ACKNOWLEDGED] * 2
                in_turn.add(first.ended <= last.began)
            assert one.history.reads

    run(story)


def test_after_a_deadly_storm_its_team_is_read_and_not_changed(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            team = await one.traffic.storm(deadly=True)
            assert team is not None
            assert Ended.UNKNOWN in {mutation.outcome for mutation in one.history.mutations}
            assert list(one.database.commits())
            await until(lambda: one.worker.incarnation == (0, 1) and one.worker.port is not None)
            read, changed = len(one.history.reads), len(one.history.mutations)
            await one.traffic.look_for_stale_entries(team)
            assert [len(seen.versions) for seen in one.history.reads[read:]] == [USERS, USERS, *[1, 1] * USERS]
            assert len(one.history.mutations) == changed

    run(story)


def test_a_team_left_alone_is_not_changed() -> None:
    async def story() -> None:
        history = History(1.0)
        traffic = Traffic([], history, lambda: 5.0, random.Random(0))
        traffic._left_alone = dict.fromkeys(range(TEAMS), 6.0)
        assert await traffic.storm(deadly=True) is None
        with closing(Client()) as client:
            await traffic._change_something(client)
        assert history == History(1.0)

    run(story)


@pytest.mark.parametrize(("seconds", "left"), [(0.0, 0), (10.0, 2 * TEAMS * (USERS + 1))])
def test_a_sweep_goes_on_until_all_is_cached_or_time_is_up(
    seconds: float, left: int, redis: RedisServer, tmp_path: Path
) -> None:
    """Two reads make a bundle come from the cache. Every look at the clock takes a while."""

    async def story() -> None:
        async with fleet(redis.url, tmp_path) as one:
            now = iter(range(1_000_000))
            traffic = Traffic([one.worker], one.history, lambda: seconds * next(now), random.Random(0))
            assert await traffic.sweep() == left

    run(story)


def test_a_workers_reported_trouble_is_an_outage() -> None:
    async def story() -> None:
        now = iter(range(10, 100))
        history = History(1.0)
        traffic = Traffic([], history, lambda: float(next(now)), random.Random(0))
        traffic._note((0, 0), 1.0, calm=False)
        traffic._note((1, 0), 2.0, calm=False)
        traffic._note((2, 0), 3.0, calm=False)
        waiting = asyncio.create_task(traffic.calm())
        traffic._note((0, 0), 4.0, calm=False)
        traffic._note((0, 0), 5.0, calm=True)
        traffic.forget((1, 0))
        traffic.forget((3, 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        traffic.end()
        await waiting
        assert [outage.began for outage in history.outages] == [1.0, 2.0, 3.0]
        assert {outage.kind for outage in history.outages} == {"noticed"}

    run(story)
