"""The tables of an edge for programs in JavaScript, such as a Cloudflare Worker: a module that exports them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from .misleading import MISLEADING
from .surfaces import TEXT, EdgeMap, Surface, Template, read_manifest
from .tags import MAXIMUM_ENTRIES

# JavaScript has no possessive quantifiers. Each character of a text has one way to match, so none is needed.
_TEXT = TEXT.replace("]++", "]").replace(")*+", ")*")
_ENTRY_NAME = "[A-Za-z0-9._~-]+"


def worker_text(manifest: Mapping[str, Any], *, written_by: str = "") -> str:
    """A module with `tables` for a manifest; the same for the same arguments. `written_by`: for the first line.

    Raises `DeclarationError` for names and routes that no edge can be written for.
    """
    tables = json.dumps(_tables(read_manifest(manifest)), indent=2, sort_keys=True)
    first = f"// Written by `{written_by}`. Changes will be lost.\n" if written_by else ""
    return f"{first}export const tables = {tables};\n"


def _tables(edge: EdgeMap) -> dict[str, Any]:
    return {
        "call": f"^{re.escape(edge.base_url)}/call(?:/([^/]*))?/?$",
        "calls": edge.calls,
        "entry": f"^{_ENTRY_NAME}(?:/{_ENTRY_NAME})?(?:;{_ENTRY_NAME}={_TEXT})*$",
        "harmless": edge.harmless,
        "leftOut": [*edge.identity_headers, *MISLEADING],
        "maximumEntries": MAXIMUM_ENTRIES,
        "passing": [f"^(?:{pattern})$" for pattern in edge.passing],
        "routes": [[f"^(?:{pattern})$", affected] for pattern, affected in edge.routes.items()],
        "shapes": {
            name: [{"names": one.names, "templates": _templates(one.templates)} for one in shapes]
            for name, shapes in edge.shapes.items()
        },
        "surfaces": [_surface(one) for one in edge.surfaces],
    }


def _surface(surface: Surface) -> dict[str, Any]:
    return {
        "captures": {name: f"^{surface.with_capture(name)}$" for name in surface.in_path},
        "context": surface.context,
        "filled": surface.filled,
        "hasLists": not surface.lists.isdisjoint(surface.params),
        "inQuery": surface.in_query,
        "isPage": surface.is_page,
        "lists": sorted(surface.lists),
        "nullable": sorted(surface.nullable),
        "params": surface.params,
        "path": surface.path,
        "pattern": f"^{surface.pattern.replace(TEXT, _TEXT)}$",
        "templates": _templates(surface.templates),
        "twoSpellings": surface.has_two_spellings,
        "version": surface.version,
    }


def _templates(templates: tuple[Template, ...]) -> list[dict[str, Any]]:
    return [{"head": one.head, "names": one.names} for one in templates]
