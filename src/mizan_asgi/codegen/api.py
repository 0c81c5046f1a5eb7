"""The API that a graph offers to clients, as JSON schemas: the model from which clients and documents are written.

Arguments and parameters are described as they are accepted, results as they are sent. Private functions and views are
absent, since clients cannot call them.
"""

import enum
import inspect
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema

from mizan_core.graph.access import Anyone
from mizan_core.graph.identity_params import IdentityParam
from mizan_core.graph.inputs import Compiled
from mizan_core.graph.model import ContextPlan, Function, Graph
from mizan_core.graph.types.identity_sources import Me
from mizan_core.protocol.values import Json, jsonable

from .names import Names, type_name

Schema: TypeAlias = Mapping[str, Any] | bool

# An input of Pydantic's generator: a key, "validation" or "serialization", and a core schema.
_Input: TypeAlias = tuple[str, JsonSchemaMode, Any]

# A reference is only the definition's name; each writer turns it into a reference of its own form.
_REFERENCE = "{model}"

# Pydantic's key of a definition. Definitions of equal names have their module, form and a number in their keys.
_KEY = re.compile(r"(?P<path>.*?)(?:-(?P<form>Input|Output))?(?:__\d+)?", re.DOTALL)
_NOT_IN_KEYS = re.compile(r"[^\w.-]")

# The beginning of the names of Pydantic's serializers of secrets.
_MASKING = "_serialize_secret"


@dataclass(frozen=True, slots=True)
class Field:
    """An argument or a parameter. `default` means something only where it is not `required`."""

    name: str
    schema: Schema
    required: bool
    default: Json = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function that clients may call. `changes`: it is no reader, so it may change data."""

    name: str
    doc: str
    arguments: tuple[Field, ...]
    result: Schema
    changes: bool
    guarded: bool
    takes_identity: bool
    filled: bool  # the identity fills in parameters, so a caller without fitting values is refused
    needs_user: bool  # one of these is a user id that may not be null


@dataclass(frozen=True, slots=True)
class Member:
    """A reader, whose result is a member of a bundle."""

    name: str
    doc: str
    result: Schema


@dataclass(frozen=True, slots=True)
class Bundle:
    """A context that has readers, so that it can be fetched."""

    name: str
    parameters: tuple[Field, ...]
    members: tuple[Member, ...]
    guarded: bool
    takes_identity: bool
    filled: bool  # the identity fills in parameters, so a caller without fitting values is refused
    needs_user: bool  # one of these is a user id that may not be null


@dataclass(frozen=True, slots=True)
class Api:
    """Everything that clients can call and fetch, in name order. Schemas refer to `definitions` by `$ref`."""

    base_url: str
    calls: tuple[Call, ...]
    bundles: tuple[Bundle, ...]
    definitions: Mapping[str, Schema]


def api_of(graph: Graph, *, base_url: str, reserved: Collection[str] = ()) -> Api:
    """The API of a graph. No definition gets one of the `reserved` names."""
    functions = [graph.functions[name] for name in sorted(graph.functions) if _can_be_called(graph.functions[name])]
    plans = [graph.contexts[name] for name in sorted(graph.contexts) if graph.contexts[name].readers]
    schemas = _Schemas(functions, reserved)
    return Api(
        base_url=base_url,
        calls=tuple(_call(function, schemas) for function in functions),
        bundles=tuple(_bundle(plan, schemas) for plan in plans),
        definitions=schemas.definitions,
    )


def with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    """The schema with its references renamed, also those in a discriminator's mapping."""
    match schema:
        case {"$ref": str(reference), **rest}:
            return {"$ref": renamed.get(reference, reference), **with_references(rest, renamed)}
        case {"mapping": dict(mapping), "propertyName": str(name)}:
            placed = {tag: renamed.get(reference, reference) for tag, reference in mapping.items()}
            return {"mapping": placed, "propertyName": name}
        case {"discriminator": {"mapping": dict(mapping)}, **rest} if not _tells_references(mapping):
            return with_references(rest, renamed)  # an alternative that is a union has no name
        case dict():
            return {key: with_references(value, renamed) for key, value in schema.items()}
        case list():
            return [with_references(value, renamed) for value in schema]
        case float() if not math.isfinite(schema):  # JSON writes null for it
            return None
    return schema


