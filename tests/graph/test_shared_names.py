"""Readers of different contexts that share a name: in bundles, calls, invalidations, the manifest and clients."""

import json
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse

from mizan_asgi import Mizan
from mizan_asgi.codegen.openapi import openapi_json
from mizan_core import (
    Context,
    DeclarationError,
    Engine,
    Graph,
    GraphError,
    Invalidation,
    MemoryCache,
    NotFound,
    build,
    build_manifest,
    client,
    invalidate,
)
from mizan_core.errors import MizanError

Orders, Users = Context("orders", scopes=[("number",)]), Context("users", scopes=[("number",)])


@client(context=Orders, name="list")
async def list_orders(number: int) -> list[str]:
    return [f"order of {number}"]


@client(context=Users, name="list")
async def list_users(number: int) -> list[str]:
    return [f"user {number}"]


@client(context=Orders)
async def count(number: int) -> int:
    return number


@client(context=Users, name="page", route="/users/{number}/")
async def users_page(number: int) -> HTMLResponse:
    return HTMLResponse(f"page of {number}")


@client(context=Orders, name="page", route="/orders/{number}/")
async def orders_page(number: int) -> HTMLResponse:
    return HTMLResponse(f"orders of {number}")


@client(affects=list_orders)
async def by_function(number: int) -> None: ...


@client(affects="users.list")
async def by_name(number: int) -> None: ...


@client()
async def in_body(number: int) -> None:
    invalidate(list_users, number=number)


FUNCTIONS = [list_orders, list_users, count, users_page, orders_page, by_function, by_name, in_body]
GRAPH: Graph = build(FUNCTIONS)


def engine() -> Engine:
    return Engine(GRAPH, cache=MemoryCache())


@pytest.mark.asyncio
async def test_a_bundle_has_its_readers_by_their_names_in_it() -> None:
    async with engine() as shop:
        assert json.loads((await shop.fetch("orders", {"number": 5})).body) == {"list": ["order of 5"], "count": 5}
        assert json.loads((await shop.fetch("users", {"number": 5})).body) == {"list": ["user 5"]}


@pytest.mark.asyncio
async def test_a_call_names_the_context_as_well() -> None:
    async with engine() as shop:
        assert (await shop.call("orders.list", {"number": 5})).result == ["order of 5"]
        assert (await shop.call("users.list", {"number": 5})).result == ["user 5"]
        with pytest.raises(NotFound):
            await shop.call("list", {"number": 5})


@pytest.mark.asyncio
@pytest.mark.parametrize(("name", "context"), [("by_function", "orders"), ("by_name", "users"), ("in_body", "users")])
async def test_an_invalidation_is_of_the_reader_that_was_meant(name: str, context: str) -> None:
    async with engine() as shop:
        for one in ("orders", "users"):
            await shop.fetch(one, {"number": 5})
        answer = await shop.call(name, {"number": 5})
        assert answer.invalidations == (Invalidation(context, {"number": 5}, "list"),)
        assert [one for one in ("orders", "users") if (await shop.fetch(one, {"number": 5})).status == "miss"] == [
            context
        ]


@pytest.mark.asyncio
async def test_the_server_purges_by_function_name_or_invalidation() -> None:
    async with engine() as shop:
        expected = (Invalidation("users", {"number": 5}, "list"),)
        assert await shop.invalidate(list_users, number=5) == expected
        assert await shop.invalidate("users.list", number=5) == expected
        assert await shop.invalidate(Invalidation("users", {"number": 5}, "list")) == expected
        with pytest.raises(DeclarationError, match=r"name 'orders.list' or 'users.list' to invalidate"):
            await shop.invalidate("list", number=5)


@pytest.mark.asyncio
async def test_each_is_responded_with_alone_and_called_over_http() -> None:
    mizan = Mizan(GRAPH)
    transport = httpx.ASGITransport(mizan)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/mizan") as http:
        answer = await http.post("/call/users.list/", json={"number": 5})
        assert answer.json()["result"] == ["user 5"]
        assert (await http.post("/call/list/", json={"number": 5})).status_code == 404
        assert (await http.get("/ctx/users/?number=5")).json() == {"list": ["user 5"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/users/5/")).text == "page of 5"
        assert (await http.get("/orders/5/")).text == "orders of 5"


def test_the_manifest_and_openapi_tell_them_apart() -> None:
    manifest = build_manifest(GRAPH)
    assert [one["name"] for one in manifest["contexts"]["users"]["functions"]] == ["list", "page"]
    assert manifest["mutations"]["by_name"]["targets"] == [
        {"context": "users", "function": "list", "params": {"number": {"arg": "number"}}}
    ]
    document: dict[str, Any] = json.loads(openapi_json(GRAPH, base_url="/api/mizan", title="t", version="1"))
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))
    assert {"/call/orders.list/", "/call/users.list/"} <= document["paths"].keys()


@client(context=Orders, name="list")
async def second_in_orders(number: int) -> int:
    return number


@client(name="list")
async def outside(number: int) -> int:
    return number


@client(context="third", name="orders.list")
async def taken(number: int) -> int:
    return number


@client(affects="list")
async def ambiguous(number: int) -> None: ...


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        (second_in_orders, "two functions are called 'list'"),
        (outside, "two functions are called 'list'"),
        (taken, "two functions are called 'list'"),
        (ambiguous, "name 'orders.list' or 'users.list'"),
    ],
)
def test_a_name_that_would_not_be_clear_is_refused(added: Any, reason: str) -> None:
    with pytest.raises(GraphError, match=reason) as error:
        build([*FUNCTIONS, added])
    assert isinstance(error.value, MizanError)
