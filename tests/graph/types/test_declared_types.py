"""Which declarations are of one thing, so that a name that both have narrows (protocol, section 4)."""

import datetime
import uuid
from collections.abc import Collection, Sequence
from typing import Annotated, Any, List, Literal, NewType, Optional  # noqa: UP035  # as older code has them

import annotated_types
import pytest
from pydantic import AfterValidator, Field, PositiveInt, StrictInt, StringConstraints
from typing_extensions import Doc, TypeAliasType

from mizan_core.graph.types.declared_types import has_bare_type, same_declared_type, show_type

UserId, TicketId = NewType("UserId", int), NewType("TicketId", int)
Slug, Tag = TypeAliasType("Slug", str), TypeAliasType("Tag", str)
MaybeUser = TypeAliasType("MaybeUser", UserId | None)  # type: ignore[operator]  # a NewType, to Python
Users = TypeAliasType("Users", list[UserId])
Numbers, Others = TypeAliasType("Numbers", list[int]), TypeAliasType("Others", list[int])
lower = AfterValidator(str.lower)


@pytest.mark.parametrize(
    ("argument", "parameter"),
    [
        (int, int),
        (int | None, int),
        (int, Optional[int]),  # noqa: UP045
        (list[int], int),
        (List[int], int),  # noqa: UP006
        (List[int], list[int]),  # noqa: UP006
        (set[int | None] | None, int),
        (int | Sequence[int], int),
        (tuple[int, ...], int),
        (Collection[UserId], UserId),
        (int | str, str | int),
        (list[int | str], str | int),
        (UserId, UserId),
        (Slug, Slug),
        (MaybeUser, UserId),
        (Users, UserId),
        (Numbers, Numbers),
        (Literal["a", "b"], Literal["b", "a"]),
        (PositiveInt, int),
        (int, StrictInt),
        (Annotated[int, Field(gt=0, description="of a user")], int),
        (Annotated[int | None, Doc("of a user")], int),
        (Annotated[list[int], Field(max_length=3)], Annotated[int, Field(ge=1)]),
        (Annotated[str, StringConstraints(max_length=3)], str),
        (Annotated[str, lower], Annotated[str, lower]),
        (Annotated[int, "user"], Annotated[int, "user", Field(gt=0)]),
    ],
    ids=str,
)
def test_null_lists_and_constraints_do_not_change_the_type(argument: Any, parameter: Any) -> None:
    assert same_declared_type(argument, parameter)


@pytest.mark.parametrize(
    ("argument", "parameter"),
    [
        (UserId, TicketId),
        (UserId, int),
        (int, UserId),
        (NewType("UserId", int), UserId),
        (list[UserId], TicketId),
        (Slug, Tag),
        (Slug, str),
        (Numbers, Others),
        (Annotated[int, "user"], Annotated[int, "ticket"]),
        (Annotated[int, "user"], int),
        (Annotated[int, Field(title="User")], Annotated[int, Field(title="Ticket")]),
        (Annotated[float, annotated_types.Unit("m")], Annotated[float, annotated_types.Unit("s")]),
        (Annotated[str, lower], str),
        (Annotated[str, lower], Annotated[str, AfterValidator(str.upper)]),
        (Annotated[list[int], AfterValidator(sorted)], int),
        (str, int),
        (bool, int),
        (int | str, int),
        (int, int | str),
        (list[int], list[str]),
        (list[int], set[int]),
        (list[int | None], list[int]),
        (list[int], list[Annotated[int | None, Field(gt=0)]]),
        (int, list[int]),
        (list[list[int]], int),
        (dict[str, int], int),
        (tuple[int, str], int),
        (uuid.UUID, str),
        (datetime.date, datetime.datetime),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a"], str),
    ],
    ids=str,
)
def test_other_types_and_other_names_are_other_things(argument: Any, parameter: Any) -> None:
    assert not same_declared_type(argument, parameter)


def test_different_constraints_may_have_different_values() -> None:
    for one, other in [(PositiveInt, int), (Annotated[str, StringConstraints(to_lower=True)], str)]:
        assert same_declared_type(one, other)
        assert not same_declared_type(one, other, constraints=True)
    for one in (PositiveInt, Annotated[int, Field(gt=0)]):
        assert same_declared_type(list[one], Annotated[int, Field(gt=0, description="x")], constraints=True)


@pytest.mark.parametrize("bare", [int, str | None, list[uuid.UUID], PositiveInt, Numbers], ids=str)
def test_a_general_type_identifies_nothing(bare: Any) -> None:
    assert has_bare_type(bare)


@pytest.mark.parametrize("named", [UserId, Slug, Users, Annotated[int, "user"], Literal["a"]], ids=str)
def test_a_type_with_a_name_does(named: Any) -> None:
    assert not has_bare_type(named)


def test_types_are_shown_as_they_are_written() -> None:
    assert [show_type(one) for one in (int, UserId, Slug, list[int], Optional[int])] == [  # noqa: UP045
        *("int", "UserId", "Slug", "list[int]", "Optional[int]")
    ]
