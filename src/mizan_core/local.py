"""Bundles in the memory of this process: the steps of protocol section 7 where none of them takes any waiting.

Nobody else gets a turn within a step, so there is no race to lose, and nothing to read again.
"""

import itertools
import sys
from collections.abc import Callable

from .cache.memory import Cell, MemoryCache
from .entries import ENTRY_BYTES, Entry, Kept, Slot
from .holds import Nonces

_COUNTER_BYTES = 7


class LocalBundles:
    """Entries and stamps in a `MemoryCache`. `clock()` gives seconds since 1970, `max_age` is the life of a tag."""

    def __init__(self, memory: MemoryCache, nonces: Nonces, clock: Callable[[], float], max_age: float) -> None:
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
                return None
            tag.used = True
        cell.used = True
        return entry

    def find(self, slot: Slot) -> Entry | None:
        """The stored bundle, wherever it is; `recall` finds it from then on."""
        slot.kept = None
        cell = self._memory.cell(slot.key)
        if cell is None or not isinstance(entry := cell.value, Entry) or entry.expires <= self._clock():
            return None
        if len(slot.tags) != len(entry.stamps):  # another version's, which knows other shapes
            return None
        tags: list[tuple[Cell, bytes]] = []
        for tag, stamp in zip(slot.tags, entry.stamps, strict=True):
            found = self._memory.cell(tag)
            if found is None or found.value is not stamp:
                return None
            tags.append((found, stamp))
        slot.kept = Kept(self._memory, cell, tuple(tags))
        return entry

    def stamp(self, slot: Slot) -> tuple[bytes, ...] | None:
        """The nonce of every tag, added where it is absent; None where one is held, another version's, or not kept."""
        stamps: list[bytes] = []
        for tag in slot.tags:
            cell = self._memory.cell(tag)
            if cell is None:
                value = self._nonces.fresh(slot.fingerprint)
                if not self._memory.put(tag, value, sys.getsizeof(value), self._max_age):
                    return None
            else:
                value = cell.value  # type: ignore[assignment]  # whoever keeps something else under a tag is found out
                if not self._nonces.made_by(value, b"" if stamps else slot.fingerprint):
                    return None
            stamps.append(value)
        return tuple(stamps)

    def keep(self, slot: Slot, entry: Entry, seconds: float) -> bool:
        """Store a bundle for so many seconds; whether it is kept."""
        return self._memory.put(slot.key, entry, len(entry.body) + ENTRY_BYTES, seconds)

    def is_unchanged(self, slot: Slot, stamps: tuple[bytes, ...]) -> bool:
        """Whether every tag still has its stamp."""
        for tag, stamp in zip(slot.tags, stamps, strict=True):
            cell = self._memory.cell(tag)
            if cell is None or cell.value is not stamp:
                return False
        return True


def counting(random: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Unique bytes for what stays in this process, where nobody could use a guess: they cost no system call each."""
    numbers = itertools.count()
    prefix = random(Nonces.RANDOM_BYTES - _COUNTER_BYTES)
    return lambda count: (prefix + next(numbers).to_bytes(_COUNTER_BYTES, "big"))[-count:]
