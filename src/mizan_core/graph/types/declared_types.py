"""Whether an argument and a context's parameter are declared to be the same thing (protocol, section 4).

A name alone does not tell: a ticket's `id` is no organisation's. Two declarations are of one thing if their types are
equal, names of types included: a `NewType`, a `type` statement and what `Annotated` says beside constraints.
Constraints and documentation make no other thing, for they leave a value as it is.
"""

import collections
import collections.abc
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import typing_extensions
from pydantic.fields import FieldInfo
from pydantic.types import AllowInfNan, Strict, StringConstraints, UuidVersion

from .aliases import TYPE_ALIASES

# Collections whose members narrow one by one. Reading an iterator would leave nothing for the function.
_COLLECTIONS = frozenset(
    {
        *(list, tuple, set, frozenset, collections.deque),
        *(collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection),
        *(collections.abc.Set, collections.abc.MutableSet),
    }
)

_NAMES = (typing.NewType, *TYPE_ALIASES)
_GENERAL = frozenset({int, str, UUID})

_CONSTRAINTS = (Strict, AllowInfNan, StringConstraints, UuidVersion)
_DOCUMENTATION = (typing_extensions.Doc, type(None))


@dataclass(frozen=True, slots=True)
class _Declared:
    """One alternative of an annotation: a type, and what `Annotated` says of it, from the outside in."""

    base: Any
    marks: tuple[Any, ...]


def same_declared_type(argument: Any, parameter: Any, *, constraints: bool = False) -> bool:
    """Whether an argument is a parameter's thing, or a collection of them; null aside. By annotations.

    `constraints`: only if the constraints are equal as well, so that each value of one is a value of the other.
    """
    wanted = list(_alternatives(parameter))
    return _is_one_of(list(_alternatives(argument)), wanted, constraints) or _is_made_of(argument, wanted, constraints)


def has_bare_type(annotation: Any) -> bool:
    """Whether nothing but a general type is declared, such as int or str, which names no thing of its own."""
    return all(
        all(map(has_bare_type, _members_of(one.base)))
        if _is_collection(one.base)
        else one.base in _GENERAL and not _said(one.marks, constraints=False)
        for one in _looked_into(annotation)
    )


def show_type(annotation: Any) -> str:
    """An annotation as a person reads it; the classes that it is made of by their names alone."""
    if isinstance(annotation, typing.NewType):
        return str(annotation.__name__)
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _is_made_of(argument: Any, wanted: list[_Declared], constraints: bool) -> bool:
    """The same for names of unions and for collections, which are looked into; their members have to be wanted."""
    members: list[_Declared] = []
    for one in _looked_into(argument):
        if _is_collection(one.base) and not _said(one.marks, constraints=False):
            inner = [member for each in _members_of(one.base) for member in _looked_into(each)]
            if not _is_one_of(inner, wanted, constraints):
                return False
        else:
            members.append(one)
    return not members or _is_one_of(members, wanted, constraints)


def _is_one_of(found: list[_Declared], wanted: list[_Declared], constraints: bool) -> bool:
    """Whether two sets of alternatives are equal."""
    return all(any(_equal(one, other, constraints) for other in wanted) for one in found) and all(
        any(_equal(one, other, constraints) for one in found) for other in wanted
    )


def _equal(one: _Declared, other: _Declared, constraints: bool) -> bool:
    return _equal_types(one.base, other.base, constraints) and _said(one.marks, constraints=constraints) == _said(
        other.marks, constraints=constraints
    )


def _equal_types(one: Any, other: Any, constraints: bool) -> bool:
    if isinstance(one, _NAMES) or isinstance(other, _NAMES):
        return one is other
    origin = typing.get_origin(one)
    if origin is None or origin is typing.Literal or origin is not typing.get_origin(other):
        return bool(one == other)
    inside, beside = typing.get_args(one), typing.get_args(other)
    return len(inside) == len(beside) and all(
        _is_nullable(first) is _is_nullable(second)
        and _is_one_of(list(_alternatives(first)), list(_alternatives(second)), constraints)
        for first, second in zip(inside, beside, strict=True)
    )


def _alternatives(annotation: Any, marks: tuple[Any, ...] = ()) -> Iterator[_Declared]:
    """The members of a union that are not null, or the type alone. Names of types are not looked into."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *own = typing.get_args(annotation)
        yield from _alternatives(inner, (*marks, *own))
    elif origin is typing.Union or origin is types.UnionType:
        for member in typing.get_args(annotation):
            yield from _alternatives(member, marks)
    elif annotation is not type(None):
        yield _Declared(annotation, marks)


def _looked_into(annotation: Any) -> Iterator[_Declared]:
    """As `_alternatives`, where a name for a union or for a collection is as good as what it stands for."""
    for one in _alternatives(annotation):
        if isinstance(one.base, TYPE_ALIASES):
            inner = list(_alternatives(one.base.__value__, one.marks))
            if _is_union(one.base.__value__) or any(_is_collection(each.base) for each in inner):
                yield from inner
                continue
        yield one


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_nullable(annotation: Any) -> bool:
    if typing.get_origin(annotation) is Annotated:
        return _is_nullable(typing.get_args(annotation)[0])
    return _is_union(annotation) and type(None) in typing.get_args(annotation)


def _is_collection(base: Any) -> bool:
    return typing.get_origin(base) in _COLLECTIONS


def _members_of(base: Any) -> list[Any]:
    return [one for one in typing.get_args(base) if one is not Ellipsis]


def _said(marks: tuple[Any, ...], *, constraints: bool) -> list[Any]:
    """What `Annotated` says of a type: its names and its validators, and if asked for its constraints as well."""
    said: list[Any] = []
    for mark in marks:
        if isinstance(mark, FieldInfo):
            said += _said(tuple(mark.metadata), constraints=constraints)
            if mark.title is not None:
                said.append(("title", mark.title))
        elif not isinstance(mark, _DOCUMENTATION) and (constraints or not _is_constraint(mark)):
            said.append(mark)
    return said


def _is_constraint(mark: Any) -> bool:
    """Of Pydantic, or of `annotated_types`, which has units as well: those name a thing."""
    if isinstance(mark, _CONSTRAINTS) or type(mark).__name__ == "_PydanticGeneralMetadata":
        return True
    return type(mark).__module__ == "annotated_types" and type(mark).__name__ != "Unit"
