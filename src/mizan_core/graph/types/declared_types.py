"""Whether an argument and a context's parameter are declared to be the same thing (protocol, section 4).

Equal names are not enough: the `id` of a ticket is not the `id` of an organisation. Two declarations are of one thing
if their types are equal, including names of types: a `NewType`, a `type` statement, and metadata in `Annotated` other
than constraints and documentation, which do not change what a value means.
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

# Collections whose members narrow one by one. No iterators: reading one would leave nothing for the function.
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
    """One alternative of an annotation: a type and its metadata in `Annotated`, from the outside in."""

    base: Any
    marks: tuple[Any, ...]


def same_declared_type(argument: Any, parameter: Any, *, constraints: bool = False) -> bool:
    """Whether an argument is annotated as a parameter's thing, or as a collection of such things, null aside.

    `constraints`: they have to be equal as well, so that each value of one is a value of the other.
    """
    wanted = list(_alternatives(parameter))
    return _is_one_of(list(_alternatives(argument)), wanted, constraints) or _is_made_of(argument, wanted, constraints)


def has_bare_type(annotation: Any) -> bool:
    """Whether an annotation is a general type alone, such as int or str, which does not tell things apart."""
    return all(
        all(map(has_bare_type, _members_of(one.base)))
        if _is_collection(one.base)
        else one.base in _GENERAL and not _relevant(one.marks, constraints=False)
        for one in _without_aliases(annotation)
    )


def show_type(annotation: Any) -> str:
    """An annotation for a message: classes by their names alone, without `typing.`."""
    if isinstance(annotation, typing.NewType):
        return str(annotation.__name__)
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _is_made_of(argument: Any, wanted: list[_Declared], constraints: bool) -> bool:
    """As `same_declared_type`, with aliases of unions and collections resolved: all alternatives must be `wanted`."""
    members: list[_Declared] = []
    for one in _without_aliases(argument):
        if _is_collection(one.base) and not _relevant(one.marks, constraints=False):
            inner = [member for each in _members_of(one.base) for member in _without_aliases(each)]
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
    marks, others = (_relevant(declared.marks, constraints=constraints) for declared in (one, other))
    return marks == others and _equal_types(one.base, other.base, constraints)


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
    """The members of a union that are not null, or the type alone. Aliases are not resolved."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *own = typing.get_args(annotation)
        yield from _alternatives(inner, (*marks, *own))
    elif origin is typing.Union or origin is types.UnionType:
        for member in typing.get_args(annotation):
            yield from _alternatives(member, marks)
    elif annotation is not type(None):
        yield _Declared(annotation, marks)


def _without_aliases(annotation: Any) -> Iterator[_Declared]:
    """As `_alternatives`, with the aliases of unions and collections resolved."""
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


def _relevant(marks: tuple[Any, ...], *, constraints: bool) -> list[Any]:
    """The metadata that makes a type another one: names and validators, and with `constraints` also these."""
    relevant: list[Any] = []
    for mark in marks:
        if isinstance(mark, FieldInfo):
            relevant += _relevant(tuple(mark.metadata), constraints=constraints)
            if mark.title is not None:
                relevant.append(("title", mark.title))
        elif not isinstance(mark, _DOCUMENTATION) and (constraints or not _is_constraint(mark)):
            relevant.append(mark)
    return relevant


def _is_constraint(mark: Any) -> bool:
    """Whether a mark is a constraint of Pydantic or of `annotated_types`. A unit of the latter names a thing."""
    if isinstance(mark, _CONSTRAINTS) or type(mark).__name__ == "_PydanticGeneralMetadata":
        return True
    return type(mark).__module__ == "annotated_types" and type(mark).__name__ != "Unit"
