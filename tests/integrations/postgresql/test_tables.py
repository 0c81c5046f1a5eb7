"""Declarations of tables: how they are written, and what is refused."""

from typing import Any

import pytest

from mizan_core import Context, build, client
from mizan_core.errors import DeclarationError
from mizan_core.integrations.postgresql import Purge, Table, Triggers
from mizan_core.integrations.postgresql.identifiers import dollar_quoted, literal, quoted, within_limit

Orders = Context("orders")


@client(context=Orders)
async def order_lines(customer_id: int) -> list[str]:
    return []


@client(affects=Orders)
async def add_order(customer_id: int) -> None: ...


GRAPH = build([order_lines, add_order])


def test_a_column_named_as_the_parameter_needs_no_mapping() -> None:
    spellings: list[Any] = ["customer_id", ["customer_id"], ("customer_id",), {"customer_id": "customer_id"}]
    made = {Triggers(GRAPH, Table("orders", Purge(Orders, by=one))).create() for one in spellings}
    made.add(Triggers(GRAPH, Table("orders", Purge("orders", by="customer_id"))).create())
    assert len(made) == 1


def test_a_schema_may_stand_before_the_name() -> None:
    assert Table("shop.orders", Orders).name == Table(("shop", "orders"), Orders).name == ("shop", "orders")
    assert Table("orders", Orders).name == ("orders",)


def test_contexts_are_listed_once() -> None:
    assert Triggers(GRAPH, Table("orders", Orders), Table("lines", order_lines)).contexts == ("orders",)


@pytest.mark.parametrize(
    ("purge", "message"),
    [
        (Purge("ordres"), "no context or reader 'ordres' to invalidate; did you mean 'orders'"),
        (Purge(add_order), "'add_order' is not a reader"),
        (Purge(Orders, by="customer"), "Table\\('shop.orders'\\): context 'orders' has no parameter 'customer'"),
        (Purge(Orders, by={"customer_id": ""}), "'' names no column"),
        (Purge(Orders, by={"customer_id": 5}), "5 names no column"),  # type: ignore[dict-item]
        (Purge(Orders, columns=("x" * 64,)), "names no column: it has 1 to 63 bytes"),
        (Purge(Orders, columns="a\0b"), "names no column"),
    ],
)
def test_what_the_graph_does_not_have_is_refused(purge: Purge, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Triggers(GRAPH, Table("shop.orders", purge))


@pytest.mark.parametrize("name", ["", "a.", ".b", "x" * 64, "a\0b", (), ("a", "b", "c"), 5, ("a", 5)])
def test_what_names_no_table_is_refused(name: Any) -> None:
    with pytest.raises(DeclarationError, match="names no table: write its name"):
        Table(name, Orders)


def test_a_table_without_a_context_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"write Table\('orders', Orders\)"):
        Table("orders")


@pytest.mark.parametrize("channel", ["", "c" * 64])
def test_a_channel_that_postgresql_cannot_have_is_refused(channel: str) -> None:
    with pytest.raises(DeclarationError, match="1 to 63 bytes"):
        Triggers(GRAPH, Table("orders", Orders), channel=channel)


def test_a_graph_alone_cannot_listen() -> None:
    with pytest.raises(DeclarationError, match="a Mizan or an Engine in place of a graph"):
        Triggers(GRAPH, Table("orders", Orders)).listener("postgresql://")


def test_spelling_of_names_and_texts() -> None:
    assert quoted(("a b", 'c"d')) == '"a b"."c""d"'
    assert literal("it's") == "'it''s'"
    assert literal("a\\'b") == " E'a\\\\''b'"
    assert dollar_quoted("$mizan$ $mizan1$").splitlines() == ["$mizan2$", "$mizan$ $mizan1$", "$mizan2$"]
    assert within_limit("é" * 31) == "é" * 31
    assert len(within_limit("é" * 40).encode()) <= 63
    assert within_limit("é" * 40 + "a") != within_limit("é" * 40 + "b")
