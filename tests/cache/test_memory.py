"""`MemoryCache` beyond the contract: a bound in bytes, and costs that do not grow with it."""

import asyncio
import tracemalloc
from typing import Any, ClassVar

import pytest

from mizan_core import DeclarationError, MemoryCache
from mizan_core.cache.entries import Entry


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_memory_stays_within_max_bytes() -> None:
    async def story() -> None:
        cache = MemoryCache(max_bytes=100_000)
        for number in range(2_000):
            await cache.set(f"ctx:c{number % 7}:{number}", b"x" * (number % 300), None if number % 2 else 60)
            assert cache.used_bytes <= 100_000
        assert 100 < len(cache) < 300

    asyncio.run(story())


def test_the_least_recently_used_goes_first() -> None:
    async def story() -> None:
        cache = MemoryCache(max_bytes=10_000)
        await cache.set("kept", b"k" * 500, None)
        for number in range(100):
            await cache.set(f"other:{number}", b"x" * 500, None)
            await cache.get("kept")
        assert await cache.get("kept", "other:0", "other:99") == [b"k" * 500, None, b"x" * 500]

    asyncio.run(story())


def test_a_value_larger_than_the_cache_is_not_kept_nor_its_past() -> None:
    async def story() -> None:
        cache = MemoryCache(max_bytes=5_000)
        assert await cache.set("a", b"small", None)
        assert not await cache.set("a", b"x" * 5_000, None)
        assert await cache.get("a") == [None]
        assert cache.used_bytes == 0

    asyncio.run(story())


def test_expiry_follows_the_clock_to_the_moment() -> None:
    async def story() -> None:
        clock = Clock()
        cache = MemoryCache(clock=clock)
        await cache.set("a", b"1", 10)
        clock.now = 9.999
        assert await cache.get("a") == [b"1"]
        clock.now = 10.0
        assert await cache.get("a") == [None]
        assert cache.used_bytes == 0

    asyncio.run(story())


def test_deleting_an_expired_value_counts_nothing() -> None:
    async def story() -> None:
        clock = Clock()
        cache = MemoryCache(clock=clock)
        await cache.set("a", b"1", 10)
        clock.now = 11.0
        assert await cache.delete("a") == 0
        assert not await cache.set("b", b"1", 0)

    asyncio.run(story())


@pytest.mark.parametrize("size", [0, -1])
def test_a_bound_that_keeps_nothing_is_refused(size: int) -> None:
    with pytest.raises(DeclarationError, match="max_bytes"):
        MemoryCache(max_bytes=size)


def test_counted_bytes_are_the_bytes_that_are_used() -> None:
    async def fill(cache: MemoryCache) -> None:
        for number in range(20_000):
            await cache.set(f"ctx:user:{number:064x}", b"%0200d" % number, 60)

    cache = MemoryCache(max_bytes=1 << 30)
    tracemalloc.start()
    asyncio.run(fill(cache))
    measured, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 * measured < cache.used_bytes < 1.6 * measured


def test_deleting_a_large_prefix_yields_to_other_tasks() -> None:
    async def story() -> None:
        cache = MemoryCache()
        for number in range(5_000):
            await cache.set(f"ctx:user:{number}", b"old", None)
        deleting = asyncio.create_task(cache.delete_by_prefix("ctx:user:"))
        await asyncio.sleep(0)
        assert 0 < len(cache) < 5_000
        await cache.set("ctx:user:4999", b"new", None)
        await cache.set("ctx:user:new", b"new", None)
        assert await deleting in (4_999, 5_000)  # its turn may have come before it was set anew
        assert await cache.get("ctx:user:4999", "ctx:user:new") == [b"new", b"new"]

    asyncio.run(story())


class Key(str):
    """A key that notes when it is compared with a prefix."""

    __slots__ = ()
    compared: ClassVar[list[str]] = []

    def startswith(self, *arguments: Any) -> bool:
        self.compared.append(self)
        return super().startswith(*arguments)


def test_deleting_a_prefix_looks_at_no_other_keys() -> None:
    async def story() -> None:
        cache = MemoryCache()
        for name in ("other:1", "other:2", "user:1"):
            await cache.set(Key(f"ctx:{name}"), b"", None)
        Key.compared.clear()
        assert await cache.delete_by_prefix("ctx:user:") == 1
        assert Key.compared == ["ctx:user:1"]

    asyncio.run(story())


def test_a_cell_has_its_keys_value_and_keeps_its_type() -> None:
    async def story() -> None:
        cache = MemoryCache()
        await cache.set("tag:user:5", b"first", 60)
        cell = cache.cell("tag:user:5")
        assert cell is not None
        await cache.set("tag:user:5", b"second", 60)
        assert cell.value == b"second"
        assert cache.used_bytes == cell.size
        cache.put("tag:user:5", Entry((), 60.0, "etag", b""), 100, 60)
        assert cell.value is None
        assert len(cache) == 1
        cell = cache.cell("tag:user:5")
        assert cell is not None
        await cache.delete("tag:user:5")
        assert cell.value is None
        assert cache.used_bytes == 0

    asyncio.run(story())


def test_a_key_that_has_expired_has_no_cell() -> None:
    async def story() -> None:
        clock = Clock()
        cache = MemoryCache(clock=clock)
        for look in (lambda: cache.cell("a"), lambda: cache.cells("a")[0]):
            await cache.set("a", b"1", 60)
            assert look() is not None
            clock.now += 60
            assert look() is None
            assert len(cache) == 0

    asyncio.run(story())
