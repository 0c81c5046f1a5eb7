"""Bundles of which nothing may be stored, computed in turns: requests that come while one runs share the next.

A request must not be answered by a computation that began before it asked, for that may have read rows that have
changed since. It may be answered by one that begins later. So at most one computation of a bundle runs and one waits,
however many requests there are.
"""

import asyncio
import contextvars
from collections.abc import Hashable
from dataclasses import dataclass, field

from ..errors import TimedOut
from ..tasks import EagerRunner, Tasks
from .outcomes import Compute, Computed, PersonalFailure


@dataclass(slots=True, eq=False)
class _Request:
    """A request that waits for a turn: its `compute` and the context variables under which that runs."""

    compute: Compute
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


@dataclass(slots=True, eq=False)
class _Turn:
    """One computation of a bundle. Requests join it until it begins; it then runs the `compute` of the first.

    `answer` is for all in `joined`. `begun_for`: the request whose `compute` runs; None before the turn begins, and for
    a request that did not have to wait. `following`: the turn after this one.
    """

    answer: "asyncio.Future[Computed]"
    joined: dict[_Request, None] = field(default_factory=dict)
    begun_for: _Request | None = None
    following: "_Turn | None" = None


class Turns:
    """The computations under way and waiting, by the keys of their bundles."""

    def __init__(self, runner: EagerRunner, tasks: Tasks) -> None:
        self._runner = runner
        self._tasks = tasks
        self._running: dict[str, _Turn] = {}

    async def take(self, key: str, compute: Compute, readers: Hashable) -> Computed:
        """The readers' answer, from a computation that begins after this call. Raises what the readers raise.

        `readers`: as in `BundleCache.fetch`.
        """
        loop = asyncio.get_running_loop()
        running = self._running.get(key)
        if running is None or running.answer.get_loop() is not loop:
            turn = self._running[key] = _Turn(loop.create_future())
            ended = self._runner.run(readers, self._run(key, turn, compute))
            return ended if isinstance(ended, Computed) else await ended
        return await self._joined(key, self._to_join(running), _Request(compute), readers)

    def _to_join(self, running: _Turn) -> _Turn:
        """The turn that begins after now: never the one that is running."""
        if running.following is None:
            running.following = _Turn(running.answer.get_loop().create_future())
        return running.following

    async def _joined(self, key: str, turn: _Turn, me: _Request, readers: Hashable) -> Computed:
        turn.joined[me] = None
        try:
            await asyncio.wait([turn.answer])
        finally:
            turn.joined.pop(me, None)  # a turn that no request waits for does not begin
        if turn.answer.cancelled():
            return await self.take(key, me.compute, readers)
        try:
            computed = turn.answer.result()
        except PersonalFailure:
            if turn.begun_for is me:
                raise
            return await me.compute()
        return await me.compute() if computed.personal and turn.begun_for is not me else computed

    async def _run(self, key: str, turn: _Turn, compute: Compute) -> Computed:
        """Compute, and pass the result or error to the requests that have joined."""
        try:
            computed = await compute()
            turn.answer.set_result(computed)
        except asyncio.CancelledError:
            turn.answer.cancel()
            raise
        except BaseException as error:
            # The error may come from the closed session of the request that it was begun for, if that has gone.
            has_gone = turn.begun_for is not None and turn.begun_for not in turn.joined
            if has_gone and not isinstance(error, TimedOut):
                turn.answer.cancel()
            else:
                turn.answer.set_exception(error)
                turn.answer.exception()  # marks it as retrieved: perhaps no request has joined
            raise
        finally:
            self._end(key, turn)
        return computed

    def _end(self, key: str, turn: _Turn) -> None:
        """Begin the following turn, if a request waits for it."""
        following = turn.following
        if following is not None and following.joined:
            self._running[key] = following
            request = following.begun_for = next(iter(following.joined))
            request.context.run(self._tasks.start, self._run(key, following, request.compute))
        elif self._running.get(key) is turn:
            del self._running[key]
