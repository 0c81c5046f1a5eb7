"""The fingerprint of a context changes with the shape of its readers' results, and not with their documentation."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model
from pydantic_core import core_schema
from typing_extensions import TypedDict

from mizan_core import Engine, build, client
from tests.cache.holding_cache import HoldingCache

SECRET = "a secret of at least thirty-two bytes"


def fingerprint(returns: Any) -> bytes:
    def profile(user_id: int) -> Any: ...

    profile.__annotations__["return"] = returns
    return build([client(context="user")(profile)]).contexts["user"].fingerprint


def model(**fields: Any) -> type[BaseModel]:
    return create_model("Profile", **fields)


class Colour(Enum):
    RED = "red"


class Shade(Enum):
    RED = "red"
    BLUE = "blue"


class Row(TypedDict):
    name: str


class LongerRow(TypedDict):
    name: str
    age: int


@dataclass
class Point:
    x: int


@dataclass
class Place:
    x: int
    y: int


def inner(fields: type[BaseModel]) -> type[BaseModel]:
    return create_model("Outer", inside=(list[fields], ...))  # type: ignore[valid-type]  # made just now


NAME = model(name=(str, ...))

DIFFERENT = [
    (NAME, model(name=(str, ...), email=(str, ...))),
    (NAME, model(name=(int, ...))),
    (NAME, model(name=(str | None, ...))),
    (NAME, model(name=(Annotated[str, Field(serialization_alias="Name")], ...))),
    (inner(NAME), inner(model(name=(str, ...), password_hash=(str, ...)))),
    (
        model(name=(str, ...), password_hash=(str, ...)),
        model(name=(str, ...), password_hash=(str, Field(exclude=True))),
    ),
    (Row, LongerRow),
    (Point, Place),
    (Colour, Shade),
    (Literal["a"], Literal["a", "b"]),
    (list[int], list[str]),
    (dict[str, int], dict[str, str]),
]


@pytest.mark.parametrize(("before", "after"), DIFFERENT)
def test_another_shape_is_another_fingerprint(before: Any, after: Any) -> None:
    assert fingerprint(before) != fingerprint(after)


SAME = [
    (NAME, model(name=(Annotated[str, Field(description="What one is called", examples=["Ada"])], ...))),
    (model(a=(int, ...), b=(int, ...)), model(b=(int, ...), a=(int, ...))),
    (model(a=(int, 1)), model(a=(int, 2))),
    (model(description=(str, ...), title=(str, ...)), model(title=(str, ...), description=(str, ...))),
]


@pytest.mark.parametrize(("before", "after"), SAME)
def test_invisible_differences_keep_the_fingerprint(before: Any, after: Any) -> None:
    assert fingerprint(before) == fingerprint(after)


def test_fields_called_as_a_schemas_own_members_count() -> None:
    assert fingerprint(model(title=(str, ...))) != fingerprint(model(description=(str, ...)))


class Opaque:
    """Has no JSON schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.is_instance_schema(cls)


class Odd:
    """Its hook fails."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        raise RuntimeError


def test_a_type_without_schema_is_known_by_its_class() -> None:
    with_opaque = create_model("Profile", __config__={"arbitrary_types_allowed": True}, one=(Opaque, ...), a=(int, 1))
    without_a = create_model("Profile", __config__={"arbitrary_types_allowed": True}, one=(Opaque, ...))
    assert fingerprint(with_opaque) != fingerprint(without_a)
    assert fingerprint(list[Odd]) == fingerprint(Odd)
    assert fingerprint(model(one=(Any, Opaque()))) == fingerprint(model(one=(Any, None)))


PROGRAM = """
from tests.graph.types.test_result_shapes import Opaque, Shade, fingerprint, inner, model
print(fingerprint(inner(model(a=(Shade, ...), b=(set[str], ...)))).hex(), fingerprint(list[Opaque]).hex())
"""


def test_every_process_has_the_same_fingerprint() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def reader(returns: type[BaseModel], **row: object) -> Callable[..., Any]:
    async def profile(user_id: int) -> Any:
        return row

    profile.__annotations__["return"] = returns
    return client(context="user")(profile)


def test_a_version_that_removed_a_field_does_not_serve_it() -> None:
    async def story() -> None:
        backend = HoldingCache()
        row = {"name": "Ada", "password_hash": "secret"}
        before = Engine(
            build([reader(model(name=(str, ...), password_hash=(str, ...)), **row)]), cache=backend, cache_secret=SECRET
        )
        after = Engine(build([reader(NAME, **row)]), cache=backend, cache_secret=SECRET)
        assert b"secret" in (await before.fetch("user", {"user_id": 5})).body
        for _ in range(3):
            assert b"secret" not in (await after.fetch("user", {"user_id": 5})).body
        assert (await after.fetch("user", {"user_id": 5})).status == "hit"

    asyncio.run(story())
