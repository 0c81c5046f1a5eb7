"""Memory of purged entries is reclaimed rarely, in small steps, and never on a request's path."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mizan_core import Context, Engine, MemoryCache, RedisCache, build, client
from mizan_core.cache.backends import redis as module
from mizan_core.cache.reclaiming import Reclaiming
from mizan_core.testing.redis_server import RedisServer

SECRET = "a secret of at least thirty-two bytes"


class Looked(MemoryCache):
    """Counts how often all of its keys are looked at."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__(clock=clock)
        self.prefixes: list[str] = []

    async def delete_by_prefix(self, prefix: str) -> int:
        self.prefixes.append(prefix)
        return await super().delete_by_prefix(prefix)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@client(context="report")
async def totals(year: int) -> int:
    return year


@client(affects=Context("report").whole())
async def recount() -> None: ...


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


def engine_over(backend: MemoryCache, clock: Clock) -> Engine:
    return Engine(build([totals, recount]), cache=backend, cache_secret=SECRET, clock=clock)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_context_is_looked_through_at_most_once_a_minute() -> None:
    async def story() -> None:
        clock = Clock()
        backend = Looked(clock)
        engine = engine_over(backend, clock)
        for _ in range(600):  # ten minutes of a purge a second
            await engine.call("recount", {})
            await turns()
            clock.now += 1
        assert backend.prefixes == ["ctx:report:"] * 10
        await engine.aclose()

    run(story)


def test_of_two_processes_one_looks() -> None:
    async def story() -> None:
        clock = Clock()
        backend = Looked(clock)
        engines = [engine_over(backend, clock) for _ in range(2)]
        for engine in engines:
            await engine.call("recount", {})
        await turns()
        assert backend.prefixes == ["ctx:report:"]
        clock.now += 61
        await engines[1].call("recount", {})
        await turns()
        assert backend.prefixes == ["ctx:report:"] * 2

    run(story)


def test_purged_entries_are_reclaimed_from_memory() -> None:
    async def story() -> None:
        clock = Clock()
        backend = Looked(clock)
        engine = engine_over(backend, clock)
        await engine.fetch("report", {"year": 2026})
        kept = backend.used_bytes
        await engine.call("recount", {})
        await turns()
        assert backend.used_bytes < kept

    run(story)


def test_a_failing_store_keeps_dead_entries() -> None:
    class Failing(Looked):
        async def delete_by_prefix(self, prefix: str) -> int:
            raise OSError

    async def story() -> None:
        reclaiming = Reclaiming(Failing(), Clock())
        reclaiming.begin("report")
        await turns()
        await reclaiming.aclose()

    run(story)


def test_closing_stops_the_looking() -> None:
    begun = asyncio.Event()

    class Slow(Looked):
        async def delete_by_prefix(self, prefix: str) -> int:
            begun.set()
            return await asyncio.Future()

    async def story() -> None:
        engine = engine_over(Slow(), Clock())
        await engine.call("recount", {})
        await begun.wait()
        await engine.aclose()
        assert len(asyncio.all_tasks()) == 1

    run(story)


def test_a_step_through_redis_is_followed_by_a_longer_pause(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def pause_after(seconds: float) -> float:
        asked.append(seconds)
        return 0.0

    async def story() -> None:
        cache = RedisCache(redis.url, prefix="paced:", timeout=5.0, connect_timeout=5.0)
        await asyncio.gather(*(cache.set(f"ctx:a:{number}", b"x", 60) for number in range(2_500)))
        assert module._pause_after(0.001) > 0.03
        monkeypatch.setattr(module, "_pause_after", pause_after)
        assert await cache.delete_by_prefix("ctx:a:") == 2_500
        assert len(asked) >= 3
        assert min(asked) > 0
        asked.clear()
        await cache.clear()
        assert asked == []
        await cache.aclose()

    run(story)
