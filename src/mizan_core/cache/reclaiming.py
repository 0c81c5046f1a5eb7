"""Giving back the memory of entries that a whole purge has killed. Housekeeping: nothing depends on it.

Finding the entries of a context takes a look at every key of the store, so it is done at most once a minute for each
context, by one of the processes that share the store. What a purge leaves between two times is found by the next,
evicted, or expires.
"""

import asyncio
from collections.abc import Callable

from .backends.backend import CacheBackend

RECLAIM_SECONDS = 60.0


class Reclaiming:
    """Deletes the entries of purged contexts in a backend, off the path of every request.

    `clock` gives seconds.
    """

    def __init__(self, backend: CacheBackend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._due: dict[str, float] = {}  # context to the moment from which it may be looked through again
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, context: str) -> None:
        """Look through a context that was purged as a whole, unless that was begun less than a minute ago."""
        now = self._clock()
        if now < self._due.get(context, now):
            return
        self._due[context] = now + RECLAIM_SECONDS
        task = asyncio.get_running_loop().create_task(self._reclaim(context))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _reclaim(self, context: str) -> None:
        # The key that one process has added tells the others that it looks.
        if await self._backend.set(f"reclaim:{context}", b"1", RECLAIM_SECONDS, if_absent=True):
            await self._backend.delete_by_prefix(f"ctx:{context}:")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a store that fails keeps its dead entries until they expire
