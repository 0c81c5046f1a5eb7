"""Copies of entries in memory: bounded in bytes, with everything counted; and how they are read again."""

import asyncio
import tracemalloc
from collections.abc import Callable

from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.entries import Entry
from mizan_core.cache.outcomes import Computed, Fetched, Fresh, Hit, Passing
from mizan_core.cache.shared.near import COPY_OVERHEAD_BYTES, READ_AGAIN_SECONDS, NearCopies
from mizan_core.cache.slots import Slot
from mizan_core.protocol.cache_headers import etag_of
from tests.cache.holding_cache import HoldingCache
from tests.cache.inside import copies_in


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entry(body: bytes = b"{}", tags: int = 2, expires: float = 86_400.0) -> Entry:
    stamps = tuple(b"n%08d%015d" % (number, len(body)) for number in range(tags))
    return Entry(stamps, expires, etag_of(body), body)


def copies(max_bytes: int = 1_000_000) -> NearCopies:
    return NearCopies(max_bytes, Clock())


def test_copies_stay_within_their_bytes_used_ones_longest() -> None:
    near = copies(100_000)
    for number in range(1_000):
        near.put(f"ctx:page:{number}", entry(b"x" * (number % 5_000)))
        assert near.used_bytes <= near.max_bytes
        assert near.get("ctx:page:0") is not None
    assert near.get("ctx:page:500") is None
    assert near.get("ctx:page:999") is not None


def test_what_copies_take_is_counted_with_keys_and_overhead() -> None:
    near = copies(100_000_000)
    near.put("warm", entry())
    tracemalloc.start()
    for number in range(10_000):
        near.put(f"ctx:page:{number:064x}", entry(b"%064d" % number, tags=number % 17 + 1))
    measured, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.95 * measured < near.used_bytes < 1.4 * measured


def test_a_body_larger_than_the_bound_ends_an_older_copy() -> None:
    near = copies(10_000)
    near.put("a", entry())
    near.put("a", entry(b"x" * 10_000))
    assert (near.get("a"), len(near), near.used_bytes) == (None, 0, 0)


def test_without_room_there_are_no_copies() -> None:
    near = copies(0)
    near.put("a", entry())
    assert len(near) == 0


def test_a_copy_put_again_is_counted_once() -> None:
    near = copies()
    for body in (b"x", b"y" * 100):
        near.put("a", entry(body))
    assert len(near) == 1
    assert 100 < near.used_bytes - COPY_OVERHEAD_BYTES < 500


def test_an_expired_copy_is_dropped() -> None:
    clock = Clock()
    near = NearCopies(1_000_000, clock)
    near.put("a", entry(expires=10.0))
    clock.now = 10.0
    assert near.get("a") is None
    assert near.used_bytes == 0


def test_one_look_up_in_a_minute_goes_without_its_copy() -> None:
    clock = Clock()
    near = NearCopies(1_000_000, clock)
    near.put("a", entry())
    for minute in range(1, 4):
        clock.now = minute * READ_AGAIN_SECONDS
        assert [near.get("a") is None for _ in range(3)] == [True, False, False]


ME, OTHER = b"me......", b"other..."
TAGS = ("tag:page:whole",)
SLOT = Slot("ctx:page:1", TAGS, ME)


class Backend(HoldingCache):
    """Notes the keys of each look-up; `looking` is called before a look-up is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[tuple[str, ...]] = []
        self.looking: Callable[[], object] = lambda: None
        self.is_full = False

    async def get(self, *keys: str) -> list[bytes | None]:
        self.looked_up.append(keys)
        self.looking()
        return await super().get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        return not (self.is_full and key == SLOT.key) and await super().set(key, value, ttl, if_absent=if_absent)


class Site:
    """A process with a cache over such a backend."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.backend = Backend()
        self._bytes = (number.to_bytes(16, "little") for number in range(1_000))
        self.cache = BundleCache(
            self.backend, random=lambda count: next(self._bytes)[:count], clock=self.clock, deadline=1e9, hold=1e9
        )

    async def fetch(self, slot: Slot = SLOT) -> Fetched:
        self.backend.looked_up.clear()
        return await self.cache.fetch(slot, 100.0, self._select)

    async def _select(self) -> Computed:
        return Computed(b"{}")


async def found_by(site: Site, slot: Slot = SLOT) -> tuple[type[object], list[tuple[str, ...]]]:
    found = await site.fetch(slot)
    return type(found), site.backend.looked_up


def test_what_was_stored_is_found_by_its_tags_alone() -> None:
    async def story() -> None:
        site = Site()
        assert isinstance(await site.fetch(), Fresh)
        assert await found_by(site) == (Hit, [TAGS])

    asyncio.run(story())


def test_what_was_not_stored_is_not_copied() -> None:
    async def story() -> None:
        site = Site()
        site.backend.is_full = True
        found = await site.fetch()
        assert isinstance(found, Fresh)
        assert not found.stored
        assert copies_in(site.cache) == ()

    asyncio.run(story())


def test_a_copy_is_not_served_under_other_scope_shapes() -> None:
    async def story() -> None:
        site = Site()
        await site.fetch()
        found, _ = await found_by(site, Slot(SLOT.key, TAGS, OTHER))
        assert found is Passing

    asyncio.run(story())


def test_a_copy_that_expires_on_the_way_is_not_served() -> None:
    async def story() -> None:
        site = Site()
        await site.fetch()
        site.clock.now = 99.0
        await site.cache.fetch(SLOT, 100.0, site._select)  # reads the entry again, for it is older than a minute

        def late() -> None:
            site.clock.now = 100.0

        site.backend.looking = late
        assert isinstance(await site.fetch(), Fresh)

    asyncio.run(story())


def test_an_expired_copy_is_not_inspected() -> None:
    async def story() -> None:
        site = Site()
        await site.fetch()
        shapes: tuple[tuple[str, ...], ...] = ((),)
        assert (await site.cache.inspect(SLOT, shapes, 100.0)).is_near
        site.clock.now = 100.0
        found = await site.cache.inspect(SLOT, shapes, 100.0)
        assert (found.is_near, found.is_kept) == (False, False)

    asyncio.run(story())
