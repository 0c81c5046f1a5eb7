"""The JSON types that the values of a type have, read from its JSON schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

_SCALARS = frozenset({"string", "integer", "number", "boolean"})


# The kinds that each kind of value can become in Pydantic's lax mode.
_BECOMES = {
    "string": _SCALARS,
    "integer": frozenset({"integer", "number", "boolean"}),
    "number": frozenset({"integer", "number", "boolean"}),
    "boolean": frozenset({"integer", "number", "boolean"}),
}


@dataclass(frozen=True, slots=True)
class Kinds:
    """JSON types that a value may have; `items`: those of an array's members. "any" if Pydantic cannot tell."""

    own: frozenset[str]
    items: frozenset[str] = frozenset()

    @property
    def nullable(self) -> bool:
        return "null" in self.own

    @property
    def is_list(self) -> bool:
        return "array" in self.own

    @property
    def fits_a_url(self) -> bool:
        """Whether every value is a scalar, or every value is a list of scalars."""
        values = self.own - {"null"}
        if values == {"array"}:
            return bool(self.items) and self.items <= _SCALARS
        return bool(values) and values <= _SCALARS

    def can_become(self, other: "Kinds") -> bool:
        """Whether a value of these kinds, or a member of a list, can be a value of the other kinds."""
        if "any" in self.own or "any" in other.own:
            return True
        if other.is_list:
            return self.is_list
        source = (self.own | self.items) - {"null", "array", "object"}
        return "any" in source or any(_BECOMES[kind] & other.own for kind in source)


def kinds_of(adapter: TypeAdapter[Any], *, serialized: bool = False) -> Kinds:
    """The JSON types of a type, from its JSON schema."""
    try:
        schema = adapter.json_schema(mode="serialization" if serialized else "validation")
    except Exception:  # noqa: BLE001  # not every type has a JSON schema, and a type's hook may raise anything
        return Kinds(frozenset({"any"}))
    return kinds_of_schema(schema, schema.get("$defs", {}))


def kinds_of_schema(schema: Mapping[str, Any] | bool, definitions: Mapping[str, Any]) -> Kinds:
    if isinstance(schema, bool):  # true allows any value, false none
        return Kinds(frozenset({"any"}))
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name not in definitions:  # it contains itself: its definition is being read
            return Kinds(frozenset({"any"}))
        return kinds_of_schema(definitions[name], {one: definitions[one] for one in definitions if one != name})
    alternatives = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if alternatives:
        found = [kinds_of_schema(one, definitions) for one in alternatives]
        return Kinds(
            frozenset().union(*(kinds.own for kinds in found)),
            frozenset().union(*(kinds.items for kinds in found)),
        )
    if "type" not in schema:
        return Kinds(frozenset(_kind_of_value(value) for value in schema.get("enum", [])) or frozenset({"any"}))
    own = frozenset([schema["type"]] if isinstance(schema["type"], str) else schema["type"])
    if "array" not in own:
        return Kinds(own)
    members = schema.get("prefixItems") or [schema.get("items") or {}]
    return Kinds(own, frozenset().union(*(kinds_of_schema(member, definitions).own for member in members)))


def _kind_of_value(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
    return "string"
