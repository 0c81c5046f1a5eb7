"""The interface of an endpoint, and the engine and settings that all endpoints share."""

import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from starlette.types import Receive, Scope

from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.engine.engine import Engine
from mizan_core.errors import MethodNotAllowed
from mizan_core.memo import Memo, Seen

from ..edge.fronting import Fronting
from .bodies.limits import BodyLimit
from .identity import Authenticator
from .path_rules import PathRules
from .responses import RawResponse

# Senders can make up query strings without end. The queries of several thousand bundles fit.
REMEMBERED_QUERIES_BYTES = 8 * 1024 * 1024
# A query is remembered when it comes up again; hashes of so many are kept, in less than a megabyte.
SEEN_QUERIES = 4_096

# The source of a bundle request: the context, the query as it was sent, and the user id and permission key if the
# answer depends on them.
_QueryKey: TypeAlias = tuple[object, ...]

logger = logging.getLogger("mizan")

# A separate logger, which can be silenced where no host is meant to run the lifespan, as in tests.
_lifespan_logger = logging.getLogger("mizan.lifespan")


class Endpoint(Protocol):
    """Answers at `place`, the canonical spelling of a path below the mount point."""

    place: str

    def fast_path(self, scope: Scope) -> RawResponse | Coroutine[Any, Any, RawResponse] | None:
        """The response to a GET of the canonical path, if the endpoint remembers all that it depends on.

        A coroutine of the response where the engine has to be asked. None where `answer` has to be called.
        """
        ...

    async def answer(self, scope: Scope, receive: Receive, *, canonical_path: bool) -> RawResponse:
        """The response to any request. May raise any exception; the application turns it into a problem document."""
        ...


@dataclass(slots=True)
class Lifespan:
    """Whether a host or a server runs Mizan's lifespan."""

    runs: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """The engine and the settings of one application, shared by all its endpoints."""

    engine: Engine
    authenticator: Authenticator
    trusted_origins: frozenset[str]
    base_url: str
    body_limit: BodyLimit
    refreshes: bool
    fronting: Fronting | None = None  # what the caches in front read, where any are known
    path_rules: PathRules = field(default_factory=PathRules)
    lifespan: Lifespan = field(default_factory=Lifespan)
    queries: Memo[_QueryKey, BundleRequest] = field(default_factory=lambda: Memo(REMEMBERED_QUERIES_BYTES))
    seen_queries: Seen = field(default_factory=lambda: Seen(SEEN_QUERIES))
    logged_warnings: set[str] = field(default_factory=set)
    taking_request: frozenset[str] = field(init=False)  # functions that are handed the host's request
    groups: Fronting | None = field(init=False)  # where a cache in front hears of cache groups

    def __post_init__(self) -> None:
        functions = self.engine.graph.functions.values()
        object.__setattr__(self, "taking_request", frozenset(one.name for one in functions if one.may_read_request))
        tells = self.fronting is not None and self.fronting.tells_groups
        object.__setattr__(self, "groups", self.fronting if tells else None)

    def warn_once(self, warning: str, *values: object, log: logging.Logger = logger) -> None:
        """Log a warning about how this application is set up, unless it was logged before."""
        if warning not in self.logged_warnings:
            self.logged_warnings.add(warning)
            log.warning(warning, *values)

    def check_lifespan(self) -> None:
        """Warn, at the first call of a mutation, if neither host nor server runs the lifespan."""
        if not self.lifespan.runs:
            self.warn_once(
                "mizan.lifespan is not running, so a shutdown will not wait for mutations that have begun or for "
                "purges that are still owed, and other processes may serve old data afterwards. Pass it to the "
                "application that the server runs, as in FastAPI(lifespan=mizan.lifespan), or enter it in a lifespan "
                "of your own.",
                log=_lifespan_logger,
            )


def check_gets(scope: Scope) -> None:
    """Raise `MethodNotAllowed` unless the method is GET or HEAD."""
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowed(["GET", "HEAD"])
