"""How long a hold lasts, and its renewal."""

import asyncio
from typing import Protocol

# A process that dies while it holds a scope keeps it from being cached for at most this long.
DEFAULT_HOLD_SECONDS = 30.0


# How often a hold is renewed before it would expire.
RENEWALS = 3


class Renewable(Protocol):
    """A hold that `Renewals` keeps from expiring."""

    def renew(self) -> None:
        """Hold the same scopes for another period."""
        ...


class Renewals:
    """Renews the holds of long mutations. One timer serves all; most mutations end before it fires."""

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
