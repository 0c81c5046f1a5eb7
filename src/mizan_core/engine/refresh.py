"""Refresh in the same answer (protocol, section 14): bundles of a page that a call made stale are sent along.

No error here can fail the call, which has ended before: a bundle that fails is left for the client to fetch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..errors import CallError
from ..graph.model import ContextPlan, Graph
from ..protocol.invalidation import Invalidation, within
from ..protocol.mounted import Mounted
from ..protocol.urls import Pairs
from ..protocol.values import Json, jsonable
from .answers import Answer, Refreshed
from .bundle_requests import spell

logger = logging.getLogger("mizan")

# A page shows fewer bundles than this at once, and less data than this together.
MAXIMUM_BUNDLES = 16
MAXIMUM_DATA_BYTES = 256 * 1024
# The answer waits no longer than this for bundles; the client fetches the rest.
MAXIMUM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Stale:
    """A bundle that went out of date while the caller shows it. `params` are those that the caller named."""

    context: str
    params: Mapping[str, Json]
    query: str


Scope: TypeAlias = Mapping[str, str | None]
Get: TypeAlias = Callable[[Stale], Awaitable[bytes]]


async def refresh(
    graph: Graph, answer: Answer, mounted: Mounted, get: Get, *, seconds: float = MAXIMUM_SECONDS
) -> Answer:
    """The answer, with the mounted bundles that the call made stale as they are now.

    `get` gives a bundle's bytes as its own request would; it is called for one bundle after the other, after the purge.
    A bundle is left out if it fails, does not fit into the answer, or is not ready within `seconds` altogether.
    """
    refreshed: list[Refreshed] = []
    room, asked = MAXIMUM_DATA_BYTES, 0
    now = asyncio.get_running_loop().time
    deadline = now() + seconds
    scopes = _scopes(graph, answer.invalidations if answer.told is None else answer.told)
    try:
        async with asyncio.timeout_at(deadline):
            for context, pairs in mounted.of(scopes) if scopes else ():
                if asked == MAXIMUM_BUNDLES or now() >= deadline:  # a `get` that never suspends is not interrupted
                    break
                stale = _if_stale(graph.contexts[context], pairs, scopes[context])
                if stale is None:
                    continue
                asked += 1
                data = await _data(stale, get)
                if data is not None and len(data) <= room:
                    room -= len(data)
                    refreshed.append(Refreshed(context, stale.params, data))
    except TimeoutError:
        pass
    return replace(answer, refreshed=tuple(refreshed))


def _scopes(graph: Graph, invalidations: Sequence[Invalidation]) -> dict[str, list[Scope]]:
    """The stale scopes of each context that has a bundle in this graph."""
    scopes: dict[str, list[Scope]] = {}
    for one in invalidations:
        plan = graph.contexts.get(one.context)
        if plan is not None and plan.readers:
            scopes.setdefault(one.context, []).append(one.scope)
    return scopes


def _if_stale(plan: ContextPlan, pairs: Pairs, scopes: Iterable[Scope]) -> Stale | None:
    try:
        sent = plan.validator.validate(pairs)
        spelling = spell(plan, sent)
        named = {name: jsonable(value) for name, value in sent.items()}
    except Exception as error:  # noqa: BLE001  # a developer's validator may raise anything
        _tell(plan.name, error)
        return None
    texts = {name: spelling.texts.get(name) for name in plan.client_parameters}
    if spelling.query is None or not any(within(scope, texts) for scope in scopes):
        return None
    return Stale(plan.name, named, spelling.query)


async def _data(stale: Stale, get: Get) -> bytes | None:
    try:
        return await get(stale)
    except Exception as error:  # noqa: BLE001  # readers, guards and the host's sessions may raise anything
        _tell(stale.context, error)
        return None


def _tell(context: str, error: Exception) -> None:
    """Log a defect. The client learns of a refusal when it fetches."""
    if not isinstance(error, CallError):
        logger.error("A bundle of %s could not be sent along with a call's answer.", context, exc_info=error)
