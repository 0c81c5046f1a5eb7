"""Invalidations as JSON, in notifications and in rows of the outbox: written by triggers in SQL, or by Python here.

One payload is of one context: `{"context": "orders", "scopes": [{"customer_id": 7}, {"customer_id": 8}]}`, with
`"function"` where it is of one reader. A scope without parameters is the whole context.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from ...errors import DeclarationError
from ...graph.model import Graph
from ...graph.narrowing import named
from ...protocol.invalidation import Invalidation
from ...protocol.values import jsonable


def payloads_of(invalidations: Iterable[Invalidation]) -> list[str]:
    """One payload for each context and reader."""
    scopes: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for one in invalidations:
        params = {name: jsonable(value) for name, value in one.params.items()}
        scopes.setdefault((one.context, one.function), []).append(params)
    return [payload(context, function, found) for (context, function), found in scopes.items()]


def payload(context: str, function: str | None, scopes: Iterable[Mapping[str, object]]) -> str:
    """The payload of these scopes."""
    named_function = {} if function is None else {"function": function}
    return json.dumps({"context": context, **named_function, "scopes": list(scopes)}, ensure_ascii=False)


def read_payload(graph: Graph, text: str) -> list[Invalidation]:
    """The invalidations of a payload, with their values as the parameters spell them.

    Another version of the program may have written it: what this graph does not know of a context widens to all of it.
    Raises `ValueError` for what is no payload, and `DeclarationError` for a context that the graph does not have.
    """
    match json.loads(text, parse_float=Decimal):
        case {"context": str(context), "scopes": [*scopes], **rest} if all(isinstance(one, dict) for one in scopes):
            return list(_invalidations(graph, context, rest.get("function"), scopes))
    raise ValueError(f"{text[:200]!r} names no context with its scopes.")


def _invalidations(
    graph: Graph, context: str, function: object, scopes: Iterable[Mapping[str, object]]
) -> Iterator[Invalidation]:
    plan = graph.contexts.get(context)
    if plan is None:
        raise DeclarationError(f"There is no context {context!r} in this version of the program.")
    reader = graph.reader(context, function) if isinstance(function, str) else None
    name = None if reader is None else reader.member
    for scope in scopes:
        known = {parameter: _text(value) for parameter, value in scope.items() if parameter in plan.parameters}
        yield from named(graph, Invalidation(context, {}, name), known)


def _text(value: object) -> object:
    """The value as a URL would spell it, for the parameter's validator. A list is one of such values."""
    match value:
        case list():
            return [_text(one) for one in value]
        case bool() | str() | None:
            return value
        case int() | Decimal():
            return str(value)
        case _:
            return value
