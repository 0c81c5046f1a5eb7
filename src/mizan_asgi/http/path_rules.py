"""Rules of the host about paths, in its middleware or its routes, also hold for bundles sent with a call's answer.

The host is asked by a probe: a GET of the bundle's own path, sent through the host's whole application. The probe
computes nothing. It is let through if it reaches the bundle's endpoint and the endpoint's status comes back unchanged.
A proxy in front of the host cannot be asked in this way.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from mizan_core.errors import CallError

logger = logging.getLogger("mizan")

# The scope's key for the probe. No client can set it.
PROBE = "mizan.probe"

# The status with which a bundle's endpoint answers a probe: success, and no content.
LET_THROUGH = 204

# The keys that a server puts into a scope. Middleware and routers added any others, and will add them to the probe.
_BY_SERVER = frozenset({"type", "asgi", "http_version", "scheme", "client", "server", "extensions", "state"})


class PathRules:
    """Asks the host whether the client that sent a request may get another path of the same mount point."""

    def __init__(self) -> None:
        # The application that was handed to Mizan's lifespan: all requests pass it. If None, the scope's "app".
        self.host: ASGIApp | None = None

    async def let_through(self, scope: Scope, path: str, get: Scope, endpoint: object) -> bool:
        """Whether the host lets a GET through to `path`, where `endpoint` answers. True without a host.

        `scope` is the request that was sent, `get` the GET as the endpoint would see it.
        """
        host = self.host or scope.get("app")
        if host is None:
            return True
        probe = Probe(endpoint)
        # In a task of its own: context variables that middleware sets must not reach the call.
        return await asyncio.create_task(probe.send_to(host, _as_sent(scope, path, get, probe)))


class Probe:
    """A request that only finds out whether it reaches its endpoint."""

    def __init__(self, endpoint: object) -> None:
        self.endpoint = endpoint
        self.has_arrived = False
        self._statuses: list[int] = []
        self._body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def send_to(self, host: ASGIApp, scope: Scope) -> bool:
        try:
            await host(scope, self._receive, self._send)
        except Exception as error:  # the host's middleware may raise anything; then it lets nothing through
            if not isinstance(error, CallError):
                logger.debug("The host failed on the path of a bundle to be sent with an answer.", exc_info=error)
            return False
        return self.has_arrived and self._statuses == [LET_THROUGH]

    async def _receive(self) -> Message:
        if self._body:
            return self._body.pop()
        await asyncio.Event().wait()  # a client that stays connected sends nothing more
        raise AssertionError("The event is never set.")

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._statuses.append(message["status"])


def _as_sent(scope: Scope, path: str, get: Scope, probe: Probe) -> Scope:
    """The scope of the GET as the server would have made it."""
    sent: dict[str, Any] = {name: value for name, value in scope.items() if name in _BY_SERVER}
    if "state" in sent:
        sent["state"] = dict(sent["state"])
    return sent | {
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        # Not the canonical spelling, so the endpoint's fast path leaves the probe to `answer`.
        "query_string": get["query_string"] + b"&",
        "root_path": scope.get("app_root_path", scope.get("root_path", "")),
        "headers": [*get["headers"]],
        PROBE: probe,
    }
