"""The way out of the host's whole application: an answer of Mizan's is held back until it is known how it may leave."""

from collections.abc import Callable, Sequence, Set

from starlette.types import Message, Send

from .bodies import Comparison, comparison
from .judging import BODY, differences, kept_nowhere, opened, varied
from .marks import Answered, Mark, RawHeaders, lowered

# Told why an answer for everyone, or one of a caller's own, leaves as one that no cache may keep.
Told = Callable[[Mark, Sequence[str]], None]


class Leaving:
    """The `send` that the host's application is given for one request.

    An answer for everyone is compared as a whole, headers and body, so its first message waits for its last. All other
    answers pass at once.
    """

    def __init__(self, mark: Mark, send: Send, promised: Set[bytes], told: Told) -> None:
        self._mark = mark
        self._send = send
        self._promised = promised
        self._told = told
        self._held: list[Message] = []
        self._headers: RawHeaders = []
        self._body: Comparison | None = None
        self.status: int | None = None  # of the response, once it has begun

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._held and self._mark.answered is not None:
            await self._go_on(message, self._mark.answered)
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        self.status = message["status"]
        answered = self._mark.answered
        if answered is None:  # the host's own
            await self._send(message)
            return
        self._held = [message]
        self._headers = lowered(message.get("headers", []))
        if not answered.is_for_everyone:
            await self._leave(opened(answered, self._headers))
            return
        found = differences(answered, message["status"], self._headers, self._promised)
        if message.get("trailers"):
            found.append("trailer")
        if found:
            await self._leave(found)

    async def _go_on(self, message: Message, answered: Answered) -> None:
        """The next message of an answer for everyone, whose first piece of its body Mizan has sent by now."""
        self._held.append(message)
        if answered.streams:
            await self._leave([])
            return
        if self._body is None:
            self._body = comparison(answered.body, _added_encoding(answered, self._headers))
        if self._body is None:
            await self._leave(["content-encoding"])
        elif message["type"] != "http.response.body" or not self._body.takes(message.get("body", b"")):
            await self._leave([BODY])
        elif not message.get("more_body", False):
            await self._leave([] if self._body.is_whole() else [BODY])

    async def _leave(self, found: Sequence[str]) -> None:
        """Send what was held back; with `found`, as an answer that no cache may keep. All that follows passes."""
        if found:
            self._told(self._mark, found)
        headers = kept_nowhere(self._headers) if found else varied(self._headers)
        held, self._held = self._held, []
        await self._send({**held[0], "headers": headers})
        for message in held[1:]:
            await self._send(message)


def _added_encoding(answered: Answered, headers: RawHeaders) -> bytes:
    """The `Content-Encoding` that middleware added to Mizan's own; what was put in its place is none that is known."""
    own, sent = (
        b", ".join(value.strip().lower() for name, value in pairs if name == b"content-encoding")
        for pairs in (answered.headers, headers)
    )
    return b"" if sent == own else sent if not own else b"another"