def _can_be_called(function: Function) -> bool:
    return not function.is_view and not function.declaration.private


def _call(function: Function, schemas: "_Schemas") -> Call:
    return Call(
        name=function.name,
        doc=_doc(function),
        arguments=tuple(
            _field(name, compiled, schemas.argument(function, name), required=compiled.input.required)
            for name, compiled in function.client_inputs.items()
        ),
        result=schemas.result(function),
        changes=function.context is None,
        guarded=_is_guarded(function),
        takes_identity=bool(function.signature.identities or function.identity_params),
        filled=bool(function.identity_params),
        needs_user=any(map(_needs_user, function.identity_params)),
    )


def _bundle(plan: ContextPlan, schemas: "_Schemas") -> Bundle:
    owners = {name: reader for reader in reversed(plan.readers) for name in reader.inputs}
    return Bundle(
        name=plan.name,
        parameters=tuple(
            _field(name, owners[name].inputs[name], schemas.argument(owners[name], name), required=parameter.required)
            for name, parameter in plan.client_parameters.items()
        ),
        members=tuple(
            Member(reader.member, _doc(reader), schemas.result(reader))
            for reader in sorted(plan.readers, key=lambda reader: reader.member)
        ),
        guarded=any(map(_is_guarded, plan.readers)),
        takes_identity=any(reader.signature.identities or reader.identity_params for reader in plan.readers),
        filled=bool(plan.identity_params),
        needs_user=any(map(_needs_user, plan.identity_params)),
    )


def _field(name: str, compiled: Compiled, schema: Schema, *, required: bool) -> Field:
    if required or compiled.input.required:
        return Field(name, schema, required)
    return Field(name, schema, required, jsonable(compiled.adapter.validate_python(compiled.input.default)))


def _needs_user(param: IdentityParam) -> bool:
    return param.source == Me and param.is_needed


def _is_guarded(function: Function) -> bool:
    return function.guard != Anyone()


def _doc(function: Function) -> str:
    return inspect.cleandoc(function.call.__doc__ or "")


class _Schemas:
    """The schemas of all arguments and results, generated together so that their definitions get distinct names."""

    def __init__(self, functions: Iterable[Function], reserved: Collection[str]) -> None:
        made, schemas = _generated(list(_inputs(functions)))
        renamed = _renamed(schemas, reserved)
        self._made: dict[str, Schema] = {key: with_references(schema, renamed) for (key, _), schema in made.items()}
        self.definitions: Mapping[str, Schema] = {
            name: with_references(schemas[old], renamed)
            for old, name in sorted(renamed.items(), key=lambda pair: pair[1])
        }

    def argument(self, function: Function, name: str) -> Schema:
        return self._made[f"{function.name}({name})"]

    def result(self, function: Function) -> Schema:
        return self._made[function.name]


def _generated(inputs: Sequence[_Input]) -> tuple[Mapping[Any, Schema], dict[str, Mapping[str, Any]]]:
    """The schemas, and the definitions that they refer to. A type whose own hooks fail gets the schema of any value."""
    try:
        made, definitions = _Generator(by_alias=True, ref_template=_REFERENCE).generate_definitions(inputs)
    except Exception:  # a type's hook may raise anything
        known = [one for one in inputs if _can_be_described(one)]
        if len(known) == len(inputs):
            raise
        unknown = [(name, mode, core_schema.any_schema()) for name, mode, _ in inputs]
        return _generated([one if one in known else other for one, other in zip(inputs, unknown, strict=True)])
    return made, {str(name): schema for name, schema in definitions.items()}


def _can_be_described(one: _Input) -> bool:
    try:
        _Generator(by_alias=True, ref_template=_REFERENCE).generate_definitions([one])
    except Exception:  # noqa: BLE001  # as above
        return False
    return True


