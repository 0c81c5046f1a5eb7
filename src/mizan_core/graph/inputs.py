"""Inputs of functions and parameters of contexts, compiled to Pydantic validators.

Values come as JSON, or as texts of a URL or a form, which spell every type as text. A `Parameter` also tells which
values an argument narrows by.
"""

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
from .types.identity_sources import IdentitySource
from .types.json_types import Kinds, kinds_of
from .types.round_trip import RoundTrip, round_trip_of
from .types.texts import for_texts, for_texts_of, needs_json, partial

# A problem document lists at most so many errors: people read it, and a sender chooses how many there are.
MAXIMUM_ERRORS = 32
# Listing more errors than this takes much longer than finding them.
_LISTED_ERRORS = 1000
# A location repeats names that the caller made up, cut off at a length by which they can be told apart.
MAXIMUM_LOCATION_LENGTH = 64

# Replacements for messages of Pydantic that repeat the input: a problem document must not (protocol, section 10).
_WITHOUT_INPUT = {
    "union_tag_invalid": "Input names none of the alternatives",
    "uuid_parsing": "Input should be a valid UUID",
}

# The errors of a default that is not of its parameter's type, or has no canonical text.
INVALID_DEFAULT = (ValidationError, InvalidValue)

# Core schemas that give the same result for the same value at any time. Validators of the developer's may not, and
# neither do dates that have to lie in the past or the future.
_PURE = frozenset(
    {
        *("typed-dict", "typed-dict-field", "nullable", "union", "literal", "enum", "list", "set", "frozenset"),
        *("str", "int", "float", "bool", "none", "bytes", "decimal", "uuid", "date", "time", "datetime", "timedelta"),
    }
)
_IMPURE_SETTINGS = frozenset({"now_op", "missing", "default_factory", "strict_function"})

# A list argument with more members does not narrow: a sender chooses its length, and so the time to read it.
MAXIMUM_MEMBERS = 4096
# More fields than a form has that a person fills in, and few enough to parse fast. No URL spells a longer list.
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
    """One input of a function, with its validator. `default_text`: None if there is no default, or null is it."""

    input: Input
    adapter: TypeAdapter[Any]
    kinds: Kinds
    default_text: str | None
    round_trip: RoundTrip | None = None  # None if every value comes back from its text


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter of a context. `default_text`: None if there is no default, or null is it."""

    name: str
    annotation: Any
    adapter: TypeAdapter[Any]
    kinds: Kinds
    required: bool
    default_text: str | None = None
    round_trip: RoundTrip | None = None  # None if every value comes back from its text
    # It identifies the thing that a bundle is about: the identity fills it in, or no reader has a default for it and
    # none takes null.
    is_identifying: bool = False
    source: IdentitySource | None = None  # the part of the caller's identity that fills it in; None: clients send it

    read: Callable[[object], Any] = field(init=False, repr=False)  # validates a text, or JSON in lax mode
    is_plain_int: bool = field(init=False)  # every integer is a value of it, and validation leaves it unchanged
    is_pure: bool = field(init=False)  # validation gives the same result for the same value at any time

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", reading(self.adapter))
        object.__setattr__(self, "is_plain_int", self.adapter.core_schema == {"type": "int"})
        object.__setattr__(self, "is_pure", _is_pure(self.adapter.core_schema))

    @property
    def is_list(self) -> bool:
        return self.kinds.is_list

    def choices(self, value: object, *, at_most: int, as_is: bool = False) -> list[Json]:
        """The values of this parameter that an argument narrows by, as JSON: itself, or the distinct members of a list.

        `as_is`: the value was validated as this type, and validating it again could change it. Empty if the value does
        not narrow: it is null; it or a member is not of this type, or does not come back from its text in a URL; it has
        no members, more than `at_most` distinct ones, or more than `MAXIMUM_MEMBERS` altogether.
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
                distinct[canonical(brought).encode()] = brought  # raises for a text that no header could spell
                if brought is None or len(distinct) > at_most:
                    return []
        except Exception:  # noqa: BLE001  # a validator of the developer's may raise anything, and a purge cannot fail
            return []
        return list(distinct.values())

    def _members(self, value: object, *, as_is: bool) -> Iterator[object]:
        """The value itself, or the members of a list without repeats: unchanged if `as_is`, as JSON otherwise.

        Raises ValueError for a value that does not narrow. Members are compared by their texts, since a sender can
        choose numbers with equal hashes.
        """
        if isinstance(value, _COLLECTIONS) and len(value) > (MAXIMUM_FIELDS if self.is_list else MAXIMUM_MEMBERS):
            raise ValueError("Too many members.")
        plain = jsonable(value)
        if self.is_list or not isinstance(plain, list):
            yield value if as_is else plain
            return
        known: set[tuple[type, str]] = set()
        members: Iterable[Any] = plain
        if as_is:  # the order of a set is not the same in every process
            members = value if isinstance(value, list | tuple) else sorted(cast(Iterable[Any], value), key=canonical)
        for member in members:
            if isinstance(member, list | dict):
                raise ValueError("A member is a list or an object.")  # noqa: TRY004  # as for any value that does not fit
            spelled = type(member), canonical(member)
            if spelled not in known:
                known.add(spelled)
                yield member


