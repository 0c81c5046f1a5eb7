"""What a mutation puts out of date, and where: worked out once for the same arguments."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ..cache.tags import PurgeScope
from ..graph.declare import Binding, CallerId
from ..graph.model import Function, Graph
from ..graph.narrowing import Running, resolve
from ..memo import Memo
from ..protocol.identity import Identity
from ..protocol.invalidation import Invalidation
from .cache_keys import CacheKeys

# Mutations of a few thousand users at a time.
_REMEMBERED_BYTES = 4 * 1024 * 1024
# What a remembered purge costs beside its values, for each invalidation (tests/engine/test_purge_plans.py measures it).
_PURGE_BYTES = 1_500

# Values of these types are equal only if they are the same in every spelling.
_PLAIN = frozenset({int, str, UUID, type(None)})

_RUNNING = Running()


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What is out of date, and where that is kept. `whole`: the contexts of which nothing is left."""

    invalidations: tuple[Invalidation, ...]
    scopes: tuple[PurgeScope, ...]
    whole: tuple[str, ...]


class PurgePlans:
    """The purges of one graph's mutations. Those that depend on a few plain values alone are remembered by these."""

    def __init__(self, graph: Graph, cache_keys: CacheKeys) -> None:
        self._graph = graph
        self._cache_keys = cache_keys
        self._deciding = {one: one.narrowing_inputs for one in graph.functions.values() if self._is_pure(one)}
        self._by_caller = {function for function in self._deciding if _depends_on_caller(function)}
        self._memo: Memo[tuple[object, ...], PurgePlan] = Memo(_REMEMBERED_BYTES)

    def determined(self, function: Function, sent: Mapping[str, object], identity: Identity) -> PurgePlan:
        """What a function's arguments say before it runs. `sent` are validated."""
        deciding = self._deciding.get(function)
        if deciding is None:
            return self._determined(function, sent, identity)
        user = identity.user_id if function in self._by_caller else None
        values = (function.name, user, *map(sent.get, deciding))
        if not _PLAIN.issuperset(map(type, values)):
            return self._determined(function, sent, identity)
        plan = self._memo.get(values)
        if plan is None:
            plan = self._determined(function, sent, identity)
            self._memo.put(values, plan, _size(values, plan))
        return plan

    def of(self, invalidations: Sequence[Invalidation]) -> PurgePlan:
        """The purge of exactly these."""
        whole = tuple({one.context: None for one in invalidations if one.is_whole})
        return PurgePlan(tuple(invalidations), self._cache_keys.purged(invalidations), whole)

    def _is_pure(self, function: Function) -> bool:
        """Whether the same values always say the same."""
        return all(
            self._graph.contexts[affect.context].parameters[name].is_pure
            for affect in function.affects
            for name, _ in affect.bindings
        )

    def _determined(self, function: Function, sent: Mapping[str, object], identity: Identity) -> PurgePlan:
        return self.of(resolve(self._graph, function, sent, identity, _RUNNING))


def _bindings(function: Function) -> Iterator[Binding]:
    return (binding for affect in function.affects for _, binding in affect.bindings)


def _depends_on_caller(function: Function) -> bool:
    return any(isinstance(binding, CallerId) for binding in _bindings(function))


def _size(values: tuple[object, ...], plan: PurgePlan) -> int:
    """About how many bytes a purge takes with its values, which are the caller's to choose."""
    return len(plan.invalidations) * (_PURGE_BYTES + 8 * sum(map(sys.getsizeof, values)))
