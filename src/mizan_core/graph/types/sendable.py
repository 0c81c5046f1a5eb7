"""Which types a client can send: those of which some JSON is a valid value."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json

# Core schemas that take nothing but Python objects.
_PYTHON_ONLY = frozenset({"is-instance", "is-subclass", "callable"})
# Pydantic's own validator of patterns of bytes, which takes no text.
_PATTERN_OF_BYTES = "pattern_bytes_validator"
# Core schemas around one other, by the key of that one.
_AROUND = {
    **dict.fromkeys(("nullable", "function-after", "custom-error", "model", "dataclass"), "schema"),
    **dict.fromkeys(("list", "set", "frozenset", "generator"), "items_schema"),
    "dict": "values_schema",
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
    "call": "arguments_schema",
}


def unsendable(schema: Any) -> str | None:
    """What of a core schema no JSON can give, by its kind; None where there is no such part.

    Developers' own validators may take anything, so what stands behind them is not looked at.
    """
    return _found(schema, {})


def _found(schema: Any, known: Mapping[str, Any]) -> str | None:
    """`known`: the definitions that have not been looked into yet."""
    match schema:
        case {"type": str(kind)} if kind in _PYTHON_ONLY:
            return kind
        case {"type": str(kind)} if kind in _AROUND:
            return _found(schema.get(_AROUND[kind]), known)
        case {"type": "literal", "expected": list(values)}:
            return _found_among(schema, values)
        case {"type": "enum", "members": list(values), "cls": cls}:
            return None if _finds_missing(cls) else _found_among(schema, values)
        case {"type": "function-plain", "function": {"function": function}}:
            return "is-instance" if getattr(function, "__name__", "") == _PATTERN_OF_BYTES else None
        case {"type": "definitions", "schema": inner, "definitions": definitions}:
            return _found(inner, {one["ref"]: one for one in definitions})
        case {"type": "definition-ref", "schema_ref": ref}:
            return _found(known.get(ref), {name: one for name, one in known.items() if name != ref})
        case {"type": "union", "choices": list(choices)}:
            found = [_found(one[0] if isinstance(one, tuple) else one, known) for one in choices]
            return found[0] if all(found) else None
    return next(filter(None, (_found(one, known) for one in _required(schema))), None)


def _finds_missing(cls: type) -> bool:
    """Whether an enum has a `_missing_` of its developer's, which may find a member for anything."""
    return any("_missing_" in vars(one) for one in cls.__mro__ if one.__module__ != "enum")


def _required(schema: Any) -> Iterable[Any]:
    """The schemas of what has to be there. A member with a default is behind a schema that says so."""
    match schema:
        case {"type": "tuple", "items_schema": list(items)}:
            return items
        case {"type": "typed-dict" | "model-fields", "fields": dict(fields)}:
            return [one["schema"] for one in fields.values() if one.get("required", True)]
        case {"fields": list(members)} | {"arguments_schema": list(members)}:  # a dataclass's, a named tuple's
            return [one["schema"] for one in members]
    return ()


def _found_among(schema: Any, values: list[Any]) -> str | None:
    """The kind of the schema if it does not take the JSON of each of these."""
    validator = SchemaValidator(schema)
    for value in values:
        try:
            validator.validate_json(to_json(value))
        except (ValidationError, PydanticSerializationError):
            return str(schema["type"])
    return None
