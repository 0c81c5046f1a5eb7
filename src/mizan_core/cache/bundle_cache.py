"""A bundle is stored, joined or computed: the one path of every request for a bundle, over either store."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from ..protocol.cache_headers import etag_of
from ..tasks import EagerRunner, Tasks, rest_of
from .backends.backend import CacheBackend
from .backends.memory import MemoryCache
from .holds import DEFAULT_HOLD_SECONDS
from .in_process.store import InProcessStore
from .inspection import Inspected, TagState, inspected, state_of
from .outcomes import FETCHED, Compute, Computed, Fetched, Fresh, Hit, Passing
from .shared.breaker import DEFAULT_DEADLINE_SECONDS
from .shared.near import DEFAULT_NEAR_BYTES
from .shared.store import SharedStore
from .single_flight import Flight
from .slots import Slot
from .store import KEPT, LOOKED_UP, Bypassed, LookedUp, Stamped, Store
from .tags import PurgeScope
from .turns import Turns

# The longest life of any entry: a change that no mutation told Mizan of stays unseen for no longer than this.
DEFAULT_MAX_AGE_SECONDS = 86_400.0

# The detail of `Cache-Status` of an answer that a reader declined to have kept.
DECLINED = "no-store"

Random: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = Callable[[], float]


class BundleCache:
    """Fetches bundles from a store, and computes those that it does not have.

    `random(n)` gives n unguessable bytes, `clock()` seconds since 1970. `max_age` bounds the life of every entry,
    `deadline` the time of one command to a shared backend, `hold` the time that a scope stays held after its process
    has died, all in seconds; `near_bytes` the copies of a shared backend's entries in this process's memory. With
    `keeps=False` (in memory) every bundle is computed. `unheard` is passed the result or error of a computation whose
    caller has gone.
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
        near_bytes: int = DEFAULT_NEAR_BYTES,
        unheard: Callable[[object], object] | None = None,
    ) -> None:
        self.store: Store
        if isinstance(backend, MemoryCache) and type(backend) is MemoryCache:  # a subclass may suspend, or fail
            self.store = InProcessStore(backend, random, clock, max_age=max_age, hold=hold, keeps=keeps)
        else:
            self.store = SharedStore(
                backend, random, clock, max_age=max_age, hold=hold, deadline=deadline, near_bytes=near_bytes
            )
        self._look_up = self.store.look_up
        self._keep = self.store.keep
        tasks = Tasks()
        self._runner = EagerRunner(tasks, unheard=unheard)
        self._turns = Turns(self._runner, tasks)
        self._max_age = max_age
        self._clock = clock
        self._flights: dict[str, Flight] = {}

    async def fetch(
        self, slot: Slot, seconds: float | None, compute: Compute, readers: Hashable = None, *, alone: bool = False
    ) -> Fetched:
        """The stored bundle, or one that `compute` makes, stored for `seconds` (None: until purged) if it may be.

        Concurrent misses of one slot compute once, and a cancelled caller cancels no other. `readers` names the kind of
        computation: a kind that never suspended so far runs without a task, any other in a task that outlives its
        caller. Where nothing may be stored, requests share the next computation (`turns`), unless `alone`.
        """
        fetched = self.begin(slot, seconds, compute, readers, alone=alone)
        return fetched if isinstance(fetched, FETCHED) else await fetched

    def begin(
        self, slot: Slot, seconds: float | None, compute: Compute, readers: Hashable = None, *, alone: bool = False
    ) -> Fetched | Awaitable[Fetched]:
        """As `fetch`: at once where nothing has to wait, else an awaitable that has to be awaited at once."""
        found = self._look_up(slot)
        if isinstance(found, Hit):
            return found
        suspends = self._runner.eager(readers)
        if suspends is None or not isinstance(found, Stamped) or slot.key in self._flights:
            return self._fetch(slot, found, seconds, compute, readers, alone=alone)
        work: Any = compute()  # a coroutine
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            computed: Computed = ended.value
            if computed.personal or computed.declined or computed.seconds is not None:
                return self._kept(slot, found, seconds, computed)
            return self._keep(slot, found, self._lifetime(seconds), computed.body)
        suspends()
        flight = Flight()
        rest = self._compute(flight, slot, found, seconds, partial(rest_of, work, awaited))
        flight.register(self._flights, slot.key, found.stamps)
        return _flown(flight, rest)

    async def _fetch(
        self,
        slot: Slot,
        looked_up: LookedUp | Awaitable[LookedUp],
        seconds: float | None,
        compute: Compute,
        readers: Hashable,
        *,
        alone: bool,
    ) -> Fetched:
        """The rest of `begin`, where it has to wait."""
        found = looked_up if isinstance(looked_up, LOOKED_UP) else await looked_up
        if isinstance(found, Hit):
            return found
        if isinstance(found, Bypassed):
            computed = await (compute() if alone else self._turns.take(slot.key, compute, readers))
            return _passing(computed, found.detail)
        stamps = found.stamps
        under_way = self._flights.get(slot.key)
        if under_way is not None and under_way.may_be_joined_with(stamps):
            joined = await under_way.join()
            if under_way.is_void:
                return await self.fetch(slot, seconds, compute, readers)
            return joined if joined is not None else _passing(await compute(), "personal")
        flight = Flight()
        ended = self._runner.run(readers, self._compute(flight, slot, found, seconds, compute))
        if isinstance(ended, KEPT):
            return ended
        flight.register(self._flights, slot.key, stamps)
        return await _flown(flight, ended)

    async def inspect(self, slot: Slot, shapes: Sequence[tuple[str, ...]], seconds: float | None) -> Inspected:
        """What is stored of a bundle, whose entries are kept for `seconds`. Raises `CacheUnavailable`."""
        raw, *values = await self.store.read(slot.key, *slot.tags)
        copy = self.store.copy(slot, values)
        found = inspected(
            slot,
            shapes,
            raw if copy is None else bytes(copy),
            values,
            lifetime=self._lifetime(seconds),
            now=self._clock(),
        )
        return found if copy is None else replace(found, is_near=True)

    async def states(self, scopes: Sequence[PurgeScope]) -> list[TagState]:
        """The state of every scope's tag. Raises `CacheUnavailable`."""
        values = await self.store.read(*(scope.tag for scope in scopes))
        return [
            state_of(value, scope.fingerprint, is_whole=scope.tag == scope.whole)
            for scope, value in zip(scopes, values, strict=True)
        ]

    def _lifetime(self, seconds: float | None) -> float:
        return self._max_age if seconds is None else min(seconds, self._max_age)

    def is_wanted(self, key: Hashable) -> bool:
        """Whether a request may still wait for the computation of this key. Can be called from any thread."""
        flight = self._flights.get(key)  # type: ignore[call-overload]  # a key of another kind is not found
        return flight is None or not flight.is_abandoned or flight.waiting > 0

    async def _compute(
        self, flight: Flight, slot: Slot, stamped: Stamped, seconds: float | None, compute: Compute
    ) -> Fresh | Passing:
        """Run the readers, store their answer, and pass it to the requests that have joined."""
        try:
            kept = self._kept(slot, stamped, seconds, await compute())
            answer = kept if isinstance(kept, KEPT) else await kept
        except BaseException as error:
            if flight.is_registered:
                flight.fail(error)
            raise
        if flight.is_registered:
            flight.succeed(answer)
        return answer

    def _kept(
        self, slot: Slot, stamped: Stamped, seconds: float | None, computed: Computed
    ) -> Fresh | Passing | Awaitable[Fresh | Passing]:
        """Store the readers' answer, if caches may keep it."""
        if computed.personal or computed.declined:
            return _passing(computed, DECLINED)
        lifetime = self._lifetime(seconds)
        if computed.seconds is not None:
            lifetime = min(computed.seconds, lifetime)
        return self._keep(slot, stamped, lifetime, computed.body)


async def _flown(flight: Flight, ended: Awaitable[Fresh | Passing]) -> Fresh | Passing:
    """Wait for a flight as the request that began it."""
    try:
        return await ended
    except asyncio.CancelledError:
        flight.is_abandoned = True
        raise


def _passing(computed: Computed, detail: str) -> Passing:
    detail = "personal" if computed.personal else detail
    return Passing(computed.body, etag_of(computed.body), detail, computed.personal)
