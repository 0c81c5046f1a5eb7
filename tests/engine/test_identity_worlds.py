"""In worlds made at random, the cache never shows a caller stale data or another caller's, and keeps all that is true.

What each caller asks for is byte for byte what an engine without a cache answers it, after mutations by anyone.
What a mutation did not write is a hit afterwards.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, given, settings

from mizan_core import CallError, Engine, Identity, Invalidation, MemoryCache
from mizan_core.cache.slots import Slot
from mizan_core.engine import cache_keys
from mizan_core.engine.cache_keys import CacheKeys
from mizan_core.graph import narrowing
from mizan_core.graph.model import Affect, ContextPlan
from mizan_core.testing.redis_server import RedisServer
from tests.cache.redis.caches import patient
from tests.engine.identity_worlds import CALLERS, Call, Plan, Told, World, Write, plans_with_steps

SECRET = "s" * 32

_runs = itertools.count()

Drawn = tuple[Plan, Sequence[Call | Told]]
Shown = tuple[str, bytes | type[BaseException]]  # a cache status, and a bundle's bytes or the error's type


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Claims that do not fit are no news here, and neither are readers that look further than their declaration."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Play:
    """A world behind engines with a cache, which take turns, and an engine without one."""

    def __init__(self, plan: Plan, engines: Callable[[World], Sequence[Engine]]) -> None:
        self.world = World(plan)
        self.engines = engines(self.world)
        self._bare = Engine(self.world.graph)
        self._turn = 0
        self._kept: set[tuple[int, str]] = set()  # the bundles, by caller, that were hits when last asked for

    @property
    def engine(self) -> Engine:
        self._turn += 1
        return self.engines[self._turn % len(self.engines)]

    async def step(self, step: Call | Told) -> None:
        """Change something, and look at everything before and after."""
        await self._look(())
        before = len(self.world.writes)
        if isinstance(step, Told):
            self.world.writes.append(self.world.named(step.group, step.scope))
            await self.engine.invalidate(step.group, **step.scope)
        else:
            await self._call(step)
        await self._look(self.world.writes[before:], is_exact=_is_exact(self.world.plan, step))

    async def _call(self, call: Call) -> None:
        self.world.running.append(call)
        with contextlib.suppress(CallError, RuntimeError):
            await self.engine.call(call.mutation, call.sent, identity=CALLERS[call.caller])
        self.world.running.clear()  # of a call that was refused before its body ran

    async def _look(self, written: Sequence[Write], *, is_exact: bool = True) -> None:
        for place, (group, sent) in enumerate(self.world.plan.bundles):
            for caller, identity in CALLERS.items():
                status, found = await shown(self.engine, group, sent, identity)
                _, expected = await shown(self._bare, group, sent, identity)
                assert found == expected, f"{caller} asks for {group} {sent}: {found!r}, not {expected!r}"
                if is_exact and (place, caller) in self._kept and isinstance(found, bytes):
                    texts = self.world.plan.groups[group].texts(identity, sent)
                    is_written = any(write.touches(group, texts) for write in written)
                    assert is_written or status == "hit", f"{group} {sent} of {caller} was purged for nothing"
        for place, (group, sent) in enumerate(self.world.plan.bundles):
            for caller, identity in CALLERS.items():
                status, _ = await shown(self.engine, group, sent, identity)
                self._kept.discard((place, caller))
                if status == "hit":
                    self._kept.add((place, caller))


async def shown(engine: Engine, group: str, sent: Any, identity: Identity) -> Shown:
    try:
        bundle = await engine.fetch(group, sent, identity=identity)
    except CallError as error:
        return "", type(error)
    return bundle.status, bundle.body


def _is_exact(plan: Plan, step: Call | Told) -> bool:
    """Whether exactly what was written is purged, and no wider scope.

    A wider one is purged for a scope that no declaration knows, such as that of a call in Python that leaves out what
    the identity would fill in. All that was held is purged after a mutation that was refused and named something, or of
    which an inner one was refused: it may have written (protocol, section 7).
    """
    if isinstance(step, Told):
        return plan.groups[step.group].scopes
    if step.outcome == "refuses":
        return not (step.named or step.inner)
    for inner in step.inner:
        left_out = plan.mutations[inner.mutation].args.keys() - inner.sent.keys()
        if inner.outcome == "refuses" or left_out or not _is_exact(plan, inner):
            return False
    wheres = [one.group for one in plan.mutations[step.mutation].affects if len(one.bindings) > 1]  # one may not fit
    return all(plan.groups[group].scopes for group in (*wheres, *(group for group, _ in step.named)))


def in_memory(world: World) -> Sequence[Engine]:
    return [Engine(world.graph, cache=MemoryCache(), cache_secret=SECRET)]


async def play(drawn: Drawn, engines: Callable[[World], Sequence[Engine]]) -> None:
    plan, steps = drawn
    one = Play(plan, engines)
    try:
        for step in steps:
            await one.step(step)
    finally:
        for engine in one.engines:
            await engine.aclose()


@settings(max_examples=60)
@given(plans_with_steps())
def test_what_is_shown_is_true_and_ones_own(drawn: Drawn) -> None:
    asyncio.run(play(drawn, in_memory))


@settings(max_examples=8)
@given(plans_with_steps())
def test_two_processes_over_redis_show_what_is_true(redis: RedisServer, drawn: Drawn) -> None:
    def in_redis(world: World) -> Sequence[Engine]:
        prefix = f"{next(_runs)}:"
        caches = [patient(redis.url, prefix=prefix) for _ in range(2)]
        return [Engine(world.graph, cache=one, cache_secret=SECRET, deadline=60.0) for one in caches]

    asyncio.run(play(drawn, in_redis))


def _key_without_the_identitys_values(
    keys: CacheKeys, plan: ContextPlan, texts: Mapping[str, str], identity: Identity
) -> Slot:
    shared = {name: text for name, text in texts.items() if name in plan.client_parameters}
    return replace(_slot(keys, plan, texts, identity), key=_slot(keys, plan, shared, identity).key)


def _nobody_is_nothing(
    plan: ContextPlan, affect: Affect, values: Mapping[str, object], *more: Any
) -> list[Invalidation]:
    if any(values.get(name, 0) is None for name in affect.null_narrows):
        return []
    return _by_values(plan, affect, values, *more)


def _nobody_is_everybody(
    plan: ContextPlan, affect: Affect, values: Mapping[str, object], *more: Any
) -> list[Invalidation]:
    return _by_values(plan, replace(affect, null_narrows=frozenset()), values, *more)


_slot = CacheKeys.slot
_by_values = narrowing._by_values


@pytest.mark.parametrize(
    ("owner", "attribute", "mistake", "found"),
    [
        (CacheKeys, "slot", _key_without_the_identitys_values, "asks for"),
        (cache_keys, "claims_key", lambda identity: None, "asks for"),
        (narrowing, "_by_values", _nobody_is_nothing, "asks for"),
        (narrowing, "_by_values", _nobody_is_everybody, "was purged for nothing"),
    ],
)
def test_a_planted_mistake_is_found(owner: Any, attribute: str, mistake: Any, found: str) -> None:
    @settings(max_examples=2_000, derandomize=True, database=None, phases=[Phase.generate])
    @given(plans_with_steps())
    def worlds(drawn: Drawn) -> None:
        asyncio.run(play(drawn, in_memory))

    with mock.patch.object(owner, attribute, mistake), pytest.raises(AssertionError, match=found):
        worlds()
