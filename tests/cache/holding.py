"""Holds begun and ended by hand, in both stores."""

from collections.abc import Sequence
from typing import Any

from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.store import Hold
from mizan_core.cache.tags import PurgeScope


async def begin(hold: Hold) -> None:
    """Hold the scopes, as before a mutation that suspends."""

    async def nothing() -> None: ...

    await hold.run(nothing, insist=False)
    await hold.make_visible()


async def end(hold: Hold, purged: Sequence[PurgeScope] = ()) -> Any:
    return await hold.end(purged, insist=False)


async def purge(cache: BundleCache, purged: Sequence[PurgeScope]) -> None:
    assert await end(cache.store.hold(()), purged) is None
