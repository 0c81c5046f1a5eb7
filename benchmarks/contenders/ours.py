"""Mizan over the same work, alone and mounted, and over graphs that grow."""

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_asgi.edge import outermost
from mizan_core import Context, Graph, Identity, MemoryCache, build, client

from ..world import Order, Profile, Renamed, orders_of, profile_of

SECRET = "a secret of the benchmarks' own, which is long enough"


def graph() -> Graph:
    user = Context("user")

    @client(context=user)
    async def user_profile(user_id: int) -> Profile:
        return profile_of(user_id)

    @client(context=user)
    async def user_orders(user_id: int) -> list[Order]:
        return orders_of(user_id)

    @client(context="mine")
    async def my_profile(me: Identity) -> Profile:
        return profile_of(int(me.user_id or 0))

    @client(context="mine")
    async def my_orders(me: Identity) -> list[Order]:
        return orders_of(int(me.user_id or 0))

    @client
    async def rename(user_id: int, name: str) -> Renamed:
        return Renamed(user_id=user_id, name=name)

    @client(affects=user, name="rename_and_purge")
    async def rename_and_purge(user_id: int, name: str) -> Renamed:
        return Renamed(user_id=user_id, name=name)

    @client(affects=user, name="rename_all")
    async def rename_all() -> None: ...

    return build([user_profile, user_orders, my_profile, my_orders, *_cards(), rename, rename_and_purge, rename_all])


def _cards() -> list[Callable[..., Any]]:
    """Readers of small bundles, of two models each: one is kept, one has cache=False."""

    @client(context="card")
    async def card_profile(user_id: int) -> Profile:
        return profile_of(user_id)

    @client(context="card")
    async def card_name(user_id: int) -> Renamed:
        return Renamed(user_id=user_id, name="Ada")

    @client(context="uncached", cache=False)
    async def uncached_profile(user_id: int) -> Profile:
        return profile_of(user_id)

    @client(context="uncached", cache=False)
    async def uncached_name(user_id: int) -> Renamed:
        return Renamed(user_id=user_id, name="Ada")

    return [card_profile, card_name, uncached_profile, uncached_name]


def mizan(functions: Graph | None = None, **options: Any) -> Mizan:
    return Mizan(functions or graph(), cache_secret=SECRET, **options)


class Sessions:
    """Middleware of a host: finds the user of the session that the cookie names, in a dictionary."""

    def __init__(self, app: Any, sessions: Mapping[bytes, Identity]) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope["headers"]:
            if name == b"cookie":
                scope["user"] = self.sessions.get(value)
        await self.app(scope, receive, send)


def authenticating(sessions: Mapping[bytes, Identity]) -> Mizan:
    """Mizan that finds the same user itself, by a function of the host's request."""

    def authenticate(request: Request) -> Identity | None:
        return sessions.get(request.headers.get("cookie", "").encode("latin-1"))

    return mizan(authenticate=authenticate)


def mounted(app: Any) -> Any:
    host = FastAPI(openapi_url=None)
    host.mount("/api/mizan", app)
    return host


def hits_first(app: Mizan) -> Any:
    """Mounted, with hits answered before the host's stack."""
    return outermost(mounted(app), app, hits_first=True)


def with_contexts(count: int) -> Graph:
    """So many contexts, each with a reader and a mutation; the first is the requested one."""
    functions: list[Callable[..., Any]] = []
    for number in range(count):
        functions += _declared(f"user{number or ''}", {"user_id"})
    return build(functions)


def with_functions(count: int) -> Graph:
    """One context with so many readers and as many mutations."""
    user = Context("user")

    async def read(user_id: int) -> str:
        return "x" * 100

    async def write(user_id: int) -> None: ...

    functions: list[Callable[..., Any]] = []
    for number in range(count):
        functions += [client(context=user, name=f"read{number}")(copy_of(read))]
        functions += [client(affects=user, name=f"write{number}")(copy_of(write))]
    return build(functions)


def copy_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a function, to be declared by itself."""
    copied = FunctionType(function.__code__, function.__globals__, function.__name__)
    copied.__annotations__ = function.__annotations__
    return copied


def with_texts(kilobytes: Sequence[int], count: int) -> Graph:
    """A context of texts, so many of each size, which is found by the number of a text."""

    @client(context="text")
    async def text(user_id: int) -> str:
        return "x" * (kilobytes[user_id // count] * 1_000)

    return build([text])


def text_body(kilobytes: int) -> bytes:
    """The bundle of such a text."""
    return b'{"text":"%b"}' % (b"x" * (kilobytes * 1_000))


def with_parameters(count: int) -> Graph:
    return build(_declared("user", {"user_id", *(f"p{number}" for number in range(1, count))}))


def with_tags(count: int) -> Graph:
    """One context that is narrowed by so many sets of parameters, the whole context being one of them."""
    names = [f"p{number}" for number in range(1, max(count - 1, 1))]
    scopes = [(name,) for name in names]
    return build(_declared("user", {"user_id", *names}, scopes if count > 2 else (), narrows=count > 1))


def _declared(
    context: str, parameters: set[str], scopes: Any = (), *, narrows: bool = True
) -> list[Callable[..., Any]]:
    settings = Context(context, scopes=scopes)
    signature = ", ".join(f"{name}: int" for name in sorted(parameters))
    space: dict[str, Any] = {}
    exec(  # functions with so many parameters
        f"async def {context}_name({signature}) -> str:\n    return 'x' * 100\n"
        f"async def rename_{context}({'user_id: int' if narrows else ''}) -> None: ...\n",
        {"__name__": __name__},
        space,
    )
    return [
        client(context=settings)(space[f"{context}_name"]),
        client(affects=settings)(space[f"rename_{context}"]),
    ]


def cache_for(entries: int) -> MemoryCache:
    return MemoryCache(max(64 * 1024 * 1024, entries * 2048))
