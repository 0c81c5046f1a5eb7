"""`Mizan`: an engine behind its HTTP endpoints, as one ASGI application; and its settings, checked at start-up."""

import inspect
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Self, Unpack

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mizan_core.cache.backends.backend import CacheBackend
from mizan_core.cache.backends.memory import MemoryCache
from mizan_core.cache.bundle_cache import Clock
from mizan_core.engine.authorisation import PermissionsOf
from mizan_core.engine.engine import Attached, Engine, Limits, check_graph
from mizan_core.engine.failures import Errors
from mizan_core.engine.hosts.blocking import Blocking
from mizan_core.engine.hosts.changing import Affected, Changing
from mizan_core.engine.hosts.resources import HostDependencies
from mizan_core.engine.observers import Observer
from mizan_core.errors import DeclarationError
from mizan_core.graph.build import build
from mizan_core.graph.model import Graph
from mizan_core.graph.provide import NOTHING_PROVIDED, Provided
from mizan_core.protocol.identity import ANONYMOUS, Identity
from mizan_core.protocol.tokens import DEFAULT_TTL_SECONDS, Keys, check_keys
from mizan_core.tasks import check_asyncio

from .accounts import AccountAuthenticator
from .edge.front import InFront
from .edge.fronting import caches_of, in_front
from .edge.outside.marks import MARK, Again, Mark
from .http.bodies.limits import BodyLimit
from .http.cross_site import read_origins
from .http.host_errors import as_call_error
from .http.hosts.changes import By, F, changing_route
from .http.hosts.responding import Answerable, Responding
from .http.identity import Authenticate, Authenticator, mwt_obtain_function
from .http.responses import error_reply
from .http.routing import Routing, path_key
from .http.service import Endpoint, Service
from .inspector.access import Inspector
from .inspector.endpoints import inspector_endpoints
from .settings import Settings, several_workers

logger = logging.getLogger("mizan")

# Enough for any form, and a few requests cannot fill the memory.
DEFAULT_MAX_BODY_BYTES = 1_048_576


