"""A memory cache that counts the holders of a tag across processes, as `RedisCache` does. Time stands still in it."""

from collections.abc import Iterable, Sequence
from typing import Self

from mizan_core import MemoryCache
from mizan_core.cache.backends.backend import HELD
from mizan_core.cache.held_tags import ABSENT, HeldTag

# No hold expires by itself, but for those that `expire` is told of.
_EXPIRES = 1.0
_SPOILED = b"spoiled"


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
            held = self._held(tag) or HeldTag(self._before(tag))
            held.hold(holder, _EXPIRES, 0.0)
            self._write(tag, held)

    async def release(self, tags: Sequence[str], holder: str) -> None:
        for tag in tags:
            held = self._held(tag) or HeldTag(None)
            held.release(holder, 0.0)
            self._write(tag, held)

    async def restore(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        for tag in tags:
            held = self._held(tag)
            if held is not None:
                held.restore(holder, 0.0)
                self._write(tag, held)

    def expire(self, tag: str, holder: str) -> None:
        """A holder's time is over."""
        held = self._held(tag)
        if held is not None and holder in held.holders:
            held.hold(holder, 0.0, -1.0)
            held.expire(0.0)
            self._write(tag, held if held.holders else HeldTag(None))

    def forget_holder(self, tag: str, holder: str) -> None:
        """The store forgets one hold, as one does that falls back on what it knew earlier."""
        held = self._held(tag)
        if held is not None:
            held.holders.pop(holder, None)
            self._write(tag, held)

    def holders(self, tag: str) -> set[str]:
        held = self._held(tag)
        return set() if held is None else set(held.holders)

    def _before(self, tag: str) -> bytes | None:
        cell = self.cell(tag)
        return ABSENT if cell is None else bytes(cell.value or b"")

    def _held(self, tag: str) -> HeldTag | None:
        value = self._before(tag) or b""
        if not value.startswith(HELD):
            return None
        names, _, before = value.removeprefix(HELD).partition(b"~")
        held = HeldTag(None if before == _SPOILED else before)
        for holder in names.decode().split(","):
            held.hold(holder, _EXPIRES, 0.0)
        return held

    def _write(self, tag: str, held: HeldTag) -> None:
        value = held.before
        if held.holders:
            names = ",".join(sorted(held.holders)).encode()
            value = HELD + names + b"~" + (_SPOILED if held.before is None else held.before)
        if value:
            self.put(tag, value, len(value), None)
        else:
            self.forget(tag)


def holders(value: bytes) -> set[str]:
    """The holders of the tag that has this value; empty for a plain value."""
    return HoldingCache.of([("tag", value)]).holders("tag")
