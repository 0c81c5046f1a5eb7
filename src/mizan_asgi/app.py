"""`Mizan`: an engine, who asks, and the endpoints, put together as one ASGI application."""

import inspect
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Literal, Self, Unpack
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from mizan_core.cache.backends.backend import CacheBackend
from mizan_core.cache.backends.memory import MemoryCache
from mizan_core.cache.bundle_cache import Clock
from mizan_core.engine.authorisation import PermissionsOf
from mizan_core.engine.engine import Engine, Limits, check_graph
from mizan_core.engine.failures import Errors
from mizan_core.errors import DeclarationError
from mizan_core.graph.build import build
from mizan_core.graph.model import Graph
from mizan_core.protocol.tokens import DEFAULT_TTL_SECONDS, Keys, check_keys
from mizan_core.tasks import check_asyncio

from .http.bodies import BodyLimit
from .http.calls import CallEndpoint
from .http.cross_site import read_origins
from .http.host_errors import told
from .http.identity import Authenticate, Authenticator, mwt_obtain_function
from .http.pages import routes_of
from .http.paths import before_path, below_mount, is_base
from .http.responses import error_reply
from .http.routing import endpoints_of, missing_endpoint
from .http.service import Endpoint, Service
from .settings import Settings, several_workers

logger = logging.getLogger("mizan")

# How many paths are remembered with what answers there: a mount point may have parameters, which the sender chooses.
_REMEMBERED_PATHS = 4096
_REMEMBERED_PATH_LENGTH = 256

# Enough for any form, and too little to fill the memory with a few requests.
DEFAULT_MAX_BODY_BYTES = 1_048_576


class Mizan:
    """Serves a graph: mount it at `base_url`, add its `routes` to the host's, or run it alone.

    `cache`: a `CacheBackend`, one in memory if left out, or None to compute every bundle. `mwt_keys`: key id to
    secret, the newest last. `authenticate`: given the host's request, the `Identity` of its session or None; left out,
    Starlette's `scope["user"]` is read. `permissions`: given an `Identity` by token, its permissions. `errors`: what is
    told in place of exceptions, as `Engine` takes it; `HTTPException` is told as it stands. `refresh`: whether bundles
    are sent along with the answers to calls (protocol, section 14). `carry`: context variables that readers see whose
    answers are kept. `limits`: the bounds that `Engine` takes, such as `deadline` and `hold`.

    Raises `DeclarationError` for settings that cannot work.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        cache: CacheBackend | Literal["memory"] | None = "memory",
        cache_secret: str | bytes | None = None,
        mwt_keys: Keys | None = None,
        mwt_ttl: int = DEFAULT_TTL_SECONDS,
        audience: str = "mizan",
        authenticate: Authenticate | None = None,
        base_url: str = "/api/mizan",
        trusted_origins: tuple[str, ...] | list[str] = (),
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        on_cache_failure: Literal["allow", "refuse"] = "allow",
        permissions: PermissionsOf | None = None,
        errors: Errors = MappingProxyType({}),
        refresh: bool = True,
        carry: Iterable[ContextVar[Any]] = (),
        clock: Clock = time.time,
        **limits: Unpack[Limits],
    ) -> None:
        graph = check_graph(graph)
        _check_settings(base_url, max_body_bytes, mwt_ttl)
        keys = None if mwt_keys is None else check_keys(mwt_keys)
        _check_secrets_differ(cache_secret, keys)
        if keys is not None:
            obtain = mwt_obtain_function(keys, ttl=mwt_ttl, audience=audience, clock=clock)
            graph = build([*graph.sources, obtain])
        if cache == "memory":
            cache = MemoryCache()
        _warn_of_several_memories(cache)
        self.graph = graph
        self.base_url = base_url.rstrip("/")
        self.mwt_keys = keys
        self.mwt_ttl = mwt_ttl
        self.audience = audience
        self.engine = Engine(
            graph,
            cache=cache,
            cache_secret=cache_secret,
            on_cache_failure=on_cache_failure,
            permissions=permissions,
            errors=_with_http_errors(errors),
            carry=carry,
            clock=clock,
            **limits,
        )
        self._service = Service(
            engine=self.engine,
            authenticator=Authenticator(keys, audience=audience, authenticate=authenticate, clock=clock),
            trusted_origins=read_origins(trusted_origins),
            base_url=self.base_url,
            body_limit=BodyLimit(max_body_bytes),
            refreshes=refresh,
        )
        self._endpoints = endpoints_of(self._service)
        self._canonical: dict[tuple[str | bytes | None, ...], Endpoint] = {}
        self.routes: list[Route] = routes_of(self._service, graph)
        self._router = Router(self.routes, redirect_slashes=False)

    @classmethod
    def from_env(cls, graph: Graph, **options: Any) -> Self:
        """A `Mizan` set up by `MIZAN_...` variables; `options` are passed on and win. Raises `DeclarationError`."""
        settings = Settings.read(os.environ)
        read: dict[str, Any] = {
            "cache_secret": settings.cache_secret,
            "mwt_keys": settings.mwt_keys,
            "mwt_ttl": settings.mwt_ttl,
            "audience": settings.mwt_audience,
            "trusted_origins": settings.trusted_origins,
        }
        if settings.cache_redis_url is not None:
            read["cache"] = _redis_cache(settings.cache_redis_url)
        return cls(graph, **(read | options))

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For the host's `lifespan=`: shutting down waits, within bounds, for mutations that have begun.

        The host, `app`, is asked for each bundle that is sent along with a call's answer whether its path is allowed.
        """
        self._service.lifespan.runs = True
        if callable(app):
            self._service.path_rules.host = app
        async with self.engine:
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._without_http(scope, receive, send)
            return
        # `_path`, spelled out where everybody passes.
        path = scope["path"], scope.get("raw_path"), scope.get("root_path"), scope.get("app_root_path")
        endpoint = self._canonical.get(path)
        written = None if endpoint is None else endpoint.recall(scope)
        if not isinstance(written, tuple):
            if endpoint is None and self._serves_route(scope):
                await self._router(scope, receive, send)
                return
            canonical = endpoint is not None
            try:
                if endpoint is None:
                    endpoint, canonical = self._find(scope)
                written = await (written or endpoint.answer(scope, receive, canonical_path=canonical))
            except ClientDisconnect:
                return
            except Exception as error:  # noqa: BLE001  # whatever it is, the client is told what it may know
                written = error_reply(self.engine.errors.told(error)).written()
            if scope["method"] == "HEAD":
                written = (*written[:2], b"")
        status, headers, body = written
        # Whoever stands outside may add headers, so they get a list of their own.
        await send({"type": "http.response.start", "status": status, "headers": headers.copy()})
        await send({"type": "http.response.body", "body": body})

    def _find(self, scope: Scope) -> tuple[Endpoint, bool]:
        """What answers at this path, and whether that is its canonical spelling. Raises `NotFound`."""
        check_asyncio()
        place = below_mount(scope, self.base_url).removesuffix("/") + "/"
        endpoint = self._endpoints.get(place)
        if endpoint is None:
            return missing_endpoint(self._service, place), False
        if isinstance(endpoint, CallEndpoint) and endpoint.may_affect:
            self._service.check_lifespan()
        before = before_path(scope, place)
        canonical = before is not None and is_base(before, self.base_url, scope)
        if before is not None and not canonical and unquote(before) != self.base_url:
            self._service.tell_once(
                "Mizan is asked below %r, and base_url=%r is what the manifest and urls_to_purge name: no purge would "
                "reach what edges kept, so no bundle is sent public. Give Mizan base_url=%r.",
                *(before, self.base_url, unquote(before)),
            )
        room = len(self._canonical) < _REMEMBERED_PATHS and len(scope["path"]) <= _REMEMBERED_PATH_LENGTH
        if canonical and room and not self._is_routed(scope):
            self._canonical[_path(scope)] = endpoint
        return endpoint, canonical

    async def _without_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan, for standing alone under a server."""
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": 1000, "reason": "There are no websockets here."})
            return
        self._service.lifespan.runs = True
        await receive()
        try:
            check_asyncio()
        except DeclarationError as error:  # a server would go on without a lifespan if this were raised
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        async with self.engine:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _serves_route(self, scope: Scope) -> bool:
        """Whether a function's own route is asked for and no host is there to serve it."""
        return "app" not in scope and self._is_routed(scope)

    def _is_routed(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self.routes)


