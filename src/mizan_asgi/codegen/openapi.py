"""Writes an OpenAPI 3.1 document of every call and bundle, for generators and explorers that do not know Mizan."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mizan_core.graph.manifest import build_manifest
from mizan_core.graph.model import Graph
from mizan_core.protocol.files import is_file_schema

from .api import Api, Bundle, Call, Field, Schema, api_of, with_references
from .names import Names

VERSION = "3.1.0"

# Schemas of the protocol itself: no definition of the graph gets these names.
SCHEMA_NAMES = frozenset({"FieldError", "Invalidation", "Problem", "Refreshed"})

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")

_JSON, _FORM = "application/json", "multipart/form-data"
_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_TEXT: Schema = {"type": "string"}
_VALUES: Schema = {"type": "object", "additionalProperties": True}

_SCHEMAS: Mapping[str, Schema] = {
    "FieldError": {
        "description": "A defect of the input, and the field that has it.",
        "type": "object",
        "properties": {
            "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
            "msg": _TEXT,
            "type": _TEXT,
        },
        "required": ["loc", "msg", "type"],
    },
    "Invalidation": {
        "description": "Stale bundles: all of a context, by its name, or those whose parameters equal these.",
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": {"context": _TEXT, "params": _VALUES, "function": _TEXT},
                "required": ["context"],
            },
        ],
    },
    "Problem": {
        "description": "An error, as a problem document (RFC 9457) with a stable `code`.",
        "type": "object",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": _TEXT,
            "detail": _TEXT,
            "errors": {"type": "array", "items": {"$ref": "FieldError"}},
        },
        "required": ["type", "title", "status", "code", "detail"],
    },
    "Refreshed": {
        "description": "A bundle that the call made stale, as it is after the call.",
        "type": "object",
        "properties": {"context": _TEXT, "params": _VALUES, "data": _VALUES},
        "required": ["context", "params", "data"],
    },
}

_PROBLEM = {"$ref": "#/components/responses/Problem"}

_SECURITY_SCHEMES = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Mizan-Token",
        "description": "A Mizan Web Token. The session of the host application is accepted as well.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}
_SIGNED_IN: list[dict[str, list[str]]] = [{"token": []}, {"bearer": []}]
_ANYONE: dict[str, list[str]] = {}

_ETAG_HEADER = {"ETag": {"description": "The weak entity tag of the bundle.", "schema": _TEXT}}
_INVALIDATE_HEADER = {
    "X-Mizan-Invalidate": {
        "description": "The stale bundles, for caches on the way.",
        "schema": _TEXT,
    }
}


def openapi_json(graph: Graph, *, base_url: str, title: str, version: str) -> bytes:
    """The document as the bytes of a file: indented by two spaces, with a line break at the end."""
    document = openapi(graph, base_url=base_url, title=title, version=version)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def openapi(
    graph: Graph, *, base_url: str, title: str, version: str, taken: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The document. `title` and `version` are those of the API, not of OpenAPI. No schema gets a name of `taken`."""
    api = api_of(graph, base_url=base_url, reserved=SCHEMA_NAMES | taken)
    manifest = build_manifest(graph, base_url=base_url)
    written = _Schemas(api, taken)
    calls = {
        f"/call/{one.name}/": {"post": written.call(one, manifest["mutations"].get(one.name))} for one in api.calls
    }
    bundles = {
        f"/ctx/{one.name}/": {"get": written.fetch(one, manifest["contexts"][one.name]["scopes"])}
        for one in api.bundles
    }
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": version},
        "servers": [{"url": base_url or "/"}],
        "paths": {**calls, **bundles},
        "components": {
            "schemas": written.definitions(),
            "responses": written.responses(),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


class _Schemas:
    """Writes operations and schemas, whose references are paths within the document."""

    def __init__(self, api: Api, taken: frozenset[str]) -> None:
        names = Names(taken)
        own = {name: names.take(name, f"Mizan{name}") for name in sorted(SCHEMA_NAMES)}
        self._components = {name: names.take(_NOT_IN_NAMES.sub("_", name)) for name in api.definitions} | own
        self._places = {name: f"#/components/schemas/{place}" for name, place in self._components.items()}
        self._definitions = {**_SCHEMAS, **api.definitions}

    def definitions(self) -> dict[str, Schema]:
        """The document's `components.schemas`."""
        placed = {self._components[name]: self._placed(schema) for name, schema in self._definitions.items()}
        return dict(sorted(placed.items()))

    def responses(self) -> dict[str, Any]:
        """The document's `components.responses`."""
        problem = {"application/problem+json": {"schema": self._placed({"$ref": "Problem"})}}
        return {"Problem": {"description": "The request was refused, or failed.", "content": problem}}

    def call(self, call: Call, mutation: Mapping[str, Any] | None) -> dict[str, Any]:
        """`POST /call/{name}/`; `mutation` is its entry in the manifest, if it has one."""
        answered: dict[str, Schema] = {"result": call.result}
        if call.changes:
            answered["invalidate"] = {"type": "array", "items": {"$ref": "Invalidation"}}
            answered["refreshed"] = {"type": "array", "items": {"$ref": "Refreshed"}}
        answer = self._json({"type": "object", "properties": answered, "required": ["result"]})
        operation = _operation(
            f"call_{call.name}", "mutations" if mutation else "functions" if call.changes else "readers", call.doc
        )
        return operation | {
            "requestBody": {
                "required": any(field.required for field in call.arguments),
                "content": self._bodies(call.arguments),
            },
            "responses": {
                "200": {
                    "description": "The result of the function.",
                    **answer,
                    **({"headers": _INVALIDATE_HEADER} if call.changes else {}),
                },
                **_problems(call, validated=bool(call.arguments)),
            },
            **_security(call),
            **({"x-mizan-affects": mutation["targets"]} if mutation else {}),
        }

    def fetch(self, bundle: Bundle, scopes: list[list[str]]) -> dict[str, Any]:
        """`GET /ctx/{context}/`."""
        members = {one.name: one.result for one in bundle.members}
        answer = self._json({"type": "object", "properties": members, "required": list(members)})
        readers = ", ".join(f"`{name}`" for name in members)
        return _operation(f"fetch_{bundle.name}", "bundles", f"The bundle of {readers}.") | {
            "parameters": [self._parameter(field) for field in bundle.parameters],
            "responses": {
                "200": {"description": "The bundle.", **answer, "headers": _ETAG_HEADER},
                "304": {"description": "`If-None-Match` names this bundle."},
                **_problems(bundle, validated=bool(bundle.parameters)),
            },
            **_security(bundle),
            "x-mizan-scopes": scopes,
        }

    def _bodies(self, fields: Sequence[Field]) -> dict[str, Any]:
        """The body by its media type: JSON, unless files are required, and a form if there are files."""
        files = [field for field in fields if _is_file(field)]
        schema: Schema = self._placed(_arguments(fields))
        bodies: dict[str, Any] = {}
        if not any(field.required for field in files):
            rest = [field for field in fields if field not in files]
            bodies[_JSON] = {"schema": self._placed(_arguments(rest))}
        if files:
            bodies[_FORM] = {"schema": schema}
            as_json = [field.name for field in fields if field not in files and not _is_text(field.schema)]
            if as_json:
                bodies[_FORM]["encoding"] = {name: {"contentType": _JSON} for name in as_json}
        return bodies

    def _parameter(self, field: Field) -> dict[str, Any]:
        schema = self._placed(_with_default(_without_null(field.schema), field))
        return {
            "name": field.name,
            "in": "query",
            "required": field.required,
            "style": "form",
            "explode": True,
            "schema": schema,
        }

    def _json(self, schema: Schema) -> dict[str, Any]:
        return {"content": {_JSON: {"schema": self._placed(schema)}}}

    def _placed(self, schema: Schema) -> Schema:
        placed: Schema = with_references(schema, self._places)
        return placed


def _operation(identifier: str, tag: str, doc: str) -> dict[str, Any]:
    summary, _, more = doc.partition("\n")
    told = {"summary": summary} if summary else {}
    return {"operationId": identifier, "tags": [tag], **told, **({"description": doc} if more else {})}


def _arguments(fields: Iterable[Field]) -> Schema:
    listed = list(fields)
    required = [field.name for field in listed if field.required]
    return {
        "type": "object",
        "properties": {field.name: _with_default(field.schema, field) for field in listed},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _is_file(field: Field) -> bool:
    return any(
        is_file_schema(one) or (isinstance(one, Mapping) and is_file_schema(one.get("items")))
        for one in _alternatives(field.schema)
    )


def _is_text(schema: Schema) -> bool:
    """Whether texts in a form spell each value: it is a scalar, or, as a field given several times, a list of them."""
    return all(
        isinstance(one, Mapping)
        and (one.get("type") in _SCALARS or (one.get("type") == "array" and _is_scalar(one.get("items", True))))
        for one in _alternatives(schema)
    )


def _is_scalar(schema: Schema) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in _SCALARS


def _alternatives(schema: Schema) -> list[Schema]:
    """The alternatives of a schema but null."""
    if isinstance(schema, bool):
        return [schema]
    return [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]


def _with_default(schema: Schema, field: Field) -> Schema:
    if field.required or field.default is None or isinstance(schema, bool):
        return schema
    return {**schema, "default": field.default}


def _without_null(schema: Schema) -> Schema:
    """The schema without null, which a URL spells by leaving the parameter out."""
    if isinstance(schema, bool) or "anyOf" not in schema:
        return schema
    others = [one for one in schema["anyOf"] if one != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**others[0], **rest} if len(others) == 1 else {**rest, "anyOf": others}


def _problems(asked: Call | Bundle, *, validated: bool) -> dict[str, Any]:
    codes = ["401"] * (asked.guarded or asked.filled) + ["403"] * asked.guarded + ["422"] * validated
    return dict.fromkeys([*codes, "default"], _PROBLEM)


def _security(asked: Call | Bundle) -> dict[str, Any]:
    if asked.guarded or asked.needs_user:
        return {"security": _SIGNED_IN}
    return {"security": [_ANYONE, *_SIGNED_IN]} if asked.takes_identity else {}
