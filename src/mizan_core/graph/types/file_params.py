"""Parameters that take files: `File`, `File | None` and `list[File]`, and where they may not stand."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import TypeAdapter

from ...errors import DeclarationError
from ...protocol.files import File
from .aliases import TYPE_ALIASES

# Each file of a call may be an open file of the process, so a list has a bound though none is declared.
MAXIMUM_FILES = 100


def takes_file(name: str, annotation: Any) -> bool:
    """Whether a parameter takes files. Raises `DeclarationError` for one that has them inside of another type."""
    if not mentions_file(annotation):
        return False
    members = [one for one in _alternatives(annotation) if one is not type(None)]
    if members == [File] or (len(members) == 1 and _is_list_of_files(members[0])):
        return True
    raise DeclarationError(
        f"parameter {name!r} has a File inside of its type, and a file comes as a part of its own; take it as a "
        "parameter: File, File | None or list[File]."
    )


def most_files(adapter: TypeAdapter[Any]) -> int:
    """How many files a parameter that takes files takes at most."""
    schema = adapter.json_schema()
    shapes = [one for one in schema.get("anyOf", [schema]) if one.get("type") == "array"]
    return min(shapes[0].get("maxItems", MAXIMUM_FILES), MAXIMUM_FILES) if shapes else 1


def mentions_file(annotation: Any) -> bool:
    """Whether an annotation contains `File` at any depth."""
    return any(part is File for part in _parts(annotation))


def _is_list_of_files(member: Any) -> bool:
    return typing.get_origin(member) is list and list(_alternatives(typing.get_args(member)[0])) == [File]


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the type alone; `Annotated`, NewTypes and aliases are resolved."""
    if isinstance(annotation, TYPE_ALIASES):
        yield from _alternatives(annotation.__value__)
    elif isinstance(annotation, typing.NewType):
        yield from _alternatives(annotation.__supertype__)
    elif typing.get_origin(annotation) is Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation


def _parts(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, TYPE_ALIASES):
        yield from _parts(annotation.__value__)
    elif isinstance(annotation, typing.NewType):
        yield from _parts(annotation.__supertype__)
    else:
        yield annotation
        for one in typing.get_args(annotation):
            yield from _parts(one)
