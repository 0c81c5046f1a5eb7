"""The bundle cache inside an engine, for enumerations: they compare what is under way, which no backend shows."""

from mizan_core import Engine
from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.shared.store import SharedStore


def bundle_cache_of(engine: Engine) -> BundleCache:
    return engine._cache


def copies_in(cache: BundleCache) -> tuple[tuple[str, tuple[bytes, ...], bytes], ...]:
    """The copies of a shared backend's entries: their keys, stamps and bodies."""
    assert isinstance(cache.store, SharedStore)
    copies = cache.store.near._copies
    return tuple(sorted((key, copy.entry.stamps, copy.entry.body) for key, copy in copies.items()))
