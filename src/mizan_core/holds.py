"""Holding and purging scopes: before a mutation runs, while it runs, when it has ended, and when that did not work."""

import asyncio
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from .cache.backend import HELD, CacheBackend, HoldingBackend, together
from .cache.memory import MemoryCache
from .errors import CacheUnavailable

logger = logging.getLogger("mizan")

# A process that dies while it holds a scope keeps it from being cached for at most this long.
DEFAULT_HOLD_SECONDS = 30.0
# A hold is renewed so often before it would expire.
RENEWALS = 3

# How often a purge that did not get through is tried again.
RETRY_SECONDS = 0.2
# How long "refuse" keeps the answer of a mutation back whose purge does not get through.
INSIST_SECONDS = 30.0
# Another process may have served what a late purge has just removed: its own caller gets a second to settle.
AFTER_PURGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Scope:
    """What an invalidation purges: its tag, and the tag of its whole context."""

    tag: str
    whole: str
    fingerprint: bytes


class Nonces:
    """Fresh values of tags: unguessable, and telling by whose scope shapes (their fingerprint) they were made."""

    PREFIX = b"n"
    RANDOM_BYTES = 15

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def fresh(self, fingerprint: bytes) -> bytes:
        return self.PREFIX + fingerprint + self._random(self.RANDOM_BYTES)

    def holder(self) -> str:
        return self._random(self.RANDOM_BYTES).hex()

    @classmethod
    def made_by(cls, value: object, fingerprint: bytes) -> bool:
        """Whether a tag's value is a nonce of this fingerprint's."""
        return isinstance(value, bytes) and value.startswith(cls.PREFIX + fingerprint)


class Ledger(Protocol):
    """Where holds are written. A failure is a `CacheUnavailable`.

    A context's whole tag says by which scope shapes its entries were made. Where a process with other shapes made
    them, a narrow purge might miss some, so the whole context is held and purged along with the scope.
    """

    async def hold(self, scopes: Sequence[Scope], held: Container[str], holder: str) -> Sequence[str]:
        """Hold the tags of these scopes; and, except for those in `held`, whole contexts that others' entries are in.

        The tags of these whole contexts are returned.
        """
        ...

    async def renew(self, tags: Sequence[str], holder: str) -> None:
        """Hold these tags for another while."""
        ...

    async def release(self, scopes: Iterable[Scope], tags: Sequence[str], holder: str) -> None:
        """Release these tags, and the whole contexts of those scopes whose entries other shapes have made."""
        ...


class Hold:
    """The scopes that one running mutation holds, renewed until it `end`s."""

    def __init__(
        self, ledger: Ledger, renewals: "Renewals", holder: Callable[[], str], scopes: Iterable[Scope]
    ) -> None:
        self._ledger = ledger
        self._renewals = renewals
        self._name = holder
        self._holder: str | None = None
        self._scopes = dict.fromkeys(scopes)
        self._tags = dict.fromkeys([scope.tag for scope in self._scopes])
        self._writes: set[asyncio.Future[None]] = set()

    @property
    def holder(self) -> str:
        """A name that no other hold has."""
        if self._holder is None:
            self._holder = self._name()
        return self._holder

    async def begin(self) -> None:
        """Nothing of these scopes is served or stored from now on. Raises `CacheUnavailable`."""
        if self._scopes:
            self._renewals.add(self)
            await self._hold(tuple(self._scopes))

    def begin_at_once(self) -> None:
        """As `begin`, for a ledger that never waits."""
        with suppress(StopIteration):
            self.begin().send(None)

    def extend(self, scopes: Sequence[Scope]) -> None:
        """Hold more, as soon as that can be written."""
        new = [scope for scope in scopes if scope not in self._scopes]
        if new:
            self._scopes.update(dict.fromkeys(new))
            self._tags.update(dict.fromkeys(scope.tag for scope in new))
            self._write(self._hold(new))
            self._renewals.add(self)

    async def end(self, purged: Iterable[Scope]) -> None:
        """Let go of everything held, and purge it and `purged`; a tag that another mutation holds stays held.

        Raises `CacheUnavailable`; then `owed` says what is still to be released.
        """
        self._renewals.discard(self)
        if self._writes:
            await asyncio.wait(self._writes)  # a late write would hold what nobody releases
        for scope in purged:
            self._scopes[scope] = self._tags[scope.tag] = None
        if self._tags:
            await self._ledger.release(self._scopes, tuple(self._tags), self._holder or "")

    @property
    def owed(self) -> tuple[str, ...]:
        """Every tag that a failed `end` may have left, with the whole contexts, whose shapes could not be asked."""
        return tuple(dict.fromkeys([*self._tags, *(scope.whole for scope in self._scopes)]))

    def renew(self) -> None:
        """Begin to write it again, for another while."""
        self._write(self._ledger.renew(tuple(self._tags), self.holder))

    async def _hold(self, scopes: Sequence[Scope]) -> None:
        self._tags.update(dict.fromkeys(await self._ledger.hold(scopes, self._tags, self.holder)))

    def _write(self, write: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # a hold that could not be written leaves a crash more of a window, and no more than that


class Renewals:
    """Renews the holds that last. One timer for all of them, which most mutations do not live to see."""

    def __init__(self, hold_seconds: float) -> None:
        self._interval = hold_seconds / RENEWALS
        self._holds: set[Hold] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, hold: Hold) -> None:
        self._holds.add(hold)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._interval, self._renew, loop)

    def discard(self, hold: Hold) -> None:
        self._holds.discard(hold)

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        if not self._holds:
            self._loop = None
            return
        for hold in self._holds:
            hold.renew()
        loop.call_later(self._interval, self._renew, loop)


