"""Purges that did not get through."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from ...errors import CacheUnavailable
from ..backends.backend import HoldingBackend

logger = logging.getLogger("mizan")

# How often a purge that did not get through is tried again.
RETRY_SECONDS = 0.2
# How long "refuse" keeps the answer of a mutation back whose purge does not get through.
INSIST_SECONDS = 30.0
# Another process may have served what a late purge has just removed: its own caller gets a second to settle.
AFTER_PURGE_SECONDS = 1.0
# So many mutations' purges are owed scope by scope, in a few megabytes. Of further ones the whole contexts are owed.
MAXIMUM_OWED = 10_000
# Under this name all of these are owed, which no holder has. What those hold expires.
_COLLAPSED = ""
# How many are tried at once: they travel together, in a few hundred kilobytes.
BATCH = 200


class OwedPurges:
    """Remembers them, tries again, and has their contexts bypassed until then."""

    def __init__(self, holds: HoldingBackend) -> None:
        self._holds = holds
        self._owed: dict[str, tuple[str, ...]] = {}  # holder to tags, those tried longest ago first
        self._through: dict[str, asyncio.Future[None]] = {}
        self._owing: Counter[str] = Counter()  # tag to how many owe it
        self._settling: dict[str, float] = {}  # tag to when it may be trusted again, in the order of these moments
        self._paying: asyncio.Task[None] | None = None
        self.on_change: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, holder: str, tags: tuple[str, ...], wholes: tuple[str, ...]) -> asyncio.Future[None]:
        """Remember to release these tags; what depends on one of them bypasses the cache until a second after.

        `wholes`: the tags of their whole contexts, which are owed instead where too much is owed already. What is
        returned is done when they have been released.
        """
        if len(self._owed) >= MAXIMUM_OWED:
            holder, tags = _COLLAPSED, tuple(dict.fromkeys([*self._owed.get(_COLLAPSED, ()), *wholes]))
            self._owing.subtract(self._owed.get(_COLLAPSED, ()))
        self._owed[holder] = tags
        self._owing.update(tags)
        self.on_change()
        loop = asyncio.get_running_loop()
        through = self._through.get(holder)
        if through is None or through.get_loop() is not loop:
            through = self._through[holder] = loop.create_future()
        if not self._is_paying:
            logger.error("A purge did not get through. It is tried again, and its contexts bypass the cache here.")
        self._go_on()
        return through

    def touches(self, tags: Sequence[str]) -> bool:
        """Whether a purge of one of these tags is owed, or was until a moment ago."""
        if not self._owing and not self._settling:
            return False
        self._go_on()  # where a loop has ended that was paying, or this was closed and is used again
        self._forget_settled()
        return any(tag in self._owing or tag in self._settling for tag in tags)

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
            tried = [(holder, self._owed[holder]) for holder in list(self._owed)[:BATCH]]
            paid = await asyncio.gather(*(self._released(holder, tags) for holder, tags in tried))
            if not any(paid):
                await asyncio.sleep(RETRY_SECONDS)
        logger.warning("Every purge that was owed has got through.")

    async def _released(self, holder: str, tags: tuple[str, ...]) -> bool:
        """Release one mutation's tags. What fails is tried again after all the others."""
        try:
            await self._holds.release(tags, holder)
        except CacheUnavailable:
            self._owed[holder] = self._owed.pop(holder)
            return False
        if self._owed[holder] is not tags:  # more of them has been owed since
            return True
        del self._owed[holder]
        self._through.pop(holder).set_result(None)
        self._settle(tags)
        self.on_change()
        return True

    def _settle(self, tags: Sequence[str]) -> None:
        trusted_from = asyncio.get_running_loop().time() + AFTER_PURGE_SECONDS
        self._forget_settled()
        for tag in tags:
            self._settling.pop(tag, None)
            self._settling[tag] = trusted_from
            self._owing[tag] -= 1
            if not self._owing[tag]:
                del self._owing[tag]

    def _forget_settled(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._settling and (oldest := next(iter(self._settling.items())))[1] <= now:
            del self._settling[oldest[0]]
