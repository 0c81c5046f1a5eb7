"""What the host forbids by path (in middleware, by its routes) is not sent along with a call's answer either.

The host is asked by a request for the bundle's own path, through all that stands before it. It computes nothing: it is
let through if it comes to the bundle's endpoint, and its answer from there arrives unchanged. What stands before the
host, such as a proxy, cannot be asked.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from mizan_core.errors import CallError

logger = logging.getLogger("mizan")

# Where a scope has the question; no client can put anything there.
ASKING = "mizan.asking"

# What answers the question. (No content, for nobody reads it.)
LET_THROUGH = 204

# What a server puts into a scope. All else was put there by what the request has passed, and is for it to put again.
_BY_SERVER = frozenset({"type", "asgi", "http_version", "scheme", "client", "server", "extensions", "state"})


class PathRules:
    """Asks the host whether whoever sent a request may have what lies at another path of the same mount point."""

    def __init__(self) -> None:
        # The application that runs Mizan's lifespan, which all requests pass; the one nearest to Mizan if none does.
        self.host: ASGIApp | None = None

    async def let_through(self, scope: Scope, path: str, asking: Scope, endpoint: object) -> bool:
        """Whether the host lets a GET through to `path`, where `endpoint` answers. Alone, there is nobody to ask.

        `asking` is that GET as the endpoint would see it; `scope` is the request that was sent.
        """
        host = self.host or scope.get("app")
        if host is None:
            return True
        question = Question(endpoint)
        # A task keeps what middlewares set in context variables away from the call.
        return await asyncio.create_task(question.ask(host, _as_sent(scope, path, asking, question)))


class Question:
    """A request that asks for no more than to be let through."""

    def __init__(self, endpoint: object) -> None:
        self.endpoint = endpoint
        self.has_arrived = False
        self._statuses: list[int] = []
        self._body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def ask(self, host: ASGIApp, scope: Scope) -> bool:
        try:
            await host(scope, self._receive, self._send)
        except Exception as error:  # middlewares are not ours, and one that fails lets nothing through
            if not isinstance(error, CallError):
                logger.debug("The host failed at the path of a bundle that was to be sent along.", exc_info=error)
            return False
        return self.has_arrived and self._statuses == [LET_THROUGH]

    async def _receive(self) -> Message:
        if self._body:
            return self._body.pop()
        await asyncio.Event().wait()  # the client is still there
        raise AssertionError("Nothing ends that waiting.")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._statuses.append(message["status"])


def _as_sent(scope: Scope, path: str, asking: Scope, question: Question) -> Scope:
    """The GET as the server would have handed it to the host."""
    sent: dict[str, Any] = {name: value for name, value in scope.items() if name in _BY_SERVER}
    if "state" in sent:
        sent["state"] = dict(sent["state"])
    return sent | {
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        # No remembered answer has a query like this, so the question comes to the endpoint.
        "query_string": asking["query_string"] + b"&",
        "root_path": scope.get("app_root_path", scope.get("root_path", "")),
        "headers": [*asking["headers"]],
        ASKING: question,
    }
