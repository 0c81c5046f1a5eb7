"""Adds the calls and bundles of a graph to the OpenAPI document of its host, which keeps all names that it has."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mizan_core.graph.model import Graph

from .names import Names
from .openapi import openapi

# A path parameter of a mount, perhaps with its convertor: `{tenant}`, `{tenant:str}`.
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_RESPONSES = "#/components/responses/"


def merged(document: Mapping[str, Any], graph: Graph, *, prefix: str) -> dict[str, Any]:
    """The document with the graph's operations below `prefix`. What the host has keeps its names; ours give way."""
    components: Mapping[str, Mapping[str, Any]] = document.get("components") or {}
    ours = openapi(graph, base_url=prefix, title="", version="", taken=frozenset(components.get("schemas", ())))
    paths: Mapping[str, Any] = document.get("paths") or {}
    renamed = {
        section: _free_names(ours["components"][section], components.get(section, ()))
        for section in ("responses", "securitySchemes")
    }
    identifiers = Names(one["operationId"] for one in _operations(paths) if "operationId" in one)
    for operation in _operations(ours["paths"]):
        operation["operationId"] = identifiers.take(operation["operationId"], f"mizan_{operation['operationId']}")
        _rename(operation, renamed["responses"], renamed["securitySchemes"])
    added = {_PARAMETER.sub(r"{\1}", prefix) + path: one for path, one in ours["paths"].items()}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(prefix)
    ]
    if in_path:
        added = {path: {"parameters": in_path, **one} for path, one in added.items()}
    together = {
        section: {
            **components.get(section, {}),
            **{renamed.get(section, {}).get(name, name): one for name, one in own.items()},
        }
        for section, own in ours["components"].items()
    }
    return {
        **document,
        "paths": {**paths, **{path: one for path, one in added.items() if path not in paths}},
        "components": {**components, **together},
    }


def _free_names(ours: Collection[str], taken: Collection[str]) -> dict[str, str]:
    names = Names(taken)
    return {name: names.take(name, f"mizan{name.capitalize()}") for name in ours}


def _operations(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in paths.values():
        yield from (one for one in path.values() if isinstance(one, dict))


def _rename(operation: dict[str, Any], responses: Mapping[str, str], schemes: Mapping[str, str]) -> None:
    """Let the operation refer to responses and security schemes by their new names."""
    operation["responses"] = {
        status: {"$ref": f"{_RESPONSES}{responses[one['$ref'].removeprefix(_RESPONSES)]}"} if "$ref" in one else one
        for status, one in operation["responses"].items()
    }
    if "security" in operation:
        operation["security"] = [
            {schemes[name]: scopes for name, scopes in one.items()} for one in operation["security"]
        ]
