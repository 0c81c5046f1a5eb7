"""Types of arguments and parameters, compiled once: what they accept, and what a URL can spell of them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypeAlias, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator, to_json
from typing_extensions import TypedDict

from ..errors import InvalidInput, InvalidValue
from ..protocol.urls import Pairs
from ..protocol.values import Json, canonical, jsonable
from .signature import Input
from .types.collisions import validator_of, without_collisions
from .types.json_types import Kinds, kinds_of
from .types.round_trip import RoundTrip, round_trip_of
from .types.texts import for_texts, for_texts_of, needs_json, partial

# A problem document lists at most this many errors: it is for reading, and its size is the sender's to choose.
MAXIMUM_ERRORS = 32
# To list so many errors takes much longer than to find them.
_LISTED_ERRORS = 1000
# A location repeats names that the caller made up; this much of one is enough to find it.
MAXIMUM_LOCATION_LENGTH = 64

# Messages of our own where Pydantic's repeat what was sent, which a problem document must not (protocol, section 10).
_WITHOUT_INPUT = {
    "union_tag_invalid": "Input names none of the alternatives",
    "uuid_parsing": "Input should be a valid UUID",
}

# What is raised for a default that is not of its parameter's type, or has no canonical text.
MISFIT = (ValidationError, InvalidValue)

# Core schemas whose validation depends on the value alone, so that a value once found valid stays so. Not among them:
# functions of the developer's, and dates that have to lie in the past or the future.
_PURE = frozenset(
    {
        *("typed-dict", "typed-dict-field", "nullable", "union", "literal", "enum", "list", "set", "frozenset"),
        *("str", "int", "float", "bool", "none", "bytes", "decimal", "uuid", "date", "time", "datetime", "timedelta"),
    }
)
_IMPURE_SETTINGS = frozenset({"now_op", "missing", "default_factory", "strict_function"})

# A list argument with more members than this does not narrow: how long it takes to look at them is the sender's choice.
MAXIMUM_MEMBERS = 4096
# More fields than any form of a person, few enough to parse without being noticed. No URL spells a longer list.
MAXIMUM_FIELDS = 1000
_COLLECTIONS = (list, tuple, set, frozenset)

_JSON_SCALARS = frozenset({type(None), bool, int, float, str})

_Validate: TypeAlias = Callable[[dict[str, object]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Mixed:
    """Some values as texts of a URL, the others as JSON."""

    texts: Pairs
    values: Mapping[str, object]


Given: TypeAlias = Mapping[str, object] | Pairs | Mixed


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """One input with its validator. `default_text` is None where the default is null or there is none."""

    input: Input
    adapter: TypeAdapter[Any]
    kinds: Kinds
    default_text: str | None
    round_trip: RoundTrip | None = None  # None where the texts of all values come back as these


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter of a context. `default_text` is None where the default is null or there is none."""

    name: str
    annotation: Any
    adapter: TypeAdapter[Any]
    kinds: Kinds
    required: bool
    default_text: str | None = None
    round_trip: RoundTrip | None = None  # as for an input
    # Whether it says which thing a bundle is about: no reader has a default for it, and none takes null.
    is_name: bool = False

    # The value of what a URL, or somebody who invalidates, says of it: of texts, and of JSON that is no strict value.
    read: Callable[[object], Any] = field(init=False, repr=False)
    is_plain_int: bool = field(init=False)  # every integer is a value of it, and stays what it is
    is_pure: bool = field(init=False)  # the same value always fits or does not, and stands for the same

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", _reading(self.adapter))
        object.__setattr__(self, "is_plain_int", self.adapter.core_schema == {"type": "int"})
        object.__setattr__(self, "is_pure", _is_pure(self.adapter.core_schema))

    @property
    def is_list(self) -> bool:
        return self.kinds.is_list

    def choices(self, value: object, *, at_most: int, as_is: bool = False) -> list[Json]:
        """The distinct values that a value stands for, in this type, as JSON: one, or one for each member of a list.

        `as_is`: the value has this type already, and validating it again could make another value of it. None at all
        where the value does not narrow: it is null, it or a member of it does not fit or does not come back from a
        URL, or there are no members, more than `at_most` different ones, or more than `MAXIMUM_MEMBERS` altogether.
        """
        if type(value) is int and self.is_plain_int:
            return [value]
        if isinstance(value, Iterator):  # reading it would leave nothing for the function
            return []
        distinct: dict[bytes, Json] = {}
        try:
            for member in self._members(value, as_is=as_is and self.round_trip is not None):
                fitting = member if as_is else self.read(member)
                brought = jsonable(fitting if self.round_trip is None else self.round_trip.of(fitting))
                distinct[canonical(brought).encode()] = brought  # encoded, as a header needs it to be
                if brought is None or len(distinct) > at_most:
                    return []
        except Exception:  # noqa: BLE001  # a type may have a validator of the developer's, and a purge cannot fail on it
            return []
        return list(distinct.values())

    def _members(self, value: object, *, as_is: bool) -> Iterator[object]:
        """The value itself, or each member of a list once: as it is, or as JSON.

        Raises ValueError for what does not narrow. Members are told apart by their texts: a sender can choose numbers
        that have one hash.
        """
        if isinstance(value, _COLLECTIONS) and len(value) > (MAXIMUM_FIELDS if self.is_list else MAXIMUM_MEMBERS):
            raise ValueError("Too many members.")
        plain = jsonable(value)
        if self.is_list or not isinstance(plain, list):
            yield value if as_is else plain
            return
        known: set[tuple[type, str]] = set()
        members: Iterable[Any] = plain
        if as_is:  # a set has no order that is the same in every process
            members = value if isinstance(value, list | tuple) else sorted(cast(Iterable[Any], value), key=canonical)
        for member in members:
            if isinstance(member, list | dict):
                raise ValueError("A member is a list or an object.")  # noqa: TRY004  # as for what does not fit
            spelled = type(member), canonical(member)
            if spelled not in known:
                known.add(spelled)
                yield member


