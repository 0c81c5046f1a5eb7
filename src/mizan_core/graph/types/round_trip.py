"""Whether a value's canonical text, read back as a URL's text, gives that value again (protocol, section 2).

If it does not, the text belongs to another value or to none: the value has no canonical URL and does not narrow. For
most types all values come back, which is known at start-up and costs nothing per request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from pydantic_core import SchemaValidator

from ...errors import InvalidValue
from ...protocol.values import canonical, jsonable
from .texts import for_texts

# Types whose values each have one text of their own. Others do not: a text may be changed when it is validated, and
# equal values may have several forms, such as a moment in two zones.
_EXACT = frozenset({"int", "bool", "uuid", "date"})
_CHANGING = ("strip_whitespace", "to_lower", "to_upper")


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Reads values of a type back from their texts, for a type with values that may not come back."""

    read: Callable[[object], Any]

    def of(self, value: object) -> Any:
        """The equal value that the canonical text of `value` gives. Raises `InvalidValue` if it gives no such value."""
        plain = jsonable(value)
        try:
            again = self.read(list(map(canonical, plain)) if isinstance(plain, list) else canonical(plain))
            is_same = _is_same(again, value)
        except Exception as error:  # a type may have a validator of the developer's, which may raise anything
            raise InvalidValue("Its canonical text cannot be read.") from error
        if not is_same:
            raise InvalidValue("Its canonical text is that of another value.")
        return again


RoundTrips: TypeAlias = Mapping[str, RoundTrip]


def round_trip_of(schema: Any) -> RoundTrip | None:
    """The check for the values of a type; None if each of them comes back."""
    return None if _is_exact(schema) else RoundTrip(_reader(schema))


def read_back(trips: RoundTrips, sent: Mapping[str, object]) -> Mapping[str, object] | None:
    """The values that the canonical texts of `sent` give; None if one of them does not come back."""
    changed: dict[str, object] = {}
    try:
        for name, trip in trips.items():
            if sent.get(name) is not None:
                changed[name] = trip.of(sent[name])
    except InvalidValue:
        return None
    return {**sent, **changed} if changed else sent


def _is_exact(schema: Any) -> bool:
    match schema:
        case {"type": str(kind)} if kind in _EXACT:
            return True
        case {"type": "str"}:
            return not any(schema.get(setting) for setting in _CHANGING)
        case {"type": "nullable", "schema": inner} | {"type": "lax-or-strict", "lax_schema": inner}:
            return _is_exact(inner)
        case {"type": "list", "items_schema": inner}:
            return inner["type"] != "nullable" and _is_exact(inner)  # no text of a list's member is null
        case {"type": "literal", "expected": list(values)} | {"type": "enum", "members": list(values)}:
            trip = RoundTrip(_reader(schema))
            return all(_survives(trip, value) for value in values)
    return False


def _reader(schema: Any) -> Callable[[object], Any]:
    return SchemaValidator(for_texts(schema)).validate_python


def _survives(trip: RoundTrip, value: object) -> bool:
    try:
        trip.of(value)
    except InvalidValue:
        return False
    return True


def _is_same(one: object, other: object) -> bool:
    """Whether two values have the same type and text, and the members of lists pairwise."""
    if type(one) is not type(other) or canonical(one) != canonical(other):
        return False
    if isinstance(one, Enum):
        return one is other  # two members may have one text, such as 1 and "1"
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return all(map(_is_same, one, other))
    return True
