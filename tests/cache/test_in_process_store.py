"""Bundles in this process's memory: peeked without a look-up, unless entry or tags have gone."""

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import Engine, MemoryCache, build, client
from mizan_core.cache.entries import Entry, read_entry
from mizan_core.cache.in_process.store import InProcessStore, Stamped, counting, is_unchanged
from mizan_core.cache.slots import Slot

ME, OTHER = b"me......", b"other..."
WHOLE, FIVE = "tag:user:whole", "tag:user:5"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A cache with one bundle in it, which was found once."""

    def __init__(self) -> None:
        self.clock, self.memory_clock = Clock(), Clock()
        self.memory = MemoryCache(clock=self.memory_clock)
        self.bundles = self.over(self.memory)
        self.slot = Slot("ctx:user:5", (WHOLE, FIVE), ME)
        self.keep(b"1")
        assert self.bundles.peek(self.slot) is None
        assert self.finds()

    def over(self, memory: MemoryCache) -> InProcessStore:
        numbers = iter(range(1, 100_000))
        return InProcessStore(
            memory, lambda count: next(numbers).to_bytes(count, "big"), self.clock, max_age=1_000.0, hold=30.0
        )

    def keep(self, body: bytes) -> None:
        stamps = self.stamped().stamps
        assert self.bundles.put(self.slot, Entry(stamps, self.clock.now + 60, "etag", body), 60)

    def stamped(self) -> Stamped:
        found = self.bundles.find(self.slot)
        assert isinstance(found, tuple)
        return found

    def finds(self, slot: Slot | None = None) -> bool:
        return isinstance(self.bundles.find(slot or self.slot), Entry)

    def peeked(self) -> bytes | None:
        entry = self.bundles.peek(self.slot)
        return None if entry is None else entry.body

    def do(self, work: Any) -> None:
        asyncio.run(work)


def test_a_found_bundle_can_be_peeked() -> None:
    shelf = Shelf()
    assert shelf.peeked() == b"1"
    assert shelf.peeked() == b"1"


@pytest.mark.parametrize(
    "lost",
    [
        lambda shelf: shelf.do(shelf.memory.delete(WHOLE)),
        lambda shelf: shelf.do(shelf.memory.delete(FIVE)),
        lambda shelf: shelf.do(shelf.memory.delete(shelf.slot.key)),
        lambda shelf: shelf.do(shelf.memory.delete_by_prefix("ctx:user:")),
        lambda shelf: shelf.do(shelf.memory.clear()),
        lambda shelf: shelf.do(shelf.memory.set(FIVE, b"!held", 60)),
        lambda shelf: shelf.do(shelf.memory.set(WHOLE, b"n" + OTHER + b"1", 60)),
        lambda shelf: setattr(shelf.clock, "now", 60.0),
        lambda shelf: setattr(shelf.memory_clock, "now", 60.0),
    ],
    ids=["whole", "scope", "entry", "prefix", "cleared", "held", "another version", "expired", "expired in memory"],
)
def test_purged_held_evicted_or_expired_is_not_peeked_or_found(lost: Callable[[Shelf], None]) -> None:
    shelf = Shelf()
    lost(shelf)
    assert shelf.peeked() is None
    assert not shelf.finds()
    assert shelf.peeked() is None


def test_a_tag_that_was_purged_and_added_again_revives_nothing() -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.delete(FIVE))
    shelf.stamped()
    assert shelf.peeked() is None
    assert not shelf.finds()


def test_a_bundle_stored_again_is_found_again() -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.delete(FIVE))
    shelf.keep(b"2")
    assert shelf.peeked() is None
    assert shelf.finds()
    assert shelf.peeked() == b"2"


def test_a_miss_knows_whether_an_entry_was_there() -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.delete(FIVE))
    assert shelf.stamped().stale
    shelf.do(shelf.memory.delete(shelf.slot.key))
    assert not shelf.stamped().stale


def test_an_expired_entry_was_there() -> None:
    shelf = Shelf()
    shelf.clock.now += 61
    assert shelf.stamped().stale


def test_a_slot_of_one_cache_is_not_peeked_in_another() -> None:
    shelf = Shelf()
    assert shelf.over(MemoryCache()).peek(shelf.slot) is None


def test_an_entry_of_other_shapes_is_not_found() -> None:
    shelf = Shelf()
    assert not shelf.finds(Slot(shelf.slot.key, (WHOLE,), ME))
    assert not shelf.finds(Slot(shelf.slot.key, (WHOLE, FIVE, "tag:user:6"), ME))


def test_a_foreign_value_under_an_entry_key_is_not_found() -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.set(shelf.slot.key, b"whatever", 60))
    assert not shelf.finds()


@pytest.mark.parametrize(("tag", "value"), [(WHOLE, b"!held"), (FIVE, b"!held"), (WHOLE, b"n" + OTHER + b"1")], ids=str)
def test_a_tag_that_is_held_or_another_versions_gives_no_stamps(tag: str, value: bytes) -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.set(tag, value, 60))
    assert shelf.bundles.find(shelf.slot) is None


def test_a_tag_that_is_not_kept_gives_no_stamps() -> None:
    shelf = Shelf()
    assert shelf.over(MemoryCache(max_bytes=10)).find(shelf.slot) is None


def test_stamps_are_the_tags_values_while_they_stand() -> None:
    shelf = Shelf()
    shelf.do(shelf.memory.delete(shelf.slot.key))
    stamped = shelf.stamped()
    assert stamped == shelf.stamped()
    assert is_unchanged(stamped)
    shelf.do(shelf.memory.delete(FIVE))
    assert not is_unchanged(stamped)
    shelf.stamped()
    assert not is_unchanged(stamped)


def test_an_entry_that_is_let_go_is_kept_alive_by_no_slot() -> None:
    shelf = Shelf()
    assert shelf.slot.kept is not None
    shelf.do(shelf.memory.delete(shelf.slot.key))
    assert shelf.slot.kept.cell.value is None


def test_an_entry_is_the_same_as_bytes() -> None:
    shelf = Shelf()
    entry = shelf.bundles.peek(shelf.slot)
    assert entry is not None
    (raw,) = asyncio.run(shelf.memory.get(shelf.slot.key))
    assert raw == bytes(entry)
    longer = Entry(entry.stamps, entry.expires, 'W/"' + "0" * 32 + '"', b"{}")
    assert bytes(read_entry(bytes(longer), longer.stamps, ME) or b"") == bytes(longer)
    assert read_entry(bytes(longer), [*longer.stamps, None], ME) is None
    assert read_entry(bytes(longer), longer.stamps[:1], ME) is None
    assert read_entry(bytes(longer), longer.stamps, OTHER) is None
    cut = bytes(longer).removesuffix(longer.body)[:-1]  # within its ETag
    assert read_entry(cut, longer.stamps, ME) is None


def test_counted_bytes_never_repeat_and_differ_between_engines() -> None:
    one, other = counting(lambda count: b"a" * count), counting(lambda count: b"b" * count)
    drawn = [one(15) for _ in range(1_000)] + [other(15) for _ in range(1_000)]
    assert len(set(drawn)) == 2_000
    assert {len(value) for value in drawn} == {15}


def test_counted_bytes_are_close_to_the_memory_in_use() -> None:
    @client(context="user")
    async def user_profile(user_id: int) -> str:
        return "x" * 100

    @client(affects="user")
    async def rename(user_id: int) -> None: ...

    async def measured() -> tuple[int, int]:
        cache = MemoryCache(max_bytes=1 << 30)
        engine = Engine(build([user_profile, rename]), cache=cache)
        await engine.fetch("user", {"user_id": -1})
        tracemalloc.start()
        for number in range(3_000):
            await engine.fetch("user", {"user_id": number})
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return used, cache.used_bytes

    used, counted = asyncio.run(measured())
    assert 0.5 * counted < used < 1.1 * counted  # a hit adds what it writes once