class Debts:
    """Purges that did not get through: remembered, tried again, and their contexts bypassed until then."""

    def __init__(self, holds: HoldingBackend) -> None:
        self._holds = holds
        self._owed: dict[str, tuple[str, ...]] = {}
        self._through: dict[str, asyncio.Future[None]] = {}
        self._bypassed: dict[str, float] = {}  # tag to when it may be trusted again
        self._paying: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, holder: str, tags: tuple[str, ...]) -> None:
        """Remember to release these tags; whoever depends on one of them bypasses the cache until a second after."""
        self._owed[holder] = tags
        self._through[holder] = asyncio.get_running_loop().create_future()
        self._bypassed.update(dict.fromkeys(tags, math.inf))
        if self._paying is None or self._paying.done():
            logger.error("A purge did not get through. It is tried again, and its contexts bypass the cache here.")
            self._paying = asyncio.create_task(self._pay())

    def touches(self, tags: Sequence[str]) -> bool:
        """Whether a purge of one of these tags is owed, or was until a moment ago."""
        if not self._bypassed:
            return False
        now = asyncio.get_running_loop().time()
        self._bypassed = {tag: until for tag, until in self._bypassed.items() if until > now}
        return any(tag in self._bypassed for tag in tags)

    async def paid(self, holder: str, seconds: float) -> bool:
        """Whether what this holder owes has got through, waited for so long."""
        await asyncio.wait([self._through[holder]], timeout=seconds)
        return holder not in self._owed

    async def aclose(self, seconds: float) -> None:
        """Try for so many more seconds."""
        if self._paying is None or self._paying.done():
            return
        await asyncio.wait([self._paying], timeout=seconds)
        if self._owed:
            logger.error("Closed with %d purges that never got through.", len(self._owed))
        self._paying.cancel()

    async def _pay(self) -> None:
        while self._owed:
            holder, tags = next(iter(self._owed.items()))
            try:
                await self._holds.release(tags, holder)
            except CacheUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            del self._owed[holder]
            self._through.pop(holder).set_result(None)
            trusted_from = asyncio.get_running_loop().time() + AFTER_PURGE_SECONDS
            still_owed = {tag for owed in self._owed.values() for tag in owed}
            self._bypassed.update((tag, trusted_from) for tag in tags if tag not in still_owed)
        logger.warning("Every purge that was owed has got through.")


class LocalHolds:
    """`hold` and `release` over five verbs: holders are counted within this process alone.

    Another process's mutation of the same scope may therefore end this one's hold early. That matters only if this
    process then dies between its commit and its purge.
    """

    def __init__(self, backend: CacheBackend, nonces: Nonces, seconds: float) -> None:
        self._backend = backend
        self._nonces = nonces
        self._seconds = seconds
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        # Counting and writing are one step, or a release could delete what a later hold has just written.
        self._lock = asyncio.Lock()

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        async with self._lock:
            for tag in tags:
                self._holders[tag].add(holder)
            await together(*(self._backend.set(tag, self._held(), ttl) for tag in tags))

    async def release(self, tags: Sequence[str], holder: str) -> None:
        async with self._lock:
            free = [tag for tag in tags if not self._others_hold(tag, holder)]
            await together(
                self._backend.delete(*free),
                *(self._backend.set(tag, self._held(), self._seconds) for tag in tags if tag not in free),
            )

    def _held(self) -> bytes:
        return HELD + self._nonces.holder().encode("ascii")

    def _others_hold(self, tag: str, holder: str) -> bool:
        holders = self._holders[tag]
        holders.discard(holder)
        if not holders:
            del self._holders[tag]
        return bool(holders)


