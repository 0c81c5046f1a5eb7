"""Which types give back each value from its text, and which are asked for every value."""

import datetime
import uuid
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter

from mizan_core.errors import InvalidValue
from mizan_core.graph.types.round_trip import read_back, round_trip_of


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Access(Flag):
    READ = 1
    WRITE = 2


class Alike(Enum):
    TEXT = "1"
    NUMBER = 1


@pytest.mark.parametrize(
    "kind",
    [
        *(int, str, bool, uuid.UUID, datetime.date, Color, Level, Access, Literal["a", 1]),
        *(int | None, list[int], list[Color], Annotated[int, Field(gt=0, strict=True)]),
        Annotated[str, StringConstraints(min_length=1, pattern="a")],
    ],
)
def test_the_values_of_most_types_always_come_back(kind: Any) -> None:
    assert round_trip_of(TypeAdapter(kind).core_schema) is None


@pytest.mark.parametrize(
    "kind",
    [
        *(float, Decimal, datetime.datetime, datetime.time, Alike, Literal[1, "1"], int | str, set[int]),
        *(list[int | None], list[float], Annotated[str, StringConstraints(to_upper=True)]),
        *(Annotated[int, AfterValidator(abs)], Annotated[str, StringConstraints(strip_whitespace=True)]),
    ],
)
def test_foreign_types_are_checked_value_by_value(kind: Any) -> None:
    assert round_trip_of(TypeAdapter(kind).core_schema) is not None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int | str, 1),
        (list[int | str], ["a", 1]),
        (list[int | None], [None]),
        (float | int, 1),
        (Annotated[int, AfterValidator(lambda number: number + 1)], 1),
        (Annotated[int, AfterValidator(lambda number: 1 // number)], 0),
        (Literal["1", 1], 1),
    ],
)
def test_a_value_that_is_not_read_back_has_no_url(kind: Any, value: object) -> None:
    trip = round_trip_of(TypeAdapter(kind).core_schema)
    assert trip is not None
    with pytest.raises(InvalidValue):
        trip.of(value)
    assert read_back({"x": trip}, {"x": value}) is None


def test_null_and_omitted_values_are_not_checked() -> None:
    trip = round_trip_of(TypeAdapter(int | str | None).core_schema)
    assert trip is not None
    assert read_back({"x": trip, "y": trip}, {"x": None, "z": 1}) == {"x": None, "z": 1}
    assert read_back({"x": trip}, {"x": "1", "z": 1}) == {"x": "1", "z": 1}
