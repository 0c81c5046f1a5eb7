"""Bundles in the memory of this process: the steps of protocol section 7 where none of them takes any waiting.

Nobody else gets a turn within a step, so there is no race to lose, and nothing to read again.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..backends.memory import Cell, MemoryCache
from ..entries import Entry
from ..slots import Kept, Slot
from ..tags import TagValues

_COUNTER_BYTES = 7

# The stamps of a bundle that is about to be computed, and the cells that its tags have them in, if they have cells.
Stamped: TypeAlias = tuple[tuple[bytes, ...], Sequence[Cell]]


class InProcessStore:
    """Entries and stamps in a `MemoryCache`. `clock()` gives seconds since 1970, `max_age` is the life of a tag."""

    def __init__(self, memory: MemoryCache, nonces: TagValues, clock: Callable[[], float], max_age: float) -> None:
        self._memory = memory
        self._nonces = nonces
        self._clock = clock
        self._max_age = max_age

    def recall(self, slot: Slot) -> Entry | None:
        """The stored bundle, if it is where it was found before: one comparison for each tag, and no look-up at all.

        A cell's value is what it was for as long as its key is neither deleted nor set anew.
        """
        kept = slot.kept
        if kept is None or kept.memory is not self._memory:
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

    def look_up(self, slot: Slot) -> Entry | Stamped | None:
        """The stored bundle, which `recall` finds from then on; or the stamps for one that is about to be computed.

        Each tag that is absent is given a nonce. None where one is held, another version's, or not kept.
        """
        slot.kept = None
        cell, *tags = self._memory.cells(slot.key, *slot.tags)
        stamps: list[bytes] = []
        for place, tag in enumerate(tags):
            if tag is None:
                stamp = self._nonces.fresh(slot.fingerprint)
                tags[place] = self._memory.put(slot.tags[place], stamp, sys.getsizeof(stamp), self._max_age)
                if tags[place] is None:
                    return None
            else:
                stamp = tag.value  # type: ignore[assignment]  # whoever keeps something else here is found out
                if not self._nonces.made_by(stamp, b"" if stamps else slot.fingerprint):
                    return None
            stamps.append(stamp)
        stamped = tuple(stamps)
        entry = None if cell is None else cell.value
        if isinstance(entry, Entry) and entry.stamps == stamped and entry.expires > self._clock():
            slot.kept = Kept(self._memory, cell, tuple(zip(tags, entry.stamps, strict=True)))  # type: ignore[arg-type]
            return entry
        return stamped, tags  # type: ignore[return-value]  # None of them is absent any more

    def keep(self, slot: Slot, entry: Entry, seconds: float) -> bool:
        """Store a bundle for so many seconds; whether it is kept."""
        return self._memory.put(slot.key, entry, len(entry.body) + ENTRY_BYTES, seconds) is not None


def is_unchanged(stamped: Stamped) -> bool:
    """Whether every tag still has its stamp."""
    for stamp, tag in zip(*stamped, strict=True):  # noqa: SIM110  # which takes half the time that a generator does
        if tag.value is not stamp:
            return False
    return True


def counting(random: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Unique bytes for what stays in this process, where nobody could use a guess: they cost no system call each."""
    numbers = itertools.count()
    prefix = random(TagValues.RANDOM_BYTES - _COUNTER_BYTES)
    return lambda count: (prefix + next(numbers).to_bytes(_COUNTER_BYTES, "big"))[-count:]


# What an entry in memory costs beside its body: itself, its stamps and ETag, and the headers that are made of it.
ENTRY_BYTES = 1_000
