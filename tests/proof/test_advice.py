"""The remedy that a proof names: the declaration that would have made the bundle stale."""

from collections.abc import Mapping
from typing import Annotated, Any

import pytest

from mizan_core import ANONYMOUS, Arg, Claim, Context, Identity, Me, build, client
from mizan_core.proof.advice import advise, narrowing_origins

Orders, Report = Context("orders", scopes=[("customer_id",)]), Context("report")
Cart = Context("cart")


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


@client(context=Cart)
async def cart_lines(user_id: Annotated[int, Me], org_id: Annotated[int, Claim("org")], page: int = 1) -> int:
    return user_id


@client(affects=Report)
async def add_line(sku: int) -> None: ...


@client(affects=Cart)
async def empty(user_id: Annotated[int, Me], sku: int) -> None: ...


@client(context="basket")
async def basket(user_id: Annotated[int | None, Me]) -> int:
    return 1


GRAPH = build([basket, cart_lines, add_line, empty, order_list, total, forgets, spares, narrows, names, other_name])
ORDERS, CART = GRAPH.contexts["orders"], GRAPH.contexts["cart"]


def remedy(function: str | None, **sent: Any) -> str:
    params: Mapping[str, str] = {"customer_id": "7", "shop_id": "1"}
    found = None if function is None else GRAPH.functions[function]
    return advise(ORDERS, params, found, sent)


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
    assert narrowing_origins(ORDERS, changed, unchanged, {"owner": 7, "page": 1}) == {"customer_id": "owner"}
    assert narrowing_origins(ORDERS, changed, unchanged, {"owner": 9}) == {}
    assert narrowing_origins(ORDERS, changed, [{"customer_id": "7"}], {"owner": 7}) == {}
    assert narrowing_origins(ORDERS, [], unchanged, {"owner": 7}) == {}


CALLER = Identity(5, claims={"org": 1})
BY_BOTH = "Context('cart').where(org_id=Claim('org'), user_id=Me)"


@pytest.mark.parametrize(
    ("function", "sent", "identity", "said"),
    [
        ("add_line", {"sku": 5}, CALLER, f"declare affects='cart' on add_line, narrowed with {BY_BOTH}"),
        ("add_line", {"sku": 5}, Identity(6, claims={"org": 1}), "where(org_id=Claim('org'), user_id=Arg('sku'))"),
        ("add_line", {"sku": 7}, Identity(5), "on add_line, narrowed with Context('cart').where(user_id=Me)"),
        ("add_line", {"sku": 7}, ANONYMOUS, "declare affects='cart' on add_line"),
        ("empty", {"user_id": 5, "sku": 9}, CALLER, "to affects, Context('cart').where(org_id=Claim('org'))"),
    ],
)
def test_the_callers_own_values_are_taken_from_the_identity(
    function: str, sent: dict[str, Any], identity: Identity, said: str
) -> None:
    bundle = {"org_id": "1", "page": "1", "user_id": "5"}
    assert advise(CART, bundle, GRAPH.functions[function], sent, identity).endswith(said)


def test_a_visitors_own_null_is_a_value() -> None:
    advised = [advise(GRAPH.contexts["basket"], {}, GRAPH.functions["add_line"], {"sku": 5}, ANONYMOUS)]
    advised.append(advise(GRAPH.contexts["basket"], {"user_id": "6"}, GRAPH.functions["add_line"], {"sku": 5}))
    assert [one.partition(", ")[2] for one in advised] == ["narrowed with Context('basket').where(user_id=Me)", ""]


def test_the_callers_identity_tells_changed_bundles_apart() -> None:
    changed, others = [{"org_id": "1", "user_id": "5"}], [{"org_id": "1", "user_id": "6"}]
    assert narrowing_origins(CART, changed, others, {"sku": 5}, CALLER) == {"user_id": Me}
    assert narrowing_origins(CART, changed, [{"org_id": "2", "user_id": "5"}], {}, CALLER) == {"org_id": Claim("org")}
    assert narrowing_origins(CART, changed, others, {"sku": 5}, Identity(6)) == {"user_id": "sku"}
