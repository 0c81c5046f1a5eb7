"""Taking a safeguard away takes it away, and nothing else."""

import asyncio

from mizan_core.bundle_cache import BundleCache, Computed, Slot
from mizan_core.cache.backend import HELD
from mizan_core.holds import Scope
from mizan_core.testing.safeguards import without
from tests.core.holding import purge
from tests.holding_cache import HoldingCache

ME = b"me......"
TAG = "tag:user:whole"
SLOT = Slot("ctx:user:1", (TAG,), ME)
SCOPE = Scope(TAG, TAG, ME)


class Site:
    """A row in a cache that counts holders; a read may take its time between looking at the row and answering."""

    def __init__(self) -> None:
        self.backend = HoldingCache()
        self.cache = BundleCache(self.backend, random=lambda count: next(self._bytes)[:count], clock=lambda: 0.0)
        self.row = b"old"
        self.looked, self.answers = asyncio.Event(), asyncio.Event()
        self._bytes = (number.to_bytes(16, "little") for number in range(1_000))

    async def select(self) -> Computed:
        row = self.row
        self.looked.set()
        await self.answers.wait()
        return Computed(row)

    async def read(self) -> bytes:
        return (await self.cache.fetch(SLOT, None, self.select)).body

    async def tag(self) -> bytes | None:
        return (await self.backend.get(TAG))[0]


def test_without_stamps_a_slow_reader_puts_back_what_was_purged() -> None:
    async def story() -> None:
        site = Site()
        slow = asyncio.create_task(site.read())
        await site.looked.wait()
        site.row = b"new"
        await purge(site.cache, [SCOPE])
        site.answers.set()
        await slow
        assert await site.read() == b"old"

    with without("stamps"):
        asyncio.run(story())


def test_without_adding_only_if_absent_a_hold_is_overwritten() -> None:
    async def story() -> None:
        site = Site()
        await site.cache.hold([SCOPE]).begin()
        await site.cache._add(TAG, b"n" + ME)
        assert await site.tag() == b"n" + ME

    with without("add-if-absent"):
        asyncio.run(story())


def test_without_holds_nothing_is_held() -> None:
    async def story() -> None:
        site = Site()
        await site.cache.hold([SCOPE]).begin()
        assert await site.tag() is None

    with without("holds"):
        asyncio.run(story())


def test_without_the_last_holder_the_first_one_deletes() -> None:
    async def story() -> None:
        site = Site()
        first, second = site.cache.hold([SCOPE]), site.cache.hold([SCOPE])
        await first.begin()
        await second.begin()
        assert (await site.tag() or b"").startswith(HELD)
        await first.end(())
        assert await site.tag() is None

    with without("last-holder"):
        asyncio.run(story())


def test_without_joining_by_stamps_a_read_after_a_purge_joins_one_from_before() -> None:
    async def story() -> None:
        site = Site()
        slow = asyncio.create_task(site.read())
        await site.looked.wait()
        site.row = b"new"
        await purge(site.cache, [SCOPE])
        late = asyncio.create_task(site.read())
        await asyncio.sleep(0)
        site.answers.set()
        assert [await slow, await late] == [b"old", b"old"]

    with without("joining-by-stamps"):
        asyncio.run(story())
