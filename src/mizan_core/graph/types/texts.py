"""Core schemas as texts need them: a URL or a form spells every value as text, strict types and numbers included.

Pydantic's lax mode reads numbers, dates and UUIDs from text. It does not for strict types, nor for literals and enums
of numbers. The members of models and dataclasses are left alone, for no text spells them.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from pydantic import ValidationError
from pydantic_core import SchemaValidator, core_schema

from ...protocol.values import canonical

_WITH_MEMBERS = frozenset({"model", "dataclass", "typed-dict"})

# How Pydantic reads a text where a value of this type is wanted; booleans first, for they are integers to Python.
_LAX = {
    bool: SchemaValidator(core_schema.bool_schema()),
    int: SchemaValidator(core_schema.int_schema()),
    float: SchemaValidator(core_schema.float_schema()),
}


def for_texts(schema: Any) -> Any:
    """The schema that takes texts for the same values. It equals the one given where that takes texts already."""
    match schema:
        case {"type": str(kind)} if kind in _WITH_MEMBERS:
            return schema
        case {"type": "literal", "expected": expected}:
            return _reading(schema, expected)
        case {"type": "enum", "members": members}:
            return _reading(_lenient(schema), [member.value for member in members])
        case {"type": "lax-or-strict", "lax_schema": branch} | {"type": "json-or-python", "json_schema": branch}:
            return for_texts(branch) | ({"ref": schema["ref"]} if "ref" in schema else {})
        case {"type": str()}:
            return {name: for_texts(value) for name, value in _lenient(schema).items()}
        case list():
            return [for_texts(one) for one in schema]
    return schema


def ambiguous_texts(schema: Any) -> set[str]:
    """Texts that are a value of a literal or an enum themselves, and the spelling of one of its numbers as well."""
    match schema:
        case {"type": "literal", "expected": list(values)}:
            return _texts_of(values) & _numbers_of(values).keys()
        case {"type": "enum", "members": list(members)}:
            return ambiguous_texts({"type": "literal", "expected": [member.value for member in members]})
        case dict():
            return set().union(*(ambiguous_texts(one) for name, one in schema.items() if name != "metadata"))
        case list():
            return set().union(*map(ambiguous_texts, schema))
    return set()


def for_texts_of(schema: Any) -> Any:
    """The same for the members of a typed dictionary."""
    return _with_fields(schema, lambda field: {**field, "schema": for_texts(field["schema"])}, for_texts)


def partial(schema: Any) -> Any:
    """A typed dictionary of which nothing is required."""
    return _with_fields(schema, lambda field: {**field, "required": False}, lambda definitions: definitions)


def needs_json(schema: Any) -> bool:
    """Whether parsed JSON has to be validated as JSON: Pydantic is less strict with JSON than with Python objects."""
    match schema:
        case {"strict": True} | {"type": "json-or-python", "python_schema": {"type": "is-instance"}}:
            return True
        case {"type": "lax-or-strict", "lax_schema": lax}:
            return needs_json(lax)
        case dict():
            return any(needs_json(one) for name, one in schema.items() if name not in ("metadata", "serialization"))
        case list():
            return any(map(needs_json, schema))
    return False


def _with_fields(schema: Any, change: Callable[[Any], Any], define: Callable[[Any], Any]) -> Any:
    if schema["type"] == "definitions":
        inner = _with_fields(schema["schema"], change, define)
        return {**schema, "schema": inner, "definitions": define(schema["definitions"])}
    return {**schema, "fields": {name: change(field) for name, field in schema["fields"].items()}}


def _lenient(schema: Any) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "strict"}


def _reading(schema: Any, values: Sequence[Any]) -> Any:
    """The schema behind a function that finds the number of a text, where some of the values are numbers."""
    texts, numbers = _texts_of(values), _numbers_of(values)
    if not numbers:
        return schema
    kinds = set(map(_kind, numbers.values()))
    validators = [_LAX[kind] for kind in _LAX if kind in kinds]

    def read(given: Any) -> Any:
        if not isinstance(given, str) or given in texts:
            return given
        if given in numbers:
            return numbers[given]
        for validator in validators:
            with contextlib.suppress(ValidationError):
                return validator.validate_python(given)
        return given

    # What refers to the schema has to find the function before it.
    inner = {name: value for name, value in schema.items() if name != "ref"}
    return core_schema.no_info_before_validator_function(read, inner, ref=schema.get("ref"))


def _texts_of(values: Sequence[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _numbers_of(values: Sequence[Any]) -> dict[str, Any]:
    """Those that are numbers, by the texts that spell them."""
    return {canonical(value): value for value in values if _kind(value) in _LAX and math.isfinite(_raw(value))}


def _kind(value: object) -> type:
    return type(_raw(value))


def _raw(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
