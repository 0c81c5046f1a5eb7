"""JSON schemas as TypeScript types."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mizan_core.protocol.files import is_file_schema

from .api import Field, Schema
from .names import literal, member

INDENT = "  "

# The type of an object without members. (`{}` is any value but null and undefined.)
EMPTY = "{ [key: string]: never }"

_SCALARS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_KEYWORDS = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")


@dataclass(frozen=True, slots=True)
class Type:
    """The text of a type. `compound`: it needs parentheses as an operand."""

    text: str
    compound: bool = False

    @property
    def operand(self) -> str:
        return f"({self.text})" if self.compound else self.text


class Types:
    """Writes types, which may refer to `definitions`."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def definition(self, name: str) -> str:
        """The declaration of a definition: an interface for an object with members, an alias for any other."""
        schema = self._definitions[name]
        comment = tsdoc(_notes(schema))
        if isinstance(schema, Mapping) and schema.get("properties") and not any(map(schema.__contains__, _KEYWORDS)):
            return f"{comment}export interface {name} {self._object(schema)}"
        return f"{comment}export type {name} = {self.of(schema)};"

    def of(self, schema: Schema) -> str:
        """The type of a schema."""
        return self._type(schema).text

    def member(self, name: str, schema: Schema, *, required: bool = True, doc: str = "") -> str:
        """A member of an interface, with its comment."""
        mark = "" if required else "?"
        return f"{tsdoc(doc or _notes(schema, required=required))}{member(name)}{mark}: {self.of(schema)};"

    def field(self, field: Field) -> str:
        """A member for an argument or parameter."""
        notes = [_notes(field.schema)]
        if not field.required and field.default is not None:
            notes.append(_default(field.default))
        doc = "\n".join(filter(None, notes))
        return self.member(field.name, field.schema, required=field.required, doc=doc)

    def _type(self, schema: Schema) -> Type:
        """The type of a schema. If several of its keywords give a type, their intersection."""
        if isinstance(schema, bool):
            return Type("unknown" if schema else "never")
        types = [one for one in self._keyword_types(schema) if one.text != "unknown"]
        if len(types) > 1:
            return Type(" & ".join(one.operand for one in types), compound=True)
        return types[0] if types else Type("unknown")

    def _keyword_types(self, schema: Mapping[str, Any]) -> Iterator[Type]:
        if "$ref" in schema:
            yield Type(schema["$ref"])
        elif "const" in schema:
            yield _constant(schema["const"])
        elif "enum" in schema:
            yield _union(map(_constant, schema["enum"]))
        elif "type" in schema:
            kinds = schema["type"]
            yield _union(self._of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                yield _union(map(self._type, schema[keyword]))
        yield from map(self._type, schema.get("allOf", ()))

    def _of_kind(self, kind: str, schema: Mapping[str, Any]) -> Type:
        if kind == "array":
            return self._array(schema)
        if is_file_schema(schema):
            return Type("Blob | File", compound=True)
        if kind == "object":
            return Type(self._object(schema) if schema.get("properties") else self._mapping(schema))
        return Type(_SCALARS.get(kind, "unknown"))

    def _array(self, schema: Mapping[str, Any]) -> Type:
        items = self._type(schema.get("items", True))
        if "prefixItems" in schema:
            return self._tuple(schema["prefixItems"], schema, items)
        return Type("[]" if schema.get("maxItems") == 0 else f"{items.operand}[]")

    def _tuple(self, prefix: list[Schema], schema: Mapping[str, Any], rest: Type) -> Type:
        required = schema.get("minItems", 0)
        members = [self._type(one) for one in prefix]
        texts = [one.text if place < required else f"{one.operand}?" for place, one in enumerate(members)]
        if schema.get("maxItems") != len(prefix) and schema.get("items") is not False:
            texts.append(f"...{rest.operand}[]")
        return Type(f"[{', '.join(texts)}]")

    def _mapping(self, schema: Mapping[str, Any]) -> str:
        """The type of an object whose members are not listed."""
        if "patternProperties" in schema:
            values = _union(map(self._type, schema["patternProperties"].values())).text
        elif schema.get("additionalProperties") is False:
            return EMPTY
        else:
            values = self.of(schema.get("additionalProperties", True))
        if self._lists_texts(schema.get("propertyNames", True)):
            return f"{{ [key in {self.of(schema['propertyNames'])}]?: {values} }}"
        return f"{{ [key: string]: {values} }}"

    def _lists_texts(self, schema: Schema) -> bool:
        """Whether the schema lists the texts that it allows."""
        if isinstance(schema, bool):
            return False
        if "$ref" in schema:
            return self._lists_texts(self._definitions[schema["$ref"]])
        values = [schema["const"]] if "const" in schema else schema.get("enum", [])
        return bool(values) and all(isinstance(value, str) for value in values)

    def _object(self, schema: Mapping[str, Any]) -> str:
        required = schema.get("required", ())
        members = [self.member(name, one, required=name in required) for name, one in schema["properties"].items()]
        if schema.get("additionalProperties", False) is not False:
            members.append("[key: string]: unknown;")  # TypeScript requires that the listed members fit it
        return block(members)


def block(members: Iterable[str]) -> str:
    """Members between braces."""
    return f"{{\n{''.join(map(indented, members))}}}"


def indented(text: str) -> str:
    """Each line two spaces further in."""
    return "".join(f"{INDENT}{line}\n" if line else "\n" for line in text.split("\n"))


def tsdoc(text: str) -> str:
    """The text as a TSDoc comment, which ends its line; empty for no text."""
    lines = text.replace("*/", "*\\/").splitlines()
    if not lines:
        return ""
    if len(lines) == 1:
        return f"/** {lines[0]} */\n"
    return "/**\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */\n"


def _notes(schema: Schema, *, required: bool = True) -> str:
    """The comment of a schema: its description, its deprecation, and, unless it is required, its default."""
    if isinstance(schema, bool):
        return ""
    notes = [str(schema.get("description", "")), "@deprecated" if schema.get("deprecated") else ""]
    if not required and schema.get("default") is not None:
        notes.append(_default(schema["default"]))
    return "\n".join(filter(None, notes))


def _default(value: object) -> str:
    return f"@defaultValue {literal(value)}"


def _constant(value: object) -> Type:
    if isinstance(value, list):
        return Type(f"[{', '.join(_constant(one).text for one in value)}]")
    if isinstance(value, dict):
        return Type(f"{{ {' '.join(f'{member(name)}: {_constant(one).text};' for name, one in value.items())} }}")
    return Type(literal(value))


def _union(members: Iterable[Type]) -> Type:
    """The union of the types, each once, null last. It is unknown if one of them is."""
    distinct = {one.text: one for one in members if one.text != "never"}
    if "unknown" in distinct:
        return Type("unknown")
    if "null" in distinct:
        distinct["null"] = distinct.pop("null")
    if len(distinct) > 1:
        return Type(" | ".join(distinct), compound=True)
    return next(iter(distinct.values()), Type("never"))
