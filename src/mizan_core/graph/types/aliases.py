"""The alias of a parameter: its name for clients, in URLs and in scopes; only the function has another one."""

import typing
from collections.abc import Container, Iterator
from typing import Annotated, Any

import typing_extensions
from pydantic.fields import FieldInfo

from ...errors import DeclarationError
from ...protocol.values import check_name

# The class of `type ... = ...` from Python 3.12 on, and its backport.
TYPE_ALIASES = (typing_extensions.TypeAliasType, getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType))

_OPTIONS = ("alias", "alias_priority", "validation_alias", "serialization_alias")


def take_alias(name: str, annotation: Any) -> tuple[str, Any]:
    """A parameter's name for clients, and its annotation without the alias, which Pydantic must not apply again.

    Raises `DeclarationError` for an alias that is not the one name of the whole parameter.
    """
    while isinstance(annotation, TYPE_ALIASES) and any(_aliased(annotation.__value__)):
        annotation = annotation.__value__
    inner, metadata = annotation, list[Any]()
    if typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
    if any(_aliased(inner)):
        raise DeclarationError(
            f"parameter {name!r} has an alias for a part of its type; an alias names the whole parameter: "
            "Annotated[int | None, Field(alias=...)]."
        )
    fields = [one for one in metadata if isinstance(one, FieldInfo) and _has_alias(one)]
    if not fields:
        return name, annotation
    plain = [kept for one in metadata for kept in (without_options(one, _OPTIONS) if one in fields else [one])]
    return _alias(name, fields[-1]), Annotated[(inner, *plain)] if plain else inner


def _alias(name: str, field: FieldInfo) -> str:
    alias, sent = field.validation_alias, field.serialization_alias
    if alias is None or (sent is not None and sent != alias):
        raise DeclarationError(
            f"parameter {name!r} has the serialization_alias {sent!r}, and is read by another name; "
            f"write alias={sent!r}."
        )
    if not isinstance(alias, str):
        raise DeclarationError(
            f"parameter {name!r} has {alias!r} for its alias, and a parameter has one name everywhere; write a text."
        )
    check_name("parameter", alias)
    return alias


def _aliased(annotation: Any) -> Iterator[FieldInfo]:
    """Every `Field(...)` with an alias inside of an annotation, at any depth."""
    if isinstance(annotation, TYPE_ALIASES):
        return
    for one in typing.get_args(annotation):
        if isinstance(one, FieldInfo):
            if _has_alias(one):
                yield one
        else:
            yield from _aliased(one)


def _has_alias(field: FieldInfo) -> bool:
    return any(getattr(field, option) is not None for option in _OPTIONS)


def without_options(field: FieldInfo, options: Container[str]) -> list[Any]:
    """The metadata that is left of a `Field(...)` without these options."""
    said = {name: value for name, value in field._attributes_set.items() if name not in options}  # noqa: SLF001  # there is no other way to ask
    return [*([FieldInfo(**said)] if said else []), *field.metadata]
