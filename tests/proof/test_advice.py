"""The remedy that a proof names: the declaration that would have made the bundle stale."""

from collections.abc import Mapping
from typing import Any

import pytest

from mizan_core import Arg, Context, build, client
from mizan_core.proof.advice import advise, narrowing_arguments

Orders, Report = Context("orders", scopes=[("customer_id",)]), Context("report")


@client(context=Orders)
async def order_list(customer_id: int, shop_id: int) -> int:
    return customer_id


@client(context=Report)
async def total() -> int:
    return 1


@client(affects=Report)
async def forgets(customer_id: int, other: int) -> None: ...


@client(affects=Report, spares=Orders)
async def spares(customer_id: int) -> None: ...


@client(affects=Orders)
async def narrows(customer_id: int, to: int) -> None: ...


@client(affects=Orders.by_body())
async def names(customer_id: int) -> None: ...


@client(affects=Orders.where(customer_id=Arg("number")))
async def other_name(number: int, values: list[float]) -> None: ...


GRAPH = build([order_list, total, forgets, spares, narrows, names, other_name])


def remedy(function: str | None, **sent: Any) -> str:
    params: Mapping[str, str] = {"customer_id": "7", "shop_id": "1"}
    found = None if function is None else GRAPH.functions[function]
    return advise(GRAPH.contexts["orders"], params, found, sent)


@pytest.mark.parametrize(
    ("function", "sent", "said"),
    [
        (None, {}, "await engine.invalidate('orders')"),
        ("forgets", {"customer_id": 7, "other": 3}, "declare affects='orders' on forgets"),
        ("forgets", {"customer_id": 3, "other": 7}, "narrowed with Context('orders').where(customer_id=Arg('other'))"),
        ("spares", {"customer_id": 7}, "declare affects='orders' on spares, and take it out of spares"),
        ("narrows", {"customer_id": 3, "to": 7}, "a second member to affects, Context('orders').where(customer_id=Arg"),
        ("narrows", {"customer_id": 3, "to": 4}, "narrowed by customer_id, which missed this bundle: declare Context("),
        ("names", {"customer_id": 3}, "in the body of names with invalidate('orders', ...)"),
        ("other_name", {"number": 3, "values": [float("nan")]}, "missed this bundle"),
    ],
)
def test_the_remedy_fits_the_declaration(function: str | None, sent: dict[str, Any], said: str) -> None:
    assert said in remedy(function, **sent)


def test_a_parameter_that_tells_changed_bundles_apart_narrows() -> None:
    changed = [{"customer_id": "7", "page": "1"}, {"customer_id": "7", "page": "2"}]
    unchanged = [{"customer_id": "8", "page": "1"}]
    assert narrowing_arguments(changed, unchanged, {"owner": 7, "page": 1}) == {"customer_id": "owner"}
    assert narrowing_arguments(changed, unchanged, {"owner": 9}) == {}
    assert narrowing_arguments(changed, [{"customer_id": "7"}], {"owner": 7}) == {}
    assert narrowing_arguments([], unchanged, {"owner": 7}) == {}
