"""Bodies of calls and of their answers, as JSON (protocol, section 3)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic_core import from_json

from ..errors import BadRequest, InvalidInput
from .invalidation import Invalidation
from .values import canonical, jsonable

# The arguments of a call that has none; never changed, since validation makes a new dictionary.
_NO_ARGUMENTS: dict[str, Any] = {}


def encode_json(value: object) -> bytes:
    """Data of JSON types as bytes: keys sorted, no spaces, UTF-8 unescaped, integers of any size kept exactly.

    Raises TypeError or ValueError for data without a JSON form.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # orjson writes integers of up to 64 bits
        return orjson.dumps(_written_out(value), option=orjson.OPT_SORT_KEYS)


def parse_json(body: bytes) -> Any:
    """The data of a JSON body. Integers keep every digit, which orjson would not do. Raises `BadRequest`."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        raise BadRequest("The body is not JSON that can be read.") from None


def parse_call(body: bytes) -> tuple[str, dict[str, Any]]:
    """The function's name and the arguments in the body of a call. Raises `BadRequest` and `InvalidInput`."""
    if not body:
        raise BadRequest('The body is missing. Send {"fn": name, "args": {...}}.')
    call = parse_json(body)
    if type(call) is dict and len(call) == 2:
        name, args = call.get("fn"), call.get("args")
        if type(name) is str and type(args) is dict:
            return name, args
    return _read_call(call)


def _read_call(call: object) -> tuple[str, dict[str, Any]]:
    """As `parse_call`, for any JSON: arguments may be left out, and each defect has its own message."""
    if not isinstance(call, dict):
        raise BadRequest("The body is not a JSON object.")
    name, args = call.get("fn"), call.get("args", _NO_ARGUMENTS)
    if not isinstance(name, str):
        raise BadRequest("'fn' is missing or is not a text.")
    if len(call) > (1 if args is _NO_ARGUMENTS else 2):
        raise BadRequest("The body has members other than 'fn' and 'args'.")
    return name, as_arguments(args)


def as_arguments(value: object) -> dict[str, Any]:
    """An object of arguments. Raises `InvalidInput` for anything else."""
    if not isinstance(value, dict):
        raise InvalidInput(errors=[{"loc": ["args"], "msg": "Input should be an object", "type": "dict_type"}])
    return value


def invalidation_json(invalidations: Iterable[Invalidation]) -> list[object]:
    """`invalidate` in a call's answer (protocol, section 3). Values keep their JSON type."""
    return [_entry(one) for one in invalidations]


def read_invalidations(entries: object) -> tuple[Invalidation, ...]:
    """The invalidations in `invalidate` of a call's answer. Raises `BadRequest` for anything but a list of entries."""
    if not isinstance(entries, list):
        raise BadRequest("'invalidate' is not a list.")
    return tuple(map(_read_entry, entries))


def call_body(result: bytes, invalidations: Sequence[Invalidation]) -> bytes:
    """The body of a call's answer. `result` is JSON already."""
    if not invalidations:
        return b'{"result":%b}' % result
    return b'{"invalidate":%b,"result":%b}' % (_entries(invalidations), result)


def refreshing_body(
    result: bytes, invalidations: Sequence[Invalidation], refreshed: Iterable[tuple[str, Mapping[str, object], bytes]]
) -> bytes:
    """As `call_body`, with refreshed bundles: of each its context, its parameters and its JSON, which is copied in."""
    bundles = encode_json(
        [{"context": context, "params": params, "data": orjson.Fragment(data)} for context, params, data in refreshed]
    )
    stale = b'"invalidate":%b,' % _entries(invalidations) if invalidations else b""
    return b'{%b"refreshed":%b,"result":%b}' % (stale, bundles, result)


def _entries(invalidations: Iterable[Invalidation]) -> bytes:
    return b"[%b]" % b",".join([one.encoded(_encode_entry) for one in invalidations])


def _encode_entry(invalidation: Invalidation) -> bytes:
    return bytes(memoryview(encode_json(_entry(invalidation))))  # a copy, without the encoder's spare room


def _entry(invalidation: Invalidation) -> object:
    params = {
        name: jsonable(value)
        for name, value in invalidation.params.items()
        if value is not None or name in invalidation.nulls
    }
    if invalidation.function is None and not params:
        return invalidation.context
    entry: dict[str, object] = {"context": invalidation.context}
    if invalidation.function is not None:
        entry["function"] = invalidation.function
    if params:
        entry["params"] = params
    return entry


def _read_entry(entry: object) -> Invalidation:
    match entry:
        case str():
            return Invalidation(entry)
        case {"context": str(context), **rest}:
            params, function = rest.get("params", {}), rest.get("function")
            if isinstance(params, dict) and (function is None or isinstance(function, str)):
                return Invalidation(context, params, function, frozenset(_nulls(params)))
    raise BadRequest("An entry of 'invalidate' cannot be read.")


def _nulls(params: Mapping[str, object]) -> Iterable[str]:
    return (name for name, value in params.items() if value is None)


def _written_out(value: object) -> object:
    """The same data with each integer that orjson cannot write as a fragment, which orjson copies in."""
    match value:
        case int():
            return value if -(2**63) <= value < 2**64 else orjson.Fragment(canonical(value))
        case Mapping():
            return {name: _written_out(item) for name, item in value.items()}
        case list() | tuple():
            return [_written_out(item) for item in value]
    return value
