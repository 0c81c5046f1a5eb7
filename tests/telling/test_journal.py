"""The journal in a real Redis: notes outlive a process that is killed, and one process claims each of them."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from mizan_core import Invalidation, MemoryCache, RedisCache, Unavailable
from mizan_core.errors import CacheUnavailable
from mizan_core.telling.journal import Journal, notes_of
from mizan_core.testing.redis_server import RedisServer
from tests.telling.dying import LEASE_SECONDS, User, engine_of
from tests.telling.edges import StubbornEdge

FIVE = Invalidation("user", {"user_id": "5"})


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


def cache_at(redis: RedisServer, prefix: str) -> RedisCache:
    return RedisCache(redis.url, prefix=prefix, timeout=5.0, connect_timeout=5.0)


def journal_at(redis: RedisServer, prefix: str, lease: float = 0.05) -> tuple[Journal, RedisCache]:
    cache = cache_at(redis, prefix)
    return Journal(cache, deadline=5.0, lease=lease), cache


class TestAJournalInRedis:
    def test_a_note_is_claimed_once_when_its_lease_has_ended(self, redis: RedisServer) -> None:
        async def story() -> None:
            journal, cache = journal_at(redis, "journal:once:", lease=0.3)
            nobody = Invalidation("user", nulls=frozenset({"user_id"}))
            await journal.write(tuple(notes_of([FIVE, nobody])))
            assert await journal.claim({"user"}) == {}
            await asyncio.sleep(0.35)
            both = await asyncio.gather(journal.claim({"user"}), journal.claim({"user"}))
            assert sorted(map(len, both)) == [0, 2]
            assert set((both[0] or both[1]).values()) == {FIVE, nobody}
            await cache.aclose()

        run(story)

    def test_a_lease_that_is_renewed_does_not_end(self, redis: RedisServer) -> None:
        async def story() -> None:
            journal, cache = journal_at(redis, "journal:renewed:", lease=0.3)
            notes = tuple(notes_of([FIVE]))
            await journal.write(notes)
            await asyncio.sleep(0.2)
            await journal.write(notes)
            await asyncio.sleep(0.15)
            assert await journal.claim({"user"}) == {}
            await cache.aclose()

        run(story)

    def test_a_struck_note_is_never_claimed(self, redis: RedisServer) -> None:
        async def story() -> None:
            journal, cache = journal_at(redis, "journal:struck:")
            mine, other = tuple(notes_of([FIVE])), tuple(notes_of([FIVE]))
            await journal.write([*mine, *other])
            await journal.strike(mine)
            await asyncio.sleep(0.06)
            assert tuple(await journal.claim({"user"})) == other
            await cache.aclose()

        run(story)

    def test_notes_of_no_known_context_are_struck(self, redis: RedisServer) -> None:
        async def story() -> None:
            journal, cache = journal_at(redis, "journal:unknown:")
            await journal.write([*notes_of([Invalidation("gone")]), b"garbage", b"[1, 2, 3]", b'["a", 1, {}]'])
            await asyncio.sleep(0.06)
            assert await journal.claim({"user"}) == {}
            async with Redis.from_url(redis.url) as client:
                assert await client.exists("journal:unknown:journal") == 0
            await cache.aclose()

        run(story)

    def test_a_scope_of_long_texts_is_noted_as_its_context(self, redis: RedisServer) -> None:
        async def story() -> None:
            journal, cache = journal_at(redis, "journal:long:")
            await journal.write(tuple(notes_of([Invalidation("user", {"user_id": "5" * 10_000})])))
            await asyncio.sleep(0.06)
            assert list((await journal.claim({"user"})).values()) == [Invalidation("user")]
            await cache.aclose()

        run(story)

    def test_a_journal_that_cannot_be_reached_says_so(self) -> None:
        async def story() -> None:
            journal = Journal(RedisCache("redis://127.0.0.1:1"), deadline=5.0, lease=1.0)
            for work in (journal.write([b"x"]), journal.strike([b"x"]), journal.claim({"user"})):
                with pytest.raises(CacheUnavailable):
                    await work

        run(story)

    def test_a_memory_keeps_no_journal(self) -> None:
        async def story() -> None:
            journal = Journal(MemoryCache(), deadline=5.0, lease=0.01)
            await journal.write([b"x"])
            await journal.strike([b"x"])
            assert not journal.is_durable
            assert await journal.claim({"user"}) == {}

        run(story)


async def killed(redis: RedisServer, prefix: str, *call: str) -> None:
    """Run a process to its death in the middle of a mutation."""
    command = (sys.executable, "-m", "tests.telling.dying", redis.url, prefix, *call)
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == -signal.SIGKILL


class TestAProcessThatIsKilled:
    @pytest.mark.parametrize(
        ("call", "told"),
        [
            (("rename", "user_id", "5"), ["user;user_id=5"]),
            (("ship", "order_id", "7"), ["orders"]),  # only the result would have named the customer
            (("note", "user_id", "6"), ["user;user_id=6"]),
        ],
        ids=["argument", "result", "body"],
    )
    def test_another_one_tells_the_edges(self, redis: RedisServer, call: tuple[str, ...], told: list[str]) -> None:
        async def story() -> None:
            prefix, edge = f"killed:{call[0]}:", StubbornEdge()
            async with engine_of(redis.url, prefix, edge) as engine:
                await engine.fetch("orders", {"customer_id": 7})
                await killed(redis, prefix, *call)
                died = time.monotonic()
                while not edge.heard:
                    await asyncio.sleep(0.01)
                took = time.monotonic() - died
                assert edge.all_heard == told
                assert took < LEASE_SECONDS + 1
                if call[0] == "ship":  # the origin could not hold what nothing named, and purges it now
                    assert (await engine.fetch("orders", {"customer_id": 7})).status == "miss"
                await asyncio.sleep(LEASE_SECONDS + 0.6)
                assert edge.all_heard == told  # it is struck: no process tells it again

        run(story)


class TestAnEngineWithAJournal:
    def test_nothing_is_told_at_its_beginning(self, redis: RedisServer) -> None:
        async def story() -> None:
            edge = StubbornEdge()
            async with engine_of(redis.url, "journal:beginning:", edge):
                await asyncio.sleep(0.6)
                assert edge.heard == []

        run(story)

    def test_its_notes_are_struck_when_the_edges_were_told(self, redis: RedisServer) -> None:
        async def story() -> None:
            edge = StubbornEdge()
            async with engine_of(redis.url, "journal:told:", edge) as engine:
                await engine.invalidate(User, user_id=5)
                async with engine.changing(User.of(user_id=5)), Redis.from_url(redis.url) as client:
                    assert await client.zcard("journal:told:journal") == 1
            async with Redis.from_url(redis.url) as client:
                assert await client.exists("journal:told:journal") == 0

        run(story)

    def test_a_long_mutation_keeps_its_lease(self, redis: RedisServer) -> None:
        async def story() -> None:
            edge, other = StubbornEdge(), StubbornEdge()
            prefix = "journal:long-mutation:"
            async with engine_of(redis.url, prefix, edge) as engine, engine_of(redis.url, prefix, other) as second:
                await second.fetch("user", {"user_id": 1})
                async with engine.changing(User.of(user_id=5)):
                    await asyncio.sleep(2 * LEASE_SECONDS)
                    assert other.heard == []
                assert edge.heard == [["user;user_id=5"]]

        run(story)

    def test_what_is_owed_is_left_to_others_by_a_shutdown(self, redis: RedisServer) -> None:
        async def story() -> None:
            edge, other = StubbornEdge(error=ConnectionError()), StubbornEdge()
            prefix = "journal:shutdown:"
            async with engine_of(redis.url, prefix, edge, shutdown=0.1) as first:
                await first.invalidate(User, user_id=5)  # nothing was noted of it before
                assert first.health().owed_to_edges == 1
            async with engine_of(redis.url, prefix, other):
                while not other.heard:
                    await asyncio.sleep(0.01)
                assert other.heard == [["user;user_id=5"]]

        run(story)

    def test_refuse_runs_nothing_that_cannot_be_noted(self, redis: RedisServer) -> None:
        async def story() -> None:
            prefix = "journal:refuse:"
            engine = engine_of(redis.url, prefix, StubbornEdge(), refuses=True)
            async with Redis.from_url(redis.url) as client:
                await client.set(f"{prefix}journal", "another program's")
            with pytest.raises(Unavailable):
                await engine.call("rename", {"user_id": 5})  # it would kill this process
            await engine.aclose()

        run(story)

    def test_refuse_holds_nothing_more_that_cannot_be_noted(self, redis: RedisServer) -> None:
        async def story() -> None:
            prefix, edge = "journal:refuse-more:", StubbornEdge()
            engine = engine_of(redis.url, prefix, edge, refuses=True)
            async with Redis.from_url(redis.url) as client, engine.changing(User.of(user_id=5)) as change:
                await client.set(f"{prefix}journal", "another program's")
                with pytest.raises(Unavailable):
                    await change.also(User.of(user_id=6))
            assert sorted(edge.all_heard) == ["user;user_id=5", "user;user_id=6"]
            await engine.aclose()

        run(story)

    def test_allow_runs_and_tells_what_cannot_be_noted(self, redis: RedisServer) -> None:
        async def story() -> None:
            prefix, edge = "journal:allow:", StubbornEdge()
            async with engine_of(redis.url, prefix, edge) as engine:
                async with Redis.from_url(redis.url) as client:
                    await client.set(f"{prefix}journal", "another program's")
                async with engine.changing(User.of(user_id=5)):
                    assert edge.heard == []
                assert edge.heard == [["user;user_id=5"]]

        run(story)
