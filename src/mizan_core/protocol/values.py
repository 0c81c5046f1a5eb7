"""Canonical text and canonical JSON of values, and the rule for names (protocol, section 2).

Scopes, keys and headers are compared by canonical text and nothing else: two values are equal if their texts are.
"""

import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from json.encoder import encode_basestring
from pathlib import PurePath
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import ImportString, Secret, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..errors import DeclarationError, InvalidValue

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)

# ECMAScript writes a number with up to this many digits before the point in full, a longer one with an exponent.
_FULL_DIGITS = 21

_NO_TIME, _MINUTE, _DAY = datetime.timedelta(0), datetime.timedelta(minutes=1), datetime.timedelta(days=1)

_SURROGATE = re.compile("[\ud800-\udfff]")


def canonical(value: object) -> str:
    """The canonical text of a validated value (protocol, section 2).

    Raises `InvalidValue` for numbers that are not finite and for values that have no JSON form.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]  # its type is str
    if kind is int:
        try:  # `_integer`, written out: most parameters of most bundles are numbers
            return str(value)
        except ValueError:
            return _integer(value)  # type: ignore[arg-type]
    plain = jsonable(value)
    return plain if isinstance(plain, str) else _json_text(plain)


def canonical_object(texts: Mapping[str, str | None]) -> str:
    """Canonical JSON of an object whose members are all texts, or null."""
    names = sorted(texts) if all(map(str.isascii, texts)) else sorted(texts, key=utf16_order)
    return f"{{{','.join([f'{canonical_string(name)}:{_text_or_null(texts[name])}' for name in names])}}}"


def canonical_json(value: object) -> str:
    """Canonical JSON: no spaces, members sorted by UTF-16 code unit, numbers and text as ECMAScript writes them."""
    return _json_text(jsonable(value))


def jsonable(value: Any) -> Json:
    """The value in plain JSON types. Equal values give the same. The result shares no list or object with the value."""
    if type(value) in _JSON_SCALARS:
        return value  # type: ignore[no-any-return]  # it is one of them
    if isinstance(value, Enum):
        return jsonable(value.value)
    for kind, plain in _PLAIN:
        if isinstance(value, kind):
            return plain(value)
    return _from_pydantic(value)


def utf16_order(text: str) -> bytes:
    """A sort key that orders texts by UTF-16 code unit, as ECMAScript compares them."""
    return text.encode("utf-16-be", "surrogatepass")


def check_name(what: str, name: object) -> None:
    """Raise `DeclarationError` for a name that the protocol does not allow; `what` is the kind of thing it names."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise DeclarationError(
            f"{name!r} cannot name a {what}: a name starts with a letter or '_', goes on with letters, digits, "
            "'_', '.' or '-', and has at most 64 characters, all ASCII."
        )


def _list(value: Any) -> list[Json]:
    return [jsonable(item) for item in value]


def _object(value: Any) -> dict[str, Json]:
    return {canonical(name): jsonable(item) for name, item in value.items()}


def _set(value: Any) -> list[Json]:
    return sorted((jsonable(item) for item in value), key=set_order)


def set_order(item: Json) -> tuple[int, Any]:
    """A sort key: null and booleans, then numbers by size, texts by UTF-16 code unit, the rest by canonical JSON."""
    match item:
        case bool() | None:
            return 0, _json_text(item)
        case int() | float():
            return 1, item
        case str():
            return 2, utf16_order(item)
    return 3, utf16_order(_json_text(item))


def _decimal(value: Any) -> str:
    """Without trailing zeros, and in full up to 21 digits before the point, as for numbers."""
    if not value.is_finite():
        raise InvalidValue("A decimal that is not finite has no canonical text.")
    sign, digits, exponent = value.as_tuple()
    kept = list(digits)
    while kept and kept[-1] == 0:
        kept.pop()
        exponent += 1
    if not kept:
        return "0"
    short = Decimal((sign, kept, exponent))
    return format(short, "f") if exponent > 0 and short.adjusted() < _FULL_DIGITS else str(short)


