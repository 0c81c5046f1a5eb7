"""A cache in this process: bounded by bytes, least recently used out. For one event loop."""

import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from ..errors import DeclarationError

DEFAULT_MAX_BYTES = 64 * 1024 * 1024

# What an entry costs beside its key and value: the tuple, the expiry, and a slot in each of two hash tables. Measured
# with tracemalloc over 100,000 entries (tests/core/test_memory.py holds it to that).
ENTRY_OVERHEAD_BYTES = 330


class MemoryCache:
    """A `CacheBackend` in memory that keeps at most `max_bytes`, keys and overhead counted.

    Keys are grouped by what stands before their last colon, so that deleting a context by prefix costs what the
    context holds and not what the cache holds. `clock` gives seconds.
    """

    shared = False

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, *, clock: Callable[[], float] = time.monotonic) -> None:
        if max_bytes <= 0:
            raise DeclarationError(f"MemoryCache(max_bytes={max_bytes!r}) keeps nothing; give it a positive number.")
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float | None, int]] = OrderedDict()
        self._groups: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, *keys: str) -> list[bytes | None]:
        return [self._read(key) for key in keys]

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if if_absent and self._read(key) is not None:
            return False
        self._forget(key)
        size = sys.getsizeof(key) + sys.getsizeof(value) + ENTRY_OVERHEAD_BYTES
        if size > self.max_bytes or (ttl is not None and ttl <= 0):
            return False
        self._entries[key] = (value, None if ttl is None else self._clock() + ttl, size)
        self._groups[_group(key)].add(key)
        self.used_bytes += size
        while self.used_bytes > self.max_bytes:
            self._forget(next(iter(self._entries)))
        return True

    async def delete(self, *keys: str) -> int:
        now = self._clock()
        return sum(self._forget(key, now) for key in keys)

    async def delete_by_prefix(self, prefix: str) -> int:
        groups = [group for group in self._groups if group.startswith(prefix) or prefix.startswith(group)]
        found = [key for group in groups for key in self._groups[group] if key.startswith(prefix)]
        return await self.delete(*found)

    async def clear(self) -> None:
        self._entries.clear()
        self._groups.clear()
        self.used_bytes = 0

    def _read(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires, _ = entry
        if expires is not None and expires <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _forget(self, key: str, now: float = 0.0) -> bool:
        """Whether the key was there and had not expired by `now`."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        _, expires, size = entry
        group = _group(key)
        members = self._groups[group]
        members.discard(key)
        if not members:
            del self._groups[group]
        self.used_bytes -= size
        return expires is None or expires > now


def _group(key: str) -> str:
    return key[: key.rfind(":") + 1]
