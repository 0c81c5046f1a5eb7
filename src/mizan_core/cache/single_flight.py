"""Single flight: requests that miss while a computation is under way may join it instead of computing again."""

import asyncio
from dataclasses import replace

from ..errors import TimedOut
from .outcomes import Fresh, Passing, PersonalFailure


class Flight:
    """A computation under way, registered once it has suspended: before that, no other request could join it.

    `stamps` and `answer` exist from its registration on; requests that have joined wait for `answer`.
    """

    is_registered = False
    is_abandoned = False  # the request that began it has gone
    waiting = 0  # how many requests have joined and still wait
    stamps: tuple[bytes, ...]
    answer: "asyncio.Future[Fresh | Passing]"
    _flights: "dict[str, Flight]"
    _key: str

    def register(self, flights: "dict[str, Flight]", key: str, stamps: tuple[bytes, ...]) -> None:
        """Let other requests join from now on. Replaces an older flight of the key, whose stamps are out of date."""
        self.stamps = stamps
        self.answer = asyncio.get_running_loop().create_future()
        self._flights, self._key = flights, key
        self.is_registered = True
        flights[key] = self

    def may_be_joined_with(self, stamps: tuple[bytes, ...]) -> bool:
        """Whether a request that has just read these stamps may join. After a purge they differ."""
        return self.stamps == stamps and self.answer.get_loop() is asyncio.get_running_loop()

    async def join(self) -> Fresh | Passing | None:
        """The answer; None where none is for this request too, which then computes by itself."""
        self.waiting += 1
        try:
            await asyncio.wait([self.answer])
        finally:
            self.waiting -= 1
        if self.is_void:
            return None
        try:
            answer = self.answer.result()
        except PersonalFailure:
            return None
        if isinstance(answer, Fresh):
            return replace(answer, joined=True)
        return None if answer.personal else answer

    @property
    def is_void(self) -> bool:
        """Whether the flight ended without an answer or error: the requests that joined fetch again."""
        return self.answer.cancelled()

    def succeed(self, answer: Fresh | Passing) -> None:
        """Answer the requests that have joined, and end the flight."""
        self._end()
        self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """End the flight with an error, or, after a cancellation, without an answer.

        An error after the first request has gone may come from that request's closed session, so it is not passed on.
        """
        self._end()
        if isinstance(error, asyncio.CancelledError) or (self.is_abandoned and not isinstance(error, TimedOut)):
            self.answer.cancel()
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # marks it as retrieved: every request that waits still gets it

    def _end(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]
