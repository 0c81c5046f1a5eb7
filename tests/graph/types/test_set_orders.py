"""Sets in results have one order, whatever Python's is; other results are dumped as Pydantic dumps them."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field, RootModel, field_serializer
from typing_extensions import TypedDict

from mizan_core import build, client
from mizan_core.engine.answers import plain_result
from mizan_core.graph.types.set_orders import order_of_sets

# Enough that no order of Python's is the right one by luck.
WORDS = [f"word {number:02}" for number in range(40)]


class Tagged(BaseModel):
    name: str = "x"
    tags: set[str] = Field(serialization_alias="labels")


class Tree(BaseModel):
    leaves: set[str]
    branches: "list[Tree]" = []


class Sorted(BaseModel):
    tags: set[str]

    @field_serializer("tags")
    def written(self, tags: set[str]) -> list[str]:
        return sorted(tags, reverse=True)


class Words(RootModel[frozenset[str]]):
    pass


class Named(TypedDict):
    tags: set[str]


@dataclass
class Item:
    number: int
    tags: frozenset[str]


def dumped(annotation: Any, result: object) -> object:
    async def reader() -> Any:
        return result

    reader.__annotations__["return"] = annotation
    (function,) = build([client(context="words")(reader)]).functions.values()
    return plain_result(function, result)


@pytest.mark.parametrize(
    ("annotation", "result", "expected"),
    [
        (set[str], set(WORDS), WORDS),
        (set[int], set(range(300, 0, -7)), sorted(range(300, 0, -7))),
        (frozenset[tuple[str, int]], frozenset((word, 1) for word in WORDS), [[word, 1] for word in WORDS]),
        (list[set[str]], [set(WORDS), set()], [WORDS, []]),
        (dict[str, set[str]], {"a": set(WORDS)}, {"a": WORDS}),
        (set[str] | None, set(WORDS), WORDS),
        (set[str] | None, None, None),
        (Tagged, Tagged(tags=set(WORDS)), {"name": "x", "labels": WORDS}),
        (list[Tagged], [Tagged(tags=set(WORDS))], [{"name": "x", "labels": WORDS}]),
        (Named, {"tags": set(WORDS)}, {"tags": WORDS}),
        (Item, Item(1, frozenset(WORDS)), {"number": 1, "tags": WORDS}),
        (Words, Words(frozenset(WORDS)), WORDS),
        (set[frozenset[str]], {frozenset(WORDS), frozenset("a")}, [["a"], WORDS]),
        (Sorted, Sorted(tags=set(WORDS)), {"tags": WORDS[::-1]}),
        (list[str], WORDS[::-1], WORDS[::-1]),
        (dict[str, list[str]], {"a": ["b", "a"]}, {"a": ["b", "a"]}),
    ],
)
def test_sets_in_results_are_in_order(annotation: Any, result: object, expected: object) -> None:
    assert dumped(annotation, result) == expected


def test_a_type_without_sets_is_dumped_by_pydantic_alone() -> None:
    async def reader() -> list[dict[str, int]]:
        return []

    (function,) = build([client(context="words")(reader)]).functions.values()
    assert function.result is not None
    assert function.dump_result == function.result.serializer.to_python


def test_sets_in_a_type_that_contains_itself_are_left_alone() -> None:
    tree = dumped(Tree, Tree(leaves={"a"}, branches=[Tree(leaves={"b"})]))
    assert tree == {"leaves": ["a"], "branches": [{"leaves": ["b"], "branches": []}]}


def test_what_a_serializer_made_of_it_is_left_alone() -> None:
    schemas: list[Any] = [
        {"type": "set", "items_schema": {"type": "str"}},
        {"type": "list", "items_schema": {"type": "set"}},
        {"type": "dict", "values_schema": {"type": "set"}},
        {"type": "typed-dict", "fields": {"a": {"schema": {"type": "set"}}}},
    ]
    for schema in schemas:
        order = order_of_sets(schema)
        assert order is not None
        assert order("a text") == "a text"
    assert order is not None
    assert order({"b": 1}) == {"b": 1}
