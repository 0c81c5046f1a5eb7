"""Copies of entries in this process's memory: a hit asks the shared backend for the tags alone, and moves no body.

A copy is as good as the entry that it is a copy of: it is served only while every tag has the value in its stamps, as
the backend answers that very request. So a purge, an eviction of a tag or an emptied backend ends it everywhere.

An entry can also go, or be replaced under the same stamps, while its tags stay: it was evicted or deleted, or two
processes computed it at once. Either body is true. So that all processes come to have the same one, and so that the
backend sees which entries are in use, the entry itself is read again every `READ_AGAIN_SECONDS`.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable

from ..entries import Entry

# As much as a cache in memory has.
DEFAULT_NEAR_BYTES = 64 * 1024 * 1024

# How long a process goes by its copy before it reads the entry again. At one hit a second, 1 body in 60 is moved.
READ_AGAIN_SECONDS = 60.0

# The bytes of a copy beside its key, stamps and body: its objects, its ETag, and its place in the table. Measured with
# tracemalloc; tests/cache/test_near.py checks it.
COPY_OVERHEAD_BYTES = 500


class _Copy:
    """An entry, its size in bytes, and when it is to be read again."""

    __slots__ = ("entry", "read_again", "size")

    def __init__(self, entry: Entry, size: int, read_again: float) -> None:
        self.entry = entry
        self.size = size
        self.read_again = read_again


class NearCopies:
    """Copies of entries by key, at most `max_bytes` of them: the one that was used longest ago goes first.

    `clock` gives seconds since 1970. With `max_bytes=0` there are none.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0
        self._clock = clock
        self._copies: OrderedDict[str, _Copy] = OrderedDict()

    def __len__(self) -> int:
        return len(self._copies)

    def get(self, key: str) -> Entry | None:
        """The copy to use for a look-up; None where there is none, or where this look-up has to read the entry again.

        One look-up has to, once `READ_AGAIN_SECONDS` are over; others go by the copy meanwhile.
        """
        copy = self._copies.get(key)
        if copy is None:
            return None
        now = self._clock()
        if copy.entry.expires <= now:
            self.forget(key)
            return None
        if copy.read_again <= now:
            copy.read_again = now + READ_AGAIN_SECONDS
            return None
        self._copies.move_to_end(key)
        return copy.entry

    def peek(self, key: str) -> Entry | None:
        """The copy, for one who does not use it."""
        copy = self._copies.get(key)
        return None if copy is None else copy.entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep a copy, if there is room for it, in place of an older one."""
        self.forget(key)
        size = sys.getsizeof(key) + sum(map(sys.getsizeof, entry.stamps)) + len(entry.body) + COPY_OVERHEAD_BYTES
        if size > self.max_bytes:
            return
        self._copies[key] = _Copy(entry, size, self._clock() + READ_AGAIN_SECONDS)
        self.used_bytes += size
        while self.used_bytes > self.max_bytes:
            self.forget(next(iter(self._copies)))

    def forget(self, key: str) -> None:
        """Drop the copy of this key, if there is one."""
        copy = self._copies.pop(key, None)
        if copy is not None:
            self.used_bytes -= copy.size