@dataclass(frozen=True, slots=True, eq=False)
class Validator:
    """Validates a set of named values, all at once. Unknown names are refused, and so is not-a-number."""

    root: str  # what `loc` starts with
    names: frozenset[str]
    lists: frozenset[str]
    adapter: TypeAdapter[dict[str, Any]] = field(repr=False)
    is_pure: bool  # whether the same values are valid at any time, and stand for the same
    required: frozenset[str]
    _validate: _Validate = field(init=False, repr=False)
    _validate_texts: _Validate = field(init=False, repr=False)
    # What is there of texts and of values, where texts are read in a way of their own.
    _partly: tuple[_Validate, _Validate] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        schema = self.adapter.core_schema
        spelled = for_texts_of(schema)
        values = without_collisions(schema)
        changed = None if values == schema else validator_of(values)
        validate = _validating(schema, changed or self.adapter.validator)
        facts: dict[str, object] = {"_validate": validate, "_validate_texts": validate, "_partly": None}
        if spelled != schema:
            facts["_validate_texts"] = SchemaValidator(spelled).validate_python
            facts["_partly"] = (
                SchemaValidator(partial(spelled)).validate_python,
                _validating(partial(schema), changed and validator_of(partial(values))),
            )
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def validate(self, given: Given) -> dict[str, Any]:
        """The values that were given, in their declared types. Raises `InvalidInput`."""
        try:
            if isinstance(given, Pairs):
                return self._validate_texts(self.collect(given))
            if isinstance(given, Mixed):
                return self._validate_mixed(self.collect(given.texts), given.values)
            return self._validate(given if type(given) is dict else dict(given))
        except ValidationError as error:
            raise self._refusal(_errors_of(error)) from None
        except (OverflowError, RecursionError):  # a timedelta of more days than there can be, a pattern too deep
            raise InvalidInput("A value is beyond what its type can hold.") from None

    def _validate_mixed(self, texts: dict[str, object], values: Mapping[str, object]) -> dict[str, Any]:
        if self._partly is None:
            return self._validate({**texts, **values})
        found: dict[str, Any] = {}
        errors: list[Any] = []
        for validate, given in zip(self._partly, (texts, values), strict=True):
            try:
                found |= validate(dict(given))
            except ValidationError as error:
                errors += _errors_of(error)
        missing = self.required - texts.keys() - values.keys()
        errors += [{"loc": (name,), "msg": "Field required", "type": "missing"} for name in sorted(missing)]
        if errors:
            raise self._refusal(errors)
        return found

    def refuse(self, name: str, message: str, kind: str) -> InvalidInput:
        """The refusal of one value."""
        return InvalidInput(errors=[_problem((self.root, name), message, kind)])

    def collect(self, pairs: Pairs) -> dict[str, object]:
        """The values by name: a list is given by repeating its name, a scalar once. Raises `InvalidInput`."""
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in self.lists:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise self.refuse(name, "Given twice; it takes one value", "repeated")
            else:
                values[name] = value
        return values

    def _refusal(self, found: Sequence[Any]) -> InvalidInput:
        return InvalidInput(
            errors=[
                _problem((self.root, *one["loc"]), _WITHOUT_INPUT.get(one["type"], one["msg"]), one["type"])
                for one in found[:MAXIMUM_ERRORS]
            ]
        )


