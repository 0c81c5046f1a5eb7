"""Purges that failed: remembered and retried, with everything that depends on them bypassed until they succeed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from ...errors import CacheUnavailable
from ..backends.backend import HoldingBackend

logger = logging.getLogger("mizan")

# Seconds between two attempts while every owed purge fails.
RETRY_SECONDS = 0.2
# How long `on_cache_failure="refuse"` holds back the answer of a mutation whose purge fails.
INSIST_SECONDS = 30.0
# After a late purge its tags are bypassed here for a second more: another process may just have served a stale entry.
AFTER_PURGE_SECONDS = 1.0
# The purges of this many mutations are owed scope by scope, in a few megabytes. Further ones owe their whole contexts.
MAXIMUM_OWED = 10_000
# The name under which all these whole contexts are owed. It is no holder's: the holds themselves expire.
_COLLAPSED = ""
# Purges that are tried at once. They share a round trip of a few hundred kilobytes.
BATCH = 200


class OwedPurges:
    """Remembers failed purges and retries them; `touches` says what bypasses the cache until they succeed."""

    def __init__(self, holds: HoldingBackend) -> None:
        self._holds = holds
        self._owed: dict[str, tuple[str, ...]] = {}  # by holder: its tags; those tried longest ago first
        self._through: dict[str, asyncio.Future[None]] = {}
        self._owing: Counter[str] = Counter()  # by tag: how many holders owe it
        self._settling: dict[str, float] = {}  # by tag: when it may be served again, the earliest first
        self._paying: asyncio.Task[None] | None = None
        self.on_change: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, holder: str, tags: tuple[str, ...], wholes: tuple[str, ...]) -> asyncio.Future[None]:
        """Retry to release these tags until it succeeds. Returns a future that is then done.

        Bundles that depend on one of them bypass the cache until `AFTER_PURGE_SECONDS` later. `wholes`: the tags of the
        whole contexts, owed instead if `MAXIMUM_OWED` purges are owed already.
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
        self._go_on()  # the loop of the retrying task may have ended, or this was closed and is used again
        self._forget_settled()
        return any(tag in self._owing or tag in self._settling for tag in tags)

    async def aclose(self, seconds: float) -> None:
        """Go on retrying for at most so many seconds, then stop."""
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
        """Begin to retry, if a purge is owed and no task is retrying."""
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
        """Release one mutation's tags. After a failure they are tried again once all others have been."""
        try:
            await self._holds.release(tags, holder)
        except CacheUnavailable:
            self._owed[holder] = self._owed.pop(holder)
            return False
        if self._owed[holder] is not tags:  # more tags were owed under this name since
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
