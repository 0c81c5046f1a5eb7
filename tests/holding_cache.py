"""A memory cache that counts the holders of a tag across processes, as `RedisCache` does. Time stands still in it."""

from collections.abc import Iterable, Sequence
from typing import Self

from mizan_core import MemoryCache
from mizan_core.cache.backend import HELD


class HoldingCache(MemoryCache):
    """Nothing in it expires by itself."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)

    @classmethod
    def of(cls, contents: Iterable[tuple[str, bytes]]) -> Self:
        cache = cls()
        for key, value in contents:
            cache.put(key, value, len(value), None)
        return cache

    def contents(self) -> tuple[tuple[str, bytes], ...]:
        return tuple(sorted((key, bytes(cell.value or b"")) for key, cell in self._entries.items()))

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        for tag in tags:
            self._write(tag, {*self.holders(tag), holder})

    async def release(self, tags: Sequence[str], holder: str) -> None:
        for tag in tags:
            self._write(tag, self.holders(tag) - {holder})

    def holders(self, tag: str) -> set[str]:
        cell = self.cell(tag)
        return set() if cell is None else holders(bytes(cell.value or b""))

    def _write(self, tag: str, holders: set[str]) -> None:
        if holders:
            value = HELD + ",".join(sorted(holders)).encode()
            self.put(tag, value, len(value), None)
        else:
            self.forget(tag)


def holders(value: bytes) -> set[str]:
    """Who holds the tag that has this value; nobody where it is a nonce."""
    return set(value.removeprefix(HELD).decode().split(",")) if value.startswith(HELD) else set()
