"""A set whose members have equal hashes by a sender's choice is refused before it is built."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field, Strict

from mizan_core.errors import InvalidInput
from mizan_core.graph.inputs import Validator, compile_input, compile_validator
from mizan_core.graph.signature import Input

# Python's hash of an integer is its rest by this prime.
PRIME = 2**61 - 1
ALIKE = [PRIME * number for number in range(2000)]


def taking(annotation: Any) -> Validator:
    compiled = compile_input(Input("values", annotation, required=True))
    return compile_validator("args", [compiled], frozenset({"values"}))


def refused(annotation: Any, value: Any) -> list[Any]:
    with pytest.raises(InvalidInput) as caught:
        taking(annotation).validate({"values": value})
    return [one["type"] for one in caught.value.errors]


class Holder(BaseModel):
    ids: set[int] = set()
    more: "list[Holder]" = []


class Pair(BaseModel, frozen=True):
    left: int


class Told:
    """A value that tells how often it was compared with another. All of them have one hash."""

    compared = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        Told.compared += 1
        return isinstance(other, Told) and self.number == other.number

    def __repr__(self) -> str:
        return f"Told({self.number})"


KEYED = {str(number): 1 for number in ALIKE}

SETS: dict[str, tuple[Any, Any]] = {
    "integers": (set[int], ALIKE),
    "integers sent as texts": (set[int], [*map(str, ALIKE)]),
    "frozen": (frozenset[int], ALIKE),
    "of anything": (set, ALIKE),
    "nullable": (set[int] | None, ALIKE),
    "bounded far off": (Annotated[set[int], Field(max_length=100_000)], ALIKE),
    "UUIDs": (set[UUID], [str(UUID(int=number)) for number in ALIKE]),
    "decimals": (set[Decimal], [*map(str, ALIKE)]),
    "models": (set[Pair], [{"left": number} for number in ALIKE]),
    "in a list": (list[set[int]], [ALIKE]),
    "in a model": (Holder, {"ids": ALIKE}),
    "in a model that contains itself": (Holder, {"more": [{"more": [{"ids": ALIKE}]}]}),
    "keys": (dict[int, int], KEYED),
    "keys of a mapping": (Mapping[int, int], KEYED),
    "keys that are counted": (Counter[int], KEYED),
    "keys in order": (OrderedDict[int, int], KEYED),
    "keys with a default": (defaultdict[int, int], KEYED),
    "members that may be null": (set[int | None], ALIKE),
}


@pytest.mark.parametrize(("annotation", "value"), SETS.values(), ids=SETS)
def test_many_members_with_one_hash_are_refused(annotation: Any, value: Any) -> None:
    assert refused(annotation, value) == ["hash_collisions"]


def test_colliding_members_are_refused_before_any_comparison() -> None:
    Told.compared = 0
    assert refused(set[Annotated[Any, AfterValidator(Told)]], [*range(500)]) == ["hash_collisions"]
    assert Told.compared == 0


@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_strict_set_has_a_maximum_length(kind: Any) -> None:
    annotation = Annotated[kind[int], Strict()]
    assert taking(annotation).validate({"values": ALIKE[:1000]})["values"] == kind(ALIKE[:1000])
    assert refused(annotation, ALIKE[:1001]) == ["too_long"]


def test_members_with_different_hashes_make_a_set_of_any_length() -> None:
    numbers = [*range(-5000, 5000)]
    assert taking(set[int]).validate({"values": [*numbers, *numbers]})["values"] == set(numbers)
    keyed = {str(number): number for number in numbers}
    assert taking(dict[int, int]).validate({"values": keyed})["values"] == {number: number for number in numbers}


def test_equal_members_and_a_few_equal_hashes_are_accepted() -> None:
    assert taking(set[int]).validate({"values": [-1, -2] * 1000})["values"] == {-1, -2}
    assert taking(set[int]).validate({"values": ALIKE[:50]})["values"] == set(ALIKE[:50])


@pytest.mark.parametrize("annotation", [dict[str, int], dict[Any, int], set[str], set[bytes | None], list[int]])
def test_types_with_seeded_hashes_are_not_checked(annotation: Any) -> None:
    validator = taking(annotation)
    assert validator._validate == validator.adapter.validator.validate_python


def test_invalid_members_are_reported_by_their_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        taking(Holder).validate({"values": {"ids": [*range(100), "x"]}})
    assert caught.value.errors[0]["loc"] == ["args", "values", "ids", 100]
    assert refused(set[Annotated[Any, AfterValidator(lambda value: [value])]], [*range(100)])[0] == (
        "set_item_not_hashable"
    )


def test_thousands_of_errors_are_counted_and_not_listed() -> None:
    with pytest.raises(InvalidInput) as caught:
        taking(list[int]).validate({"values": ["x"] * 5000})
    (error,) = caught.value.errors
    assert (error["loc"], error["type"]) == (["args"], "too_many_errors")
    assert "5000" in str(error["msg"])
