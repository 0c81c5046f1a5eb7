"""A connection to Redis without asyncio's streams: replies are read where they arrive, and no task waits for them.

redis-py opens, greets and closes connections. In between, a `Line` is the protocol of the connection's transport. It
tells redis-py's own protocol when the connection was lost, for redis-py waits for that when it closes one.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from hiredis import PushNotification, Reader, pack_command
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import InvalidResponse

# Stands for a reply that has not arrived as a whole.
_MORE = object()

# A reply that arrived while the event loop was stalled is read within this many seconds once it runs again.
_GRACE_SECONDS = 0.05

Words: TypeAlias = Sequence[tuple[Any, ...]]
# Called with the reply to every command, in order, error replies as exceptions; or with the error that ended the line.
Ended: TypeAlias = Callable[[list[Any] | Exception], object]


class Line(asyncio.Protocol):
    """One connection, on which one batch of commands is under way at most.

    `freed` is called with the line, and with the error if it can be used no more, whenever a batch has ended; `pushed`
    with each message that is no reply.
    """

    began = 0.0  # when the batch was sent, by the loop's clock
    free_since = 0.0
    is_lost = False  # the connection was closed
    giving_up: "GivingUp | None" = None

    def __init__(
        self,
        pool: Any,
        connection: Connection,
        freed: "Callable[[Line, Exception | None], object]",
        pushed: Callable[[Connection, Any], object],
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._freed = freed
        self._pushed = pushed
        self._ended: Ended | None = None
        self._awaited = 0
        self._replies: list[Any] = []
        private: Any = connection
        self._reader = Reader(
            protocolError=InvalidResponse,
            replyError=private._parser.parse_error,  # noqa: SLF001  # redis-py's classes of error replies
            notEnoughData=_MORE,
        )
        self._transport = private._writer.transport  # noqa: SLF001  # the only way to it
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def say(self, words: Words, ended: Ended) -> None:
        """Send a batch of commands. Once every reply was read, or the line has failed, calls `ended`."""
        self._ended, self._awaited, self._replies = ended, len(words), []
        # Packed by hiredis, since redis-py's own packing takes ten times as long.
        self._transport.write(b"".join(map(pack_command, words)))

    def fail(self, error: Exception) -> None:
        """End the batch that is under way, and the use of this connection."""
        self._end(error, error)

    async def hand_back(self, *, close: bool = False) -> None:
        """Give the connection back to its pool, disconnected if it was closed or if `close` says so.

        With notifications of maintenance, which are on by default, the pool itself does not see that it was closed.
        """
        self._transport.set_protocol(self._streams)
        if close or self.is_lost:
            await self._connection.disconnect(nowait=True)
        await self._pool.release(self._connection)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._take(reply)
        except InvalidResponse as error:
            self.fail(error)

    def eof_received(self) -> None:
        self._streams.eof_received()
        self.is_lost = True
        self.fail(_lost())

    def connection_lost(self, error: Exception | None) -> None:
        self._streams.connection_lost(error)
        self.is_lost = True
        self.fail(_lost())

    def _take(self, reply: Any) -> None:
        if isinstance(reply, PushNotification):
            self._pushed(self._connection, reply)
        elif isinstance(reply, Disconnected) or self._ended is None:
            self._transport.abort()  # the server is about to close it; or this answers nothing that was asked
            self.is_lost = True
            self.fail(reply if isinstance(reply, Disconnected) else _lost())
        else:
            self._replies.append(reply)
            if len(self._replies) == self._awaited:
                self._end(self._replies, None)

    def _end(self, outcome: list[Any] | Exception, error: Exception | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._freed(self, error)
            ended(outcome)


class GivingUp:
    """Calls `act` if `cancel` is not called within `seconds` and a short grace.

    In the grace the event loop reads replies that had arrived. A grace that ends late was spent in a stalled loop,
    which read nothing, so it begins again.
    """

    __slots__ = ("_act", "_due", "_timer")

    def __init__(self, seconds: float, act: Callable[[], object]) -> None:
        self._act = act
        self._due = math.inf
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wait)

    def cancel(self) -> None:
        self._timer.cancel()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _GRACE_SECONDS
        self._timer = loop.call_at(self._due, self._end)

    def _end(self) -> None:
        if asyncio.get_running_loop().time() > self._due + _GRACE_SECONDS:
            self._wait()
        else:
            self._act()


def _lost() -> Disconnected:
    return Disconnected("The connection was closed.")
