"""Sets and dictionaries whose members a sender could choose so that they all have one hash.

Python seeds the hashes of texts and bytes. It does not seed those of numbers, UUIDs and tuples: a set of 20,000 chosen
integers takes seconds to build, since each member is compared with all that came before it. Such sets are looked at
before they are built, in time that grows with their length alone.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, SchemaValidator, core_schema

from .texts import needs_json

# Types whose values have seeded hashes, or too few values to fill a set with.
_SEEDED = frozenset({"str", "bytes", "bool", "none", "literal", "enum", "date", "url", "multi-host-url"})

# Fewer members than this are built at once, whatever they are.
_FEW = 64
# Different values with one hash: -1 and -2 have, and so may a few others by chance.
_ALIKE = 8
# The longest set whose members Pydantic takes from JSON alone: they cannot be looked at before.
_UNSEEN = 1000
_BOUNDED = frozenset({"set", "frozenset", "dict"})

# What holds no schemas, but values.
_VALUES = frozenset(
    {"metadata", "serialization", "default", "function", "default_factory", "expected", "members", "cls"}
)

# A model's own validator knows nothing of what was changed in its schema; older versions of Pydantic do not use it.
_ANEW = {"_use_prebuilt": False} if "_use_prebuilt" in str(SchemaValidator.__text_signature__) else {}


def without_collisions(schema: Any) -> Any:
    """The schema that refuses such sets and dictionaries. It equals the one given where there are none."""
    return _changed(schema, schema.get("definitions", []))


def validator_of(schema: Any) -> SchemaValidator:
    """A validator of a schema that was changed, inside of models as well."""
    return SchemaValidator(schema, None, **_ANEW)


def _changed(schema: Any, definitions: Sequence[Any]) -> Any:
    match schema:
        case {"type": str()}:
            inner = {name: one if name in _VALUES else _changed(one, definitions) for name, one in schema.items()}
            members = _hashed(schema)
            if members is None or _is_seeded(members):
                return inner
            if needs_json(schema) and schema["type"] in _BOUNDED:
                return inner | {"max_length": min(_UNSEEN, schema.get("max_length", _UNSEEN))}
            return _watched(inner, SchemaValidator(_listing(members, definitions)).validate_python)
        case dict():
            return {name: _changed(value, definitions) for name, value in schema.items()}
        case list():
            return [_changed(one, definitions) for one in schema]
    return schema


def _hashed(schema: Any) -> Any:
    """The schema of the members that are found by their hashes; None where there are none."""
    match schema:
        case {"keys_schema": {"type": "any"}}:
            return None  # JSON has texts for keys, and nothing makes anything else of them
        case {"keys_schema": keys}:
            return keys
        case {"type": "set" | "frozenset"}:
            return schema.get("items_schema", core_schema.any_schema())
    return None


def _is_seeded(schema: Any) -> bool:
    match schema:
        case {"type": "nullable", "schema": inner}:
            return _is_seeded(inner)
    return schema["type"] in _SEEDED


def _listing(members: Any, definitions: Sequence[Any]) -> Any:
    listed = core_schema.list_schema(members)
    return core_schema.definitions_schema(listed, [*definitions]) if definitions else listed


def _watched(schema: Any, read: Callable[[Any], list[Any]]) -> Any:
    """The schema behind a function that looks at many members before they are brought together."""

    def watch(given: Any, build: Callable[[Any], Any]) -> Any:
        if isinstance(given, list | dict) and len(given) > _FEW:
            try:
                members = read([*given])
            except ValidationError:  # which building it finds as well, with the right names
                return build(given)
            _check(members)
        return build(given)

    # What refers to the schema has to find the function before it.
    inner = {name: value for name, value in schema.items() if name != "ref"}
    return core_schema.no_info_wrap_validator_function(watch, inner, ref=schema.get("ref"))


def _check(members: Sequence[Any]) -> None:
    """Raise where many different members have one hash. Sorting compares hashes, and never asks for a place by one."""
    try:
        hashed = sorted(((hash(one), one) for one in members), key=lambda pair: pair[0])
    except TypeError:  # as building it finds
        return
    for _, alike in groupby(hashed, key=lambda pair: pair[0]):
        found = [one for _, one in alike]
        if len(found) > _ALIKE and len({repr(one) for one in found}) > _ALIKE:
            raise PydanticCustomError("hash_collisions", "Input has too many different members with one hash")
