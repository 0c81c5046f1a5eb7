"""All edges of one engine: what a mutation notes before it runs, tells after its purge, and owes where that fails.

The way of a mutation: its scopes are noted in the journal, the function runs, the origin purges, the edges are told,
and the notes are struck. The caller hears nothing before the edges have forgotten, or `BOX_SECONDS` are over; scopes
that are not through by then are owed, and sent again until they are. An edge must never be told before the origin's own
purge: it would fetch the old answer again. Where that purge is owed, the edges are told once more when it is through.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from ..cache.holds import Renewals
from ..cache.store import Hold, Store
from ..cache.tags import PurgeScope
from ..errors import CacheUnavailable, Unavailable
from ..protocol.invalidation import Invalidation
from ..tasks import Tasks
from .edge import Edge
from .journal import Journal, notes_of
from .queue import EdgeQueue

logger = logging.getLogger("mizan")

T = TypeVar("T")

# How long a mutation waits for its edges, at most.
BOX_SECONDS = 1.0
# How often the journal is looked through for notes of processes that have died, and owed purges of the origin for
# having got through.
SWEEP_SECONDS = 0.5


class Purge(Protocol):
    """Purges scopes at the origin, and tells the edges."""

    def __call__(self, scopes: Sequence[Invalidation], /) -> Coroutine[Any, Any, None]: ...


class Edges:
    """The edges of one engine, for one event loop. `box`: how long a mutation waits for them, in seconds."""

    def __init__(
        self,
        edges: Sequence[Edge],
        journal: Journal,
        store: Store,
        contexts: Container[str],
        *,
        box: float = BOX_SECONDS,
    ) -> None:
        self.box = box
        self._journal = journal
        self._store = store
        self._contexts = contexts
        self._queues = [EdgeQueue(edge) for edge in edges]
        self._renewals = Renewals(journal.lease)
        self._owed: set[Entry] = set()
        self._behind_origin: dict[Invalidation, None] = {}
        self._tasks = Tasks()
        self._sweeping: asyncio.Task[None] | None = None
        self.is_short_lived = False  # a command that keeps nothing, so that nothing was lost before it began

    @property
    def owed(self) -> int:
        """How many mutations' scopes some edge has yet to be told."""
        return len(self._owed)

    @property
    def failing(self) -> tuple[str, ...]:
        """The names of the edges that could not be told at the last attempt, or within the box."""
        return tuple(queue.edge.name for queue in self._queues if queue.is_failing)

    def begin(self, purge: Purge, contexts: Iterable[str]) -> None:
        """Begin to look for what processes that have died left behind, and go on with what is owed here.

        Without a journal that outlives processes nothing is known of the time before: the edges forget all contexts.
        """
        loop = asyncio.get_running_loop()
        sweeping = self._sweeping
        if sweeping is not None and sweeping.get_loop() is loop and not sweeping.done():
            return
        for queue in self._queues:
            queue.begin_anew()
        for entry in tuple(self._owed):
            self._owe(entry, entry.owed)
        if sweeping is None and not self._journal.is_durable and not self.is_short_lived:
            self._owe(Entry(self), [Invalidation(context) for context in contexts])
        self._sweeping = loop.create_task(self._sweep(purge))

    def around(self, hold: Hold, scopes: Sequence[PurgeScope], possible: Sequence[PurgeScope] = ()) -> "TellingHold":
        """A hold that notes its scopes, and those that only a result or a body may name, and tells what it purges."""
        return TellingHold(hold, Entry(self), [*scopes, *possible])

    def check(self) -> None:
        """Raise `Unavailable` where an edge cannot be told now."""
        if self.failing:
            raise Unavailable

    async def aclose(self, seconds: float) -> None:
        """Go on telling for at most so many seconds, then stop. What is noted is left to other processes."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await self._tasks.wait(seconds)  # with the second purges, which need queues that are open
        await self._tasks.cancel()
        await asyncio.gather(*(queue.aclose(max(0.0, until - now())) for queue in self._queues))
        for entry in self._owed:  # its lease ends
            self._renewals.discard(entry)
        if self._owed:
            left = "left in the journal" if self._journal.is_durable else "lost"
            logger.error("Closed. Mutations whose edges were never told, and that are %s: %d.", left, len(self._owed))

    def tell(self, scopes: Sequence[Invalidation]) -> "list[asyncio.Future[None]]":
        """Tell every edge. For each of them a future, which is done once it has forgotten the scopes."""
        if self._store.owed:
            self._behind_origin.update(dict.fromkeys(scopes))
        return [queue.add(scopes) for queue in self._queues]

    async def within_box(self, told: "Sequence[asyncio.Future[None]]") -> bool:
        """Wait for the edges that are not known to fail, and return whether all have forgotten what they were told.

        An edge that takes longer than the box is known to fail from then on, until it has forgotten something.
        """
        awaited = {one: queue for one, queue in zip(told, self._queues, strict=True) if not queue.is_failing}
        if awaited:
            _, late = await asyncio.wait(awaited, timeout=self.box)
            for one in late:
                awaited[one].keeps_waiting(self.box)
        return all(one.done() for one in told)

    @property
    def has_second_purges(self) -> bool:
        """Whether some edge is told everything a second time."""
        return any(queue.edge.again is not None for queue in self._queues)

    def tell_again(self, scopes: Sequence[Invalidation]) -> list[Coroutine[Any, Any, None]]:
        """The second purges, each of which waits for its time."""
        return [_after(one.edge.again, one, scopes) for one in self._queues if one.edge.again is not None]

    async def tell_at_once(self, scopes: Sequence[Invalidation]) -> bool:
        """Tell every edge of scopes that the origin need not purge. Whether all have forgotten them within the box."""
        return await self.within_box(self.tell(scopes))

    async def write(self, entry: "Entry", notes: Sequence[bytes]) -> None:
        """Note something. Raises `CacheUnavailable`."""
        self._renewals.add(entry)
        await self._journal.write(notes)

    def begin_writing(self, entry: "Entry", notes: Sequence[bytes]) -> "asyncio.Future[None]":
        """Begin to note something, or to renew it."""
        return self._tasks.start(self.write(entry, notes))

    def end(self, entry: "Entry") -> None:
        """Begin to strike the notes of an entry whose edges have been told, or have nothing to hear."""
        self._renewals.discard(entry)
        self._owed.discard(entry)
        if entry.notes:
            self._tasks.start(self._struck(tuple(entry.notes)))

    def owe(self, entry: "Entry", scopes: Sequence[Invalidation], told: "Sequence[asyncio.Future[None]]") -> None:
        """Keep an entry until the edges have been told for the last time; note what of it is not noted yet."""
        entry.owed = scopes
        self._owed.add(entry)
        self._tasks.start(self._ended(entry, scopes, told))

    def _owe(self, entry: "Entry", scopes: Sequence[Invalidation]) -> None:
        self.owe(entry, scopes, self.tell(scopes))

    async def _ended(
        self, entry: "Entry", scopes: Sequence[Invalidation], told: "Sequence[asyncio.Future[None]]"
    ) -> None:
        with contextlib.suppress(CacheUnavailable):
            await entry.note(scopes)
        await asyncio.gather(*told)
        await asyncio.gather(*self.tell_again(scopes))
        self.end(entry)

    async def _struck(self, notes: Sequence[bytes]) -> None:
        with contextlib.suppress(CacheUnavailable):  # they are told once more
            await self._journal.strike(notes)

    async def _sweep(self, purge: Purge) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if self._behind_origin and not self._store.owed:
                behind, self._behind_origin = tuple(self._behind_origin), {}
                self._owe(Entry(self), behind)
            with contextlib.suppress(CacheUnavailable):
                claimed = await self._journal.claim(self._contexts)
                if claimed:
                    logger.warning("A process died before it had told the edges of %d scopes.", len(claimed))
                    await purge(tuple(dict.fromkeys(claimed.values())))
                    await self._struck(tuple(claimed))


class Entry:
    """What the journal has of one mutation. `owed`: the scopes that some edge has yet to be told."""

    def __init__(self, edges: Edges) -> None:
        self.owed: Sequence[Invalidation] = ()
        self._edges = edges
        self._writing: set[asyncio.Future[None]] = set()
        self._has_failed = False  # of the last write; a renewal writes all notes
        self.notes: dict[bytes, Invalidation] = {}

    async def note(self, scopes: Iterable[Invalidation]) -> None:
        """Note these scopes. Raises `CacheUnavailable`."""
        new = self._new(scopes)
        if new:
            await self._edges.write(self, tuple(new))

    def begin_to_note(self, scopes: Iterable[Invalidation]) -> None:
        """Note these scopes, as soon as that can be written."""
        new = self._new(scopes)
        if new:
            self._write(tuple(new))

    def renew(self) -> None:
        """As `Renewable.renew`."""
        self._write(tuple(self.notes))

    async def written(self) -> bool:
        """Wait for what is being written; whether everything is noted."""
        if self._writing:
            await asyncio.wait(self._writing)
        return not self._has_failed

    async def tell(self, scopes: Sequence[Invalidation]) -> CacheUnavailable | None:
        """Tell the edges, and wait for them within the box. Returns an error if they are not all told by then."""
        edges = self._edges
        told = edges.tell(scopes)
        are_through = await edges.within_box(told)
        if not are_through or edges.has_second_purges:
            edges.owe(self, scopes, told)
        else:
            edges.end(self)
        return None if are_through else CacheUnavailable("An edge could not be told.")

    def check(self) -> None:
        """As `Edges.check`."""
        self._edges.check()

    def drop(self) -> None:
        """Nothing was changed."""
        self._edges.end(self)

    def _new(self, scopes: Iterable[Invalidation]) -> dict[bytes, Invalidation]:
        known = set(self.notes.values())
        new = notes_of(one for one in scopes if one not in known and Invalidation(one.context) not in known)
        self.notes.update(new)
        return new

    def _write(self, notes: Sequence[bytes]) -> None:
        writing = self._edges.begin_writing(self, notes)
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        self._writing.discard(writing)
        self._has_failed = writing.cancelled() or writing.exception() is not None


class TellingHold:
    """A hold whose scopes are noted before the mutation runs, and told to the edges after they have been purged."""

    def __init__(self, hold: Hold, entry: Entry, scopes: Sequence[PurgeScope]) -> None:
        self._hold = hold
        self._entry = entry
        self._noted = _named(scopes)

    async def run(self, begin: Callable[[], Coroutine[Any, Any, T]], *, insist: bool) -> T:
        """As `Hold.run`. With `insist`, raises `Unavailable` also where nothing can be noted or an edge be told."""
        try:
            await self._entry.note(self._noted)
        except CacheUnavailable:
            if insist:
                raise Unavailable from None
        if insist:
            self._entry.check()
        return await self._hold.run(begin, insist=insist)

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        """As `Hold.extend`."""
        self._entry.begin_to_note(_named(scopes))
        self._hold.extend(scopes)

    async def make_visible(self, *, insist: bool = False) -> None:
        """As `Hold.make_visible`."""
        await self._hold.make_visible(insist=insist)
        if not await self._entry.written() and insist:
            raise Unavailable

    async def end(self, purged: Sequence[PurgeScope], *, insist: bool) -> CacheUnavailable | None:
        """As `Hold.end`, and tell the edges after it."""
        late = await self._hold.end(purged, insist=insist)
        await self._entry.written()
        untold = await self._entry.tell(_named(purged))
        return late or (untold if insist else None)

    async def restore(self) -> None:
        """As `Hold.restore`: the edges have nothing to hear."""
        await self._hold.restore()
        await self._entry.written()
        self._entry.drop()


def _named(scopes: Iterable[PurgeScope]) -> list[Invalidation]:
    """The scopes by their names, without repeats."""
    return list(dict.fromkeys(scope.named for scope in scopes if scope.named is not None))


async def _after(seconds: float | None, queue: EdgeQueue, scopes: Sequence[Invalidation]) -> None:
    await asyncio.sleep(seconds or 0.0)
    await queue.add(scopes)
