"""What was worked out once, so that it need not be again: bounded by bytes, and what came up only once goes first."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Remembers values by key, at most `max_bytes` of them as they are declared.

    In three parts. What is new stays in the first, which is emptied when it is full: whoever makes up keys drives out
    nothing but made-up keys. What is asked for again moves into the second. When that is full it becomes the third, in
    place of what was the third, and what of it is still in use moves back.
    """

    def __init__(self, max_bytes: int) -> None:
        self._part = max_bytes // 3
        self._once: dict[K, tuple[V, int]] = {}
        self._again: dict[K, tuple[V, int]] = {}
        self._before: dict[K, tuple[V, int]] = {}
        self._once_bytes = self._again_bytes = 0

    def __len__(self) -> int:
        return len(self._once) + len(self._again) + len(self._before)

    def get(self, key: K) -> V | None:
        known = self._again.get(key)
        if known is not None:
            return known[0]
        known = self._before.pop(key, None)
        if known is None:
            known = self._once.pop(key, None)
            if known is None:
                return None
            self._once_bytes -= known[1]
        if self._again_bytes + known[1] > self._part:
            self._before, self._again, self._again_bytes = self._again, {}, 0
        self._again[key] = known
        self._again_bytes += known[1]
        return known[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Remember a value for a key that is not known, if it fits at all."""
        if self._once_bytes + size > self._part:
            self._once, self._once_bytes = {}, 0
        if size <= self._part:
            self._once[key] = value, size
            self._once_bytes += size