class Mizan:
    """Serves a graph: mount it at `base_url`, add its `routes` to the host's, or run it alone.

    `cache`: a `CacheBackend`, one in memory if left out, or None to compute every bundle. `mwt_keys`: key id to
    secret, the newest last. `authenticate`: a function from the host's request to the `Identity` of its session, or
    None; if left out, Starlette's `scope["user"]` is read. `permissions`: a function from an `Identity` by token to its
    permissions. `errors`: the errors to report in place of exceptions, as `Engine` takes it; an `HTTPException` is
    reported as it is. `refresh`: whether stale bundles are sent with the answers to calls (protocol, section 14).
    `carry`: context variables that the readers of kept answers see. `fastapi`: the application that solves the
    `Depends(...)` of functions. `edge`: the caches in front, of `mizan_asgi.edge`, which are told what is stale and
    may keep public answers until then. `observers` are told of every event of the engine;
    `verify`: a `mizan_core.proof.Verify`, which proves that bundles were stale. `inspector`: whether to serve a page
    for development at `/inspector/`, or a `mizan_asgi.inspector.Inspector`, which says to whom. `limits`: the bounds
    that `Engine` takes, such as `deadline` and `hold`.

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
        provide: Provided = NOTHING_PROVIDED,
        fastapi: object = None,
        edge: InFront | Sequence[InFront] = (),
        observers: Iterable[Observer] = (),
        verify: Attached | None = None,
        inspector: bool | Inspector = False,
        clock: Clock = time.time,
        **limits: Unpack[Limits],
    ) -> None:
        graph = check_graph(graph)
        _check_settings(base_url, max_body_bytes, mwt_ttl)
        keys = None if mwt_keys is None else check_keys(mwt_keys)
        _check_secrets_differ(cache_secret, keys)
        if keys is not None:
            obtain = mwt_obtain_function(keys, ttl=mwt_ttl, audience=audience, clock=clock)
            graph = build([*graph.sources, obtain], provide=graph.provided)
        if cache == "memory":
            cache = MemoryCache()
        several = several_workers(os.environ, sys.argv, inspect.currentframe())
        if several and isinstance(cache, MemoryCache):
            _warn_of_several_memories()
        self.graph = graph
        self.base_url = base_url.rstrip("/")
        self.mwt_keys = keys
        self.mwt_ttl = mwt_ttl
        self.audience = audience
        fronting, edges = in_front(graph, self.base_url, edge)
        self.in_front = caches_of(edge)
        self.engine = Engine(
            graph,
            cache=cache,
            cache_secret=cache_secret,
            on_cache_failure=on_cache_failure,
            permissions=permissions,
            errors=_with_http_errors(errors),
            carry=carry,
            provide=provide,
            dependencies=None if fastapi is None else _dependencies_of(fastapi),
            edges=edges,
            observers=observers,
            verify=verify,
            clock=clock,
            **limits,
        )
        if isinstance(authenticate, AccountAuthenticator):
            authenticate.attach(self.engine)
        self._service = Service(
            engine=self.engine,
            authenticator=Authenticator(keys, audience=audience, authenticate=authenticate, clock=clock),
            trusted_origins=read_origins(trusted_origins),
            base_url=self.base_url,
            body_limit=BodyLimit(max_body_bytes),
            refreshes=refresh,
            fronting=fronting,
        )
        self._routing = Routing(self._service, self._inspecting(inspector, verify, several=several))
        self._remembered_endpoint = self._routing.canonical.get
        self.routes: list[Route] = self._routing.routes
        self._responding = Responding(self._service, self._routing.bundles)

    def _inspecting(self, inspector: bool | Inspector, verify: object, *, several: bool) -> Iterator[Endpoint]:
        """The endpoints of the inspector, if it is wanted. Raises `DeclarationError` where it is not allowed."""
        options = Inspector() if inspector is True else inspector
        if not options:
            return iter(())
        options.check_workers(several=several)
        return inspector_endpoints(self.engine, options, verify=verify, base_url=self.base_url, several=several)

    @classmethod
    def from_env(cls, graph: Graph, **options: Any) -> Self:
        """A `Mizan` set up by `MIZAN_...` variables. `options` override them. Raises `DeclarationError`."""
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
        """For the host's `lifespan=`. A shutdown waits, within bounds, for mutations that have begun.

        `app` is the host: `http/path_rules` asks it before a bundle is sent with a call's answer.
        """
        self._service.lifespan.runs = True
        if callable(app):
            self._service.path_rules.host = app
        async with self.engine:
            yield

    def changing(self, *affected: Affected, name: str = "changing", identity: Identity = ANONYMOUS) -> Changing:
        """As `Engine.changing`: `async with mizan.changing(Orders.of(customer_id=7)):` around a write of the host's."""
        return self.engine.changing(*affected, name=name, identity=identity)

    def changes(self, *affected: Affected, by: By = ()) -> Callable[[F], F]:
        """Around a route of the host's, below the host's own decorator: `changing(...)`, told by the route's response.

        `by`: the parameters, by name, that the contexts are narrowed by and the route has; a mapping where the route
        calls them otherwise: `by={"customer_id": "id"}`. A context without such a parameter is stale as a whole. A
        parameter that is null, or does not fit, does not narrow. An `HTTPException` of the route tells as well; where
        the cache cannot be held and the deployment refuses, the answer is 503. A sync route stays one.

        Raises `DeclarationError` for a context or parameter that does not exist.
        """
        return partial(changing_route, self.engine, self._service.groups, affected, by)

    async def respond(self, request: Request, what: Answerable, /, **params: object) -> Response:
        """What a context, a reader or a mutation answers, as the response of a route of the host's.

        `await mizan.respond(request, Orders, customer_id=7)` in an endpoint is what `/ctx/orders/?customer_id=7`
        answers, with its ETag, 304 and caching headers; of a reader, its value alone. Any other function is called, and
        its result alone is answered, with `X-Mizan-Invalidate`. Guards are asked, private functions are not refused.
        `params` are values of the server's; those that an identity fills in are left out.

        A `CallError` becomes the response that it has everywhere. An `HTTPException`, and any error of a reader that is
        no `CallError`, is raised for the host to answer. Raises `DeclarationError` for what is not in the graph, and
        for parameters that do not exist or are missing.
        """
        return await self._responding.respond(request, what, params)

    def add_openapi(self, app: Any) -> None:
        """Let the calls and bundles of clients appear in the OpenAPI document of a FastAPI application, and in `/docs`.

        Their paths are those where Mizan is mounted in it. Private functions are left out. Names that the application
        has stay its own. Call it after the application's own `app.openapi = ...`, if it has one.

        Raises `DeclarationError` for another kind of application, or one that writes OpenAPI 3.0.
        """
        from .integrations.openapi import add_openapi  # noqa: PLC0415  # for applications of FastAPI only

        add_openapi(app, self, self.graph, self.base_url)

    @property
    def blocking(self) -> Blocking:
        """As `Engine.blocking`: `mizan.blocking.invalidate(...)` in a sync route or a script."""
        return self.engine.blocking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._without_http(scope, receive, send)
            return
        # `routing.path_key`, written out: every request passes here, and a call costs.
        key = scope["path"], scope.get("raw_path"), scope.get("root_path"), scope.get("app_root_path")
        endpoint = self._remembered_endpoint(key)
        if endpoint is None and self._routing.serves_route(scope):
            await self._routing.router(scope, receive, send)
            return
        try:
            response = None if endpoint is None else endpoint.fast_path(scope)
            if not isinstance(response, tuple):
                canonical = endpoint is not None
                if endpoint is None:
                    check_asyncio()
                    endpoint, canonical = self._routing.find(scope)
                response = await (response or endpoint.answer(scope, receive, canonical_path=canonical))
                if scope["method"] == "HEAD":
                    response = (*response[:2], b"")
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001  # a guard or function of the host's may raise anything
            response = error_reply(self.engine.errors.told(error)).raw()
            if scope["method"] == "HEAD":
                response = (*response[:2], b"")
        status, headers, body = response
        if MARK in scope:
            send = self._marked(scope, scope[MARK]).watching(send)
        # Outer middleware may append headers: send a copy of the list, which may belong to a kept response.
        await send({"type": "http.response.start", "status": status, "headers": headers.copy()})
        await send({"type": "http.response.body", "body": body})

    def _marked(self, scope: Scope, mark: Mark) -> Mark:
        """The mark of a request, told how its URL is answered once more."""
        endpoint = self._remembered_endpoint(path_key(scope))
        again: Again | None = getattr(endpoint, "again", None)
        if again is not None and mark.may_learn(scope):
            mark.again = again
        return mark

    async def _without_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan, where a server runs Mizan without a host. Websockets are refused."""
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": 1000, "reason": "Mizan has no websockets."})
            return
        self._service.lifespan.runs = True
        await receive()
        try:
            check_asyncio()
        except DeclarationError as error:  # if it were raised, a server would go on without a lifespan
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        async with self.engine:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _with_http_errors(errors: object) -> Any:
    """The host's `errors` and `HTTPException`. A value that is no mapping is passed on: the engine refuses it."""
    return {HTTPException: as_call_error, **errors} if isinstance(errors, Mapping) else errors


