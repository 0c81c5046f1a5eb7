"""An audit: recorded calls are played against a scratch database, and their declarations are verified on the way.

Each call is played as it was recorded, and then with the arguments that narrow what it affects taken from other
bundles. That finds an argument that disagrees with the row which the function writes, as a comment that is deleted
under another article's slug: callers send what they like, and no recorded call needs to have done so.
"""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..engine.engine import Engine
from ..engine.observers import StaleProof
from ..errors import CallError, Unauthorized
from ..graph.declare import Arg
from ..graph.model import ContextPlan, Graph
from ..protocol.identity import Identity
from ..protocol.values import Json, jsonable
from .recording import Recorded
from .verify import Verify

logger = logging.getLogger("mizan")

# Of each call, so many variants of each argument are played.
VARIANTS = 3


@dataclass(slots=True)
class Audit:
    """What an audit found. `refused`: calls and fetches that ended in a `CallError`; `failed`: in any other error."""

    verify: Verify
    calls: int = 0
    fetches: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # function or context to its first error

    @property
    def proved(self) -> list[StaleProof]:
        """One proof for each mutation and context: the first."""
        first: dict[tuple[str | None, str], StaleProof] = {}
        for one in self.verify.proved:
            first.setdefault((one.mutation, one.context), one)
        return list(first.values())


async def audit(engine: Engine, recording: Iterable[Recorded]) -> Audit:
    """Play a recording against this engine, whose functions write to a database that may be thrown away."""
    lines = list(recording)
    found = Audit(Verify())
    bundles = _distinct(one for one in lines if one.kind == "fetch")
    values = _values(engine.graph, bundles)
    found.verify.attach(engine)
    try:
        for one in lines:
            if one.kind == "fetch":
                await _fetch(engine, one, found)
                continue
            for call in (one, *_variants(engine, one, values)):
                for bundle in bundles:  # a bundle that was purged by the call before is remembered again
                    await _fetch(engine, bundle, found)
                await _call(engine, call, found)
    finally:
        found.verify.detach()
    return found


async def _fetch(engine: Engine, one: Recorded, found: Audit) -> None:
    found.fetches += 1
    await _play(engine.fetch(one.name, one.values, identity=one.identity), one.name, found)


async def _call(engine: Engine, one: Recorded, found: Audit) -> None:
    found.calls += 1
    await _play(engine.call(one.name, one.values, identity=one.identity), one.name, found)


async def _play(work: Awaitable[object], name: str, found: Audit) -> None:
    try:
        await work
    except CallError:
        found.refused += 1
    except Exception as error:  # the application's own; the audit goes on, and tells it
        logger.debug("%s failed in an audit.", name, exc_info=error)
        found.failed.setdefault(name, f"{type(error).__name__}: {error}")


def _distinct(fetches: Iterable[Recorded]) -> list[Recorded]:
    return list({one.line(): one for one in fetches}.values())


def _values(graph: Graph, bundles: Iterable[Recorded]) -> Mapping[tuple[str, str], list[Json]]:
    """Every value that a parameter of a context has in some bundle, also where the identity fills it in."""
    found: dict[tuple[str, str], dict[str, Json]] = defaultdict(dict)
    for one in bundles:
        plan = graph.contexts.get(one.name)
        for name, value in {**one.values, **({} if plan is None else _filled(plan, one.identity))}.items():
            found[one.name, name][repr(value)] = value
    return {key: list(values.values()) for key, values in found.items()}


def _filled(plan: ContextPlan, identity: Identity) -> dict[str, Json]:
    """The values that an identity fills in; none for one whose fetch is refused."""
    try:
        return {one.name: jsonable(one.value(identity)) for one in plan.identity_params}
    except Unauthorized:
        return {}


def _variants(engine: Engine, one: Recorded, values: Mapping[tuple[str, str], list[Json]]) -> Iterator[Recorded]:
    """The call with each narrowing argument taken from other bundles."""
    function = engine.graph.functions.get(one.name)
    seen: set[str] = {one.line()}
    for affect in () if function is None else function.affects:
        for parameter, binding in affect.bindings:
            if not isinstance(binding, Arg) or binding.name not in one.values:
                continue
            for value in values.get((affect.context, parameter), ())[: VARIANTS + 1]:
                variant = Recorded(one.kind, one.name, {**one.values, binding.name: value}, one.identity)
                if variant.line() not in seen:
                    seen.add(variant.line())
                    yield variant
