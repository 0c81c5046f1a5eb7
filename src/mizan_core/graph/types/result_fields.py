"""The fields of the types that a function may return, which `Result("field")` reads."""

from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from ..signature import union_members
from .json_types import Kinds, kinds_of


def fields_of_results(returns: Any) -> list[Mapping[str, Any]]:
    """For each member of a return annotation that has fields: their annotations by their names in Python."""
    return [found for member in union_members(returns) if (found := _fields_of(member)) is not None]


def kinds_of_field(annotation: Any) -> Kinds | None:
    """The JSON types of a field; None where Pydantic cannot tell."""
    try:
        return kinds_of(TypeAdapter(annotation), serialized=True)
    except Exception:  # noqa: BLE001  # a model may have fields of types that Pydantic does not know
        return None


def _fields_of(annotation: Any) -> Mapping[str, Any] | None:
    """The fields of a model, dataclass, TypedDict or named tuple; None for any other type."""
    if not isinstance(annotation, type) or annotation.__module__ == "builtins":
        return None
    if issubclass(annotation, BaseModel):
        computed = {name: field.return_type for name, field in annotation.model_computed_fields.items()}
        return {name: _annotation_of(field) for name, field in annotation.model_fields.items()} | computed
    if any(hasattr(annotation, mark) for mark in ("__dataclass_fields__", "__required_keys__", "_fields")):
        try:
            return get_type_hints(annotation, include_extras=True)
        except NameError:  # a type that is local to a function and names itself, which Pydantic alone can resolve
            return dict.fromkeys(annotation.__annotations__, Any)
    return None


def _annotation_of(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