def _check_settings(base_url: str, max_body_bytes: int, mwt_ttl: int) -> None:
    if not base_url.startswith("/"):
        raise DeclarationError(f"base_url={base_url!r} is no path such as '/api/mizan'.")
    if max_body_bytes <= 0:
        raise DeclarationError(f"max_body_bytes={max_body_bytes!r} would refuse every call.")
    if not mwt_ttl > 0:
        raise DeclarationError(f"mwt_ttl={mwt_ttl!r} is not a number of seconds above 0.")


def _warn_of_several_memories() -> None:
    logger.warning(
        "The cache is in memory, and several workers were asked for. Each has a cache of its own, which the purges "
        "of the others do not reach, so it will serve old data. Share a cache between them."
    )


def _check_secrets_differ(cache_secret: str | bytes | None, keys: Mapping[str, bytes] | None) -> None:
    raw = cache_secret.encode() if isinstance(cache_secret, str) else cache_secret
    if raw is not None and keys is not None and raw in keys.values():
        raise DeclarationError(
            "The cache secret and an MWT secret are the same. If one leaked, the other would be known too; use two."
        )


def _dependencies_of(app: object) -> HostDependencies:
    from .integrations.fastapi import FastAPIDependencies  # noqa: PLC0415  # for applications of FastAPI only

    return FastAPIDependencies(app)


def _redis_cache(url: str) -> CacheBackend:
    try:
        from mizan_core.cache.backends.redis import RedisCache  # noqa: PLC0415  # an optional extra
    except ImportError:
        raise DeclarationError("MIZAN_CACHE_REDIS_URL needs the extra: pip install 'mizan-asgi[redis]'.") from None
    return RedisCache(url)
