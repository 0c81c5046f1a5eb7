"""What Mizan tells `outermost` of an answer, through the scope, past all middleware in between."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.types import Message, Scope, Send

from mizan_core.protocol.cache_headers import keeps_shared_caches_out

# The key of the `Mark` in a scope. A dict may be copied on its way; the mark stays one object.
MARK = "mizan.outermost"

# Headers that hosts route by, or take the prefix of their URLs from.
ROUTED_BY = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-prefix", b"x-script-name"})

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
RawResponse: TypeAlias = tuple[int, RawHeaders, bytes]

# The response to a GET or HEAD of the same URL from what is kept, at once or after a look-up; None where the request
# has to go on to the host.
Again: TypeAlias = Callable[[Scope], "RawResponse | Awaitable[RawResponse | None] | None"]


def lowered(headers: RawHeaders) -> RawHeaders:
    """The headers with their names in lower case, as a server takes them in any."""
    return [(bytes(name).lower(), bytes(value)) for name, value in headers]


@dataclass(slots=True)
class Answered:
    """An answer as Mizan sent it. `streams`: more of its body was still to come when its first piece was sent."""

    status: int
    headers: RawHeaders
    body: bytes = b""
    streams: bool = False

    @property
    def is_for_everyone(self) -> bool:
        """Whether a shared cache may store it."""
        controls = [value.decode("latin-1") for name, value in self.headers if name == b"cache-control"]
        return not keeps_shared_caches_out(", ".join(controls))


@dataclass(slots=True)
class Mark:
    """The answer to one request. `scope`: as the server made it. `learns`: whether `again` is of use."""

    scope: Scope
    learns: bool = False
    answered: Answered | None = field(default=None, init=False)
    again: Again | None = field(default=None, init=False)  # how the same URL is answered once more

    def may_learn(self, scope: Scope) -> bool:
        """Whether `again` is of use, and the request, as this scope has it, still asks the same host for the same URL.

        Middleware may have rewritten it, and need not do the same each time.
        """
        return self.learns and _target(scope) == _target(self.scope)

    def note(self, status: int, headers: RawHeaders, body: bytes | None) -> None:
        """Note an answer that is about to be sent; `body`: None if it streams. A later answer takes its place."""
        self.answered = Answered(status, lowered(headers), body or b"", body is None)

    def watching(self, send: Send) -> Send:
        """A `send` that notes the answer that is sent by it."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.note(message["status"], message.get("headers", []), b"")
            elif self.answered is not None:
                self.answered.streams |= message["type"] != "http.response.body" or message.get("more_body", False)
                if not self.answered.streams:
                    self.answered.body = message.get("body", b"")
            await send(message)

        return noting


def _target(scope: Scope) -> list[object]:
    """What a request is routed by. A host may set the root path, which is the same for all requests."""
    hosts = [value for name, value in scope["headers"] if name in ROUTED_BY]
    return [scope["path"], scope.get("raw_path"), scope["method"], hosts]
