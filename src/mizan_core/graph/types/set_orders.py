"""The order of sets in results: that of canonical texts (protocol, section 2), and not Python's own.

Python orders a set of texts differently in each process, and the same data has to give the same bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ...protocol.values import set_order

# Puts a set's members, dumped as plain JSON types, into their order; in place where it can.
Order: TypeAlias = Callable[[Any], Any]

# Kinds of core schema that dump as the one inside.
_LIKE_THE_INNER = frozenset(
    {
        *("nullable", "default", "model", "dataclass", "definitions", "lax-or-strict"),
        *("function-before", "function-after", "function-wrap"),
    }
)


def order_of_sets(schema: Any) -> Order | None:
    """A function that orders the sets in a dumped value of this core schema; None if it has none.

    Sets in unions and in types that contain themselves keep Python's order, and so do those that a serializer of the
    developer's writes.
    """
    kind = schema["type"]
    if "serialization" in schema:
        return None
    if kind in ("set", "frozenset"):
        return _set(_inner(schema, "items_schema"))
    if kind == "list":
        return _each(_inner(schema, "items_schema"))
    if kind == "dict":
        return _values(_inner(schema, "values_schema"))
    if kind in ("model-fields", "typed-dict", "dataclass-args"):
        return _fields(schema["fields"])
    if kind in _LIKE_THE_INNER:
        return _inner(schema, "strict_schema" if kind == "lax-or-strict" else "schema")
    return None


def _inner(schema: Any, name: str) -> Order | None:
    return order_of_sets(schema[name]) if name in schema else None


def _set(order: Order | None) -> Order:
    def ordered(plain: Any) -> Any:
        if not isinstance(plain, list):
            return plain
        return sorted(plain if order is None else map(order, plain), key=set_order)

    return ordered


def _each(order: Order | None) -> Order | None:
    if order is None:
        return None
    return lambda plain: [order(item) for item in plain] if isinstance(plain, list) else plain


def _values(order: Order | None) -> Order | None:
    if order is None:
        return None
    return lambda plain: {name: order(item) for name, item in plain.items()} if isinstance(plain, dict) else plain


def _fields(fields: Any) -> Order | None:
    """Of a model: its fields by the names under which they are dumped."""
    named = fields.items() if isinstance(fields, Mapping) else [(field["name"], field) for field in fields]
    orders = {
        field.get("serialization_alias", name): order
        for name, field in named
        if (order := order_of_sets(field["schema"])) is not None
    }
    if not orders:
        return None

    def ordered(plain: Any) -> Any:
        if isinstance(plain, dict):
            for name, order in orders.items():
                if name in plain:
                    plain[name] = order(plain[name])
        return plain

    return ordered
