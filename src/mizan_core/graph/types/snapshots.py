"""Copies of arguments that a function's body could change in place, such as a list."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

# Kinds of core schema with immutable values, and kinds that are immutable if all of their members are.
_FIXED = frozenset(
    {
        *("str", "int", "float", "bool", "none", "bytes", "decimal", "uuid", "date", "time", "datetime", "timedelta"),
        *("literal", "enum", "complex", "url", "multi-host-url"),
    }
)
_AS_THEIR_MEMBERS = frozenset({"nullable", "default", "union", "tuple", "frozenset", "definitions"})


def may_change(schema: Any) -> bool:
    """Whether a value of this core schema may be changed in place; true if the schema does not tell."""
    kind = schema["type"]
    if kind in _FIXED:
        return False
    return kind not in _AS_THEIR_MEMBERS or any(map(may_change, _members(schema)))


def copied(values: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    """The values, with copies of those under `names`. A value that cannot be copied is kept itself."""
    copies = dict(values)
    for name in names:
        if name in copies:
            copies[name] = _copy(copies[name], copies[name])
    return copies


def snapshot(values: Mapping[str, object], names: Iterable[str]) -> Mapping[str, object]:
    """As `copied`, but a value that cannot be copied becomes null, so that it does not narrow."""
    kept = dict(values)
    for name in names:
        if name in kept:
            kept[name] = _copy(kept[name], None)
    return kept


def _members(schema: Any) -> Iterable[Any]:
    for member in (schema.get("schema"), *_listed(schema.get("choices")), *_listed(schema.get("items_schema"))):
        if member is not None:
            yield member[0] if isinstance(member, tuple) else member


def _listed(members: Any) -> list[Any]:
    return members if isinstance(members, list) else [members]


def _copy(value: object, otherwise: object) -> object:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  # a type of the developer's may refuse to be copied in any way
        return otherwise
