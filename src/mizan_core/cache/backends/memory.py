"""A cache in this process's memory, bounded by bytes: keys that were not read again are evicted first. For one loop.

Each key has a cell, which callers may keep to see later, without a look-up, whether the key has changed. Setting the
key anew replaces the value in its cell. Deleting or evicting the key, or setting a value of another type, leaves None
in the cell.
"""

import asyncio
import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Protocol, TypeAlias

from ...errors import DeclarationError

DEFAULT_MAX_BYTES = 64 * 1024 * 1024

# The bytes of an entry beside its key and value: the cell, the expiry, and a slot in each of two hash tables. Measured
# with tracemalloc over 100,000 entries; tests/cache/test_memory.py checks it.
ENTRY_OVERHEAD_BYTES = 330


# Keys that are deleted before other tasks get a turn: about a millisecond of work.
_PART = 1_000


class Packable(Protocol):
    """A value that is converted to bytes only when `get` reads it."""

    def __bytes__(self) -> bytes: ...


Value: TypeAlias = bytes | Packable


class Cell:
    """A key's value. `used`: it was read since eviction last passed over it."""

    __slots__ = ("expires", "size", "used", "value")

    def __init__(self, value: Value, expires: float | None, size: int) -> None:
        self.value: Value | None = value
        self.expires = expires
        self.size = size
        self.used = False


class MemoryCache:
    """A `CacheBackend` in memory that keeps at most `max_bytes`, keys and overhead counted.

    Eviction takes the oldest key, but passes over a key that was read since it was last passed over (CLOCK). Keys are
    grouped by their text before the last colon, so that deleting a context by prefix takes time for the keys of the
    context and not of the whole cache. `clock` gives seconds.
    """

    shared = False

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, *, clock: Callable[[], float] = time.monotonic) -> None:
        if max_bytes <= 0:
            raise DeclarationError(f"MemoryCache(max_bytes={max_bytes!r}) keeps nothing; give it a positive number.")
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self.clock = clock
        self._entries: OrderedDict[str, Cell] = OrderedDict()
        self._groups: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        """Whether a value is stored under the key, be it expired."""
        return key in self._entries

    async def get(self, *keys: str) -> list[bytes | None]:
        return [None if cell is None else _packed(cell.value) for cell in self.cells(*keys)]

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if if_absent and self.cell(key) is not None:
            return False
        return self.put(key, value, sys.getsizeof(value), ttl) is not None

    async def delete(self, *keys: str) -> int:
        now = self.clock()
        return sum(self._forget(key, now) for key in keys)

    async def delete_by_prefix(self, prefix: str) -> int:
        """Deletes in parts, so that other tasks get a turn; a key that is set anew after the start stays."""
        groups = [group for group in self._groups if group.startswith(prefix) or prefix.startswith(group)]
        keys = [key for group in groups for key in self._groups[group] if key.startswith(prefix)]
        cells = [(key, self._entries[key]) for key in keys]
        found = [(key, cell, cell.value) for key, cell in cells]
        deleted = 0
        while found:
            some, found[-_PART:] = found[-_PART:], []
            deleted += await self.delete(*(key for key, cell, value in some if cell.value is value))
            if found:
                await asyncio.sleep(0)
        return deleted

    async def clear(self) -> None:
        for cell in self._entries.values():
            cell.value = None
        self._entries.clear()
        self._groups.clear()
        self.used_bytes = 0

    def cell(self, key: str) -> Cell | None:
        """The cell of a key that is present and has not expired."""
        cell = self._entries.get(key)
        if cell is None:
            return None
        if cell.expires is not None and cell.expires <= self.clock():
            self._forget(key)
            return None
        cell.used = True
        return cell

    def cells(self, *keys: str) -> list[Cell | None]:
        """As `cell`, for several keys, with the clock read once."""
        cells: list[Cell | None] = [*map(self._entries.get, keys)]
        now = self.clock()
        for place, cell in enumerate(cells):
            if cell is not None:
                if cell.expires is not None and cell.expires <= now:
                    self._forget(keys[place])
                    cells[place] = None
                else:
                    cell.used = True
        return cells

    def put(self, key: str, value: Value, value_bytes: int, ttl: float | None) -> Cell | None:
        """As `set`, for a value that takes `value_bytes` and need not be bytes. Its cell; None if it was not stored."""
        size = sys.getsizeof(key) + value_bytes + ENTRY_OVERHEAD_BYTES
        if size > self.max_bytes or (ttl is not None and ttl <= 0):
            self._forget(key)
            return None
        expires = None if ttl is None else self.clock() + ttl
        cell = self._entries.get(key)
        if cell is not None and type(cell.value) is not type(value):
            self._forget(key)
            cell = None
        if cell is None:
            cell = self._entries[key] = Cell(value, expires, size)
            self._groups[key[: key.rfind(":") + 1]].add(key)  # `_group`, written out
        else:
            self.used_bytes -= cell.size
            cell.value, cell.expires, cell.size, cell.used = value, expires, size, False
            self._entries.move_to_end(key)
        self.used_bytes += size
        while self.used_bytes > self.max_bytes:
            self._evict()
        return cell

    def forget(self, key: str) -> None:
        """As `delete` of one key, synchronously."""
        self._forget(key)

    def _evict(self) -> None:
        """Move the oldest key to the end if it was read since its last turn; else delete it."""
        key = next(iter(self._entries))
        cell = self._entries[key]
        if cell.used:
            cell.used = False
            self._entries.move_to_end(key)
        else:
            self._forget(key)

    def _forget(self, key: str, now: float = 0.0) -> bool:
        """Delete a key; whether it was present and had not expired by `now`."""
        cell = self._entries.pop(key, None)
        if cell is None:
            return False
        cell.value = None
        group = _group(key)
        members = self._groups[group]
        members.discard(key)
        if not members:
            del self._groups[group]
        self.used_bytes -= cell.size
        return cell.expires is None or cell.expires > now


def _packed(value: Value | None) -> bytes | None:
    return value if value is None or type(value) is bytes else bytes(value)


def _group(key: str) -> str:
    return key[: key.rfind(":") + 1]
