"""Purges that did not get through."""

import asyncio
import logging
import math
from collections.abc import Sequence

from .cache.backend import HoldingBackend
from .errors import CacheUnavailable

logger = logging.getLogger("mizan")

# How often a purge that did not get through is tried again.
RETRY_SECONDS = 0.2
# How long "refuse" keeps the answer of a mutation back whose purge does not get through.
INSIST_SECONDS = 30.0
# Another process may have served what a late purge has just removed: its own caller gets a second to settle.
AFTER_PURGE_SECONDS = 1.0


class Debts:
    """Remembers them, tries again, and has their contexts bypassed until then."""

    def __init__(self, holds: HoldingBackend) -> None:
        self._holds = holds
        self._owed: dict[str, tuple[str, ...]] = {}
        self._through: dict[str, asyncio.Future[None]] = {}
        self._bypassed: dict[str, float] = {}  # tag to when it may be trusted again
        self._paying: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, holder: str, tags: tuple[str, ...]) -> asyncio.Future[None]:
        """Remember to release these tags; whoever depends on one of them bypasses the cache until a second after.

        What is returned is done when they have been.
        """
        self._owed[holder] = tags
        through = self._through[holder] = asyncio.get_running_loop().create_future()
        self._bypassed.update(dict.fromkeys(tags, math.inf))
        if not self._is_paying:
            logger.error("A purge did not get through. It is tried again, and its contexts bypass the cache here.")
        self._go_on()
        return through

    def touches(self, tags: Sequence[str]) -> bool:
        """Whether a purge of one of these tags is owed, or was until a moment ago."""
        if not self._bypassed:
            return False
        self._go_on()  # where a loop has ended that was paying, or this was closed and is used again
        now = asyncio.get_running_loop().time()
        self._bypassed = {tag: until for tag, until in self._bypassed.items() if until > now}
        return any(tag in self._bypassed for tag in tags)

    async def aclose(self, seconds: float) -> None:
        """Try for so many more seconds."""
        if self._paying is None or self._paying.done():
            return
        await asyncio.wait([self._paying], timeout=seconds)
        if self._owed:
            logger.error("Closed. Purges that never got through: %d.", len(self._owed))
        self._paying.cancel()

    @property
    def _is_paying(self) -> bool:
        return self._paying is not None and not self._paying.done()

    def _go_on(self) -> None:
        """Pay, if anything is owed and that is not under way."""
        if self._owed and not self._is_paying:
            self._paying = asyncio.create_task(self._pay())

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
