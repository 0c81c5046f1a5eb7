"""What users write, checked by mypy and never run: `mypy tests/typing/api.py`.

A `type: ignore` marks what has to be refused; mypy tells of each that is not needed.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, assert_type

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mizan_asgi import Mizan
from mizan_core import (
    ANONYMOUS,
    Answer,
    Arg,
    Bundle,
    CacheBackend,
    CallError,
    Conflict,
    Context,
    Engine,
    Graph,
    Identity,
    Invalidation,
    InvalidInput,
    Me,
    MemoryCache,
    NotFound,
    Result,
    build,
    build_manifest,
    canonical,
    client,
    decode_header,
    discover,
    encode_header,
    entry_key,
    invalidate,
    issue_mwt,
    manifest_json,
    permission_key,
    scope_tag,
    urls_to_purge,
    verify_mwt,
)


class Profile(BaseModel):
    name: str


class Shipment(BaseModel):
    customer_id: int


UserContext = Context("user", concurrent=True)
Orders = Context("orders", scopes=[("customer_id",), ["customer_id", "page"]])


@client(context=UserContext)
async def user_profile(user_id: int) -> Profile:
    return Profile(name=str(user_id))


@client(context=UserContext, rev=2, cache=60, per="all")
def user_badges(request: Request, user_id: int, limit: int = 10) -> list[str]:
    return [request.url.path] * limit


@client(context=Orders, cache=False, auth="staff")
async def customer_orders(customer_id: int, page: int = 1) -> list[int]:
    return [customer_id, page]


@client(context="inbox")
async def my_messages(me: Identity) -> list[str]:
    return [me.user_id or ""]


@client(affects=UserContext, spares=[Orders, "inbox"], name="rename")
async def update_profile(user_id: int, name: str) -> Profile:
    if not name:
        raise InvalidInput("A name has at least one letter.", [{"loc": ["args", "name"], "msg": "Empty", "type": "x"}])
    return Profile(name=name)


@client(
    affects=[
        Orders.where(customer_id=Result("customer_id")),
        UserContext.where(user_id=Me),
        Orders.where(customer_id=Arg("order_id")),
        Orders.whole(),
        "inbox",
        user_badges,
    ],
    auth=True,
)
async def ship(order_id: int) -> Shipment:
    if order_id < 0:
        raise NotFound
    if order_id == 0:
        raise CallError("The order was cancelled.", status=410, code="gone")
    raise Conflict("The order was shipped already.")


async def is_owner(identity: Identity) -> bool:
    return identity.superuser or "orders.own" in (identity.permissions or ())


async def is_member(me: Identity, customer_id: int) -> bool:
    return me.is_authenticated and customer_id > 0


@client(context="members", auth=is_member)
async def members(customer_id: int) -> list[str]:
    return []


@client(affects=Orders.by_body(), auth=is_owner)
def import_orders(customer_ids: Sequence[int]) -> int:
    for customer_id in customer_ids:
        invalidate(Orders, customer_id=customer_id)
    invalidate("inbox")
    invalidate(user_profile, user_id=customer_ids)
    return len(customer_ids)


@client(affects="inbox", private=True, route="/webhooks/stripe/", methods=["POST"], auth=lambda me: me.is_authenticated)
async def stripe_webhook(request: Request) -> Response:
    return RedirectResponse(str(request.url))


@client
async def ping() -> None: ...


async def marked_functions_are_what_they_were() -> None:
    assert_type(await user_profile(5), Profile)
    assert_type(user_badges, Callable[..., Any])  # type: ignore[assert-type]
    assert_type(import_orders([1]), int)
    await ping()
    await user_profile("5")  # type: ignore[arg-type]
    await update_profile(user_id=5)  # type: ignore[call-arg]


# What options do not take is refused.
client(context=5)  # type: ignore[call-overload]
client(affects=5)  # type: ignore[call-overload]
client(cache="60")  # type: ignore[call-overload]
client(methods=5)  # type: ignore[call-overload]
Orders.where(customer_id="customer_id")  # type: ignore[arg-type]
Context("orders", scopes=[5])  # type: ignore[list-item]


async def script(graph: Graph, backend: CacheBackend) -> None:
    async with Engine(graph, cache=MemoryCache(max_bytes=1024), on_cache_failure="refuse") as engine:
        answer = await engine.call("rename", {"user_id": 5, "name": "Ada"}, identity=Identity("5"))
        assert_type(answer, Answer)
        assert_type(answer.invalidations, tuple[Invalidation, ...])
        assert_type(answer.body, bytes)
        answer.body = b""  # type: ignore[misc]
        assert_type(await engine.run("import_orders", {"customer_ids": [1]}, identity=ANONYMOUS), Answer)
        bundle = await engine.fetch("user", {"user_id": 5})
        assert_type(bundle, Bundle)
        assert_type(bundle.etag, str)
        if bundle.status == "gone":  # type: ignore[comparison-overlap]
            return
        await engine.invalidate("user", user_id=5)
        await engine.invalidate(Orders, customer_id=[1, 2])
        await engine.invalidate(user_profile)
    Engine(graph, cache=backend, cache_secret="x" * 32, on_cache_failure="maybe")  # type: ignore[arg-type]


class OwnCache:
    """Five verbs are enough, and no base class."""

    async def get(self, *keys: str) -> list[bytes | None]:
        return [None] * len(keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        return False

    async def delete(self, *keys: str) -> int:
        return 0

    async def delete_by_prefix(self, prefix: str) -> int:
        return 0

    async def clear(self) -> None: ...


class HalfACache:
    async def get(self, *keys: str) -> list[bytes | None]:
        return [None] * len(keys)


own: CacheBackend = OwnCache()
memory: CacheBackend = MemoryCache()
half: CacheBackend = HalfACache()  # type: ignore[assignment]

# Identities are made of the host's ids and permissions, of any type.
assert_type(Identity(5).user_id, str | None)
Identity(uuid.uuid4(), staff=True, permissions={"a.x"})
Identity("5", permissions=["a.x"], superuser=True)
Identity("5", permissions=None, permission_key=permission_key(ANONYMOUS))
Identity("5", True)  # type: ignore[call-arg]
ANONYMOUS.user_id = "5"  # type: ignore[misc]

graph = build([user_profile, user_badges, customer_orders, my_messages, update_profile, ship, stripe_webhook, ping])
assert_type(graph, Graph)
assert_type(discover("blog"), Graph)

assert_type(encode_header([Invalidation("user", {"user_id": 5})]), str)
assert_type(decode_header("user;user_id=5"), tuple[Invalidation, ...])
assert_type(entry_key("x" * 32, "user", {"user_id": 5}, user_id=5, rev=2), str)
assert_type(scope_tag(b"x" * 32, "user", {}), str)
assert_type(canonical(1.0), str)
assert_type(manifest_json(graph, page_routes={"user": ["/"]}), str)
assert_type(urls_to_purge(build_manifest(graph), decode_header("user")), list[str])

keys: Mapping[str, str] = {"2026": "x" * 32}
assert_type(verify_mwt(issue_mwt(Identity(5), keys, now=0), keys, now=0), Identity)
issue_mwt(Identity(5), keys)  # type: ignore[call-arg]


def authenticate(request: Request) -> Identity | None:
    return Identity(request.session["user_id"]) if "user_id" in request.session else None


async def permissions(identity: Identity) -> set[str]:
    return {f"{identity.user_id}.x"}


mizan = Mizan(
    graph,
    cache=MemoryCache(),
    cache_secret="x" * 32,
    mwt_keys=keys,
    mwt_ttl=60,
    audience="shop",
    authenticate=authenticate,
    base_url="/api",
    trusted_origins=["https://app.example.com"],
    max_body_bytes=1024,
    on_cache_failure="refuse",
    permissions=permissions,
)
assert_type(Mizan.from_env(graph, mwt_ttl=60), Mizan)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with mizan.lifespan(app):
        yield


app = Starlette(lifespan=mizan.lifespan, routes=[*mizan.routes])
app.mount("/api/mizan", mizan)
