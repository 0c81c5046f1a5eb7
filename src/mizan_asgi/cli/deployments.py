"""`mizan purge --since`: after a deployment, edges forget the contexts that mean something else than before."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mizan_core.edge.changes import changed_contexts
from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError, Unavailable
from mizan_core.graph.manifest import build_manifest, urls_to_purge
from mizan_core.protocol.headers import encode_header
from mizan_core.protocol.invalidation import Invalidation


async def purged_since(engine: Engine, base_url: str, path: Path) -> list[str]:
    """Purge what has changed since the manifest in this file; the lines to print.

    A context that the graph does not have any more is told to the edges alone. Raises `DeclarationError` for a file
    that is no manifest, and `Unavailable` where an edge could not be told in time.
    """
    before, after = _read(path), build_manifest(engine.graph, base_url=base_url)
    changed = changed_contexts(before, after)
    edges = engine.edges
    if edges is not None:
        edges.is_short_lived = True
    async with engine:
        for context in changed:
            if context in engine.graph.contexts:
                await engine.invalidate(context)
        removed = [Invalidation(context) for context in changed if context not in engine.graph.contexts]
        if removed and edges is not None and not await edges.tell_at_once(removed):
            raise Unavailable("An edge could not be told of the contexts that were removed; run this again.")
    if engine.health().owed_to_edges:
        raise Unavailable("An edge could not be told; run this again.")
    return list(_lines(before, changed))


def _lines(before: Mapping[str, Any], changed: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    if not changed:
        yield "Nothing that is kept means anything else."
        return
    for context, reasons in changed.items():
        yield f"{context}: {', '.join(reasons)}"
    invalidations = [Invalidation(context) for context in changed]
    yield f"X-Mizan-Invalidate: {encode_header(invalidations)}"
    yield from urls_to_purge(before, invalidations)  # those at which it was kept


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeclarationError(f"{path} is no JSON, so it is no manifest: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("contexts"), dict) or found.get("version") != 1:
        raise DeclarationError(f"{path} is no manifest; write one with: mizan manifest TARGET --out {path.name}")
    return found
