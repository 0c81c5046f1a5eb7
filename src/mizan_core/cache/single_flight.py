"""Computations under way, which others may join instead of computing the same once more."""

import asyncio
from dataclasses import replace

from ..errors import TimedOut
from .outcomes import Fresh, Passing, PersonalFailure


class Flight:
    """A computation. Only what waits takes off, for nobody can join what does not.

    From then on there are the `stamps` that it carries, and the `answer`, which those wait for who join.
    """

    has_taken_off = False
    is_left = False  # the request that began it has gone away
    waiting = 0  # how many requests have joined, and have not gone away
    stamps: tuple[bytes, ...]
    answer: "asyncio.Future[Fresh | Passing]"
    _flights: "dict[str, Flight]"
    _key: str

    def take_off(self, flights: "dict[str, Flight]", key: str, stamps: tuple[bytes, ...]) -> None:
        """Others may join from now on, and no longer a flight of before that they could not."""
        self.stamps = stamps
        self.answer = asyncio.get_running_loop().create_future()
        self._flights, self._key = flights, key
        self.has_taken_off = True
        flights[key] = self

    def may_be_joined_with(self, stamps: tuple[bytes, ...]) -> bool:
        """Only by who has just read the very stamps it carries, so never by who came after a purge."""
        return self.stamps == stamps and self.answer.get_loop() is asyncio.get_running_loop()

    async def joined(self) -> Fresh | Passing | None:
        """What it answers everyone; None where there is none, or it is for the request that began it."""
        self.waiting += 1
        try:
            await asyncio.wait([self.answer])
        finally:
            self.waiting -= 1
        if self.is_lost:
            return None
        try:
            answer = self.answer.result()
        except PersonalFailure:
            return None
        if isinstance(answer, Fresh):
            return replace(answer, joined=True)
        return None if answer.personal else answer

    @property
    def is_lost(self) -> bool:
        """Whether those who joined have to compute anew."""
        return self.answer.cancelled()

    def land(self, answer: Fresh | Passing) -> None:
        """Tell those who have joined. Nobody else does from now on."""
        self._end()
        self.answer.set_result(answer)

    def crash(self, error: BaseException) -> None:
        """The same where there is an error to tell, or a cancellation.

        An error after the first request has gone away may be for its session having been closed: it is lost.
        """
        self._end()
        if isinstance(error, asyncio.CancelledError) or (self.is_left and not isinstance(error, TimedOut)):
            self.answer.cancel()
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # every waiter has it, and if none is left nobody needs it

    def _end(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]
