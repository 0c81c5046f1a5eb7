"""A bounded memory of computed values, in which keys that are asked for again outlive keys that came up once."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Seen:
    """Tells keys that came up before from new ones: the hashes of at least the last `most` different keys.

    Two keys of one hash count as one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._now: set[int] = set()
        self._before: set[int] = set()

    def again(self, key: Hashable) -> bool:
        """Whether the key came up before. It has, from now on."""
        mark = hash(key)
        if mark in self._now or mark in self._before:
            return True
        if len(self._now) >= self._most:
            self._before, self._now = self._now, set()
        self._now.add(mark)
        return False


class Memo(Generic[K, V]):
    """Remembers values by key, at most `max_bytes` altogether, by the sizes that `put` is told.

    There are three parts of equal size. A new key goes into the first, which is emptied when it is full: a sender of
    made-up keys displaces only keys that came up once. A key that is asked for again moves into the second. A full
    second part replaces the third, from which a key moves back when it is asked for.
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
        """The value, or None for a key that is not remembered."""
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
        """Remember a value for a key that is not remembered yet. A value larger than a part is dropped."""
        if self._once_bytes + size > self._part:
            self._once, self._once_bytes = {}, 0
        if size <= self._part:
            self._once[key] = value, size
            self._once_bytes += size