def compile_input(one: Input) -> Compiled:
    """Raises as `compile_type` does where the annotation cannot be validated, and one of `MISFIT` for a bad default."""
    adapter = compile_type(one.annotation)
    default_text = None if one.required else text_of_default(adapter, one.default)
    return Compiled(one, adapter, kinds_of(adapter), default_text, round_trip_of(adapter.core_schema))


def compile_type(annotation: Any) -> TypeAdapter[Any]:
    """Raises whatever Pydantic, or a hook of the type, raises, and at once also for what is not fully defined."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    len(adapter.core_schema)  # a schema that had to be put off is made when it is asked something
    return adapter


def same_type(first: Compiled, second: Compiled) -> bool:
    """Whether two inputs accept the same. Equal `Field(...)`s make annotations that are not equal to Python."""
    return first.input.annotation == second.input.annotation or first.adapter.core_schema == second.adapter.core_schema


def compile_validator(root: str, inputs: Iterable[Compiled], required: frozenset[str]) -> Validator:
    """One validator for all of them together; names outside `required` may be left out."""
    listed = list(inputs)
    fields: dict[str, Any] = {
        one.input.name: one.input.annotation if one.input.name in required else NotRequired[one.input.annotation]
        for one in listed
    }
    shape = cast(Any, TypedDict)("shape", fields)  # the names are known at run time only
    shape.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(shape)
    return Validator(
        root,
        names=frozenset(fields),
        lists=frozenset(one.input.name for one in listed if one.kinds.is_list),
        adapter=adapter,
        required=required & fields.keys(),
        is_pure=_is_pure(adapter.core_schema),
    )


def _reading(adapter: TypeAdapter[Any]) -> Callable[[object], Any]:
    spelled = for_texts(adapter.core_schema)
    validator = adapter.validator if spelled == adapter.core_schema else SchemaValidator(spelled)
    return validator.validate_python


def _validating(schema: Any, known: Any = None) -> _Validate:
    """What validates arguments: as the JSON that they came as, where Pydantic is less strict with JSON."""
    validator: Any = known or SchemaValidator(schema)
    if not needs_json(schema):
        return validator.validate_python  # type: ignore[no-any-return]  # it is just that

    def validate(values: dict[str, object]) -> dict[str, Any]:
        if _is_json(values):
            with contextlib.suppress(PydanticSerializationError):  # half of a surrogate pair, which is in no JSON
                return validator.validate_json(to_json(values, inf_nan_mode="constants"))  # type: ignore[no-any-return]
        return validator.validate_python(values)  # type: ignore[no-any-return]

    return validate


def _is_json(value: object) -> bool:
    kind = type(value)
    if kind is dict:
        return all(type(name) is str and _is_json(one) for name, one in value.items())  # type: ignore[attr-defined]
    return kind in _JSON_SCALARS or (kind is list and all(map(_is_json, value)))  # type: ignore[call-overload]


def _errors_of(error: ValidationError) -> list[Any]:
    count = error.error_count()
    if count > _LISTED_ERRORS:
        return [{"loc": (), "msg": f"There are {count} errors, too many to be listed", "type": "too_many_errors"}]
    return [*error.errors(include_url=False, include_context=False, include_input=False)]


def _is_pure(schema: Any) -> bool:
    match schema:
        case {"type": kind, **settings}:
            if kind not in _PURE or any(settings.get(name) for name in _IMPURE_SETTINGS):
                return False
            return all(_is_pure(one) for name, one in settings.items() if name not in ("metadata", "config"))
        case dict():
            return all(map(_is_pure, schema.values()))
        case list():
            return all(map(_is_pure, schema))
    return True


def text_of_default(adapter: TypeAdapter[Any], default: object) -> str | None:
    value = adapter.validate_python(default)
    return None if value is None else canonical(value)


def _problem(location: Iterable[object], message: str, kind: str) -> dict[str, object]:
    return {
        "loc": [part if isinstance(part, int) else str(part)[:MAXIMUM_LOCATION_LENGTH] for part in location],
        "msg": message,
        "type": kind,
    }
