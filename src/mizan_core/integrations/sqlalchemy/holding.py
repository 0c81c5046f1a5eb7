"""The hold of one database transaction: written before its commit, and ended after it.

An `AsyncSession` awaits it, and a session in a thread waits for it. A session in the thread of a running event loop,
which it must not block, only begins it: in a mutation, that mutation holds and purges for it.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any

from sqlalchemy.util import await_only

from ...engine.current_call import CurrentCall
from ...engine.engine import Engine
from ...engine.hosts.changing import Affected, named_all
from ...engine.hosts.entry import Entry
from ...engine.inner_calls import Reading, misplaced
from ...errors import MizanError, Unavailable
from ...graph.wrapper import current
from ...protocol.invalidation import Invalidation

logger = logging.getLogger("mizan")

Work = Callable[[], Coroutine[Any, Any, None]]

# What was begun on a loop; the loop keeps only weak references to tasks.
_begun: set["asyncio.Task[None]"] = set()


class _Way(Enum):
    AWAIT = auto()  # in the greenlet of an `AsyncSession`
    WAIT = auto()  # in a thread
    BEGIN = auto()  # in the thread of a running loop


def _way() -> _Way:
    greenlets = sys.modules.get("greenlet")  # it is there where an `AsyncSession` is
    if greenlets is not None and getattr(greenlets.getcurrent(), "__sqlalchemy_greenlet_provider__", False):
        return _Way.AWAIT
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _Way.WAIT
    return _Way.BEGIN


class Holding:
    """What one transaction holds, all in all in `invalidations`. `name`: what observers are told that changes it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name
        self.invalidations: list[Invalidation] = []
        self._entry: Entry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that the entry was made on
        self._last: asyncio.Task[None] | None = None  # what was begun and not waited for

    def hold(self, affected: Sequence[Affected]) -> None:
        """Hold these, or more. Raises `Unavailable` where that fails and the deployment refuses, or as `changing`."""
        known = named_all(self._engine.graph, affected)
        if not known:
            return
        self.invalidations += known
        way = _way()
        if way is _Way.BEGIN and self._entry is None:
            if self._told_to_the_running_call(known):
                return
            if self._engine.refuses and self._engine.health().cache != "up":
                raise Unavailable
        if self._entry is None:
            entry = self._entry = Entry(self._engine.changing(*known, name=self._name))
            self._do(way, partial(self._enter, entry))
        else:
            self._do(way, partial(self._also, self._entry, known))

    def purge(self) -> None:
        """End it after a commit, or after one that may have succeeded. Never raises."""
        entry = self._entry
        if entry is None:
            return
        self._entry = None
        try:
            self._do(_way(), partial(_to_the_end, partial(entry.leave, None)))
        except Exception as error:  # it is committed
            if self._loop is not None and not self._loop.is_running():
                self._purge_elsewhere()
            else:
                logger.exception("A commit's purge has not succeeded; it is tried again.", exc_info=error)

    def withdraw(self) -> None:
        """End it without a purge, for nothing was committed. Never raises."""
        entry = self._entry
        if entry is None:
            return
        self._entry = None
        try:
            self._do(_way(), partial(_to_the_end, entry.withdraw))
        except Exception:  # a hold that is not released expires
            logger.exception("A hold could not be released.")

    async def _enter(self, entry: Entry) -> None:
        self._loop = asyncio.get_running_loop()
        await entry.enter()

    async def _also(self, entry: Entry, known: Sequence[Invalidation]) -> None:
        if entry.change is not None:
            await entry.change.also(*known)

    def _told_to_the_running_call(self, known: Sequence[Invalidation]) -> bool:
        """Let the mutation that runs here hold and purge, if there is one."""
        call: CurrentCall | Reading | None = current.get()
        if isinstance(call, Reading):
            raise misplaced(self._name)
        if call is None or call.owner.graph is not self._engine.graph or call.root.has_ended:
            return False
        call.name(known)
        return True

    def _do(self, way: _Way, work: Work) -> None:
        if way is _Way.AWAIT:
            await_only(work())
        elif way is _Way.WAIT:
            self._engine.blocking.wait_for(work, loop=self._loop)
        else:
            self._begin(work)

    def _begin(self, work: Work) -> None:
        """Do it after what was begun before, without waiting."""
        before = self._last

        async def done() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await work()
            except Exception:
                logger.exception("What a commit makes stale could not be held or purged yet.")

        self._last = task = asyncio.get_running_loop().create_task(done())
        _begun.add(task)
        task.add_done_callback(_begun.discard)

    def _purge_elsewhere(self) -> None:
        """The loop has ended between the hold and the purge, as in a shutdown."""
        try:
            for one in self.invalidations:
                self._engine.blocking.invalidate(one)
        except MizanError:
            logger.exception("A commit's purge has not succeeded.")


async def _to_the_end(work: Work) -> None:
    """Do work that a cancellation does not interrupt; the cancellation is raised by the next await after it."""
    task = asyncio.ensure_future(work())
    is_cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            is_cancelled = True
    me = asyncio.current_task()
    if is_cancelled and me is not None:
        me.uncancel()
        me.cancel()
    task.result()
