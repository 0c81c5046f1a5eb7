"""Look up, stamp, store, hold, purge: the algorithm of protocol section 7 over any backend.

An entry is only as good as its tags. A tag's value is a random nonce, or says that a mutation holds it; an entry
carries the nonces that its tags had before its readers ran. Purging is deleting a tag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .cache.backend import HELD, CacheBackend, HoldingBackend, together
from .cache.guard import DEFAULT_DEADLINE_SECONDS, CacheState, GuardedCache, GuardedHoldingCache
from .cache.memory import MemoryCache
from .entries import ENTRY_BYTES, Entry, Kept, Slot, read_entry
from .errors import CacheUnavailable
from .holds import DEFAULT_HOLD_SECONDS, Debts, Hold, LocalHolds, Nonces, Scope
from .wire import etag_of

# A context whose entries another version of the program makes is taken over at most this often, so that two versions
# side by side both answer, and the one that stays soon has it to itself.
TAKE_OVER_SECONDS = 60.0

# The safety net under "until purged".
DEFAULT_MAX_AGE_SECONDS = 86_400.0

Random: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Computed:
    """What the readers answered. `personal`: it shows who asked, and belongs to that request alone."""

    body: bytes
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """Served from the cache; `remaining` seconds until it expires."""

    entry: Entry
    remaining: float

    @property
    def body(self) -> bytes:
        return self.entry.body

    @property
    def etag(self) -> str:
        return self.entry.etag


@dataclass(frozen=True, slots=True)
class Fresh:
    """Computed while nothing was purged: caches beyond may keep it. `joined`: another request computed it."""

    body: bytes
    etag: str
    stored: bool
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Passing:
    """Computed for this request alone; no cache may keep it. `detail` says why."""

    body: bytes
    etag: str
    detail: str
    personal: bool = False


class PersonalFailure(Exception):
    """The readers failed after they had seen who asks: the error is for that request alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


Fetched: TypeAlias = Hit | Fresh | Passing
Compute: TypeAlias = Callable[[], Awaitable[Computed]]


@dataclass(frozen=True, slots=True)
class _Bypassed:
    """Nothing of a held scope is served or stored, nor where the cache cannot be asked or believed."""

    detail: str


@dataclass(slots=True, eq=False)
class _Flight:
    """A computation under way, and the stamps it carries."""

    stamps: tuple[bytes, ...]
    task: "asyncio.Task[Fresh | Passing]"

    def may_be_joined_with(self, stamps: tuple[bytes, ...]) -> bool:
        """Only by who has just read the very stamps it carries, so never by who came after a purge."""
        return self.stamps == stamps and self.task.get_loop() is asyncio.get_running_loop()


