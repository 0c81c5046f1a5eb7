"""Look-up and stamping over any backend. Every step may wait; a race that is lost leaves an entry that is never served.

The docstring of `mizan_core.cache` gives the reason for each step.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .backends.backend import HELD, CacheBackend, together
from .entries import Entry, is_under, read_entry
from .outcomes import Hit
from .slots import Slot
from .store import Bypassed, LookedUp, Stamped
from .tags import TagValues

# A context whose entries were made under other scope shapes, by another version of the program, is purged and taken
# over at most this often. Two versions side by side do not purge each other's entries at every request, and the version
# that stays soon has the context for itself.
TAKE_OVER_SECONDS = 60.0


def _nothing(key: str, entry: Entry) -> None:
    """No copy is kept."""


class Stamping:
    """Looks up entries and stamps slots. `forget` deletes tags; `clock()` gives seconds since 1970.

    `max_age` is the life of a tag, in seconds. `found` is told of every hit that `look_up` finds. Every method raises
    what the backend raises.
    """

    def __init__(
        self,
        backend: CacheBackend,
        forget: Callable[[Sequence[str]], Awaitable[object]],
        values: TagValues,
        clock: Callable[[], float],
        max_age: float,
        found: Callable[[str, Entry], object] = _nothing,
    ) -> None:
        self._backend = backend
        self._forget = forget
        self._values = values
        self._clock = clock
        self._max_age = max_age
        self._found = found
        self._taken_over: dict[str, float] = {}  # by whole tag: when it may be taken over again

    async def look_up(self, slot: Slot) -> LookedUp:
        """A hit, or the stamps for an answer that is about to be computed."""
        raw, *stamps = await self._backend.get(slot.key, *slot.tags)
        entry = None if raw is None else read_entry(raw, stamps, slot.fingerprint)
        if entry is not None and (remaining := entry.expires - self._clock()) > 0:
            self._found(slot.key, entry)
            return Hit(entry.body, entry.etag, remaining)
        return await self._about_to_compute(slot, stamps, stale=raw is not None)

    async def validate(self, slot: Slot, copy: Entry) -> LookedUp | None:
        """As `look_up`, by the tags alone, for a slot of whose entry there is a copy.

        None if the copy is not valid any more, and the backend may have an entry that is.
        """
        stamps = await self._backend.get(*slot.tags)
        if is_under(copy, stamps, slot.fingerprint) and (remaining := copy.expires - self._clock()) > 0:
            return Hit(copy.body, copy.etag, remaining)
        if None in stamps or any(stamp.startswith(HELD) for stamp in stamps if stamp is not None):  # no entry is valid
            return await self._about_to_compute(slot, stamps, stale=True)
        return None

    async def _about_to_compute(self, slot: Slot, stamps: Sequence[bytes | None], *, stale: bool) -> Stamped | Bypassed:
        found = await self.stamp(slot, stamps)
        return found if isinstance(found, Bypassed) else Stamped(found, (), stale)

    async def stamp(self, slot: Slot, stamps: Sequence[bytes | None]) -> tuple[bytes, ...] | Bypassed:
        """The values of all tags. Each that is absent in `stamps`, the values found, is first added to the backend."""
        bypassed = await self._unusable(slot, stamps)
        if bypassed is None and None in stamps:
            stamps = await self._add_absent(slot, stamps)
            bypassed = await self._unusable(slot, stamps)
        if bypassed is not None:
            return bypassed
        known = tuple(stamp for stamp in stamps if stamp is not None)
        if len(known) == len(slot.tags):
            return known
        # The backend is full; or another program has a key of this name, of a type that reads as absent.
        await self._forget([tag for tag, stamp in zip(slot.tags, stamps, strict=True) if stamp is None])
        return Bypassed("not-kept")

    async def _add_absent(self, slot: Slot, stamps: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The stamps with a fresh value for each absent tag; all of them read again where another request added one."""
        fresh = {
            tag: self._values.fresh(slot.fingerprint)
            for tag, stamp in zip(slot.tags, stamps, strict=True)
            if stamp is None
        }
        added = await together(*(self._add(tag, value) for tag, value in fresh.items()))
        if not all(added):
            return await self._backend.get(*slot.tags)
        return [fresh.get(tag, stamp) for tag, stamp in zip(slot.tags, stamps, strict=True)]

    def _add(self, tag: str, value: bytes) -> Awaitable[bool]:
        return self._backend.set(tag, value, self._max_age, if_absent=True)

    async def _unusable(self, slot: Slot, stamps: Sequence[bytes | None]) -> Bypassed | None:
        """A bypass if these tags can neither serve nor stamp: held, unreadable, or of other scope shapes."""
        if any(stamp is not None and stamp.startswith(HELD) for stamp in stamps):
            return Bypassed("held")
        unreadable = [
            tag
            for tag, stamp in zip(slot.tags, stamps, strict=True)
            if stamp is not None and not TagValues.is_one(stamp, slot.fingerprint)
        ]
        if unreadable:  # written by another program, or damaged
            await self._forget(unreadable)
            return Bypassed("unreadable")
        whole = stamps[0]
        if whole is None or TagValues.made_by(whole, slot.fingerprint):
            return None
        now = asyncio.get_running_loop().time()
        if now >= self._taken_over.get(slot.tags[0], 0.0):
            self._taken_over[slot.tags[0]] = now + TAKE_OVER_SECONDS
            await self._forget(slot.tags[:1])
        return Bypassed("other-version")
