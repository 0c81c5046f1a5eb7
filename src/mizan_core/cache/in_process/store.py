"""Bundles in this process's memory: look-up, stamping and storing in steps that never suspend.

No other task runs within a step, so no step can lose a race, and no tag is read twice. Tags that are held, unreadable
or of another version are left to the general steps of `Stamping`.
"""

import itertools
import sys
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter

from ...protocol.cache_headers import etag_of
from ..backends.memory import MemoryCache
from ..entries import Entry, without_spare_room
from ..holds import Renewals
from ..outcomes import Fresh, Hit, Passing
from ..reclaiming import Reclaiming
from ..slots import Kept, Slot
from ..stamping import Stamping
from ..store import CacheState, LookedUp, Stamped
from ..tags import PurgeScope, TagValues
from .holds import InProcessHold, InProcessHolds

_COUNTER_BYTES = 7

_value_of = attrgetter("value")

# The bytes of an entry beside its body: the object, its stamps and ETag, and the headers that are made of it.
ENTRY_BYTES = 1_000


class InProcessStore:
    """Entries and stamps in a `MemoryCache`.

    `clock()` gives seconds since 1970, `max_age` is the life of a tag, `hold` that of a hold, both in seconds. With
    `keeps=False` no entry is stored; tags still show whether a purge came between.
    """

    state = CacheState.UP
    owed = 0

    def __init__(
        self,
        memory: MemoryCache,
        random: Callable[[int], bytes],
        clock: Callable[[], float],
        *,
        max_age: float,
        hold: float,
        keeps: bool = True,
    ) -> None:
        self._memory = memory
        self._put = memory.put
        self._peekable: MemoryCache | None = memory
        self._values = CountedValues(random)
        self._clock = clock
        self._max_age = max_age
        self._keeps = keeps
        self._stamping = Stamping(memory, lambda tags: memory.delete(*tags), self._values, clock, max_age)
        self._renewals = Renewals(hold)
        self._holds = InProcessHolds(memory, self._values, seconds=hold, max_age=max_age)
        self._reclaiming = Reclaiming(memory, clock)
        self.read = memory.get
        self.reclaim = self._reclaiming.begin

    def on_change(self, tell: Callable[[], object]) -> None:
        """As `Store.on_change`; memory is always up."""

    def peek(self, slot: Slot) -> Entry | None:
        """Synchronous look-up by the memory cells in `slot.kept`: one comparison for each tag, and no search of a key.

        A cell keeps its value until its key is deleted, evicted or set anew.
        """
        kept = slot.kept
        if kept is None or kept.memory is not self._peekable:
            return None
        cell = kept.cell
        entry: Entry | None = cell.value  # type: ignore[assignment]  # it was an entry when it was found
        if entry is None or entry.expires <= self._clock() or cell.expires <= kept.memory.clock():  # type: ignore[operator]
            return None
        for tag, stamp in kept.tags:
            if tag.value is not stamp:
                slot.kept = None
                return None
            tag.used = True
        cell.used = True
        return entry

    def copy(self, slot: Slot, values: Sequence[bytes | None]) -> None:
        """None: the entries themselves are in this process's memory."""

    def let_peek(self, allowed: bool) -> None:
        """Let `peek` find entries, or nothing."""
        self._peekable = self._memory if allowed else None

    def look_up(self, slot: Slot) -> LookedUp | Awaitable[LookedUp]:
        """A hit, or the stamps for an answer that is about to be computed; general steps where a tag is unusable."""
        entry = None if slot.kept is None else self.peek(slot)
        if entry is None:
            found = self.find(slot)
            if found is None:
                return self._stamping.look_up(slot)
            if not isinstance(found, Entry):
                return found
            entry = found
        return Hit(entry.body, entry.etag, entry.expires - self._clock())

    def find(self, slot: Slot) -> Entry | Stamped | None:
        """The stored entry, which `peek` finds from then on; or the stamps for one that is about to be computed.

        Each tag that is absent is given a value. None where one is held, unreadable, of another version, or not stored.
        """
        slot.kept = None
        stale = slot.key in self._memory
        cell, *tags = self._memory.cells(slot.key, *slot.tags)
        stamps: list[bytes] = []
        mark = TagValues.PREFIX + slot.fingerprint
        for place, tag in enumerate(tags):
            if tag is None:
                stamp = self._values.fresh(slot.fingerprint)
                tags[place] = self._memory.put(slot.tags[place], stamp, sys.getsizeof(stamp), self._max_age)
                if tags[place] is None:
                    return None
            else:  # `TagValues.made_by`, written out
                stamp = tag.value  # type: ignore[assignment]  # a value of another kind is recognised here
                if type(stamp) is not bytes or not stamp.startswith(mark):
                    return None
            stamps.append(stamp)
            mark = TagValues.PREFIX  # the whole tag alone has to have this fingerprint
        stamped = tuple(stamps)
        if cell is None:
            return Stamped(stamped, tags, stale)  # type: ignore[arg-type]  # none of them is absent any more
        entry = cell.value
        if isinstance(entry, Entry) and entry.stamps == stamped and entry.expires > self._clock():
            slot.kept = Kept(self._memory, cell, tuple(zip(tags, entry.stamps, strict=True)))  # type: ignore[arg-type]
            return entry
        return Stamped(stamped, tags, stale)  # type: ignore[arg-type]  # none of them is absent any more

    def keep(self, slot: Slot, stamped: Stamped, lifetime: float, body: bytes) -> Fresh | Passing:
        """Store a bundle, unless a tag has lost its stamp since."""
        etag = etag_of(body)
        if not is_unchanged(stamped):
            return Passing(body, etag, "purged")
        entry = Entry(stamped.stamps, self._clock() + lifetime, etag, without_spare_room(body))
        stored = self._keeps and self._put(slot.key, entry, len(body) + ENTRY_BYTES, lifetime) is not None
        return Fresh(body, etag, stored, stamped.stale)

    def put(self, slot: Slot, entry: Entry, seconds: float) -> bool:
        """Store an entry for so many seconds; whether it is kept."""
        return self._memory.put(slot.key, entry, len(entry.body) + ENTRY_BYTES, seconds) is not None

    def hold(self, scopes: Sequence[PurgeScope]) -> InProcessHold:
        """As `Store.hold`."""
        return InProcessHold(self._holds, self._renewals, scopes)

    async def aclose(self, seconds: float) -> None:  # noqa: ARG002  # no purge is ever owed here
        """Stop reclaiming memory."""
        await self._reclaiming.aclose()


def is_unchanged(stamped: Stamped) -> bool:
    """Whether every tag still has its stamp."""
    return tuple(map(_value_of, stamped.cells)) == stamped.stamps


class CountedValues(TagValues):
    """Values of tags that are counted, as of `counting`."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        super().__init__(counting(random))
        self._start = random(self.RANDOM_BYTES - _COUNTER_BYTES)
        self._next = itertools.count().__next__

    def fresh(self, fingerprint: bytes) -> bytes:
        """A value that no tag ever had."""
        return self.PREFIX + fingerprint + self._start + self._next().to_bytes(_COUNTER_BYTES, "big")


def counting(random: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Unique bytes without a system call for each. Guessing them is of no use: they never leave this process."""
    prefix = random(TagValues.RANDOM_BYTES - _COUNTER_BYTES)
    counted = itertools.count().__next__
    return lambda count: (prefix + counted().to_bytes(_COUNTER_BYTES, "big"))[-count:]
