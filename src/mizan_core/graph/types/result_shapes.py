"""The shape of the JSON of a reader's results: a part of the fingerprint that keeps versions of a context apart.

A version that adds a field must not serve stored answers without it. A version that removes a secret must not serve
stored answers with it.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

# Members of a JSON schema that do not change an answer.
_FOR_PEOPLE = frozenset({"title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly"})

# Members of a schema that map names to schemas.
_NAMED = frozenset({"properties", "patternProperties", "$defs"})


class _Shapes(GenerateJsonSchema):
    """Generates a JSON schema for every type; for one that has none, from the name of its class."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002  # Pydantic's
        kind = schema.get("cls")
        return {"core": schema["type"], "class": getattr(kind, "__qualname__", "")}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """No warning: a default without a JSON form does not change an answer."""


def result_shape(result: TypeAdapter[Any]) -> object:
    """The shape as data of JSON types, the same in every process; None if Pydantic cannot tell."""
    try:
        schema = result.json_schema(mode="serialization", schema_generator=_Shapes)
    except Exception:  # noqa: BLE001  # a type's hook may raise anything
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
