"""What is held and purged, and by which names. `memory_holds` and `backend_holds` say how it is written."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# A process that dies while it holds a scope keeps it from being cached for at most this long.
DEFAULT_HOLD_SECONDS = 30.0
# A hold is renewed so often before it would expire.
RENEWALS = 3


@dataclass(frozen=True, slots=True)
class Scope:
    """What an invalidation purges: its tag, and the tag of its whole context."""

    tag: str
    whole: str
    fingerprint: bytes


class Nonces:
    """Fresh values of tags: unguessable, and telling by whose scope shapes (their fingerprint) they were made."""

    PREFIX = b"n"
    RANDOM_BYTES = 15

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def fresh(self, fingerprint: bytes) -> bytes:
        return self.PREFIX + fingerprint + self._random(self.RANDOM_BYTES)

    def holder(self) -> str:
        return self._random(self.RANDOM_BYTES).hex()

    @classmethod
    def is_one(cls, value: bytes, fingerprint: bytes) -> bool:
        """Whether a tag's value is a nonce, of this fingerprint or of another as long."""
        return len(value) == len(cls.PREFIX) + len(fingerprint) + cls.RANDOM_BYTES and value.startswith(cls.PREFIX)

    @classmethod
    def made_by(cls, value: object, fingerprint: bytes) -> bool:
        """Whether a tag's value is a nonce of this fingerprint's."""
        return isinstance(value, bytes) and value.startswith(cls.PREFIX + fingerprint)


class Renewable(Protocol):
    """A hold that lasts."""

    def renew(self) -> None:
        """Hold everything for another while."""
        ...


class Renewals:
    """Renews the holds that last. One timer for all of them, which most mutations do not live to see."""

    def __init__(self, hold_seconds: float) -> None:
        self._interval = hold_seconds / RENEWALS
        self._holds: set[Renewable] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, hold: Renewable) -> None:
        self._holds.add(hold)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(self._interval, self._renew, loop)

    def discard(self, hold: Renewable) -> None:
        self._holds.discard(hold)

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            return
        if not self._holds:
            self._loop = None
            return
        for hold in self._holds:
            hold.renew()
        loop.call_later(self._interval, self._renew, loop)
