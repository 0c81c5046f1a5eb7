"""Holds begun and ended by hand, in memory, where that takes no waiting, and elsewhere."""

from collections.abc import Sequence

from mizan_core.cache.bundle_cache import BundleCache, Hold
from mizan_core.cache.in_process.holds import InProcessHold
from mizan_core.cache.tags import PurgeScope


async def begin(hold: Hold) -> None:
    if isinstance(hold, InProcessHold):
        hold.begin()
    else:
        await hold.begin()


async def end(hold: Hold, purged: Sequence[PurgeScope] = ()) -> None:
    if isinstance(hold, InProcessHold):
        hold.end(purged)
    else:
        await hold.end(purged)


async def purge(cache: BundleCache, purged: Sequence[PurgeScope]) -> None:
    assert await cache.settle(cache.hold(()), purged, insist=False) is None
