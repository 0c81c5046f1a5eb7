"""Look up, stamp, store, hold, purge: the algorithm of protocol section 7 over any backend.

An entry is only as good as its tags. A tag's value is a random nonce, or says that a mutation holds it; an entry
carries the nonces that its tags had before its readers ran. Purging is deleting a tag.
"""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .cache.backend import CacheBackend, HoldingBackend
from .wire import etag_of

# What a held tag's value begins with; a nonce never does.
HELD = b"!"
_NONCE = b"n"
_NONCE_BYTES = 16

# A process that dies while it holds a scope keeps it from being cached for at most this long.
HOLD_SECONDS = 30.0
# Three chances to renew a hold before it expires.
RENEW_SECONDS = 10.0

# The safety net under "until purged".
DEFAULT_MAX_AGE_SECONDS = 86_400.0

_LAYOUT = 1
_EXPIRY = struct.Struct(">d")
_ETAG_BYTES = len(etag_of(b""))

Random: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a bundle is kept: its entry's key and the tags of every scope that it is part of."""

    key: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """What the readers answered. `personal`: it shows who asked, and belongs to that request alone."""

    body: bytes
    personal: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """Served from the cache; `remaining` seconds until it expires."""

    body: bytes
    etag: str
    remaining: float


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
class _Missed:
    stamps: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class _Bypassed:
    """Nothing of a held scope is served or stored."""


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
    ) -> None:
        self._backend = backend
        self._holds: HoldingBackend = (
            backend if isinstance(backend, HoldingBackend) else _LocalHolds(backend, self._nonce)
        )
        self._random = random
        self._clock = clock
        self._max_age = max_age
        self._keeps = keeps
        self._flights: dict[str, _Flight] = {}

    async def fetch(self, slot: Slot, seconds: float | None, compute: Compute) -> Fetched:
        """The stored bundle, or what `compute` answers, stored for `seconds` (None: until purged) if it may be.

        Concurrent misses of one slot compute once, and a computation goes on when whoever began it goes away.
        """
        found = await self._look_up(slot)
        if isinstance(found, Hit):
            return found
        stamps = await self._stamp(slot, found.stamps) if isinstance(found, _Missed) else None
        if stamps is None:
            return _passing(await compute(), "held")
        flight = self._flights.get(slot.key)
        if flight is None or not flight.may_be_joined_with(stamps):
            return await asyncio.shield(self._begin(slot, stamps, seconds, compute).task)
        joined = await self._join(flight)
        return joined if joined is not None else _passing(await compute(), "personal")

    async def stamps(self, tags: Sequence[str]) -> tuple[bytes, ...] | None:
        """The tags' nonces, added where they are absent; None while one is held. What `unchanged` compares."""
        return await self._stamp(Slot("", tuple(tags)), tuple(await self._backend.get(*tags)))

    async def unchanged(self, tags: Sequence[str], stamps: tuple[bytes, ...] | None) -> bool:
        """Whether nothing was purged or held since `stamps` were read."""
        return stamps is not None and tuple(await self._backend.get(*tags)) == stamps

    def hold(self, tags: Sequence[str]) -> "Hold":
        """A hold on these tags, for a mutation that is about to run; it begins with `begin`."""
        return Hold(self._holds, tags, self._random(_NONCE_BYTES).hex())

    async def purge(self, tags: Sequence[str]) -> None:
        """Nothing that was stored under these tags is served again. A tag that a mutation holds stays held."""
        if tags:
            await self._holds.release(tags, "")

    async def reclaim(self, prefix: str) -> int:
        """Give back the memory of entries that a purge has killed. Housekeeping: nothing depends on it."""
        return await self._backend.delete_by_prefix(prefix)

    async def _look_up(self, slot: Slot) -> Hit | _Missed | _Bypassed:
        entry, *stamps = await self._backend.get(slot.key, *slot.tags)
        if any(stamp is not None and stamp.startswith(HELD) for stamp in stamps):
            return _Bypassed()
        known = [stamp for stamp in stamps if stamp is not None]
        if entry is None or len(known) < len(stamps) or not entry.startswith(head := _head(known)):
            return _Missed(tuple(stamps))
        expires: float
        (expires,) = _EXPIRY.unpack_from(entry, len(head))
        remaining = expires - self._clock()
        if remaining <= 0:
            return _Missed(tuple(stamps))
        etag_at = len(head) + _EXPIRY.size
        body_at = etag_at + _ETAG_BYTES
        return Hit(entry[body_at:], entry[etag_at:body_at].decode("ascii"), remaining)

    async def _stamp(self, slot: Slot, stamps: tuple[bytes | None, ...]) -> tuple[bytes, ...] | None:
        """A nonce for every tag, each there before the readers run; None where one is held or does not stay."""
        stamped: list[bytes | None] = []
        lost = False
        for tag, stamp in zip(slot.tags, stamps, strict=True):
            if stamp is not None:
                stamped.append(stamp)
                continue
            nonce = self._nonce()
            lost |= not await self._backend.set(tag, nonce, self._max_age, if_absent=True)
            stamped.append(nonce)
        if lost:
            stamped = await self._backend.get(*slot.tags)
        usable = tuple(stamp for stamp in stamped if stamp is not None and not stamp.startswith(HELD))
        return usable if len(usable) == len(slot.tags) else None

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
        stored = self._keeps and await self._store(slot, stamps, seconds, computed.body, etag)
        if not await self.unchanged(slot.tags, stamps):
            return Passing(computed.body, etag, "purged")
        return Fresh(computed.body, etag, stored)

    async def _store(
        self, slot: Slot, stamps: tuple[bytes, ...], seconds: float | None, body: bytes, etag: str
    ) -> bool:
        lifetime = self._max_age if seconds is None else min(seconds, self._max_age)
        expires = _EXPIRY.pack(self._clock() + lifetime)
        entry = b"".join((_head(stamps), expires, etag.encode("ascii"), body))
        return await self._backend.set(slot.key, entry, lifetime)

    def _nonce(self) -> bytes:
        return _NONCE + self._random(_NONCE_BYTES - len(_NONCE))


