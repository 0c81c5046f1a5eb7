"""Calls, bundles, scripts: `/call/`, `/call/{name}/`, `/ctx/{context}/` (protocol, section 3), in plain ASGI."""

import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from mizan_core.engine.answers import Failure
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.engine.engine import Engine
from mizan_core.errors import MethodNotAllowed
from mizan_core.graph.model import Function
from mizan_core.memo import Memo
from mizan_core.protocol.cache_policy import CachePolicy

from .bodies import BodyLimit
from .identity import Authenticator
from .path_rules import PathRules
from .responses import Reply, Written, error_reply

logger = logging.getLogger("mizan")

# Query strings are the sender's to make up. Those of several thousand bundles fit.
REMEMBERED_QUERIES_BYTES = 8 * 1024 * 1024

# What was asked: the context, the query as it was sent, and where it matters the user and the permissions.
_Asked: TypeAlias = tuple[str, bytes, str | None, str | None]


# A logger of its own, to be silenced where no host is meant to run the lifespan, as in tests.
_of_lifespan = logging.getLogger("mizan.lifespan")


@dataclass(slots=True)
class Lifespan:
    """Whether a host or a server runs Mizan's lifespan."""

    runs: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What every endpoint needs."""

    engine: Engine
    authenticator: Authenticator
    trusted_origins: frozenset[str]
    base_url: str
    body_limit: BodyLimit
    refreshes: bool
    path_rules: PathRules = field(default_factory=PathRules)
    lifespan: Lifespan = field(default_factory=Lifespan)
    queries: Memo[_Asked, BundleRequest] = field(default_factory=lambda: Memo(REMEMBERED_QUERIES_BYTES))
    told: set[str] = field(default_factory=set)  # the warnings that were logged
    taking_request: frozenset[str] = field(init=False)  # functions that are handed the host's request

    def __post_init__(self) -> None:
        functions = self.engine.graph.functions.values()
        object.__setattr__(self, "taking_request", frozenset(one.name for one in functions if one.takes_request))

    def tell_once(self, warning: str, *values: object, log: logging.Logger = logger) -> None:
        """Log a warning about how this application is set up, the first time that it shows."""
        if warning not in self.told:
            self.told.add(warning)
            log.warning(warning, *values)

    def check_lifespan(self) -> None:
        """Warn, at the first call of a mutation, if nobody runs the lifespan."""
        if not self.lifespan.runs:
            self.tell_once(
                "Nobody runs mizan.lifespan, so shutting down will not wait for mutations that have begun, nor for "
                "purges that are owed: other processes may be served old data after it. Hand it to the application "
                "that the server runs, as FastAPI(lifespan=mizan.lifespan) does, or enter it in a lifespan of its own.",
                log=_of_lifespan,
            )


class Endpoint(Protocol):
    """What answers at a place: the canonical spelling of a path below the mount point."""

    place: str

    def recall(self, scope: Scope) -> Written | Coroutine[Any, Any, Written] | None:
        """The answer to a request for the canonical path about which all is known: at once, or to be waited for.

        None where more has to be asked.
        """
        ...

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> Written:
        """The reply. Errors are raised."""
        ...


def failure_reply(failure: Failure) -> Reply:
    """The problem document of a function that failed. Raises `ClientDisconnect` where nobody is there to read it."""
    if isinstance(failure.error, ClientDisconnect):
        raise failure.error
    return error_reply(failure.error, failure.invalidations)


def shows_who_asks(policy: CachePolicy, functions: Iterable[Function]) -> bool:
    """Whether an answer can depend on who asks. Where it cannot, the host's session is left alone.

    Reading a session costs, and Starlette's `SessionMiddleware` adds a `Vary` to every answer that it was read for.
    """
    return not policy.for_everyone or any(function.takes_request for function in functions)


def _check_gets(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowed(["GET", "HEAD"])
