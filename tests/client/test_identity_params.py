"""Bundles with parameters that the identity fills in: the client knows neither their names nor their values."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import pytest
import pytest_asyncio

from mizan_asgi import Mizan
from mizan_asgi.client import Client
from mizan_core import (
    Arg,
    CallError,
    Conflict,
    Context,
    Identity,
    Invalidation,
    Me,
    build,
    client,
    invalidate,
    issue_mwt,
)
from tests.client.transport import BASE, Wire, never
from tests.http.site import KEYS, Clock

Cart = Context("cart")
UserId = Annotated[int, Me]

ADD, GIVE, FETCH = "POST /call/add/", "POST /call/give/", "GET /ctx/cart/"


@pytest.fixture
def wire() -> Wire:
    carts: dict[int, list[str]] = defaultdict(list)

    @client(context=Cart)
    async def lines(user_id: UserId) -> list[str]:
        return list(carts[user_id])

    @client(affects=Cart)
    async def add(user_id: UserId, sku: str) -> None:
        carts[user_id].append(sku)

    @client(affects=Cart.where(user_id=Arg("to")))
    async def give(to: int, sku: str) -> None:
        carts[to].append(sku)

    @client(affects=Cart)
    async def explode(user_id: UserId, sku: str) -> None:
        carts[user_id].append(sku)
        raise RuntimeError

    @client(affects=Cart)
    async def refuse(user_id: UserId, sku: str) -> None:
        carts[user_id].append(sku)
        invalidate(Cart, user_id=user_id)
        raise Conflict

    return Wire(Mizan(build([lines, add, give, explode, refuse]), mwt_keys=KEYS, clock=Clock()))


@pytest_asyncio.fixture
async def mizan(wire: Wire) -> AsyncIterator[Client]:
    token = issue_mwt(Identity(5), KEYS, now=Clock().now)
    async with Client(BASE, transport=wire, token=token) as one:
        yield one


@pytest.mark.asyncio
async def test_ones_own_bundle_comes_with_the_answer(mizan: Client, wire: Wire) -> None:
    async with aclosing(mizan.subscribe("cart")) as shown:
        assert await anext(shown) == {"lines": []}
        await mizan.call("add", sku="pen")
        assert await anext(shown) == {"lines": ["pen"]}
    assert (wire.sent, wire.mounted) == ([FETCH, ADD], ["cart"])


@pytest.mark.asyncio
async def test_a_call_for_others_leaves_ones_own_as_it_is(mizan: Client, wire: Wire) -> None:
    async with aclosing(mizan.subscribe("cart")) as shown:
        await anext(shown)
        await mizan.call("give", to=6, sku="pen")
        assert await never(shown)
        await mizan.call("give", to=5, sku="cup")
        assert await anext(shown) == {"lines": ["cup"]}
    assert wire.sent == [FETCH, GIVE, GIVE]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["explode", "refuse"])
async def test_after_an_error_ones_own_is_fetched_again(mizan: Client, wire: Wire, name: str) -> None:
    async with aclosing(mizan.subscribe("cart")) as shown:
        await anext(shown)
        with pytest.raises(CallError):
            await mizan.call(name, sku="pen")
        assert await anext(shown) == {"lines": ["pen"]}
    assert wire.sent == [FETCH, f"POST /call/{name}/", FETCH]


@pytest.mark.asyncio
async def test_a_parameter_by_hand_touches_ones_own(mizan: Client, wire: Wire) -> None:
    async with aclosing(mizan.subscribe("cart")) as shown:
        await anext(shown)
        mizan.invalidate(Invalidation("cart", {"user_id": 5}))
        assert await never(shown)  # fetched again, and the same
    assert wire.sent == [FETCH, FETCH]
