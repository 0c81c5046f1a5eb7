"""Refuses sets and dictionaries whose members a sender has chosen to have equal hashes.

Python seeds the hashes of texts and bytes, and not those of numbers, UUIDs and tuples: a set of 20,000 chosen integers
takes seconds to build, since each member is compared with all before it. The members of such types are therefore
checked before the set is built, in time n log n.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError, SchemaValidator, core_schema

from .texts import needs_json

# Types with seeded hashes, or with too few values to fill a set.
_SEEDED = frozenset({"str", "bytes", "bool", "none", "literal", "enum", "date", "url", "multi-host-url"})

# A set of up to so many members is built unchecked.
_FEW = 64
# So many different values may have one hash by chance, as -1 and -2 have.
_ALIKE = 8
# The longest set of a type that Pydantic reads from JSON alone, whose members cannot be checked before.
_UNSEEN = 1000
_BOUNDED = frozenset({"set", "frozenset", "dict"})

# Keys of a core schema whose values are not schemas.
_VALUES = frozenset(
    {"metadata", "serialization", "default", "function", "default_factory", "expected", "members", "cls"}
)

# By default Pydantic uses a model's own validator, which lacks the changes to its schema. Older versions do not.
_ANEW = {"_use_prebuilt": False} if "_use_prebuilt" in str(SchemaValidator.__text_signature__) else {}


def without_collisions(schema: Any) -> Any:
    """The schema that refuses such sets and dictionaries. Equal to the schema given if that has none."""
    return _changed(schema, schema.get("definitions", []))


def validator_of(schema: Any) -> SchemaValidator:
    """A validator of a changed schema, which applies the changes inside of models too."""
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
            return _checking(inner, SchemaValidator(_listing(members, definitions)).validate_python)
        case dict():
            return {name: _changed(value, definitions) for name, value in schema.items()}
        case list():
            return [_changed(one, definitions) for one in schema]
    return schema


def _hashed(schema: Any) -> Any:
    """The schema of a set's members or a dictionary's keys; None for any other schema."""
    match schema:
        case {"keys_schema": {"type": "any"}}:
            return None  # keys stay the texts that they are in JSON
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


def _checking(schema: Any, read: Callable[[Any], list[Any]]) -> Any:
    """The schema behind a function that checks many members before the set is built."""

    def check(given: Any, build: Callable[[Any], Any]) -> Any:
        if isinstance(given, list | dict) and len(given) > _FEW:
            try:
                members = read([*given])
            except ValidationError:  # building it raises this too, with the right locations
                return build(given)
            _check(members)
        return build(given)

    # References to the schema have to lead to the function.
    inner = {name: value for name, value in schema.items() if name != "ref"}
    return core_schema.no_info_wrap_validator_function(check, inner, ref=schema.get("ref"))


def _check(members: Sequence[Any]) -> None:
    """Raise if many different members have one hash. Sorting by hash needs no hash table, so it stays fast."""
    try:
        hashed = sorted(((hash(one), one) for one in members), key=lambda pair: pair[0])
    except TypeError:  # an unhashable member: building the set raises it
        return
    for _, alike in groupby(hashed, key=lambda pair: pair[0]):
        found = [one for _, one in alike]
        if len(found) > _ALIKE and len({repr(one) for one in found}) > _ALIKE:
            raise PydanticCustomError("hash_collisions", "Input has too many different members with one hash")