def _moment(value: Any) -> Json:
    if value.utcoffset() is None:
        return _from_pydantic(value)
    try:
        return _from_pydantic(value.astimezone(datetime.UTC))
    except OverflowError as error:
        raise InvalidValue("A moment that is outside of the years 1 to 9999 in UTC has no canonical text.") from error


def _time_of_day(value: Any) -> Json:
    """An aware time in UTC, or with the offset nearest to UTC that keeps it on the same day.

    Python compares aware times without wrapping at midnight: 00:30+01:00 does not equal 23:30Z.
    """
    offset = value.utcoffset()
    if offset is None:
        return _from_pydantic(value)
    since_midnight = datetime.timedelta(
        hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond
    )
    in_utc = since_midnight - offset
    if in_utc < _NO_TIME:
        shift = -(in_utc // _MINUTE) * _MINUTE
    elif in_utc >= _DAY:
        shift = -((in_utc - _DAY) // _MINUTE + 1) * _MINUTE
    else:
        shift = _NO_TIME
    local = (datetime.datetime.min + (in_utc + shift)).time()
    return _from_pydantic(local.replace(tzinfo=datetime.timezone(shift)))


def _complex(value: Any) -> Json:
    return _from_pydantic(complex(value.real + 0.0, value.imag + 0.0))  # -0.0 + 0.0 is 0.0


def _zone(value: Any) -> str:
    if value.key is None:  # read from a file
        raise InvalidValue("A time zone without a name has no canonical text.")
    return str(value.key)


def _from_pydantic(value: object) -> Json:
    if isinstance(value, _MASKED):
        raise InvalidValue("A secret shows itself as asterisks, as any other does, and has no canonical text.")
    try:
        plain: Json = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise InvalidValue(f"A value of type {type(value).__name__} has no canonical text.") from error
    return plain


_MASKED = (Secret, SecretStr, SecretBytes)

# Types with values that have no canonical text.
WITHOUT_TEXT = (*_MASKED, ImportString)

_JSON_SCALARS = frozenset({type(None), bool, int, float, str})

_PLAIN: tuple[tuple[type | tuple[type, ...], Callable[[Any], Json]], ...] = (
    (str, str.__str__),
    (int, int),
    (float, float),
    (Decimal, _decimal),
    ((list, tuple), _list),
    (Mapping, _object),
    ((set, frozenset), _set),
    (datetime.datetime, _moment),
    (datetime.time, _time_of_day),
    (complex, _complex),
    (PurePath, str),
    (ZoneInfo, _zone),
)


def _json_text(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return canonical_string(value)
        case int():
            return _integer(value)
        case float():
            return _number(value)
        case list():
            return f"[{','.join(map(_json_text, value))}]"
    return f"{{{','.join(_members(value))}}}"


def _members(value: Mapping[str, Json]) -> Iterable[str]:
    for name in sorted(value, key=utf16_order):
        yield f"{canonical_string(name)}:{_json_text(value[name])}"


def canonical_string(text: str) -> str:
    """A text as `JSON.stringify` writes it: quotes, backslashes, control characters, lone surrogates escaped."""
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _text_or_null(text: str | None) -> str:
    return "null" if text is None else canonical_string(text)


def _integer(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more than sys.get_int_max_str_digits() digits; decimal has no such limit
        return format(Decimal(value), "f")


def _number(value: float) -> str:
    """A float as ECMAScript's `Number::toString` writes it (ECMA-262, 6.1.6.1.20)."""
    if not math.isfinite(value):
        raise InvalidValue("A number that is not finite has no canonical text.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)  # the index of the decimal point in the digits
    digits = digits.rstrip("0")
    if len(digits) <= point <= _FULL_DIGITS:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _FULL_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def texts_of(params: Mapping[str, object]) -> dict[str, str]:
    """The canonical text of every parameter; null parameters are left out."""
    return {name: canonical(value) for name, value in params.items() if value is not None}
