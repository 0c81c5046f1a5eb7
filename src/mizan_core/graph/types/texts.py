"""Core schemas that read texts: a URL or a form spells every value as text, also of strict types and of numbers.

Pydantic's lax mode reads numbers, dates and UUIDs from text, but not for strict types, nor for literals and enums of
numbers. Models and dataclasses stay unchanged, since no text spells them.
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

# Pydantic's validators of texts, by type. Booleans come first, since Python counts them as integers.
_LAX = {
    bool: SchemaValidator(core_schema.bool_schema()),
    int: SchemaValidator(core_schema.int_schema()),
    float: SchemaValidator(core_schema.float_schema()),
}


def for_texts(schema: Any) -> Any:
    """The schema that accepts texts for the same values. Equal to the schema given if that accepts them already."""
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
    """The texts that are a value of a literal or an enum, and also the spelling of one of its numbers."""
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
    """As `for_texts`, for each member of a typed dictionary."""
    return _with_fields(schema, lambda field: {**field, "schema": for_texts(field["schema"])}, for_texts)


def partial(schema: Any) -> Any:
    """The schema of a typed dictionary, with no member required."""
    return _with_fields(schema, lambda field: {**field, "required": False}, lambda definitions: definitions)


def needs_json(schema: Any) -> bool:
    """Whether values from JSON have to be validated as JSON, with which Pydantic is less strict than with Python."""
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
    """The schema behind a function that reads a text as one of the numbers among the values, if there are any."""
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

    # References to the schema have to lead to the function.
    inner = {name: value for name, value in schema.items() if name != "ref"}
    return core_schema.no_info_before_validator_function(read, inner, ref=schema.get("ref"))


def _texts_of(values: Sequence[Any]) -> set[str]:
    return {value for value in values if isinstance(value, str)}


def _numbers_of(values: Sequence[Any]) -> dict[str, Any]:
    """The numbers among the values, by the texts that spell them."""
    return {canonical(value): value for value in values if _kind(value) in _LAX and math.isfinite(_raw(value))}


def _kind(value: object) -> type:
    return type(_raw(value))


def _raw(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
