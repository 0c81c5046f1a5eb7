"""Refresh in the same answer (protocol, section 14): what of a page a call made stale, and what is sent along.

Nothing here can fail a call, which has ended when this begins: what goes wrong is left for the client to fetch.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from .addresses import spell
from .answers import Answer, Refreshed
from .errors import BadRequest, CallError
from .graph import ContextPlan, Graph
from .inputs import Pairs
from .invalidation import Invalidation, within
from .values import Json, jsonable

logger = logging.getLogger("mizan")

# Proxies and servers commonly refuse header lines between 4 and 8 KiB.
MAXIMUM_HEADER_BYTES = 4096
# What a person sees at once is fewer bundles than this, and less than this together.
MAXIMUM_BUNDLES = 16
MAXIMUM_DATA_BYTES = 256 * 1024
# What takes longer than this is better fetched beside the answer than waited for with it.
MAXIMUM_SECONDS = 1.0

# As in `X-Mizan-Invalidate`, without the `&` that separates here and the `+` that forms take for a space.
_TEXT = re.compile(r"(?:[A-Za-z0-9\-._~!$'()*:@]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A bundle that the caller shows, by its context and the pairs of its query."""

    context: str
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Stale:
    """A bundle that went out of date while the caller shows it. `params` are those that the caller named."""

    context: str
    params: Mapping[str, Json]
    query: str


Scope: TypeAlias = Mapping[str, str]
Get: TypeAlias = Callable[[Stale], Awaitable[bytes]]


def read_mounted(lines: Sequence[str]) -> tuple[Mounted, ...] | None:
    """What `X-Mizan-Mounted` names, without repeats; None where there is no such header. Raises `BadRequest`."""
    if not lines:
        return None
    if len(lines) > 1 or len(lines[0]) > MAXIMUM_HEADER_BYTES:
        raise BadRequest(f"X-Mizan-Mounted is one line of at most {MAXIMUM_HEADER_BYTES} bytes.")
    members = (member.strip(" \t") for member in lines[0].split(","))
    return tuple(map(_mounted, dict.fromkeys(member for member in members if member)))


async def refresh(
    graph: Graph, answer: Answer, mounted: Iterable[Mounted], get: Get, *, seconds: float = MAXIMUM_SECONDS
) -> Answer:
    """The answer along with what it made stale of the mounted bundles.

    `get` gives a bundle's bytes as its own request would, and is asked for one after the other, after the purge. What
    fails, does not fit into the answer or takes longer than `seconds` altogether is left out.
    """
    refreshed: list[Refreshed] = []
    room = MAXIMUM_DATA_BYTES
    try:
        async with asyncio.timeout(seconds):
            for one in islice(_stale(graph, mounted, answer.invalidations), MAXIMUM_BUNDLES):
                data = await _data(one, get)
                if data is not None and len(data) <= room:
                    room -= len(data)
                    refreshed.append(Refreshed(one.context, one.params, data))
    except TimeoutError:
        pass
    return replace(answer, refreshed=tuple(refreshed))


def _mounted(member: str) -> Mounted:
    context, mark, query = member.partition("?")
    return Mounted(_name(context), Pairs(map(_pair, query.split("&")) if mark else ()))


def _pair(assignment: str) -> tuple[str, str]:
    name, sign, text = assignment.partition("=")
    if not sign:
        raise _unreadable()
    return _name(name), _decoded(text)


def _name(text: str) -> str:
    if not text:
        raise _unreadable()
    return _decoded(text)


def _decoded(text: str) -> str:
    if not _TEXT.fullmatch(text):
        raise _unreadable()
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _unreadable() from None


def _unreadable() -> BadRequest:
    return BadRequest("X-Mizan-Mounted has a member that is not of the form context?name=value&name=value.")


def _stale(graph: Graph, mounted: Iterable[Mounted], invalidations: Sequence[Invalidation]) -> Iterator[Stale]:
    """Those of the mounted bundles that are out of date. What this graph does not know, or refuses, is passed over."""
    scopes: dict[str, list[Scope]] = {}
    for one in invalidations:
        scopes.setdefault(one.context, []).append(one.texts)
    for bundle in mounted:
        plan = graph.contexts.get(bundle.context)
        if plan is not None and plan.readers and bundle.context in scopes:
            stale = _if_stale(plan, bundle.pairs, scopes[bundle.context])
            if stale is not None:
                yield stale


def _if_stale(plan: ContextPlan, pairs: Pairs, scopes: Iterable[Scope]) -> Stale | None:
    try:
        sent = plan.validator.validate(pairs)
        spelling = spell(plan, sent)
        named = {name: jsonable(value) for name, value in sent.items()}
    except Exception as error:  # noqa: BLE001  # a type may have a validator of the developer's
        _tell(plan.name, error)
        return None
    texts = {name: spelling.texts.get(name) for name in plan.parameters}
    if not any(within(scope, texts) for scope in scopes):
        return None
    return Stale(plan.name, named, spelling.query)


async def _data(stale: Stale, get: Get) -> bytes | None:
    try:
        return await get(stale)
    except Exception as error:  # noqa: BLE001  # readers, guards and the host's sessions are not ours
        _tell(stale.context, error)
        return None


def _tell(context: str, error: Exception) -> None:
    """A refusal is the client's to learn of, when it fetches; anything else is a defect."""
    if not isinstance(error, CallError):
        logger.error("A bundle of %s could not be sent along with a call's answer.", context, exc_info=error)
