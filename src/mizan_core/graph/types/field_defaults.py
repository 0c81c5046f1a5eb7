"""A default inside of an annotation: `Annotated[int, Field(default=1)]` means the same as `= 1`."""

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeAlias

from pydantic.fields import FieldInfo

from ...errors import DeclarationError
from .aliases import TYPE_ALIASES, without_options

# Makes the value that a function is given for an argument that was not sent.
MakeDefault: TypeAlias = Callable[[], object]

_OPTIONS = ("default", "default_factory")


def take_default(name: str, annotation: Any) -> tuple[MakeDefault | None, Any]:
    """The maker of a parameter's default, and its annotation without the default: Pydantic would fill it in as if sent.

    Raises `DeclarationError` for a default inside of a NewType, and for a factory that takes other values.
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
    """Every `Field(...)` with a default in the outermost `Annotated` of an annotation."""
    if typing.get_origin(annotation) is Annotated:
        for one in typing.get_args(annotation)[1:]:
            if isinstance(one, FieldInfo) and not one.is_required():
                yield one


def _named(annotation: Any) -> Any:
    """The type behind a NewType, through NewTypes of NewTypes."""
    while isinstance(annotation, typing.NewType):
        annotation = annotation.__supertype__
    return annotation
