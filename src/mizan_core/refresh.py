"""Refresh in the same answer (protocol, section 14): what of a page a call made stale, and what is sent along.

Nothing here can fail a call, which has ended when this begins: what goes wrong is left for the client to fetch.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

from .addresses import spell
from .answers import Answer, Refreshed
from .errors import BadRequest, CallError
from .graph import ContextPlan, Graph
from .inputs import Pairs
from .invalidation import Invalidation, within
from .urls import unquoted
from .values import Json, jsonable

logger = logging.getLogger("mizan")

# Proxies and servers commonly refuse header lines between 4 and 8 KiB.
MAXIMUM_HEADER_BYTES = 4096
# What a person sees at once is fewer bundles than this, and less than this together.
MAXIMUM_BUNDLES = 16
MAXIMUM_DATA_BYTES = 256 * 1024
# What takes longer than this is better fetched beside the answer than waited for with it.
MAXIMUM_SECONDS = 1.0

# Of the mounted bundles of the contexts that a call affects, so many are looked at: more than any page updates at once.
MAXIMUM_LOOKED_AT = 64

# As in `X-Mizan-Invalidate`, without the `&` that separates here and the `+` that forms take for a space. No piece
# gives back what it took, so the time to read a line grows with its length.
_TEXT = r"(?:[A-Za-z0-9\-._~!$'()*:@]|%[0-9A-Fa-f]{2})"
_PAIR = rf"{_TEXT}++={_TEXT}*+"
_MEMBER = rf"[ \t]*+(?:{_TEXT}++(?:\?{_PAIR}(?:&{_PAIR})*+)?+)?+[ \t]*+"
_LINE = re.compile(rf"{_MEMBER}(?:,{_MEMBER})*+")


@dataclass(frozen=True, slots=True)
class Mounted:
    """What `X-Mizan-Mounted` says that the caller shows: its line, of which no more is known than that it is one."""

    line: str

    def of(self, contexts: Iterable[str]) -> Iterator[tuple[str, Pairs]]:
        """The bundles of these contexts without repeats, in their order: a context, and the pairs of its query."""
        found = _bundles_of(tuple(contexts)).finditer(self.line)
        for context, query in dict.fromkeys((one[1], one[2]) for one in islice(found, MAXIMUM_LOOKED_AT)):
            pairs = (pair.partition("=") for pair in query.split("&")) if query else ()
            yield _decoded(context), Pairs((_decoded(name), _decoded(text)) for name, _, text in pairs)


@dataclass(frozen=True, slots=True)
class Stale:
    """A bundle that went out of date while the caller shows it. `params` are those that the caller named."""

    context: str
    params: Mapping[str, Json]
    query: str


Scope: TypeAlias = Mapping[str, str | None]
Get: TypeAlias = Callable[[Stale], Awaitable[bytes]]


def read_mounted(lines: Sequence[str]) -> Mounted | None:
    """What `X-Mizan-Mounted` says; None where there is no such header. Raises `BadRequest`.

    The whole line is looked at in native steps. What it names is read once a call has made something stale.
    """
    if not lines:
        return None
    if len(lines) > 1 or len(lines[0]) > MAXIMUM_HEADER_BYTES:
        raise BadRequest(f"X-Mizan-Mounted is one line of at most {MAXIMUM_HEADER_BYTES} bytes.")
    if not _LINE.fullmatch(lines[0]) or not _is_utf8(lines[0]):
        raise BadRequest("X-Mizan-Mounted has a member that is not of the form context?name=value&name=value.")
    return Mounted(lines[0])


async def refresh(
    graph: Graph, answer: Answer, mounted: Mounted, get: Get, *, seconds: float = MAXIMUM_SECONDS
) -> Answer:
    """The answer along with what it made stale of the mounted bundles.

    `get` gives a bundle's bytes as its own request would, and is asked for one after the other, after the purge. What
    fails, does not fit into the answer or takes longer than `seconds` altogether is left out.
    """
    refreshed: list[Refreshed] = []
    room, asked = MAXIMUM_DATA_BYTES, 0
    now = asyncio.get_running_loop().time
    deadline = now() + seconds
    scopes = _scopes(graph, answer.invalidations)
    try:
        async with asyncio.timeout_at(deadline):
            for context, pairs in mounted.of(scopes) if scopes else ():
                if asked == MAXIMUM_BUNDLES or now() >= deadline:  # what does not wait is not interrupted
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


@lru_cache(maxsize=256)  # more sets of contexts than an application's functions affect
def _bundles_of(contexts: tuple[str, ...]) -> re.Pattern[str]:
    """What finds the members of a line that name one of these contexts. A name may be encoded more than it need be."""
    names = "|".join("".join(map(_spelled, name.encode())) for name in contexts)
    return re.compile(rf"(?:^|,)[ \t]*+({names})(?:\?([^, \t]*+))?+(?=[ \t]*+(?:,|$))")


def _spelled(byte: int) -> str:
    return rf"(?:{re.escape(chr(byte))}|%(?i:{byte:02x}))"


def _decoded(text: str) -> str:
    return unquoted(text.encode("ascii")).decode()


def _is_utf8(line: str) -> bool:
    """Whether every text of a line is. What separates texts is ASCII, and no part of a longer character."""
    try:
        unquoted(line.encode("ascii")).decode()
    except UnicodeDecodeError:
        return False
    return True


def _scopes(graph: Graph, invalidations: Sequence[Invalidation]) -> dict[str, list[Scope]]:
    """What went out of date of each context that has a bundle here."""
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
    except Exception as error:  # noqa: BLE001  # a type may have a validator of the developer's
        _tell(plan.name, error)
        return None
    texts = {name: spelling.texts.get(name) for name in plan.parameters}
    if spelling.query is None or not any(within(scope, texts) for scope in scopes):
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