@dataclass(frozen=True, slots=True, eq=False)
class Validator:
    """Validates named values, all at once. Refuses unknown names and not-a-number."""

    root: str  # the first part of every `loc`
    names: frozenset[str]
    lists: frozenset[str]
    adapter: TypeAdapter[dict[str, Any]] = field(repr=False)
    is_pure: bool  # validation gives the same result for the same values at any time
    required: frozenset[str]
    _validate: _Validate = field(init=False, repr=False)
    _validate_texts: _Validate = field(init=False, repr=False)
    # Validators of texts and of JSON values that require no name; None where one validator reads both.
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
        elif changed is None and needs_json(schema):  # beside a file, which is no JSON, the rest is read as JSON still
            facts["_partly"] = (_validating(partial(schema)), _validating(partial(schema)))
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def validate(self, given: Given) -> dict[str, Any]:
        """The values in their declared types; defaults are not filled in. Raises `InvalidInput`."""
        try:
            if isinstance(given, Pairs):
                return self._validate_texts(self.collect(given))
            if isinstance(given, Mixed):
                return self._validate_mixed(self.collect(given.texts), given.values)
            return self._validate(given if type(given) is dict else dict(given))
        except ValidationError as error:
            raise self._refusal(_errors_of(error)) from None
        except (OverflowError, RecursionError):  # a timedelta of too many days, JSON that is nested too deep
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
        """The `InvalidInput` for one value."""
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
    """One input, compiled. Raises as `compile_type` does, and one of `INVALID_DEFAULT` for its default."""
    adapter = compile_type(one.annotation)
    default_text = None if one.required else text_of_default(adapter, one.default)
    return Compiled(one, adapter, kinds_of(adapter), default_text, round_trip_of(adapter.core_schema))


def compile_type(annotation: Any) -> TypeAdapter[Any]:
    """The adapter of a type. Any error of Pydantic or of a hook of the type is raised here, not at the first use."""
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    len(adapter.core_schema)  # Pydantic may defer the schema until it is used
    return adapter


def same_type(first: Compiled, second: Compiled) -> bool:
    """Whether two inputs have one type. Python does not call annotations equal that have equal `Field(...)`s."""
    return first.input.annotation == second.input.annotation or first.adapter.core_schema == second.adapter.core_schema


def compile_validator(root: str, inputs: Iterable[Compiled], required: frozenset[str]) -> Validator:
    """One validator for all inputs that clients send together; names outside `required` may be left out."""
    listed = [one for one in inputs if one.input.source is None]
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


def reading(adapter: TypeAdapter[Any]) -> Callable[[object], Any]:
    """A function that validates a text, or JSON in lax mode."""
    spelled = for_texts(adapter.core_schema)
    validator = adapter.validator if spelled == adapter.core_schema else SchemaValidator(spelled)
    return validator.validate_python


def _validating(schema: Any, known: Any = None) -> _Validate:
    """A validator of arguments that were JSON: validates them as JSON where Pydantic is less strict with JSON."""
    validator: Any = known or SchemaValidator(schema)
    if not needs_json(schema):
        return validator.validate_python  # type: ignore[no-any-return]  # Pydantic has Any here

    def validate(values: dict[str, object]) -> dict[str, Any]:
        if _is_json(values):
            with contextlib.suppress(PydanticSerializationError):  # a lone surrogate cannot be written as JSON
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
