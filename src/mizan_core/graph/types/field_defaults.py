"""A default that an annotation gives, `Annotated[int, Field(default=1)]`: for everybody the same as `= 1`."""

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeAlias

from pydantic.fields import FieldInfo

from ...errors import DeclarationError
from .aliases import TYPE_ALIASES, without_options

# Makes the value that a function is given in place of what was not sent.
MakeDefault: TypeAlias = Callable[[], object]

_OPTIONS = ("default", "default_factory")


def take_default(name: str, annotation: Any) -> tuple[MakeDefault | None, Any]:
    """What makes a parameter's default, and its annotation without it: Pydantic would fill it in as if it were sent.

    Raises `DeclarationError` for a default that cannot be told from here.
    """
    while isinstance(annotation, TYPE_ALIASES) and any(_defaults(annotation.__value__)):
        annotation = annotation.__value__
    if isinstance(annotation, typing.NewType) and any(_defaults(_named(annotation))):
        raise DeclarationError(
            f"parameter {name!r} has a default inside the NewType {annotation.__name__}; write it as the parameter's "
            "own: = ..."
        )
    fields = list(_defaults(annotation))
    if not fields:
        return None, annotation
    if any(field.default_factory_takes_validated_data for field in fields):
        raise DeclarationError(
            f"parameter {name!r} has a default_factory that takes other values; let the function work it out."
        )
    inner, *metadata = typing.get_args(annotation)
    plain = [kept for one in metadata for kept in (without_options(one, _OPTIONS) if one in fields else [one])]
    make = functools.partial(fields[-1].get_default, call_default_factory=True)
    return make, Annotated[(inner, *plain)] if plain else inner


def _defaults(annotation: Any) -> Iterator[FieldInfo]:
    """Every `Field(...)` with a default that stands around the whole of an annotation."""
    if typing.get_origin(annotation) is Annotated:
        for one in typing.get_args(annotation)[1:]:
            if isinstance(one, FieldInfo) and not one.is_required():
                yield one


def _named(annotation: Any) -> Any:
    """What a NewType stands for, and the NewTypes of which it is one."""
    while isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    return annotation
