"""What a graph offers to clients, as JSON schemas: the one model from which every client and document is written.

Arguments and parameters are described as they are accepted, results as they are sent. Private functions and views are
absent, as they are for clients.
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
from mizan_core.graph.inputs import Compiled
from mizan_core.graph.model import ContextPlan, Function, Graph
from mizan_core.protocol.values import Json, jsonable

from .names import Names, type_name

Schema: TypeAlias = Mapping[str, Any] | bool

# A name, whether it is taken or sent, and Pydantic's own schema.
_Input: TypeAlias = tuple[str, JsonSchemaMode, Any]

# A schema refers to a definition by its name alone; each writer spells references in its own way.
_REFERENCE = "{model}"

# What Pydantic calls a definition: where others are called alike, with its module, its form, and a number.
_KEY = re.compile(r"(?P<path>.*?)(?:-(?P<form>Input|Output))?(?:__\d+)?", re.DOTALL)
_NOT_IN_KEYS = re.compile(r"[^\w.-]")


@dataclass(frozen=True, slots=True)
class Field:
    """An argument or a parameter. `default` means something only where it is not `required`."""

    name: str
    schema: Schema
    required: bool
    default: Json = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function that clients may call. `changes`: it is not a reader."""

    name: str
    doc: str
    arguments: tuple[Field, ...]
    result: Schema
    changes: bool
    guarded: bool
    takes_identity: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A reader of a bundle: a field of what is fetched."""

    name: str
    doc: str
    result: Schema


@dataclass(frozen=True, slots=True)
class Bundle:
    """A context that can be fetched."""

    name: str
    parameters: tuple[Field, ...]
    members: tuple[Member, ...]
    guarded: bool
    takes_identity: bool


@dataclass(frozen=True, slots=True)
class Api:
    """All of it, in name order. Schemas refer to `definitions` by `$ref`."""

    base_url: str
    calls: tuple[Call, ...]
    bundles: tuple[Bundle, ...]
    definitions: Mapping[str, Schema]


def describe(graph: Graph, *, base_url: str, reserved: Collection[str] = ()) -> Api:
    """The API of a graph. No definition has one of the `reserved` names."""
    functions = [graph.functions[name] for name in sorted(graph.functions) if _can_be_called(graph.functions[name])]
    plans = [graph.contexts[name] for name in sorted(graph.contexts) if graph.contexts[name].readers]
    schemas = _Schemas(functions, reserved)
    return Api(
        base_url=base_url,
        calls=tuple(_call(function, schemas) for function in functions),
        bundles=tuple(_bundle(plan, schemas) for plan in plans),
        definitions=schemas.definitions,
    )


def _can_be_called(function: Function) -> bool:
    return not function.is_view and not function.declaration.private


def _call(function: Function, schemas: "_Schemas") -> Call:
    return Call(
        name=function.name,
        doc=_doc(function),
        arguments=tuple(
            _field(name, compiled, schemas.argument(function, name), required=compiled.input.required)
            for name, compiled in function.inputs.items()
        ),
        result=schemas.result(function),
        changes=function.context is None,
        guarded=_is_guarded(function),
        takes_identity=bool(function.signature.identity_parameters),
    )


def _bundle(plan: ContextPlan, schemas: "_Schemas") -> Bundle:
    owners = {name: reader for reader in reversed(plan.readers) for name in reader.inputs}
    return Bundle(
        name=plan.name,
        parameters=tuple(
            _field(name, owners[name].inputs[name], schemas.argument(owners[name], name), required=parameter.required)
            for name, parameter in plan.parameters.items()
        ),
        members=tuple(
            Member(reader.name, _doc(reader), schemas.result(reader))
            for reader in sorted(plan.readers, key=lambda reader: reader.name)
        ),
        guarded=any(map(_is_guarded, plan.readers)),
        takes_identity=any(reader.signature.identity_parameters for reader in plan.readers),
    )


def _field(name: str, compiled: Compiled, schema: Schema, *, required: bool) -> Field:
    if required or compiled.input.required:
        return Field(name, schema, required)
    return Field(name, schema, required, jsonable(compiled.adapter.validate_python(compiled.input.default)))


def _is_guarded(function: Function) -> bool:
    return function.guard != Anyone()


def _doc(function: Function) -> str:
    return inspect.cleandoc(function.call.__doc__ or "")


class _Schemas:
    """The schemas of all arguments and results, made together so that their definitions have names that differ."""

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
    """The schemas, and the definitions that they refer to. Of a type whose own code fails, nothing is known."""
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
    """What each definition is called: as its class, with so much of its module before it as tells it from others.

    Where a type has two forms, what is sent keeps the plain name, for clients mostly handle that.
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
    """Modules and class of Pydantic's `module__Class-Input__2`, and which form it is of those that have two."""
    match = _KEY.fullmatch(key)
    assert match is not None  # noqa: S101  # it matches anything
    path, title = match["path"], _NOT_IN_KEYS.sub("_", str(schema.get("title", "")))
    modules = path.removesuffix(f"__{title}").split("__") if path.endswith(f"__{title}") else []
    return (*modules, title if modules else path), "Input" if match["form"] == "Input" else ""


