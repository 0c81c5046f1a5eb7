"""Bundles in a backend that processes share: every step may wait, and may fail.

A failing step never fails a request. While the cache cannot be asked, each bundle is computed for its request alone;
while a purge is owed, bundles that depend on its tags bypass the cache.
"""

from collections.abc import Awaitable, Callable, Sequence

from ...errors import CacheUnavailable
from ...protocol.cache_headers import etag_of
from ..backends.backend import CacheBackend, ClaimingBackend, HoldingBackend, together
from ..entries import Entry
from ..holds import Renewals
from ..outcomes import Fresh, Passing
from ..reclaiming import Reclaiming
from ..slots import Slot
from ..stamping import Stamping
from ..store import Bypassed, CacheState, LookedUp, Stamped
from ..tags import PurgeScope, TagValues
from .breaker import CircuitBreaker, HoldingCircuitBreaker
from .holds import HoldsCountedHere, SharedHold, SharedHolds


class SharedStore:
    """Entries and stamps in a backend behind a circuit breaker.

    `clock()` gives seconds since 1970; `max_age` is the life of a tag, `hold` that of a hold, `deadline` the time that
    one command may take, all in seconds.
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
    ) -> None:
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
        self._stamping = Stamping(self._backend, lambda tags: holds.release(tags, ""), self._values, clock, max_age)
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
        """Nothing: no entry of a shared backend is in this process's memory."""

    def let_peek(self, allowed: bool) -> None:
        """As `Store.let_peek`; nothing is to be found anyway."""

    async def look_up(self, slot: Slot) -> LookedUp:
        """A hit, or the stamps for an answer that is about to be computed."""
        bypassed = self._bypassed(slot)
        if bypassed is not None:
            return bypassed
        try:
            return await self._stamping.look_up(slot)
        except CacheUnavailable:
            return Bypassed("cache-down")

    async def keep(self, slot: Slot, stamped: Stamped, lifetime: float, body: bytes) -> Fresh | Passing:
        """Store a bundle, and read its tags in the same round trip, to see whether one was purged or held since."""
        stamps, etag = stamped.stamps, etag_of(body)
        try:
            stored, current = await together(
                self._store(slot, stamps, lifetime, body, etag), self._backend.get(*slot.tags)
            )
        except CacheUnavailable:
            return Passing(body, etag, "cache-down")
        if tuple(current) != stamps:
            return Passing(body, etag, "purged")
        return Fresh(body, etag, stored, stamped.stale)

    async def stamps(self, slot: Slot) -> tuple[bytes, ...] | None:
        """As `Store.stamps`."""
        if self._bypassed(slot) is not None:
            return None
        try:
            return await self._stamping.stamps(slot)
        except CacheUnavailable:
            return None

    async def unchanged(self, slot: Slot, stamps: tuple[bytes, ...] | None) -> bool:
        """As `Store.unchanged`."""
        try:
            return await self._stamping.unchanged(slot, stamps)
        except CacheUnavailable:
            return False

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

    def _store(self, slot: Slot, stamps: tuple[bytes, ...], lifetime: float, body: bytes, etag: str) -> Awaitable[bool]:
        entry = Entry(stamps, self._clock() + lifetime, etag, body)
        return self._backend.set(slot.key, bytes(entry), lifetime)


def _behind_breaker(backend: CacheBackend, deadline: float) -> CircuitBreaker:
    kind = HoldingCircuitBreaker if isinstance(backend, HoldingBackend) else CircuitBreaker
    return kind(backend, deadline=deadline)
