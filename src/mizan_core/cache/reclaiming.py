"""Deleting the entries of contexts that were purged as a whole. They are dead already; this only frees their memory.

Finding the entries of a context takes a scan of every key, so it is done at most once a minute for each context, by one
of the processes that share the backend. Entries that die between two scans are found by the next one, evicted, or
expire.
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
        self._due: dict[str, float] = {}  # by context: when its next scan may begin
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, context: str) -> None:
        """Begin to delete the entries of a context, unless a scan for it began less than a minute ago."""
        now = self._clock()
        if now < self._due.get(context, now):
            return
        self._due[context] = now + RECLAIM_SECONDS
        task = asyncio.get_running_loop().create_task(self._reclaim(context))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Stop all scans."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _reclaim(self, context: str) -> None:
        # Only the process that adds this key scans.
        if await self._backend.set(f"reclaim:{context}", b"1", RECLAIM_SECONDS, if_absent=True):
            await self._backend.delete_by_prefix(f"ctx:{context}:")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a backend that fails keeps dead entries until they expire
