"""The bundle cache inside an engine, for enumerations: they compare what is under way, which no backend shows."""

from mizan_core import Engine
from mizan_core.cache.bundle_cache import BundleCache


def bundle_cache_of(engine: Engine) -> BundleCache:
    return engine._cache
