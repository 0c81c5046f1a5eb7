"""`assert_invalidates`: of whatever form the answer is, and exactly what it said."""

import json
from typing import Any

import httpx
import pytest

from mizan_core import Conflict, Context, DeclarationError, Engine, Invalidation, MemoryCache, build, client, invalidate
from mizan_core.testing import assert_invalidates

Orders = Context("orders")


@client(context=Orders)
async def order_list(customer_id: int) -> int:
    return customer_id


@client(affects=Orders)
async def add(customer_id: int, fail: bool = False) -> None:
    if fail:
        invalidate(Orders.of(customer_id=9))
        raise Conflict


@pytest.mark.asyncio
async def test_an_answer_says_exactly_what_it_invalidated() -> None:
    engine = Engine(build([order_list, add]), cache=MemoryCache())
    answer = await engine.call("add", {"customer_id": 7})
    assert_invalidates(answer, Orders.of(customer_id=7))
    assert_invalidates(json.loads(answer.body), Orders.of(customer_id=7))
    with pytest.raises(AssertionError, match=r"not invalidated: orders \(whole\)\nalso: orders\(customer_id=7\)"):
        assert_invalidates(answer, Orders.of())
    with pytest.raises(Conflict) as refused:
        await engine.call("add", {"customer_id": 7, "fail": True})
    assert_invalidates(refused.value, Orders.of(customer_id=9))


def test_a_response_says_it_in_its_header() -> None:
    response = httpx.Response(200, headers={"X-Mizan-Invalidate": "orders/order_list;customer_id=7"})
    assert_invalidates(response, Invalidation("orders", {"customer_id": 7}, "order_list"))
    with pytest.raises(AssertionError, match=r"also: orders/order_list\(customer_id='7'\)"):
        assert_invalidates(response)
    assert_invalidates(httpx.Response(200))


@pytest.mark.parametrize("answer", [None, 5, "orders"])
def test_what_is_no_answer_is_refused(answer: Any) -> None:
    with pytest.raises(TypeError, match="says nothing of invalidations"):
        assert_invalidates(answer)


@pytest.mark.asyncio
async def test_an_invalidation_is_checked_against_the_graph() -> None:
    engine = Engine(build([order_list, add]), cache=MemoryCache())
    assert await engine.invalidate(Orders.of(customer_id=7)) == (Orders.of(customer_id=7),)
    with pytest.raises(DeclarationError, match="has no parameter 'shop_id'"):
        await engine.invalidate(Orders.of(shop_id=7))