class BundleCache:
    """Keeps bundles in a backend. `random(n)` gives n bytes, `clock()` seconds since 1970.

    With `keeps=False` everything is computed, and tags still tell whether a purge came between.
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
    ) -> None:
        self._nonces = Nonces(random)
        self._memory = backend if type(backend) is MemoryCache else None
        self._guard = None if self._memory is not None else _guarded(backend, deadline)
        self._backend: CacheBackend = backend if self._guard is None else self._guard
        self._holds: HoldingBackend = (
            self._backend
            if isinstance(self._backend, HoldingBackend)
            else LocalHolds(self._backend, self._nonces, hold)
        )
        self._debts = Debts(self._holds)
        self._clock = clock
        self._hold_seconds = hold
        self._max_age = max_age
        self._keeps = keeps
        self._flights: dict[str, _Flight] = {}
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
        await self._debts.aclose(seconds)
        if self._guard is not None:
            await self._guard.aclose()

    async def fetch(self, slot: Slot, seconds: float | None, compute: Compute) -> Fetched:
        """The stored bundle, or what `compute` answers, stored for `seconds` (None: until purged) if it may be.

        Concurrent misses of one slot compute once, and a computation goes on when whoever began it goes away.
        """
        entry = self.recall(slot)
        if entry is not None:
            return Hit(entry, entry.expires - self._clock())
        found = await self._look_up(slot)
        if isinstance(found, Hit):
            return found
        if isinstance(found, _Bypassed):
            return _passing(await compute(), found.detail)
        flight = self._flights.get(slot.key)
        if flight is None or not flight.may_be_joined_with(found):
            return await asyncio.shield(self._begin(slot, found, seconds, compute).task)
        joined = await self._join(flight)
        return joined if joined is not None else _passing(await compute(), "personal")

    def recall(self, slot: Slot) -> Entry | None:
        """The stored bundle where that is known without waiting: in the memory of this process.

        A cell's value is what it was for as long as its key is neither deleted nor set anew, so that a hit takes one
        comparison for each tag, and no look-up at all where the cells have been found before.
        """
        kept = slot.kept
        if kept is None or kept.memory is not self._memory:
            return self._found(slot)
        cell = kept.cell
        entry: Entry | None = cell.value  # type: ignore[assignment]  # it was an entry when it was found
        if entry is None or entry.expires <= self._clock() or cell.expires <= kept.memory.clock():  # type: ignore[operator]
            return self._found(slot)
        for tag, stamp in kept.tags:
            if tag.value is not stamp:
                return None
            tag.used = True
        cell.used = True
        return entry

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

    def hold(self, scopes: Iterable[Scope]) -> Hold:
        """A hold on these scopes, for a mutation that is about to run; it begins with `begin`."""
        return Hold(self._backend, self._holds, scopes, self._nonces, seconds=self._hold_seconds, max_age=self._max_age)

    async def settle(self, hold: Hold, purged: Iterable[Scope], *, insist: bool) -> None:
        """End the hold and purge. What does not get through is remembered and tried again; `insist` waits for it."""
        try:
            await hold.end(purged)
        except CacheUnavailable:
            self._debts.owe(hold.holder, hold.owed)
            if insist:
                await self._debts.paid()

    async def purge(self, scopes: Iterable[Scope], *, insist: bool) -> None:
        """Nothing that was stored under these scopes is served again. What a mutation holds stays held."""
        await self.settle(self.hold(()), scopes, insist=insist)

    async def reclaim(self, prefix: str) -> int:
        """Give back the memory of entries that a purge has killed. Housekeeping: nothing depends on it."""
        return await self._backend.delete_by_prefix(prefix)

    def _found(self, slot: Slot) -> Entry | None:
        """Find the cells of a slot, to be asked at once the next time."""
        slot.kept = None
        memory = self._memory
        cell = None if memory is None else memory.cell(slot.key)
        if memory is None or cell is None or not isinstance(entry := cell.value, Entry):
            return None
        tags = [memory.cell(tag) for tag in slot.tags]
        values = tuple(None if tag is None else tag.value for tag in tags)
        if values != entry.stamps or entry.expires <= self._clock():
            return None
        slot.kept = Kept(memory, cell, tuple(zip(tags, values, strict=True)))  # type: ignore[arg-type]  # none is None
        return entry

    def _bypassed(self, slot: Slot) -> _Bypassed | None:
        """Why the cache is not even asked."""
        if self._guard is not None and not self._guard.serves:
            return _Bypassed(f"cache-{self._guard.state}")
        return _Bypassed("purge-owed") if self._debts.touches(slot.tags) else None

    async def _look_up(self, slot: Slot) -> Hit | tuple[bytes, ...] | _Bypassed:
        """A hit, or the stamps for an answer that is about to be computed."""
        bypassed = self._bypassed(slot)
        if bypassed is not None:
            return bypassed
        try:
            if self._memory is not None:  # has been recalled from already
                return await self._stamp(slot, await self._memory.get(*slot.tags))
            raw, *stamps = await self._backend.get(slot.key, *slot.tags)
            entry = None if raw is None else read_entry(raw, stamps)
            if entry is not None and (remaining := entry.expires - self._clock()) > 0:
                return Hit(entry, remaining)
            return await self._stamp(slot, stamps)
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
        return known if len(known) == len(slot.tags) else _Bypassed("not-kept")

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
        """Why these tags can neither serve nor stamp: one is held, or another version makes this context's entries."""
        if any(stamp is not None and stamp.startswith(HELD) for stamp in stamps):
            return _Bypassed("held")
        whole = stamps[0]
        if whole is None or Nonces.made_by(whole, slot.fingerprint):
            return None
        now = asyncio.get_running_loop().time()
        if now >= self._taken_over.get(slot.tags[0], 0.0):
            self._taken_over[slot.tags[0]] = now + TAKE_OVER_SECONDS
            await self._holds.release(slot.tags[:1], "")
        return _Bypassed("other-version")

    async def _join(self, flight: _Flight) -> Fresh | Passing | None:
        """What the computation answers everyone; None where its answer is for the request that began it."""
        try:
            answer = await asyncio.shield(flight.task)
        except PersonalFailure:
            return None
        if isinstance(answer, Fresh):
            return replace(answer, joined=True)
        return None if answer.personal else answer

    def _begin(self, slot: Slot, stamps: tuple[bytes, ...], seconds: float | None, compute: Compute) -> _Flight:
        """A task of its own, so that a waiter who goes away does not take the others with it."""
        flight = _Flight(stamps, asyncio.create_task(self._compute(slot, stamps, seconds, compute)))
        self._flights[slot.key] = flight
        flight.task.add_done_callback(lambda task: self._end(slot.key, flight, task))
        return flight

    def _end(self, key: str, flight: _Flight, task: "asyncio.Task[Fresh | Passing]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # every waiter has it, and if none is left nobody needs it

    async def _compute(
        self, slot: Slot, stamps: tuple[bytes, ...], seconds: float | None, compute: Compute
    ) -> Fresh | Passing:
        computed = await compute()
        if computed.personal:
            return _passing(computed, "personal")
        etag = etag_of(computed.body)
        try:
            stored, current = await together(
                self._store(slot, stamps, seconds, computed.body, etag) if self._keeps else _at_once(False),
                self._backend.get(*slot.tags),
            )
        except CacheUnavailable:
            return Passing(computed.body, etag, "cache-down")
        if tuple(current) != stamps:
            return Passing(computed.body, etag, "purged")
        return Fresh(computed.body, etag, stored)

    def _store(
        self, slot: Slot, stamps: tuple[bytes, ...], seconds: float | None, body: bytes, etag: str
    ) -> Awaitable[bool]:
        lifetime = self._max_age if seconds is None else min(seconds, self._max_age)
        entry = Entry(stamps, self._clock() + lifetime, etag, body)
        if self._memory is not None:
            return _at_once(self._memory.put(slot.key, entry, len(body) + ENTRY_BYTES, lifetime))
        return self._backend.set(slot.key, bytes(entry), lifetime)


def _guarded(backend: CacheBackend, deadline: float) -> GuardedCache:
    kind = GuardedHoldingCache if isinstance(backend, HoldingBackend) else GuardedCache
    return kind(backend, deadline=deadline)


async def _at_once(kept: bool) -> bool:
    return kept


def _passing(computed: Computed, detail: str) -> Passing:
    detail = "personal" if computed.personal else detail
    return Passing(computed.body, etag_of(computed.body), detail, computed.personal)
