"""Look up, stamp, store, hold, purge: the algorithm of protocol section 7 over any backend.

An entry is only as good as its tags. A tag's value is a random nonce, or says that a mutation holds it; an entry
carries the nonces that its tags had before its readers ran. Purging is deleting a tag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from ..errors import CacheUnavailable
from ..protocol.cache_headers import etag_of
from ..tasks import EagerRunner, Tasks, Waiting
from .backends.backend import HELD, CacheBackend, HoldingBackend, RestoringBackend, together
from .backends.memory import MemoryCache
from .entries import Entry, read_entry
from .holds import DEFAULT_HOLD_SECONDS, Renewals
from .in_process.holds import InProcessHold, InProcessHolds
from .in_process.store import InProcessStore, Stamped, counting, is_unchanged
from .outcomes import Compute, Computed, Fetched, Fresh, Hit, Passing
from .shared.breaker import DEFAULT_DEADLINE_SECONDS, CacheState, CircuitBreaker, HoldingCircuitBreaker
from .shared.holds import HoldsCountedHere, SharedHold, SharedHolds
from .shared.owed_purges import INSIST_SECONDS, OwedPurges
from .shared.reclaiming import Reclaiming
from .single_flight import Flight
from .slots import Slot
from .tags import PurgeScope, TagValues
from .turns import Turns

# A context whose entries another version of the program makes is taken over at most this often, so that two versions
# side by side both answer, and the one that stays soon has it to itself.
TAKE_OVER_SECONDS = 60.0

# The safety net under "until purged".
DEFAULT_MAX_AGE_SECONDS = 86_400.0

T = TypeVar("T")
Random: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = Callable[[], float]


Hold: TypeAlias = InProcessHold | SharedHold


@dataclass(frozen=True, slots=True)
class _Bypassed:
    """Nothing of a held scope is served or stored, nor where the cache cannot be asked or believed."""

    detail: str


class BundleCache:
    """Keeps bundles in a backend. `random(n)` gives n bytes, `clock()` seconds since 1970.

    With `keeps=False` (in memory) everything is computed, and tags still tell whether a purge came between. `unheard`
    is told the result or error of a computation whose caller has gone.
    """

    def __init__(
        self,
        backend: CacheBackend,
        *,
        random: Random,
        clock: Clock,
        max_age: float = DEFAULT_MAX_AGE_SECONDS,
        keeps: bool = True,
        deadline: float = DEFAULT_DEADLINE_SECONDS,
        hold: float = DEFAULT_HOLD_SECONDS,
        unheard: Callable[[object], object] | None = None,
    ) -> None:
        self.is_local = type(backend) is MemoryCache  # in this process's memory, and so never waited for
        self._nonces = TagValues(counting(random) if self.is_local else random)
        self._guard = None if self.is_local else _guarded(backend, deadline)
        self._backend: CacheBackend = backend if self._guard is None else self._guard
        self._holds: RestoringBackend = (
            self._backend
            if isinstance(self._backend, RestoringBackend)
            else HoldsCountedHere(self._backend, self._nonces, hold)
        )
        self._debts = OwedPurges(self._holds)
        self._reclaiming = Reclaiming(self._backend, clock)
        self._renewals = Renewals(hold)
        self._local: InProcessStore | None = None
        self._ledger: InProcessHolds | SharedHolds
        if isinstance(backend, MemoryCache) and self.is_local:
            self._local = InProcessStore(backend, self._nonces, clock, max_age)
            self._ledger = InProcessHolds(backend, self._nonces, seconds=hold, max_age=max_age)
        else:
            self._ledger = SharedHolds(self._backend, self._holds, self._nonces, seconds=hold, max_age=max_age)
        # What is stored, where that shows at once: in memory, where it was found before.
        self.recall: Callable[[Slot], Entry | None] = _nothing if self._local is None else self._local.recall
        tasks = Tasks()
        self._pace = EagerRunner(tasks, unheard=unheard)
        self._turns = Turns(self._pace, tasks)
        self._clock = clock
        self._max_age = max_age
        self._keeps = keeps
        self._flights: dict[str, Flight] = {}
        self._taken_over: dict[str, float] = {}

    @property
    def state(self) -> CacheState:
        return CacheState.UP if self._guard is None else self._guard.state

    @property
    def owed(self) -> int:
        """How many mutations' purges have not got through yet."""
        return len(self._debts)

    async def aclose(self, seconds: float) -> None:
        """Try for so many seconds to get through what is owed, and stop asking whether the cache is back."""
        await self._reclaiming.aclose()
        await self._debts.aclose(seconds)
        if self._guard is not None:
            await self._guard.aclose()

    async def fetch(
        self, slot: Slot, seconds: float | None, compute: Compute, readers: Hashable = None, *, alone: bool = False
    ) -> Fetched:
        """The stored bundle, or what `compute` answers, stored for `seconds` (None: until purged) if it may be.

        Concurrent misses of one slot compute once, and whoever goes away takes nobody else along. `readers` stands for
        those who compute: what never waited is computed without a task, and anything else outlives its caller in one.
        Where nothing may be stored, requests share the next computation, except for one that is to compute `alone`.
        """
        found = None if self._local is None else self._local.recall(slot) or self._local.look_up(slot)
        if isinstance(found, Entry):
            return Hit(found.body, found.etag, found.expires - self._clock())
        if found is None:
            looked_up = await self._look_up(slot)
            if isinstance(looked_up, Hit):
                return looked_up
            if isinstance(looked_up, _Bypassed):
                computed = await (compute() if alone else self._turns.take(slot.key, compute, readers))
                return _passing(computed, looked_up.detail)
            found = looked_up
        stamps, _ = found
        under_way = self._flights.get(slot.key)
        if under_way is not None and under_way.may_be_joined_with(stamps):
            joined = await under_way.joined()
            if under_way.is_lost:
                return await self.fetch(slot, seconds, compute, readers)
            return joined if joined is not None else _passing(await compute(), "personal")
        flight = Flight()
        ended = self._pace.run(readers, self._compute(flight, slot, found, seconds, compute))
        if not isinstance(ended, Waiting):
            return ended
        flight.take_off(self._flights, slot.key, stamps)
        try:
            return await ended.work
        except asyncio.CancelledError:
            flight.is_left = True
            raise

    def is_wanted(self, key: Hashable) -> bool:
        """Whether a request waits for the computation of this key, as far as that is known. From any thread."""
        flight = self._flights.get(key)  # type: ignore[call-overload]  # a key of something else is not found
        return flight is None or not flight.is_left or flight.waiting > 0

    async def stamps(self, slot: Slot) -> tuple[bytes, ...] | None:
        """The tags' nonces, added where they are absent; None where nothing may be kept. What `unchanged` compares."""
        if self._bypassed(slot) is not None:
            return None
        try:
            stamps = await self._stamp(slot, await self._backend.get(*slot.tags))
        except CacheUnavailable:
            return None
        return stamps if isinstance(stamps, tuple) else None

    async def unchanged(self, slot: Slot, stamps: tuple[bytes, ...] | None) -> bool:
        """Whether nothing was purged or held since `stamps` were read, as far as the cache can be asked."""
        try:
            return stamps is not None and tuple(await self._backend.get(*slot.tags)) == stamps
        except CacheUnavailable:
            return False

    def hold(self, scopes: Sequence[PurgeScope]) -> Hold:
        """A hold on these scopes, for a mutation that is about to run; it begins with `begin`."""
        if isinstance(self._ledger, InProcessHolds):
            return InProcessHold(self._ledger, self._renewals, scopes)
        return SharedHold(self._ledger, self._renewals, self._nonces.holder, scopes)

    async def settle(self, hold: Hold, purged: Sequence[PurgeScope], *, insist: bool) -> CacheUnavailable | None:
        """End the hold and purge. What does not get through is remembered and tried again.

        With `insist` that is waited for, within bounds; the error, if it did not get through even so.
        """
        if isinstance(hold, InProcessHold):
            hold.end(purged)
            return None
        try:
            await hold.end(purged)
        except CacheUnavailable as error:
            through = self._debts.owe(hold.holder, hold.owed, hold.wholes)
            if insist and not through.done():
                await asyncio.wait([through], timeout=INSIST_SECONDS)
                return None if through.done() else error
        return None

    async def restore(self, hold: Hold) -> None:
        """End the hold of a mutation that was refused and changed nothing: what it held is as good as before.

        A hold whose end does not get through expires.
        """
        if isinstance(hold, InProcessHold):
            hold.restore()
            return
        with suppress(CacheUnavailable):
            await hold.restore()

    def reclaim(self, context: str) -> None:
        """Begin to give back the memory of a context that was purged as a whole. Nothing depends on it."""
        self._reclaiming.begin(context)

    def _bypassed(self, slot: Slot) -> _Bypassed | None:
        """Why the cache is not even asked."""
        if self._guard is not None and not self._guard.serves:
            return _Bypassed(f"cache-{self._guard.state}")
        return _Bypassed("purge-owed") if self._debts.touches(slot.tags) else None

    async def _look_up(self, slot: Slot) -> Hit | Stamped | _Bypassed:
        """A hit, or the stamps for an answer that is about to be computed."""
        bypassed = self._bypassed(slot)
        if bypassed is not None:
            return bypassed
        try:
            raw, *stamps = await self._backend.get(slot.key, *slot.tags)
            entry = None if raw is None else read_entry(raw, stamps, slot.fingerprint)
            if entry is not None and (remaining := entry.expires - self._clock()) > 0:
                return Hit(entry.body, entry.etag, remaining)
            found = await self._stamp(slot, stamps)
            return found if isinstance(found, _Bypassed) else (found, ())
        except CacheUnavailable:
            return _Bypassed("cache-down")

    async def _stamp(self, slot: Slot, stamps: Sequence[bytes | None]) -> tuple[bytes, ...] | _Bypassed:
        """A nonce for every tag, each there before the readers run."""
        bypassed = await self._unusable(slot, stamps)
        if bypassed is None and None in stamps:
            stamps = await self._add_absent(slot, stamps)
            bypassed = await self._unusable(slot, stamps)
        if bypassed is not None:
            return bypassed
        known = tuple(stamp for stamp in stamps if stamp is not None)
        if len(known) == len(slot.tags):
            return known
        # The store keeps nothing more; or another program's key, of a type that reads as nothing, is in the way.
        await self._holds.release([tag for tag, stamp in zip(slot.tags, stamps, strict=True) if stamp is None], "")
        return _Bypassed("not-kept")

    async def _add_absent(self, slot: Slot, stamps: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The stamps with a fresh nonce for each absent tag; all of them read again where that race was lost."""
        nonces = {
            tag: self._nonces.fresh(slot.fingerprint)
            for tag, stamp in zip(slot.tags, stamps, strict=True)
            if stamp is None
        }
        added = await together(*(self._add(tag, nonce) for tag, nonce in nonces.items()))
        if not all(added):
            return await self._backend.get(*slot.tags)
        return [nonces.get(tag, stamp) for tag, stamp in zip(slot.tags, stamps, strict=True)]

    def _add(self, tag: str, nonce: bytes) -> Awaitable[bool]:
        return self._backend.set(tag, nonce, self._max_age, if_absent=True)

    async def _unusable(self, slot: Slot, stamps: Sequence[bytes | None]) -> _Bypassed | None:
        """Why these tags can neither serve nor stamp: one is held, or is no nonce; or another version's entries."""
        if any(stamp is not None and stamp.startswith(HELD) for stamp in stamps):
            return _Bypassed("held")
        foreign = [
            tag
            for tag, stamp in zip(slot.tags, stamps, strict=True)
            if stamp is not None and not TagValues.is_one(stamp, slot.fingerprint)
        ]
        if foreign:  # what another program, or a fault, has left there
            await self._holds.release(foreign, "")
            return _Bypassed("unreadable")
        whole = stamps[0]
        if whole is None or TagValues.made_by(whole, slot.fingerprint):
            return None
        now = asyncio.get_running_loop().time()
        if now >= self._taken_over.get(slot.tags[0], 0.0):
            self._taken_over[slot.tags[0]] = now + TAKE_OVER_SECONDS
            await self._holds.release(slot.tags[:1], "")
        return _Bypassed("other-version")

    async def _compute(
        self, flight: Flight, slot: Slot, stamped: Stamped, seconds: float | None, compute: Compute
    ) -> Fresh | Passing:
        """What the readers answer; whoever has joined is told."""
        try:
            computed = await compute()
            if computed.personal:
                answer: Fresh | Passing = _passing(computed, "personal")
            else:
                lifetime = self._max_age if seconds is None else min(seconds, self._max_age)
                if self._local is not None:
                    answer = self._keep(self._local, slot, stamped, lifetime, computed.body)
                else:
                    answer = await self._send(slot, stamped[0], lifetime, computed.body)
        except BaseException as error:
            if flight.has_taken_off:
                flight.crash(error)
            raise
        if flight.has_taken_off:
            flight.land(answer)
        return answer

    def _keep(
        self, local: InProcessStore, slot: Slot, stamped: Stamped, lifetime: float, body: bytes
    ) -> Fresh | Passing:
        """Store it in memory, if nothing was purged meanwhile."""
        etag = etag_of(body)
        if not is_unchanged(stamped):
            return Passing(body, etag, "purged")
        kept = bytes(memoryview(body))  # a copy, without the spare room that the encoder leaves
        entry = Entry(stamped[0], self._clock() + lifetime, etag, kept)
        return Fresh(body, etag, self._keeps and local.keep(slot, entry, lifetime))

    async def _send(self, slot: Slot, stamps: tuple[bytes, ...], lifetime: float, body: bytes) -> Fresh | Passing:
        """Store it in the backend, which tells by the stamps whether anything was purged meanwhile."""
        etag = etag_of(body)
        try:
            stored, current = await together(
                self._store(slot, stamps, lifetime, body, etag), self._backend.get(*slot.tags)
            )
        except CacheUnavailable:
            return Passing(body, etag, "cache-down")
        if tuple(current) != stamps:
            return Passing(body, etag, "purged")
        return Fresh(body, etag, stored)

    def _store(self, slot: Slot, stamps: tuple[bytes, ...], lifetime: float, body: bytes, etag: str) -> Awaitable[bool]:
        entry = Entry(stamps, self._clock() + lifetime, etag, body)
        return self._backend.set(slot.key, bytes(entry), lifetime)


def _nothing(slot: Slot) -> None:
    """What is recalled where nothing is in the memory of this process."""


def _guarded(backend: CacheBackend, deadline: float) -> CircuitBreaker:
    kind = HoldingCircuitBreaker if isinstance(backend, HoldingBackend) else CircuitBreaker
    return kind(backend, deadline=deadline)


def _passing(computed: Computed, detail: str) -> Passing:
    detail = "personal" if computed.personal else detail
    return Passing(computed.body, etag_of(computed.body), detail, computed.personal)
