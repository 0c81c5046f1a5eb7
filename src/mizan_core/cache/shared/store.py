"""Bundles in a backend that processes share: every step may wait, and may fail.

A failing step never fails a request. While the cache cannot be asked, each bundle is computed for its request alone;
while a purge is owed, bundles that depend on its tags bypass the cache. Entries that this process has stored or read
are in its memory as well (`near`).
"""

from collections.abc import Awaitable, Callable, Sequence

from ...errors import CacheUnavailable
from ...protocol.cache_headers import etag_of
from ..backends.backend import CacheBackend, ClaimingBackend, HoldingBackend, together
from ..entries import Entry, is_under, without_spare_room
from ..holds import Renewals
from ..outcomes import Fresh, Hit, Passing
from ..reclaiming import Reclaiming
from ..slots import Slot
from ..stamping import Stamping
from ..store import Bypassed, CacheState, LookedUp, Stamped
from ..tags import PurgeScope, TagValues
from .breaker import CircuitBreaker, HoldingCircuitBreaker
from .holds import HoldsCountedHere, SharedHold, SharedHolds
from .near import NearCopies


class SharedStore:
    """Entries and stamps in a backend behind a circuit breaker.

    `clock()` gives seconds since 1970; `max_age` is the life of a tag, `hold` that of a hold, `deadline` the time that
    one command may take, all in seconds. `near_bytes` bounds the copies of entries in this process's memory.
    """

    def __init__(
        self,
        backend: CacheBackend,
        random: Callable[[int], bytes],
        clock: Callable[[], float],
        *,
        max_age: float,
        hold: float,
        deadline: float,
        near_bytes: int,
    ) -> None:
        self.near = NearCopies(near_bytes, clock)
        self._backend = _behind_breaker(backend, deadline)
        self._values = TagValues(random)
        self._clock = clock
        holds: ClaimingBackend = (
            self._backend
            if isinstance(self._backend, HoldingCircuitBreaker)
            else HoldsCountedHere(self._backend, self._values, hold)
        )
        self.read = self._backend.get
        self._holds = SharedHolds(self._backend, holds, self._values, seconds=hold, max_age=max_age)
        self._owed = self._holds.owed
        self._stamping = Stamping(
            self._backend, lambda tags: holds.release(tags, ""), self._values, clock, max_age, found=self.near.put
        )
        self._renewals = Renewals(hold)
        self._reclaiming = Reclaiming(self._backend, clock)
        self.reclaim = self._reclaiming.begin

    def on_change(self, tell: Callable[[], object]) -> None:
        """As `Store.on_change`."""
        self._backend.on_change = tell
        self._owed.on_change = tell

    @property
    def state(self) -> CacheState:
        return self._backend.state

    @property
    def owed(self) -> int:
        """How many mutations' purges have not succeeded yet."""
        return len(self._owed)

    def peek(self, slot: Slot) -> None:
        """Nothing: not even a copy in this process's memory is served before the backend was asked."""

    def let_peek(self, allowed: bool) -> None:
        """As `Store.let_peek`; nothing is to be found anyway."""

    async def look_up(self, slot: Slot) -> LookedUp:
        """A hit, or the stamps for an answer that is about to be computed."""
        bypassed = self._bypassed(slot)
        if bypassed is not None:
            return bypassed
        try:
            copy = self.near.get(slot.key)
            if copy is not None:
                found = await self._stamping.validate(slot, copy)
                if isinstance(found, Hit | Bypassed):
                    return found
                self.near.forget(slot.key)
                if found is not None:
                    return found
            return await self._stamping.look_up(slot)
        except CacheUnavailable:
            return Bypassed("cache-down")

    def copy(self, slot: Slot, values: Sequence[bytes | None]) -> Entry | None:
        """As `Store.copy`."""
        copy = self.near.peek(slot.key)
        if copy is None or copy.expires <= self._clock() or not is_under(copy, values, slot.fingerprint):
            return None
        return copy

    async def keep(self, slot: Slot, stamped: Stamped, lifetime: float, body: bytes) -> Fresh | Passing:
        """Store a bundle, and read its tags in the same round trip, to see whether one was purged or held since."""
        etag = etag_of(body)
        entry = Entry(stamped.stamps, self._clock() + lifetime, etag, body)
        try:
            stored, current = await together(self._store(slot, entry, lifetime), self._backend.get(*slot.tags))
        except CacheUnavailable:
            return Passing(body, etag, "cache-down")
        if tuple(current) != entry.stamps:
            return Passing(body, etag, "purged")
        if stored:
            entry.body = without_spare_room(body)
            self.near.put(slot.key, entry)
        return Fresh(body, etag, stored, stamped.stale)

    def hold(self, scopes: Sequence[PurgeScope]) -> SharedHold:
        """As `Store.hold`."""
        return SharedHold(self._holds, self._renewals, self._values.holder, scopes)

    async def aclose(self, seconds: float) -> None:
        """Retry what is owed for so many seconds, then stop reclaiming memory and probing the backend."""
        await self._reclaiming.aclose()
        await self._owed.aclose(seconds)
        await self._backend.aclose()

    def _bypassed(self, slot: Slot) -> Bypassed | None:
        """A bypass during an outage or while a purge is owed, when the backend is not even asked."""
        if not self._backend.serves:
            return Bypassed(f"cache-{self._backend.state}")
        return Bypassed("purge-owed") if self._owed.touches(slot.tags) else None

    def _store(self, slot: Slot, entry: Entry, lifetime: float) -> Awaitable[bool]:
        return self._backend.set(slot.key, bytes(entry), lifetime)


def _behind_breaker(backend: CacheBackend, deadline: float) -> CircuitBreaker:
    kind = HoldingCircuitBreaker if isinstance(backend, HoldingBackend) else CircuitBreaker
    return kind(backend, deadline=deadline)