def _with_http_errors(errors: object) -> Any:
    """The host's own exceptions beside those of its libraries. What is no mapping is refused by the engine."""
    return {HTTPException: told, **errors} if isinstance(errors, Mapping) else errors


def _path(scope: Scope) -> tuple[str | bytes | None, ...]:
    """All of a scope that tells where below a mount it is, and how that was spelled."""
    return scope["path"], scope.get("raw_path"), scope.get("root_path"), scope.get("app_root_path")


def _check_settings(base_url: str, max_body_bytes: int, mwt_ttl: int) -> None:
    if not base_url.startswith("/"):
        raise DeclarationError(f"base_url={base_url!r} is a path such as '/api/mizan'.")
    if max_body_bytes <= 0:
        raise DeclarationError(f"max_body_bytes={max_body_bytes!r} would refuse every call.")
    if not mwt_ttl > 0:
        raise DeclarationError(f"mwt_ttl={mwt_ttl!r} is not a number of seconds above 0.")


def _warn_of_several_memories(cache: CacheBackend | None) -> None:
    if isinstance(cache, MemoryCache) and several_workers(os.environ, sys.argv, inspect.currentframe()):
        logger.warning(
            "The cache is in the memory of each process, and several workers were asked for: none of them sees "
            "another's purges, so they will serve old data. Share a cache between them."
        )


def _check_secrets_differ(cache_secret: str | bytes | None, keys: Mapping[str, bytes] | None) -> None:
    raw = cache_secret.encode() if isinstance(cache_secret, str) else cache_secret
    if raw is not None and keys is not None and raw in keys.values():
        raise DeclarationError(
            "The cache secret and an MWT secret are the same. Whoever learned one would have both; use two."
        )


def _redis_cache(url: str) -> CacheBackend:
    try:
        from mizan_core.cache.backends.redis import RedisCache  # noqa: PLC0415  # only who sets a URL needs the extra
    except ImportError:
        raise DeclarationError("MIZAN_CACHE_REDIS_URL needs the extra: pip install 'mizan-asgi[redis]'.") from None
    return RedisCache(url)
