"""What the JSON of a reader's results looks like: part of what tells stored entries of two versions apart.

A version that adds a field must not serve answers without it, and one that removes a secret must not serve it on.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

# What a schema says for readers of it, and nothing that shows in an answer.
_FOR_PEOPLE = frozenset({"title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly"})

# Members of a schema that map names to schemas.
_NAMED = frozenset({"properties", "patternProperties", "$defs"})


class _Shapes(GenerateJsonSchema):
    """A JSON schema also of what has none, by the name of its class."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002  # Pydantic's
        kind = schema.get("cls")
        return {"core": schema["type"], "class": getattr(kind, "__qualname__", "")}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that has no JSON does not show in an answer."""


def result_shape(result: TypeAdapter[Any]) -> object:
    """JSON-able, equal for equal shapes, and the same in every process."""
    try:
        schema = result.json_schema(mode="serialization", schema_generator=_Shapes)
    except Exception:  # noqa: BLE001  # a type's hook may raise anything, and then its shape is not known
        return None
    return _shape(schema)


def _shape(schema: Any, *, named: bool = False) -> Any:
    match schema:
        case dict() if named:
            return {name: _shape(one) for name, one in schema.items()}
        case dict():
            kept = {name: one for name, one in schema.items() if name not in _FOR_PEOPLE}
            return {
                name: sorted(one) if name == "required" else _shape(one, named=name in _NAMED)
                for name, one in kept.items()
            }
        case list():
            return [_shape(one) for one in schema]
    return schema
