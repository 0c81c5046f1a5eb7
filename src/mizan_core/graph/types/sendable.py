"""Tells types that clients can send, those with some JSON for a valid value, from types of Python objects alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json

# Core schemas that accept only Python objects.
_PYTHON_ONLY = frozenset({"is-instance", "is-subclass", "callable"})
# Pydantic's own validator of patterns of bytes, which takes no text.
_PATTERN_OF_BYTES = "pattern_bytes_validator"
# Core schemas that contain one other, by the key under which they have it.
_AROUND = {
    **dict.fromkeys(("nullable", "function-after", "custom-error", "model", "dataclass"), "schema"),
    **dict.fromkeys(("list", "set", "frozenset", "generator"), "items_schema"),
    "dict": "values_schema",
    "json-or-python": "json_schema",
    "lax-or-strict": "lax_schema",
    "call": "arguments_schema",
}


def unsendable(schema: Any) -> str | None:
    """The kind of a part of a core schema that accepts no JSON; None if there is no such part.

    A validator of the developer's may accept anything, so a schema behind one counts as sendable.
    """
    return _found(schema, {})


def _found(schema: Any, known: Mapping[str, Any]) -> str | None:
    """As `unsendable`. `known`: the definitions that a reference has not led to yet."""
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
    """Whether an enum defines `_missing_`, which may return a member for any JSON."""
    return any("_missing_" in vars(one) for one in cls.__mro__ if one.__module__ != "enum")


def _required(schema: Any) -> Iterable[Any]:
    """The schemas of required members. A default wraps a member in a schema of a kind that `_found` passes over."""
    match schema:
        case {"type": "tuple", "items_schema": list(items)}:
            return items
        case {"type": "typed-dict" | "model-fields", "fields": dict(fields)}:
            return [one["schema"] for one in fields.values() if one.get("required", True)]
        case {"fields": list(members)} | {"arguments_schema": list(members)}:  # a dataclass's, a named tuple's
            return [one["schema"] for one in members]
    return ()


def _found_among(schema: Any, values: list[Any]) -> str | None:
    """The kind of the schema if it rejects the JSON of one of these values."""
    validator = SchemaValidator(schema)
    for value in values:
        try:
            validator.validate_json(to_json(value))
        except (ValidationError, PydanticSerializationError):
            return str(schema["type"])
    return None