def _renamed(schemas: Mapping[str, Mapping[str, Any]], reserved: Collection[str]) -> dict[str, str]:
    """The name of each definition: its class's, preceded by as much of its module as makes it unique.

    Where a type has an accepted form and a sent form, the sent one has the plain name: clients see it more often.
    """
    parts = {key: _parts(key, schema) for key, schema in schemas.items()}
    uses = Counter(name for path in {path for path, _ in parts.values()} for name in _names_of(path))
    names = Names(reserved)
    renamed = {}
    for key in sorted(schemas):
        path, form = parts[key]
        candidates = _names_of(path)
        name = next((name for name in candidates if uses[name] == 1), candidates[0]) + form
        renamed[key] = names.take(f"{name}Model" if name in reserved else name)
    return renamed


def _parts(key: str, schema: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """The modules and class in Pydantic's key `module__Class-Input__2`, and "Input" for the accepted form of two."""
    match = _KEY.fullmatch(key)
    assert match is not None  # noqa: S101  # the pattern matches any text
    path, title = match["path"], _NOT_IN_KEYS.sub("_", str(schema.get("title", "")))
    modules = path.removesuffix(f"__{title}").split("__") if path.endswith(f"__{title}") else []
    return (*modules, title if modules else path), "Input" if match["form"] == "Input" else ""


def _names_of(path: tuple[str, ...]) -> list[str]:
    """The names that a definition can get, the shortest first."""
    return [type_name("-".join(path[place:])) for place in range(len(path) - 1, -1, -1)]


def _inputs(functions: Iterable[Function]) -> Iterator[_Input]:
    for function in functions:
        for name, compiled in function.client_inputs.items():
            yield f"{function.name}({name})", "validation", compiled.adapter.core_schema
        assert function.result is not None  # noqa: S101  # only views have no result type
        yield function.name, "serialization", function.result.core_schema


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, changed: schemas of results require everything that is always sent, and claim no more."""

    # A default that JSON cannot hold is left out of the schema, without a warning.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012

    def field_is_required(self, field: Any, total: bool) -> bool:
        """A field with a default is always sent, so results require it."""
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return field.get("serialization_exclude_if") is None
        return super().field_is_required(field, total)

    def named_tuple_schema(self, schema: Any) -> JsonSchemaValue:
        """A named tuple's member with a default is always sent, too."""
        made = super().named_tuple_schema(schema)
        return {**made, "minItems": len(made["prefixItems"])} if self.mode == "serialization" else made

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        """A flag is any number, since its members can be combined."""
        made = super().enum_schema(schema)
        if issubclass(schema["cls"], enum.Flag):
            del made["enum"]
        return made

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """A float that may be infinite or NaN is sent as null where it is, since JSON has no such numbers."""
        made = super().float_schema(schema)
        config = self._config.config_dict
        declared = schema.get("allow_inf_nan", config.get("allow_inf_nan", "ser_json_inf_nan" in config))
        return {"anyOf": [made, {"type": "null"}]} if declared and self.mode == "serialization" else made

    def encode_default(self, dft: Any) -> Any:
        """A default with a number that is not finite is left out."""
        if not _is_finite(dft):
            raise PydanticSerializationError("It is not finite.")
        return super().encode_default(dft)

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        """A developer's serializer may return anything unless it is annotated. A secret's serializer returns text."""
        if getattr(schema.get("function"), "__name__", "").startswith(_MASKING):
            return {"type": "string"}
        if "return_schema" not in schema and _is_foreign(schema.get("function")):
            return {}
        return super().ser_schema(schema)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        """A type without a JSON schema may be any value."""
        return {}


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple | set | frozenset) or all(map(_is_finite, value))


def _is_foreign(function: object) -> bool:
    """Whether this is a function that is not Pydantic's own."""
    return function is not None and not (getattr(function, "__module__", None) or "").startswith("pydantic")


def _tells_references(mapping: Mapping[str, Any]) -> bool:
    return all(isinstance(reference, str) for reference in mapping.values())
