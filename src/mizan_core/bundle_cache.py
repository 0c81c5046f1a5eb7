"""Look up, stamp, store, hold, purge: the algorithm of protocol section 7 over any backend.

An entry is only as good as its tags. A tag's value is a random nonce, or says that a mutation holds it; an entry
carries the nonces that its tags had before its readers ran. Purging is deleting a tag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from .backend_holds import BackendHold, BackendLedger, LocalHolds
from .cache.backend import HELD, CacheBackend, HoldingBackend, together
from .cache.guard import DEFAULT_DEADLINE_SECONDS, CacheState, GuardedCache, GuardedHoldingCache
from .cache.memory import MemoryCache
from .debts import INSIST_SECONDS, Debts
from .entries import Entry, Slot, read_entry
from .errors import CacheUnavailable
from .holds import DEFAULT_HOLD_SECONDS, Nonces, Renewals, Scope
from .local import LocalBundles, counting
from .memory_holds import MemoryHold, MemoryLedger
from .pace import Pace, Waiting
from .wire import etag_of

# A context whose entries another version of the program makes is taken over at most this often, so that two versions
# side by side both answer, and the one that stays soon has it to itself.
TAKE_OVER_SECONDS = 60.0

# The safety net under "until purged".
DEFAULT_MAX_AGE_SECONDS = 86_400.0

T = TypeVar("T")
Random: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = Callable[[], float]


@dataclass(slots=True)
class Computed:
    """What the readers answered. `personal`: it shows who asked, and belongs to that request alone."""

    body: bytes
    personal: bool = False


@dataclass(slots=True)
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


@dataclass(slots=True)
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


Hold: TypeAlias = MemoryHold | BackendHold
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
    answer: "asyncio.Future[Fresh | Passing]"

    def may_be_joined_with(self, stamps: tuple[bytes, ...]) -> bool:
        """Only by who has just read the very stamps it carries, so never by who came after a purge."""
        return self.stamps == stamps and self.answer.get_loop() is asyncio.get_running_loop()


class _Landing:
    """Tells those who joined a flight what became of it."""

    __slots__ = ("_flights", "_key", "flight")

    def __init__(self, flights: dict[str, _Flight], key: str) -> None:
        self._flights = flights
        self._key = key
        self.flight: _Flight | None = None

    async def of(self, work: Awaitable[Fresh | Passing]) -> Fresh | Passing:
        try:
            answer = await work
        except asyncio.CancelledError:
            self._joined().cancel()
            raise
        except BaseException as error:
            joined = self._joined()
            joined.set_exception(error)
            joined.exception()  # every waiter has it, and if none is left nobody needs it
            raise
        if self.flight is not None:
            self._joined().set_result(answer)
        return answer

    def _joined(self) -> "asyncio.Future[Fresh | Passing]":
        """What others wait for, if they could join at all. Nobody else joins from now on."""
        if self.flight is None:
            return asyncio.get_running_loop().create_future()
        if self._flights.get(self._key) is self.flight:
            del self._flights[self._key]
        return self.flight.answer


class BundleCache:
    """Keeps bundles in a backend. `random(n)` gives n bytes, `clock()` seconds since 1970.

    With `keeps=False` (in memory) everything is computed, and tags still tell whether a purge came between.
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
        self.is_local = type(backend) is MemoryCache  # in this process's memory, and so never waited for
        self._nonces = Nonces(counting(random) if self.is_local else random)
        self._guard = None if self.is_local else _guarded(backend, deadline)
        self._backend: CacheBackend = backend if self._guard is None else self._guard
        self._holds: HoldingBackend = (
            self._backend
            if isinstance(self._backend, HoldingBackend)
            else LocalHolds(self._backend, self._nonces, hold)
        )
        self._debts = Debts(self._holds)
        self._renewals = Renewals(hold)
        self._local: LocalBundles | None = None
        self._ledger: MemoryLedger | BackendLedger
        if isinstance(backend, MemoryCache) and self.is_local:
            self._local = LocalBundles(backend, self._nonces, clock, max_age)
            self._ledger = MemoryLedger(backend, self._nonces, seconds=hold, max_age=max_age)
        else:
            self._ledger = BackendLedger(self._backend, self._holds, self._nonces, seconds=hold, max_age=max_age)
        self._computing: set[asyncio.Task[Any]] = set()
        self._pace = Pace(self._begin)
        self._clock = clock
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

    async def fetch(self, slot: Slot, seconds: float | None, compute: Compute, readers: Hashable = None) -> Fetched:
        """The stored bundle, or what `compute` answers, stored for `seconds` (None: until purged) if it may be.

        Concurrent misses of one slot compute once, and whoever goes away takes nobody else along. `readers` stands for
        those who compute: what never waited is computed without a task, and anything else outlives its caller in one.
        """
        found: Hit | tuple[bytes, ...] | _Bypassed | None = None
        if self._local is not None:
            entry = self._local.find(slot)
            if entry is not None:
                return Hit(entry, entry.expires - self._clock())
            found = self._local.stamp(slot)
        if found is None:
            found = await self._look_up(slot)
        if isinstance(found, Hit):
            return found
        if isinstance(found, _Bypassed):
            return _passing(await compute(), found.detail)
        flight = self._flights.get(slot.key)
        if flight is None or not flight.may_be_joined_with(found):
            return await self._fly(slot, found, self._compute(slot, found, seconds, compute), readers)
        joined = await self._join(flight)
        if flight.answer.cancelled():  # whoever computed has gone away
            return await self.fetch(slot, seconds, compute, readers)
        return joined if joined is not None else _passing(await compute(), "personal")

    def recall(self, slot: Slot) -> Entry | None:
        """The stored bundle where that shows at once: in memory, where it was found before."""
        return None if self._local is None else self._local.recall(slot)

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

    def hold(self, scopes: Sequence[Scope]) -> Hold:
        """A hold on these scopes, for a mutation that is about to run; it begins with `begin`."""
        if isinstance(self._ledger, MemoryLedger):
            return MemoryHold(self._ledger, self._renewals, scopes)
        return BackendHold(self._ledger, self._renewals, self._nonces.holder, scopes)

    async def settle(self, hold: Hold, purged: Sequence[Scope], *, insist: bool) -> CacheUnavailable | None:
        """End the hold and purge. What does not get through is remembered and tried again.

        With `insist` that is waited for, within bounds; the error, if it did not get through even so.
        """
        if isinstance(hold, MemoryHold):
            hold.end(purged)
            return None
        try:
            await hold.end(purged)
        except CacheUnavailable as error:
            self._debts.owe(hold.holder, hold.owed)
            if insist and not await self._debts.paid(hold.holder, INSIST_SECONDS):
                return error
        return None

    async def reclaim(self, prefix: str) -> int:
        """Give back the memory of entries that a purge has killed. Housekeeping: nothing depends on it."""
        return await self._backend.delete_by_prefix(prefix)

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
        """What the computation answers everyone; None where there is none, or it is for the request that began it."""
        await asyncio.wait([flight.answer])
        if flight.answer.cancelled():
            return None
        try:
            answer = flight.answer.result()
        except PersonalFailure:
            return None
        if isinstance(answer, Fresh):
            return replace(answer, joined=True)
        return None if answer.personal else answer

    async def _fly(
        self, slot: Slot, stamps: tuple[bytes, ...], work: Coroutine[Any, Any, Fresh | Passing], readers: Hashable
    ) -> Fresh | Passing:
        """Do the work where others can join it. Nobody can join what does not wait."""
        landing = _Landing(self._flights, slot.key)
        ended = self._pace.run(readers, landing.of(work))
        if not isinstance(ended, Waiting):
            return ended
        landing.flight = self._flights[slot.key] = _Flight(stamps, asyncio.get_running_loop().create_future())
        return await ended.work

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of its own, so that a waiter who goes away does not take the others with it."""
        task = asyncio.create_task(work)
        self._computing.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._computing.discard(task)
        if not task.cancelled():
            task.exception()  # every waiter has it, and if none is left nobody needs it

    async def _compute(
        self, slot: Slot, stamps: tuple[bytes, ...], seconds: float | None, compute: Compute
    ) -> Fresh | Passing:
        computed = await compute()
        if computed.personal:
            return _passing(computed, "personal")
        body, etag = computed.body, etag_of(computed.body)
        lifetime = self._max_age if seconds is None else min(seconds, self._max_age)
        if self._local is not None:
            if not self._local.is_unchanged(slot, stamps):
                return Passing(body, etag, "purged")
            kept = bytes(memoryview(body))  # a copy, without the spare room that the encoder leaves
            entry = Entry(stamps, self._clock() + lifetime, etag, kept)
            return Fresh(body, etag, self._keeps and self._local.keep(slot, entry, lifetime))
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


def _guarded(backend: CacheBackend, deadline: float) -> GuardedCache:
    kind = GuardedHoldingCache if isinstance(backend, HoldingBackend) else GuardedCache
    return kind(backend, deadline=deadline)


def _passing(computed: Computed, detail: str) -> Passing:
    detail = "personal" if computed.personal else detail
    return Passing(computed.body, etag_of(computed.body), detail, computed.personal)
