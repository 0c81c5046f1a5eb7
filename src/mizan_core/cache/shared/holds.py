"""Holds in a backend, which may be far away: every step may have to wait, and may fail."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from typing import Any

from ..backends.backend import HELD, CacheBackend, RestoringBackend, together
from ..holds import Renewals
from ..tags import PurgeScope, TagValues


class SharedHold:
    """The scopes that one running mutation holds, renewed until it `end`s."""

    def __init__(
        self, ledger: "SharedHolds", renewals: Renewals, holder: Callable[[], str], scopes: Iterable[PurgeScope]
    ) -> None:
        self._ledger = ledger
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

    async def begin(self) -> None:
        """Nothing of these scopes is served or stored from now on. Raises `CacheUnavailable`."""
        if self._scopes:
            self._renewals.add(self)
            await self._hold(tuple(self._scopes.values()))

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        """Hold more, as soon as that can be written."""
        new = {scope.tag: scope for scope in scopes if scope.tag not in self._scopes}
        if new:
            self._scopes.update(new)
            self._tags.update(dict.fromkeys(new))
            self._write(self._hold(tuple(new.values())))
            self._renewals.add(self)

    async def written(self) -> None:
        """Wait until everything is held that is to be, or cannot be."""
        if self._writes:
            await asyncio.wait(self._writes)

    async def end(self, purged: Iterable[PurgeScope]) -> None:
        """Let go of everything held, and purge it and `purged`; a tag that another mutation holds stays held.

        Raises `CacheUnavailable`; then `owed` says what is still to be released.
        """
        self._renewals.discard(self)
        await self.written()  # a late write would hold what nobody releases
        for scope in purged:
            self._scopes[scope.tag] = scope
            self._tags[scope.tag] = None
        if self._tags:
            await self._ledger.release(self._scopes.values(), tuple(self._tags), self._holder or "")

    async def restore(self) -> None:
        """Let go of everything held, for a mutation that was refused: nothing is purged. Raises `CacheUnavailable`."""
        self._renewals.discard(self)
        await self.written()  # a late write would hold what nobody releases
        if self._holder is not None:
            await self._ledger.restore(tuple(self._tags), self._holder)

    @property
    def owed(self) -> tuple[str, ...]:
        """Every tag that a failed `end` may have left, with the whole contexts, whose shapes could not be asked."""
        return tuple(dict.fromkeys([*self._tags, *self.wholes]))

    @property
    def wholes(self) -> tuple[str, ...]:
        """The tags of the whole contexts of everything held and purged."""
        return tuple(dict.fromkeys(scope.whole for scope in self._scopes.values()))

    def renew(self) -> None:
        """Begin to write it again, for another while."""
        self._write(self._ledger.renew(tuple(self._tags), self.holder))

    async def _hold(self, scopes: Sequence[PurgeScope]) -> None:
        self._tags.update(dict.fromkeys(await self._ledger.hold(scopes, self._tags, self.holder)))

    def _write(self, write: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # a hold that could not be written leaves a crash more of a window, and no more than that


class SharedHolds:
    """Where holds are written. What need not wait for an answer travels together; a failure is a `CacheUnavailable`.

    A context's whole tag says by which scope shapes its entries were made. Where a process with other shapes made
    them, a narrow purge might miss some, so the whole context is held and purged along with the scope.
    """

    def __init__(
        self, backend: CacheBackend, holds: RestoringBackend, nonces: TagValues, *, seconds: float, max_age: float
    ) -> None:
        self._backend = backend
        self._holds = holds
        self._nonces = nonces
        self._seconds = seconds
        self._max_age = max_age

    async def hold(self, scopes: Sequence[PurgeScope], held: Container[str], holder: str) -> Sequence[str]:
        """Hold the tags of these scopes; and, except for those in `held`, whole contexts that others' entries are in.

        The tags of these whole contexts are returned. A whole tag that is absent is made one of this fingerprint's.
        """
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
            if not (claimed[place] or TagValues.made_by(values[place] or b"", scope.fingerprint))
        ]
        if foreign:
            await self._holds.hold(foreign, holder, self._seconds)
        return foreign

    async def renew(self, tags: Sequence[str], holder: str) -> None:
        """Hold these tags for another while."""
        await self._holds.hold(tags, holder, self._seconds)

    async def restore(self, tags: Sequence[str], holder: str) -> None:
        """Let go of these tags, which get back what they had where nothing can have been written."""
        await self._holds.restore(tags, holder, self._max_age)

    async def release(self, scopes: Iterable[PurgeScope], tags: Sequence[str], holder: str) -> None:
        """Release these tags, and the whole contexts of those scopes whose entries other shapes have made."""
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
            if value is not None and not value.startswith(HELD) and not TagValues.made_by(value, scope.fingerprint)
        ]
        if foreign:
            await self._holds.release(foreign, holder)


class HoldsCountedHere:
    """`hold` and `release` over five verbs: holders are counted within this process alone.

    Another process's mutation of the same scope may therefore end this one's hold early. That matters only if this
    process then dies between its commit and its purge.
    """

    def __init__(self, backend: CacheBackend, nonces: TagValues, seconds: float) -> None:
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

    async def restore(self, tags: Sequence[str], holder: str, ttl: float) -> None:  # noqa: ARG002  # nothing comes back
        """As `release`: with five verbs no value can be written back that another process may be purging."""
        await self.release(tags, holder)

    def _held(self) -> bytes:
        return HELD + self._nonces.holder().encode("ascii")

    def _others_hold(self, tag: str, holder: str) -> bool:
        holders = self._holders[tag]
        holders.discard(holder)
        if not holders:
            del self._holders[tag]
        return bool(holders)


def _narrow(scopes: Iterable[PurgeScope]) -> list[PurgeScope]:
    """One scope for each context that is not purged whole."""
    return list({scope.whole: scope for scope in scopes if scope.tag != scope.whole}.values())