def _names_of(path: tuple[str, ...]) -> list[str]:
    """The shortest first."""
    return [type_name("-".join(path[place:])) for place in range(len(path) - 1, -1, -1)]


def _inputs(functions: Iterable[Function]) -> Iterator[_Input]:
    for function in functions:
        for name, compiled in function.inputs.items():
            yield f"{function.name}({name})", "validation", compiled.adapter.core_schema
        assert function.result is not None  # noqa: S101  # only views have none
        yield function.name, "serialization", function.result.core_schema


class _Generator(GenerateJsonSchema):
    """Pydantic's, made to say of results what is always there, and nothing that is not certain."""

    # A default that has no JSON is left out of the schema, which is all that there is to say of it.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012

    def field_is_required(self, field: Any, total: bool) -> bool:
        """A field that has a default is sent all the same."""
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return field.get("serialization_exclude_if") is None
        return super().field_is_required(field, total)

    def named_tuple_schema(self, schema: Any) -> JsonSchemaValue:
        """So is a member that has one."""
        made = super().named_tuple_schema(schema)
        return {**made, "minItems": len(made["prefixItems"])} if self.mode == "serialization" else made

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        """A flag is any number, for its members can be combined."""
        made = super().enum_schema(schema)
        if issubclass(schema["cls"], enum.Flag):
            del made["enum"]
        return made

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """JSON has no number that is not finite: null is sent for one that is declared to be possible."""
        made = super().float_schema(schema)
        config = self._config.config_dict
        declared = schema.get("allow_inf_nan", config.get("allow_inf_nan", "ser_json_inf_nan" in config))
        return {"anyOf": [made, {"type": "null"}]} if declared and self.mode == "serialization" else made

    def encode_default(self, dft: Any) -> Any:
        """A default that JSON cannot say is left out."""
        if not _is_finite(dft):
            raise PydanticSerializationError("It is not finite.")
        return super().encode_default(dft)

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        """What a developer's serializer returns is not known unless it is annotated; a secret's is asterisks."""
        if getattr(schema.get("function"), "__name__", "").startswith(_MASKING):
            return {"type": "string"}
        if "return_schema" not in schema and _is_foreign(schema.get("function")):
            return {}
        return super().ser_schema(schema)

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002
        """What has no JSON schema may be anything."""
        return {}


# How Pydantic's serializers of secrets are called.
_MASKING = "_serialize_secret"


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple | set | frozenset) or all(map(_is_finite, value))


def _is_foreign(function: object) -> bool:
    """Whether there is a function, and Pydantic did not put it there."""
    return function is not None and not (getattr(function, "__module__", None) or "").startswith("pydantic")


def _tells_references(mapping: Mapping[str, Any]) -> bool:
    return all(isinstance(reference, str) for reference in mapping.values())


def with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    """The schema with its references by their new names, those of a discriminator's mapping too."""
    match schema:
        case {"$ref": str(reference), **rest}:
            return {"$ref": renamed.get(reference, reference), **with_references(rest, renamed)}
        case {"mapping": dict(mapping), "propertyName": str(name)}:
            placed = {tag: renamed.get(reference, reference) for tag, reference in mapping.items()}
            return {"mapping": placed, "propertyName": name}
        case {"discriminator": {"mapping": dict(mapping)}, **rest} if not _tells_references(mapping):
            return with_references(rest, renamed)  # one alternative is a union itself, which has no name to refer to
        case dict():
            return {key: with_references(value, renamed) for key, value in schema.items()}
        case list():
            return [with_references(value, renamed) for value in schema]
        case float() if not math.isfinite(schema):  # of which JSON makes null
            return None
    return schema
