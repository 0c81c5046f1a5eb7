"""What was worked out once, so that it need not be again: bounded by bytes, and what came up only once goes first."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Remembers values by key, at most `max_bytes` of them as they are declared.

    Two generations: what is asked for again moves from the first into the second. When its half is full, the first is
    dropped, and so whoever makes up keys drives out nothing but made-up keys; the second becomes the first then, and
    what of it is still in use comes back.
    """

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes // 2
        self._once: dict[K, tuple[V, int]] = {}
        self._again: dict[K, tuple[V, int]] = {}
        self._once_bytes = self._again_bytes = 0

    def __len__(self) -> int:
        return len(self._once) + len(self._again)

    def get(self, key: K) -> V | None:
        known = self._again.get(key)
        if known is not None:
            return known[0]
        known = self._once.pop(key, None)
        if known is None:
            return None
        self._once_bytes -= known[1]
        if self._again_bytes + known[1] > self._half:
            self._once, self._once_bytes = self._again, self._again_bytes
            self._again, self._again_bytes = {}, 0
        self._again[key] = known
        self._again_bytes += known[1]
        return known[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Remember a value for a key that is not known, if it fits at all."""
        if self._once_bytes + size > self._half:
            self._once, self._once_bytes = {}, 0
        if size <= self._half:
            self._once[key] = value, size
            self._once_bytes += size
