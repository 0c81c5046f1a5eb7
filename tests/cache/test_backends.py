"""The contract of a cache backend: every implementation runs this file."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from examples.backends.sqlite import SqliteCache
from mizan_core import CacheBackend, MemoryCache
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.testing.redis_server import RedisServer

Make = Callable[[], CacheBackend]
Story = Callable[[CacheBackend], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture(params=["memory", "redis", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "memory":
        return MemoryCache
    if request.param == "sqlite":
        return lambda: SqliteCache(str(tmp_path / "cache.db"))
    server: RedisServer = request.getfixturevalue("redis")
    return lambda: RedisCache(server.url, prefix="contract[*]:", timeout=5.0, connect_timeout=5.0)


@pytest.fixture
def run(make: Make) -> Run:
    def runner(story: Story) -> None:
        async def with_backend() -> None:
            backend = make()
            try:
                await story(backend)
            finally:
                await backend.clear()
                if isinstance(backend, RedisCache | SqliteCache):
                    await backend.aclose()

        asyncio.run(with_backend())

    return runner


def test_values_come_back_in_the_order_of_their_keys(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        assert await backend.set("a", b"1", None)
        assert await backend.set("b", b"\x00\xff" * 100, 60)
        assert await backend.get("b", "missing", "a", "b") == [b"\x00\xff" * 100, None, b"1", b"\x00\xff" * 100]

    run(story)


def test_no_keys_are_no_error(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        assert await backend.get() == []
        assert await backend.delete() == 0

    run(story)


def test_setting_again_replaces(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        await backend.set("a", b"1", 60)
        await backend.set("a", b"2", 60)
        assert await backend.get("a") == [b"2"]

    run(story)


def test_if_absent_keeps_the_present_value(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        assert await backend.set("a", b"1", 60, if_absent=True)
        assert not await backend.set("a", b"2", 60, if_absent=True)
        assert await backend.get("a") == [b"1"]
        await backend.delete("a")
        assert await backend.set("a", b"3", 60, if_absent=True)

    run(story)


def test_of_twenty_concurrent_if_absent_sets_one_succeeds(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        added = await asyncio.gather(*(backend.set("a", b"%d" % n, 60, if_absent=True) for n in range(20)))
        assert added.count(True) == 1
        assert await backend.get("a") == [b"%d" % added.index(True)]

    run(story)


def test_delete_counts_the_keys_that_were_there(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        await backend.set("a", b"1", 60)
        await backend.set("b", b"2", 60)
        assert await backend.delete("a", "b", "c") == 2
        assert await backend.get("a", "b") == [None, None]

    run(story)


def test_an_expired_value_is_not_there(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        assert await backend.set("short", b"1", 0.05)
        await backend.set("long", b"2", 600)
        while await backend.get("short", "long") != [None, b"2"]:
            await asyncio.sleep(0.01)
        assert await backend.set("short", b"3", 60, if_absent=True)

    run(story)


def test_deleting_by_prefix_takes_the_prefix_as_plain_text(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        for key in ("ctx:a*:1", "ctx:a*:2", "ctx:ab:1", "ctx:a?:1", "ctx:[a]:1", "tag:a*:1"):
            await backend.set(key, b"1", 60)
        assert await backend.delete_by_prefix("ctx:a*:") == 2
        assert await backend.delete_by_prefix("ctx:[a]:") == 1
        assert await backend.get("ctx:a*:1", "ctx:ab:1", "ctx:a?:1", "ctx:[a]:1", "tag:a*:1") == [
            None,
            b"1",
            b"1",
            None,
            b"1",
        ]

    run(story)


def test_a_prefix_may_end_anywhere(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        for key in ("ctx:user:11", "ctx:user:12", "ctx:user:2", "plain"):
            await backend.set(key, b"1", 60)
        assert await backend.delete_by_prefix("ctx:user:1") == 2
        assert await backend.delete_by_prefix("pl") == 1
        assert await backend.delete_by_prefix("nothing") == 0
        assert await backend.get("ctx:user:2") == [b"1"]

    run(story)


def test_clearing_forgets_everything(run: Run) -> None:
    async def story(backend: CacheBackend) -> None:
        await backend.set("a", b"1", None)
        await backend.set("ctx:user:1", b"1", 60)
        await backend.clear()
        assert await backend.get("a", "ctx:user:1") == [None, None]

    run(story)
