"""Functions that may change something: run to their end, and what they put out of date held, purged and told."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from types import CoroutineType
from typing import Any, TypeVar

from .addresses import Addresses
from .answers import Answer, Failure, answered
from .backend_holds import BackendHold
from .bundle_cache import BundleCache, Hold
from .cache.guard import CacheState
from .errors import CacheUnavailable, CallError, Unavailable
from .graph import Function, Graph
from .holds import Scope
from .invalidation import Invalidation, Mutating, Outcome, Refused, Returned, Unknown, current, merge, resolve
from .memory_holds import MemoryHold
from .pace import Pace, Tasks, Waiting, before_waiting
from .purges import Purge, Purges
from .running import Caller, Runner

logger = logging.getLogger("mizan")

T = TypeVar("T")


class Mutations:
    """The functions of one graph that are no readers. `refuses`: none runs whose scopes cannot be held."""

    def __init__(
        self, graph: Graph, addresses: Addresses, cache: BundleCache, runner: Runner, *, refuses: bool
    ) -> None:
        self.graph = graph
        self._addresses = addresses
        self._cache = cache
        self._runner = runner
        self._refuses = refuses
        self._purges = Purges(graph, addresses)
        self._tasks = Tasks()
        self._pace = Pace(self._tasks)

    def __len__(self) -> int:
        """How many mutations and purges are under way."""
        return len(self._tasks)

    async def aclose(self, seconds: float) -> None:
        """Wait so long for what is under way."""
        late = await self._tasks.wait(seconds)
        if late:
            logger.error("Closed while %d mutations were still running.", late)

    def begin(
        self, function: Function, sent: Mapping[str, object], caller: Caller
    ) -> Answer | Failure | Waiting[Answer | Failure]:
        """Run a function: what came of it, or what has to be waited for. `sent` are validated."""
        if function.affects:
            return Waiting(self._tasks.finish(self._mutate(function, sent, caller)))
        return self._pace.run(function, self._act(function, sent, caller))

    async def purge(self, invalidations: Sequence[Invalidation]) -> None:
        """Purge what was changed elsewhere. Raises `CacheUnavailable` where that is insisted on and takes too long."""
        late = await self._tasks.finish(self._settle(None, self._purges.of(invalidations)))
        if late is not None:
            raise late.error

    async def _act(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Answer | Failure:
        """A function that declares to affect nothing: nothing is purged but what its body names."""
        mutating = Mutating(self, asyncio.get_running_loop())
        around = current.set(mutating)
        ended: Answer | Failure
        try:
            work = function.call(**sent) if function.is_direct else self._runner.to_the_end(function, sent, caller)
            ended = answered(function, await work)[0]
        except Exception as error:  # noqa: BLE001  # the function is not ours, and what it named is told all the same
            ended = Failure(error)
        finally:
            mutating.has_ended = True
            current.reset(around)
            late = None
            if mutating.named:  # it is a mutation, whatever it declares, and has a task from now on
                self._pace.waits(function)
                purge = self._purges.of(merge(mutating.named))
                late = await self._tasks.finish(self._settle(mutating.hold, purge))
        if mutating.named:
            ended = late or ended
            ended.invalidations = purge.invalidations
        return ended

    async def _mutate(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Answer | Failure:
        """Hold what the arguments determine, run, resolve what became stale, purge: in that order, to the end."""
        purge = self._purges.determined(function, sent, caller.identity)
        mutating = Mutating(self, asyncio.get_running_loop())
        hold = mutating.hold = self._cache.hold(purge.scopes)
        current.set(mutating)
        ended: Answer | Failure
        outcome: Outcome = Unknown()
        refused = False
        try:
            if isinstance(hold, MemoryHold):
                # Until the function first waits, nobody else has a turn, and nothing need be held.
                work: Awaitable[Any] = before_waiting(self._begun(function, sent, caller), hold.begin)
            elif refused := await self._refuses_to_run(hold):
                raise Unavailable  # noqa: TRY301  # told as a refusal of the function's own is
            else:
                work = self._begun(function, sent, caller)
            ended, result = answered(function, await work)
            outcome = _refused_or_returned(function, result)
        except Exception as error:  # noqa: BLE001  # the function is not ours, and its effects are told all the same
            ended, outcome = Failure(error), Refused() if isinstance(error, CallError) else Unknown()
        finally:  # also where it was cancelled, which leaves its outcome unknown
            mutating.has_ended = True
            if mutating.named or not (function.is_determined and isinstance(outcome, Returned)):
                stale = resolve(self.graph, function, sent, caller.identity, outcome, mutating.named)
                purge = self._purges.of(stale)
            late = await self._settle(hold, purge, refused=refused)
        ended = late or ended
        ended.invalidations = purge.invalidations
        return ended

    def _begun(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Coroutine[Any, Any, Any]:
        """The function, which is not left half-way."""
        work = function.call(**sent) if function.is_direct else self._runner.to_the_end(function, sent, caller)
        return work if type(work) is CoroutineType else _awaited(work)

    async def _settle(self, hold: Hold | None, purge: Purge, *, refused: bool = False) -> Failure | None:
        """End the hold and purge; a failure, if that is insisted on and takes too long to be told as a success."""
        insist = self._refuses and not refused
        late = await self._cache.settle(hold or self._cache.hold(()), purge.scopes, insist=insist)
        if late is not None:
            return Failure(late)
        for context in purge.whole:
            self._cache.reclaim(context)
        return None

    def hear(self, mutating: Mutating, invalidation: Invalidation) -> None:
        """Hold what the body of a function names, from then on. Called on the loop's thread or on the function's."""
        scopes = self._addresses.purged([invalidation])
        if mutating.hold is None:
            mutating.hold = self._cache.hold(())
        if _runs_here(mutating.loop):
            mutating.hold.extend(scopes)
        else:
            mutating.loop.call_soon_threadsafe(_extend, mutating, scopes)

    async def _refuses_to_run(self, hold: BackendHold) -> bool:
        """Begin the hold; whether it cannot be written, or its purge could not, and the deployment takes no risk."""
        try:
            await hold.begin()
        except CacheUnavailable:
            return self._refuses
        return self._refuses and self._cache.state is CacheState.DOWN


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def held(mutating: Mutating) -> None:
    """See to it that everything is held that is to be, for the function is about to look at the cache itself."""
    hold = mutating.hold
    if isinstance(hold, BackendHold):
        await hold.written()
    elif hold is not None and not mutating.has_ended:
        hold.begin()  # which it has not, if the function has never waited so far


def _extend(mutating: Mutating, scopes: Sequence[Scope]) -> None:
    """Hold more, unless the function that named it in a thread has ended meanwhile, and it is purged already."""
    if not mutating.has_ended:
        mutating.hold.extend(scopes)


async def _awaited(work: Awaitable[T]) -> T:
    """A coroutine of whatever a decorator made of one, such as a task."""
    return await work


def _refused_or_returned(function: Function, result: object) -> Outcome:
    """A view refuses by the status of its response."""
    if function.is_view and 400 <= getattr(result, "status_code", 200) < 500:
        return Refused()
    return Returned(result)