class Hold:
    """The scopes that one running mutation holds, renewed until it `end`s."""

    def __init__(self, holds: HoldingBackend, tags: Sequence[str], holder: str) -> None:
        self._holds = holds
        self._tags = dict.fromkeys(tags)
        self._holder = holder
        self._writes: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Nothing under these tags is served or stored from now on."""
        if self._tags:
            await self._holds.hold(tuple(self._tags), self._holder, HOLD_SECONDS)
            self._wait_to_renew()

    def extend(self, tags: Sequence[str]) -> None:
        """Hold more, as soon as that can be written."""
        new = [tag for tag in tags if tag not in self._tags]
        if new:
            self._tags.update(dict.fromkeys(new))
            self._write(new)
            if self._timer is None:
                self._wait_to_renew()

    async def end(self, purged: Sequence[str]) -> None:
        """Let go of everything held, and purge it and `purged`; a tag that another mutation holds stays held."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writes:
            await asyncio.wait(self._writes)  # a late write would hold what nobody releases
        tags = tuple(dict.fromkeys((*self._tags, *purged)))
        if tags:
            await self._holds.release(tags, self._holder)

    def _wait_to_renew(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(RENEW_SECONDS, self._renew)

    def _renew(self) -> None:
        self._write(tuple(self._tags))
        self._wait_to_renew()

    def _write(self, tags: Sequence[str]) -> None:
        write = asyncio.ensure_future(self._holds.hold(tags, self._holder, HOLD_SECONDS))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)


class _LocalHolds:
    """`hold` and `release` over five verbs: holders are counted within this process alone.

    Another process's mutation of the same scope may therefore end this one's hold early. That matters only if this
    process then dies between its commit and its purge.
    """

    def __init__(self, backend: CacheBackend, nonce: Callable[[], bytes]) -> None:
        self._backend = backend
        self._nonce = nonce
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        # Counting and writing are one step, or a release could delete what a later hold has just written.
        self._lock = asyncio.Lock()

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        async with self._lock:
            for tag in tags:
                self._holders[tag].add(holder)
                await self._backend.set(tag, HELD + self._nonce(), ttl)

    async def release(self, tags: Sequence[str], holder: str) -> None:
        async with self._lock:
            free = [tag for tag in tags if not self._left(tag, holder)]
            for tag in tags:
                if tag not in free:
                    await self._backend.set(tag, HELD + self._nonce(), HOLD_SECONDS)
            await self._backend.delete(*free)

    def _left(self, tag: str, holder: str) -> bool:
        """Whether somebody still holds the tag without this holder."""
        holders = self._holders[tag]
        holders.discard(holder)
        if not holders:
            del self._holders[tag]
        return bool(holders)


def _head(stamps: Sequence[bytes]) -> bytes:
    """What a valid entry begins with: its layout, how many stamps, and the stamps."""
    return bytes((_LAYOUT, len(stamps))) + b"".join(stamps)


def _passing(computed: Computed, detail: str) -> Passing:
    detail = "personal" if computed.personal else detail
    return Passing(computed.body, etag_of(computed.body), detail, computed.personal)
