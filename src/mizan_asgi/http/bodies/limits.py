"""Bodies read, or passed on, within a limit of bytes."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from mizan_core.errors import PayloadTooLarge


class BodyLimit:
    """The most bytes that a body may have."""

    __slots__ = ("_digits", "bytes")

    def __init__(self, limit: int) -> None:
        self.bytes = limit
        self._digits = len(str(limit))

    def check(self, announced: bytes | None) -> None:
        """Raise `PayloadTooLarge` if the Content-Length is above the limit. One that is no number is ignored."""
        if announced is None or len(announced) < self._digits or not announced.isdigit():
            return
        if len(announced) > 18 or int(announced) > self.bytes:
            raise PayloadTooLarge(self.bytes)


async def read_body(announced: bytes | None, receive: Receive, limit: BodyLimit) -> bytes:
    """The whole body. Raises `PayloadTooLarge` as soon as more than the limit has arrived or is announced.

    `announced`: the request's Content-Length, if it has one.
    """
    limit.check(announced)
    return await read_rest(await receive(), receive, limit)


async def read_rest(message: Message, receive: Receive, limit: BodyLimit) -> bytes:
    """The whole body, whose first message was received already. Raises as `read_body` does."""
    return b"".join([chunk async for chunk in arriving(receive, limit, message)])


async def arriving(receive: Receive, limit: BodyLimit, message: Message | None = None) -> AsyncIterator[bytes]:
    """The body as it arrives; `message`: the first one, if it was received already. Raises as `read_body` does."""
    size = 0
    while True:
        message = message or await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit.bytes:
            raise PayloadTooLarge(limit.bytes)
        yield chunk
        if not message.get("more_body"):
            return
        message = None


def limited(receive: Receive, limit: BodyLimit) -> Receive:
    """A `receive` that raises `PayloadTooLarge` once more of the body has arrived than the limit allows."""
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit.bytes:
            raise PayloadTooLarge(limit.bytes)
        return message

    return receiving


def replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read before, then the messages that follow it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return pending.pop() if pending else await receive()

    return replay
