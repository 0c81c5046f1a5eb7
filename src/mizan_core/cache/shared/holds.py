"""Holds in a shared backend: every step may wait, and may fail."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ...errors import CacheUnavailable, Unavailable
from ..backends.backend import HELD, CacheBackend, ClaimingBackend, hold_and_claim, release_and_get, together
from ..holds import Renewals
from ..store import CacheState
from ..tags import PurgeScope, TagValues
from .breaker import CircuitBreaker
from .owed_purges import INSIST_SECONDS, OwedPurges

T = TypeVar("T")


class SharedHold:
    """The scopes that one running mutation holds, renewed until it ends."""

    def __init__(
        self, holds: "SharedHolds", renewals: Renewals, holder: Callable[[], str], scopes: Iterable[PurgeScope]
    ) -> None:
        self._holds = holds
        self._renewals = renewals
        self._name = holder
        self._holder: str | None = None
        self._scopes = {scope.tag: scope for scope in scopes}
        self._tags = dict.fromkeys(self._scopes)
        self._writes: set[asyncio.Future[None]] = set()

    @property
    def holder(self) -> str:
        """A name that no other hold has."""
        if self._holder is None:
            self._holder = self._name()
        return self._holder

    async def run(self, begin: Callable[[], Coroutine[Any, Any, T]], *, insist: bool) -> T:
        """Hold the scopes, then begin the mutation. With `insist`, raises `Unavailable` where they cannot be held."""
        try:
            await self.begin()
        except CacheUnavailable:
            if insist:
                raise Unavailable from None
        if insist:
            self._holds.check()
        return await begin()

    async def begin(self) -> None:
        """Serve and store nothing of these scopes from now on. Raises `CacheUnavailable`."""
        if self._scopes:
            self._renewals.add(self)
            await self._hold(tuple(self._scopes.values()))

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        """Hold more scopes, as soon as that can be written."""
        new = {scope.tag: scope for scope in scopes if scope.tag not in self._scopes}
        if new:
            self._scopes.update(new)
            self._tags.update(dict.fromkeys(new))
            self._write(self._hold(tuple(new.values())))
            self._renewals.add(self)

    async def make_visible(self, *, insist: bool = False) -> None:
        """Wait until every write of the hold has ended. With `insist`, raises `Unavailable` if the cache is down."""
        if self._writes:
            await asyncio.wait(self._writes)
        if insist:
            self._holds.check()

    async def end(self, purged: Iterable[PurgeScope], *, insist: bool = False) -> CacheUnavailable | None:
        """End the hold, and purge what it held and `purged`; a tag that another mutation holds stays held.

        A purge that fails is owed and retried. With `insist`, waits at most `INSIST_SECONDS` for a retry to succeed,
        and returns the error if none has.
        """
        self._renewals.discard(self)
        await self.make_visible()  # a later write would never be released
        for scope in purged:
            self._scopes[scope.tag] = scope
            self._tags[scope.tag] = None
        if not self._tags:
            return None
        try:
            await self._holds.release(self._scopes.values(), tuple(self._tags), self._holder or "")
        except CacheUnavailable as error:
            wholes = tuple(dict.fromkeys(scope.whole for scope in self._scopes.values()))
            # The whole contexts may have entries of other scope shapes, which could not be asked: they are owed too.
            through = self._holds.owed.owe(self.holder, tuple(dict.fromkeys([*self._tags, *wholes])), wholes)
            if insist and not through.done():
                await asyncio.wait([through], timeout=INSIST_SECONDS)
                return None if through.done() else error
        return None

    async def restore(self) -> None:
        """End the hold of a mutation that was refused: nothing is purged. A hold that cannot be ended expires."""
        self._renewals.discard(self)
        await self.make_visible()  # a later write would never be released
        if self._holder is not None:
            with suppress(CacheUnavailable):
                await self._holds.restore(tuple(self._tags), self._holder)

    def renew(self) -> None:
        """Begin to write the hold again, for another period."""
        self._write(self._holds.renew(tuple(self._tags), self.holder))

    async def _hold(self, scopes: Sequence[PurgeScope]) -> None:
        self._tags.update(dict.fromkeys(await self._holds.hold(scopes, self._tags, self.holder)))

    def _write(self, write: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # a failed write only widens the window in which a crash can leave stale entries


class SharedHolds:
    """Writes holds. Commands that do not depend on each other share a round trip; failures are `CacheUnavailable`.

    The value of a context's whole tag has the fingerprint of the scope shapes under which its entries were made. If
    another process made them under other shapes, a narrow purge might miss some, so the whole context is held and
    purged along with the scope.
    """

    def __init__(
        self, backend: CircuitBreaker, holds: ClaimingBackend, values: TagValues, *, seconds: float, max_age: float
    ) -> None:
        self.owed = OwedPurges(holds)
        self._backend = backend
        self._holds = holds
        self._values = values
        self._seconds = seconds
        self._max_age = max_age

    def check(self) -> None:
        """Raise `Unavailable` if the cache is down."""
        if self._backend.state is CacheState.DOWN:
            raise Unavailable

    async def hold(self, scopes: Sequence[PurgeScope], held: Container[str], holder: str) -> Sequence[str]:
        """Hold the tags of these scopes, and each whole context outside of `held` that has entries of other shapes.

        Returns the tags of these whole contexts. A whole tag that is absent is given a value with this fingerprint.
        """
        wholes = [scope for scope in _narrow(scopes) if scope.whole not in held]
        tags = tuple([scope.tag for scope in scopes])
        if not wholes:
            await self._holds.hold(tags, holder, self._seconds)
            return ()
        fresh = {scope.whole: self._values.fresh(scope.fingerprint) for scope in wholes}
        values = await self._holds.hold_and_claim(tags, holder, self._seconds, fresh, self._max_age)
        foreign = [
            scope.whole
            for scope, value in zip(wholes, values, strict=True)
            if not TagValues.made_by(value, scope.fingerprint)
        ]
        if foreign:
            await self._holds.hold(foreign, holder, self._seconds)
        return foreign

    async def renew(self, tags: Sequence[str], holder: str) -> None:
        """Hold these tags for another period."""
        await self._holds.hold(tags, holder, self._seconds)

    async def restore(self, tags: Sequence[str], holder: str) -> None:
        """Release these tags; each gets back the value that it had, if no holder of it can have written."""
        await self._holds.restore(tags, holder, self._max_age)

    async def release(self, scopes: Iterable[PurgeScope], tags: Sequence[str], holder: str) -> None:
        """Release these tags, and the whole contexts of these scopes that have entries of other shapes."""
        wholes = [scope for scope in _narrow(scopes) if scope.whole not in tags]
        if not wholes:
            await self._holds.release(tags, holder)
            return
        values = await self._holds.release_and_get(tags, holder, [scope.whole for scope in wholes])
        foreign = [
            scope.whole
            for scope, value in zip(wholes, values, strict=True)
            if value is not None and not value.startswith(HELD) and not TagValues.made_by(value, scope.fingerprint)
        ]
        if foreign:
            await self._holds.release(foreign, holder)


class HoldsCountedHere:
    """`hold` and `release` over five verbs: holders are counted within this process alone.

    Another process's mutation of the same scope may therefore end this one's hold early. That matters only if this
    process then dies between its commit and its purge.
    """

    def __init__(self, backend: CacheBackend, values: TagValues, seconds: float) -> None:
        self._backend = backend
        self._values = values
        self._seconds = seconds
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        # Counting and writing are one step under this lock, or a release could delete the value of a later hold.
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

    async def restore(self, tags: Sequence[str], holder: str, ttl: float) -> None:  # noqa: ARG002  # no value is restored
        """As `release`: with five verbs no value can be written back that another process may be purging."""
        await self.release(tags, holder)

    def hold_and_claim(
        self, tags: Sequence[str], holder: str, ttl: float, fresh: Mapping[str, bytes], life: float
    ) -> Awaitable[list[bytes | None]]:
        return hold_and_claim(self, self._backend, tags, holder, ttl, fresh, life)

    def release_and_get(self, tags: Sequence[str], holder: str, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        return release_and_get(self, self._backend, tags, holder, keys)

    def _held(self) -> bytes:
        return HELD + self._values.holder().encode("ascii")

    def _others_hold(self, tag: str, holder: str) -> bool:
        holders = self._holders[tag]
        holders.discard(holder)
        if not holders:
            del self._holders[tag]
        return bool(holders)


def _narrow(scopes: Iterable[PurgeScope]) -> list[PurgeScope]:
    """One scope for each context that is not purged whole."""
    return list({scope.whole: scope for scope in scopes if scope.tag != scope.whole}.values())
