"""Purge plans: the invalidations of a mutation and the scopes to hold and purge, computed once for equal arguments."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ..cache.tags import PurgeScope
from ..graph.declare import Binding, ByBody, Result
from ..graph.model import Function, Graph
from ..graph.narrowing import Running, resolve
from ..graph.types.identity_sources import IdentitySource, is_source
from ..memo import Memo
from ..protocol.identity import Identity
from ..protocol.invalidation import Invalidation
from .cache_keys import CacheKeys

# Enough for the mutations of a few thousand users.
_REMEMBERED_BYTES = 4 * 1024 * 1024
# The bytes of a remembered plan for each invalidation, beside its values: see tests/engine/test_purge_plans.py.
_PURGE_BYTES = 1_500

# Equal values of one of these types have the same canonical text.
_PLAIN = frozenset({int, str, UUID, type(None)})

_RUNNING = Running()


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """Invalidations, and the scopes to purge for them. `whole`: the contexts that are purged as a whole.

    `is_personal`: one of them is of a context with parameters that the caller's identity fills in.
    """

    invalidations: tuple[Invalidation, ...]
    scopes: tuple[PurgeScope, ...]
    whole: tuple[str, ...]
    is_personal: bool


class PurgePlans:
    """The plans of one graph's mutations. A plan that depends on plain values alone is remembered by these."""

    def __init__(self, graph: Graph, cache_keys: CacheKeys) -> None:
        self._graph = graph
        self._cache_keys = cache_keys
        self._deciding = {one: one.narrowing_inputs for one in graph.functions.values() if self._is_pure(one)}
        self._sources = {function: found for function in self._deciding if (found := tuple(_sources(function)))}
        self._personal = frozenset(name for name, plan in graph.contexts.items() if plan.identity_params)
        self._memo: Memo[tuple[object, ...], PurgePlan] = Memo(_REMEMBERED_BYTES)

    def determined(self, function: Function, sent: Mapping[str, object], identity: Identity) -> PurgePlan:
        """The plan that a function's arguments determine before it runs. `sent`: validated arguments."""
        deciding = self._deciding.get(function)
        if deciding is None or any(one.name not in sent for one in function.identity_params):
            return self._determined(function, sent, identity)
        given = [one.of(identity) for one in self._sources.get(function, ())]
        values = (function.name, *given, *map(sent.get, deciding))
        if not _PLAIN.issuperset(map(type, values)):
            return self._determined(function, sent, identity)
        plan = self._memo.get(values)
        if plan is None:
            plan = self._determined(function, sent, identity)
            self._memo.put(values, plan, _size(values, plan))
        return plan

    def undetermined(self, function: Function) -> tuple[PurgeScope, ...]:
        """The contexts, as wholes, of which only the function's result or body says what is stale."""
        return tuple(
            self._cache_keys.whole(affect.context)
            for affect in function.affects
            if isinstance(affect.narrowing, ByBody) or any(isinstance(one, Result) for _, one in affect.bindings)
        )

    def of(self, invalidations: Sequence[Invalidation]) -> PurgePlan:
        """The plan of exactly these invalidations."""
        whole = tuple({one.context: None for one in invalidations if one.is_whole})
        is_personal = not self._personal.isdisjoint([one.context for one in invalidations])
        return PurgePlan(tuple(invalidations), self._cache_keys.purged(invalidations), whole, is_personal)

    def _is_pure(self, function: Function) -> bool:
        """Whether equal values always narrow in the same way."""
        return all(
            self._graph.contexts[affect.context].parameters[name].is_pure
            for affect in function.affects
            for name, _ in affect.bindings
        )

    def _determined(self, function: Function, sent: Mapping[str, object], identity: Identity) -> PurgePlan:
        return self.of(resolve(self._graph, function, sent, identity, _RUNNING))


def _bindings(function: Function) -> Iterator[Binding]:
    return (binding for affect in function.affects for _, binding in affect.bindings)


def _sources(function: Function) -> Iterator[IdentitySource]:
    """What its bindings read of the caller's identity."""
    return (binding for binding in _bindings(function) if is_source(binding))


def _size(values: tuple[object, ...], plan: PurgePlan) -> int:
    """About how many bytes a plan takes with its values, whose size callers choose."""
    return len(plan.invalidations) * (_PURGE_BYTES + 8 * sum(map(sys.getsizeof, values)))