class BackendLedger:
    """Holds in a backend, which may be far away: whatever need not wait for an answer travels together."""

    def __init__(
        self, backend: CacheBackend, holds: HoldingBackend, nonces: Nonces, *, seconds: float, max_age: float
    ) -> None:
        self._backend = backend
        self._holds = holds
        self._nonces = nonces
        self._seconds = seconds
        self._max_age = max_age

    async def hold(self, scopes: Sequence[Scope], held: Container[str], holder: str) -> Sequence[str]:
        """A whole tag that is absent is made one of this fingerprint's; one that is another's is held as well."""
        wholes = [scope for scope in _narrow(scopes) if scope.whole not in held]
        answers = await together(
            self._holds.hold(tuple(scope.tag for scope in scopes), holder, self._seconds),
            *(
                self._backend.set(scope.whole, self._nonces.fresh(scope.fingerprint), self._max_age, if_absent=True)
                for scope in wholes
            ),
            *([self._backend.get(*(scope.whole for scope in wholes))] if wholes else ()),
        )
        claimed, values = answers[1:-1], answers[-1]
        foreign = [
            scope.whole
            for place, scope in enumerate(wholes)
            if not (claimed[place] or Nonces.made_by(values[place] or b"", scope.fingerprint))
        ]
        if foreign:
            await self._holds.hold(foreign, holder, self._seconds)
        return foreign

    async def renew(self, tags: Sequence[str], holder: str) -> None:
        await self._holds.hold(tags, holder, self._seconds)

    async def release(self, scopes: Iterable[Scope], tags: Sequence[str], holder: str) -> None:
        wholes = [scope for scope in _narrow(scopes) if scope.whole not in tags]
        if not wholes:
            await self._holds.release(tags, holder)
            return
        _, values = await together(
            self._holds.release(tags, holder), self._backend.get(*(scope.whole for scope in wholes))
        )
        foreign = [
            scope.whole
            for scope, value in zip(wholes, values, strict=True)
            if value is not None and not value.startswith(HELD) and not Nonces.made_by(value, scope.fingerprint)
        ]
        if foreign:
            await self._holds.release(foreign, holder)


class MemoryLedger:
    """Holds in the memory of this process, which never have to wait for anything."""

    def __init__(self, memory: MemoryCache, nonces: Nonces, *, seconds: float, max_age: float) -> None:
        self._memory = memory
        self._nonces = nonces
        self._seconds = seconds
        self._max_age = max_age
        self._holders: dict[str, set[str]] = {}

    async def hold(self, scopes: Sequence[Scope], held: Container[str], holder: str) -> Sequence[str]:
        await self.renew([scope.tag for scope in scopes], holder)
        foreign = [scope.whole for scope in scopes if scope.whole not in held and not self._claims(scope)]
        await self.renew(foreign, holder)
        return foreign

    async def renew(self, tags: Sequence[str], holder: str) -> None:
        for tag in tags:
            self._holders.setdefault(tag, set()).add(holder)
            self._write(tag, holder)

    async def release(self, scopes: Iterable[Scope], tags: Sequence[str], holder: str) -> None:
        for tag in tags:
            self._let_go(tag, holder)
        for scope in scopes:
            if scope.whole not in tags and self._is_foreign(scope):
                self._let_go(scope.whole, holder)

    def _claims(self, scope: Scope) -> bool:
        """Whether the whole context's entries are of this fingerprint, or there are none, and so will be."""
        cell = self._memory.cell(scope.whole)
        if cell is None:
            nonce = self._nonces.fresh(scope.fingerprint)
            return self._memory.put(scope.whole, nonce, sys.getsizeof(nonce), self._max_age)
        return self._nonces.made_by(cell.value, scope.fingerprint)

    def _is_foreign(self, scope: Scope) -> bool:
        cell = self._memory.cell(scope.whole)
        if cell is None or self._nonces.made_by(cell.value, scope.fingerprint):
            return False
        return not bytes(cell.value or b"").startswith(HELD)

    def _let_go(self, tag: str, holder: str) -> None:
        others = self._holders.get(tag)
        if others is not None:
            others.discard(holder)
            if others:
                self._write(tag, holder)
                return
            del self._holders[tag]
        self._memory.forget(tag)

    def _write(self, tag: str, holder: str) -> None:
        value = HELD + holder.encode("ascii")
        self._memory.put(tag, value, sys.getsizeof(value), self._seconds)


def _narrow(scopes: Iterable[Scope]) -> list[Scope]:
    """One scope for each context that is not purged whole."""
    return list({scope.whole: scope for scope in scopes if scope.tag != scope.whole}.values())
