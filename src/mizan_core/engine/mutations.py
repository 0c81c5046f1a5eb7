"""Mutations: run to their end, with everything that they make stale held, purged and told.

What to know before changing a mutation's path:

- **Hold, run, resolve, purge, answer**, in this order. The scopes that the arguments determine are held before the
  function begins; further ones (an inner call's, a body's `invalidate`) from the moment they are known. The purge has
  succeeded, or is owed and bypassed, before the caller hears anything.
- **To the end.** A mutation has a task of its own. A caller that goes away, or a cancelled request, cancels only the
  waiting: the function may be half-way through a commit. A function that still waits for a thread does not begin.
- **The outcome decides the purge.** `Returned`: what the result and the body say. `Refused` (a 4xx error, or never
  begun): only what the body named; with nothing named, tags get back what they had. `Unknown` (any other error, or a
  cancellation): everything that could be stale, as wide as the declaration.
- **A function without `affects`** runs without a task until it has suspended once or has named something; from then on
  it has one (`EagerRunner`).
- **Inner calls.** A mutation that a body calls is held and purged by the outer call, whose answer tells it
  (`inner_calls`). One that outlives the outer call purges by itself.
- **`changing`** (`hosts/changing`) is a call whose body runs elsewhere (`hosts/open_call`): it takes a hold here, and
  settles it. Its outcome is unknown whatever its body raises, so it purges all that it names.
- **Threads.** A sync function runs in a thread; what it names and calls is passed to the loop, which alone holds.
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..cache.store import Hold, Store
from ..cache.tags import PurgeScope
from ..errors import CacheUnavailable, CallError, Unavailable
from ..graph.declare import Declaration
from ..graph.model import Function, Graph
from ..graph.narrowing import Outcome, Refused, Returned, Unknown, resolve, told_to
from ..graph.types.snapshots import snapshot
from ..graph.wrapper import current
from ..protocol.files import File
from ..protocol.invalidation import Invalidation, merge
from ..tasks import EagerRunner, Tasks
from ..telling.edges import Edges
from .answers import ENDED, Ended, Failure, answered, ended_of, failure_of
from .cache_keys import CacheKeys
from .current_call import CurrentCall
from .failures import ErrorMapping, cancelled_itself, is_cancelled
from .inner_calls import READING, Inner, Joining, Reading, arguments_of, identity_of, misplaced
from .observers import (
    Called,
    Calling,
    Observers,
    OutcomeName,
    Purged,
    StaleProof,
    TimedHold,
    called,
    running,
)
from .purge_plans import PurgePlan, PurgePlans
from .runner import Caller, NotBegun, NotClosed, NotOpened, ResourceFailed, Runner, Wanted

logger = logging.getLogger("mizan")

# How long a thread waits for the loop to hold something. A loop that waits for that very thread would never do so.
THREAD_WAITS_SECONDS = 5.0

CLIENT_ERROR, SERVER_ERROR = 400, 500

T = TypeVar("T")


# For functions that need no thread: they begin before their caller can go away.
_ALWAYS = Wanted()


class Mutations:
    """Runs the functions of one graph that are no readers. `refuses`: none runs whose scopes cannot be held."""

    def __init__(
        self,
        graph: Graph,
        cache_keys: CacheKeys,
        store: Store,
        runner: Runner,
        errors: ErrorMapping,
        observers: Observers,
        *,
        refuses: bool,
        edges: Edges | None = None,
    ) -> None:
        self.graph = graph
        self._cache_keys = cache_keys
        self.observers = observers
        self._store = store
        self._runner = runner
        self.errors = errors
        self.refuses = refuses
        self._edges = edges
        self._plans = PurgePlans(graph, cache_keys)
        self.tasks = Tasks()
        self._with_files = Tasks()  # those that close files once a function has ended
        self._eager = EagerRunner(self.tasks, unheard=_unheard)

    def __len__(self) -> int:
        """How many mutations and purges are under way."""
        return len(self.tasks)

    async def aclose(self, seconds: float) -> None:
        """Wait so long for what is under way."""
        deadline = asyncio.get_running_loop().time() + seconds
        late = await self.tasks.wait(seconds)
        if late:
            logger.error("Closed while %d mutations were still running.", late)
        await self._with_files.wait(max(0.0, deadline - asyncio.get_running_loop().time()))

    def begin(
        self,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        *,
        may_change: bool = True,
        joined: tuple[str, ...] = (),
    ) -> Ended | Awaitable[Ended]:
        """Run a function: how it ended, or an awaitable of that. `sent` are validated.

        Without `may_change`, a body that changes something fails. `joined`: the functions whose answer will also tell
        what this one makes stale, where observers are told of it.
        """
        outer: CurrentCall | Reading | None = current.get()
        if outer is not None:
            return self._for_a_body(outer, function, sent, caller)
        if self.observers.all:
            wanted = Wanted()
            work = self.tasks.start(
                self._observed(function, sent, caller, wanted, joined, may_change=may_change), _unheard
            )
            return work if function.is_async else wanted.waiting(work)
        if not function.is_async:
            return self._begin_in_a_thread(function, sent, caller, may_change)
        if function.affects:
            return self.tasks.start(self._mutate(function, sent, caller), _unheard)
        return self._eager.run(function, self._act(function, sent, caller, may_change))

    def with_files(self, work: Awaitable[Ended], files: Iterable[File]) -> "asyncio.Future[Ended]":
        """Do this work to its end, though the caller may go away; then close the files."""
        return self._with_files.start(_closing(files, work), _unheard)

    def _begin_in_a_thread(
        self, function: Function, sent: Mapping[str, object], caller: Caller, may_change: bool
    ) -> Ended | Awaitable[Ended]:
        """As `begin`. If the caller goes while the function still waits for a thread, the function does not begin."""
        wanted = Wanted()
        if function.affects:
            return wanted.waiting(self.tasks.start(self._mutate(function, sent, caller, wanted), _unheard))
        ended = self._eager.run(function, self._act(function, sent, caller, may_change, wanted))
        return ended if isinstance(ended, ENDED) else wanted.waiting(ended)

    async def _observed(
        self,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        wanted: Wanted,
        joined: tuple[str, ...],
        *,
        may_change: bool,
    ) -> Ended:
        """Run a function, between what the observers are told and within what they enter around it."""
        holds = self._plans.determined(function, sent, caller.identity).invalidations
        filled = frozenset(one.name for one in function.identity_params)
        calling = Calling(function.name, sent, caller.identity, holds, filled)
        await self.observers.tell_and_wait(calling)
        called.set((*joined, function.name))
        with self.observers.around(calling):
            return await self._timed(calling, function, sent, caller, wanted, may_change=may_change)

    async def _timed(
        self,
        calling: Calling,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        wanted: Wanted,
        *,
        may_change: bool,
    ) -> Ended:
        """Run a function, and tell the observers how it ended and how long it took."""
        now = asyncio.get_running_loop().time
        began = now()
        call = CurrentCall(self, asyncio.get_running_loop(), caller.identity)
        if function.affects:
            ended = await self._mutate(function, sent, caller, wanted, call)
        else:
            ended = await self._act(function, sent, caller, may_change, wanted, call)
        error = ended.error if isinstance(ended, Failure) else None
        event = Called(
            began=calling,
            outcome=name_of(_outcome_of_answer(function, ended)),
            error=error,
            invalidations=tuple(ended.invalidations),
            seconds=now() - began,
            held=getattr(call.hold, "held", 0.0),  # it is no `TimedHold` where nothing was held or purged
            purge=getattr(call.hold, "purge", 0.0),
        )
        await self.observers.tell_and_wait(event)
        return ended

    def _for_a_body(
        self, outer: CurrentCall | Reading, function: Function, sent: Mapping[str, object], caller: Caller
    ) -> Ended | Awaitable[Ended]:
        """Run a function that the body of another one asks for."""
        if isinstance(outer, Reading):
            if function.affects:
                return Failure(misplaced(function.declaration.name), function=function.name)
        elif outer.owner.graph is self.graph and not outer.root.has_ended:  # it has yet to be answered
            return self._joined(outer, function, sent, caller)
        return self._begun_alone(outer, function, sent, caller)

    def _begun_alone(
        self,
        outer: CurrentCall | Reading,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        joined: tuple[str, ...] = (),
    ) -> Ended | Awaitable[Ended]:
        current.set(None)
        try:
            return self.begin(function, sent, caller, joined=joined)
        finally:
            current.set(outer)

    async def _joined(
        self, outer: CurrentCall, function: Function, sent: Mapping[str, object], caller: Caller
    ) -> Ended:
        """Run a function for the body of another, which may be what commits, so its answer tells both."""
        inner = Inner(outer, self, function.declaration, function, sent, caller.identity)
        try:
            await self.held(inner)
            joined = running() if self.observers.all else ()
            answer = await ended_of(self._begun_alone(outer, function, sent, caller, joined))
        except BaseException:  # it may still be running: all that it could make stale counts
            inner.settle(inner.stale)
            raise
        inner.settle(answer.invalidations)
        return answer

    async def purge(
        self,
        invalidations: Sequence[Invalidation],
        *,
        proof: StaleProof | None = None,
        function: str | None = None,
        origin: str | None = None,
        insist: bool = False,
    ) -> None:
        """Purge after a write made elsewhere. With `refuses` or `insist`, raises `CacheUnavailable` if it is late.

        `proof`, `function`, `origin`: the cause that observers are told (`Purged`).
        """
        now = asyncio.get_running_loop().time
        began = now()
        late = await self.tasks.start(self._settle(None, self._plans.of(invalidations), insist=insist))
        if self.observers.all:
            self.observers.tell(Purged(tuple(invalidations), now() - began, proof, function, origin))
        if late is not None:
            raise late.error

    async def _act(
        self,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        may_change: bool,
        wanted: Wanted = _ALWAYS,
        call: CurrentCall | None = None,
    ) -> Ended:
        """Run a function without `affects`: only what its body names is purged. `call`: where observers time it."""
        call = call or CurrentCall(self, asyncio.get_running_loop(), caller.identity)
        around = current.set(call if may_change else READING)
        ended: Ended
        try:
            if function.runs_directly:
                ended = answered(function, await function.call(**sent))[0]
            else:
                ended = (await self._runner.to_the_end(function, sent, caller, answered, wanted))[0]
        except Exception as error:  # noqa: BLE001  # a function may raise anything; what it named is told all the same
            ended = failure_of(self.errors, function.name, _cause(error))
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            ended = failure_of(self.errors, function.name, cancelled_itself(function.name, error))
        finally:
            call.has_ended = True
            current.reset(around)
            late = None
            names = bool(call.named or call.inners)
            if names:  # it does change something, so it has a task from now on
                self._eager.mark_suspending(function)
                plan = self._plans.of(merge([*call.named, *call.joined()]))
                if call.hold is None:
                    call.hold = self._hold()
                late = await self.tasks.start(self._settle(call.hold, plan))
        return self._telling(late or ended, plan, caller) if names else ended

    async def _mutate(
        self,
        function: Function,
        sent: Mapping[str, object],
        caller: Caller,
        wanted: Wanted = _ALWAYS,
        call: CurrentCall | None = None,
    ) -> Ended:
        """Hold what the arguments determine, run, resolve what became stale, purge: in that order, to the end.

        `call`: where observers time it.
        """
        plan = self._plans.determined(function, sent, caller.identity)
        if call is None:
            call = CurrentCall(self, asyncio.get_running_loop(), caller.identity)
            hold = self._holding(plan.scopes, function)
        else:
            hold = self._timed_hold(plan.scopes, function)
        call.hold = hold
        current.set(call)
        ended: Ended
        outcome: Outcome = Unknown()
        has_begun = False  # until then nothing can have happened
        kept = snapshot(sent, function.mutable_narrowing_inputs) if function.mutable_narrowing_inputs else sent

        def begin() -> Coroutine[Any, Any, Any]:
            nonlocal has_begun
            work = self._begun(function, sent, caller, wanted)
            has_begun = True
            return work

        try:
            work = hold.run(begin, insist=self.refuses)
            ended, result = answered(function, await work) if function.runs_directly else await work
            outcome = _outcome_of_result(function, result)
        except Exception as error:  # noqa: BLE001  # a function may raise anything; its effects are told all the same
            ended = failure_of(self.errors, function.name, _cause(error))
            outcome = _outcome_of_failure(error, ended.error) if has_begun else Refused()
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            ended = failure_of(self.errors, function.name, cancelled_itself(function.name, error))
        finally:  # also where it was cancelled, which leaves its outcome unknown
            call.has_ended = True
            if call.named or call.inners or not (function.is_determined and isinstance(outcome, Returned)):
                stale = resolve(
                    self.graph, function, kept, caller.identity, outcome, call.named, names_all=call.names_all
                )
                plan = self._plans.of(merge([*stale, *call.joined()]) if call.inners else stale)
            if _changed_nothing(outcome, plan):
                await hold.restore()
                late = None
            else:
                late = await self._settle(hold, plan)
        return self._telling(late or ended, plan, caller)

    def _telling(self, ended: Ended, plan: PurgePlan, caller: Caller) -> Ended:
        """How a call ended, with what its caller is told of this plan."""
        ended.invalidations = plan.invalidations
        if plan.is_personal:
            ended.told = told_to(self.graph, plan.invalidations, caller.identity)
        return ended

    def _begun(
        self, function: Function, sent: Mapping[str, object], caller: Caller, wanted: Wanted
    ) -> Coroutine[Any, Any, Any]:
        """The function's coroutine: it returns the bare result if the function `runs_directly`, else `answered`."""
        if function.runs_directly:
            return function.call(**sent)  # type: ignore[no-any-return]  # it is a coroutine
        return self._runner.to_the_end(function, sent, caller, answered, wanted)

    async def _settle(self, hold: Hold | None, plan: PurgePlan, *, insist: bool = False) -> Failure | None:
        """End the hold and purge. With `refuses` or `insist`, a failure if the purge is not through within bounds."""
        late = await (hold or self._holding(())).end(plan.scopes, insist=insist or self.refuses)
        if late is not None:
            return Failure(late)
        for context in plan.whole:
            self._store.reclaim(context)
        return None

    def on_named(self, call: CurrentCall, invalidation: Invalidation) -> None:
        """Hold what the body of a function names, from then on. Called on the loop's thread or on the function's."""
        root, scopes = call.root, self._cache_keys.purged([invalidation])
        if _runs_here(root.loop):
            self._extend(root, scopes)
        else:
            root.loop.call_soon_threadsafe(self._extend, root, scopes)

    def inner(self, call: CurrentCall, declaration: Declaration, sent: Mapping[str, object]) -> Inner:
        """A mutation that a function's body calls as a function of Python."""
        function = self.graph.function_of(declaration)
        if function is None:
            return Inner(call, self, declaration, None, {}, call.identity)
        identity = identity_of(function, sent, call.identity)
        return Inner(call, self, declaration, function, arguments_of(function, sent), identity)

    def hold(self, inner: Inner) -> None:
        """As `Holder.hold`. A thread waits until it is written, within bounds."""
        if _runs_here(inner.loop):
            self._extend(inner.root, self._determined(inner))
            return
        written = asyncio.run_coroutine_threadsafe(self._held(inner), inner.loop)
        try:
            written.result(THREAD_WAITS_SECONDS)
        except TimeoutError:
            if self.refuses:
                raise Unavailable from None

    def taken(self, stale: Sequence[Invalidation]) -> Hold:
        """A hold on these, which is not written yet."""
        return self._hold(self._cache_keys.purged(stale))

    async def settle(self, hold: Hold | None, stale: Sequence[Invalidation]) -> Failure | None:
        """End the hold and purge these. With `refuses`, a failure if the purge is not through within bounds."""
        return await self._settle(hold, self._plans.of(stale))

    async def held(self, inner: Joining) -> None:
        """As `Holder.held`."""
        if _runs_here(inner.loop):
            await self._held(inner)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._held(inner), inner.loop))

    async def _held(self, inner: Joining) -> None:
        root = inner.root
        self._extend(root, self._determined(inner))
        await held(root, insist=self.refuses)

    def _determined(self, inner: Joining) -> Sequence[PurgeScope]:
        """The scopes that an inner call is known to make stale before it runs."""
        if isinstance(inner, Inner) and inner.function is not None:
            return self._plans.determined(inner.function, inner.sent, inner.identity).scopes
        return self._cache_keys.purged(inner.stale)

    def outcome_of(self, function: Function | None, outcome: Outcome | BaseException) -> Outcome:
        """As `Holder.outcome_of`."""
        if isinstance(outcome, Exception):
            return _outcome_of_error(self.errors.told(outcome))
        if isinstance(outcome, BaseException):
            return Unknown()
        if isinstance(outcome, Returned) and function is not None:
            return _outcome_of_result(function, outcome.result)
        return outcome

    def purge_late(self, inner: Inner) -> None:
        """As `Holder.purge_late`."""
        inner.loop.call_soon_threadsafe(self.tasks.start, self._purged_late(inner))

    async def _purged_late(self, inner: Inner) -> None:
        with suppress(CacheUnavailable):  # it is owed, and retried
            await self.purge(inner.stale, function=inner.names[-1])

    def _extend(self, root: CurrentCall, scopes: Sequence[PurgeScope]) -> None:
        """Hold more scopes, unless the function has ended: then its purge is made."""
        if not root.has_ended and scopes:
            if root.hold is None:
                root.hold = self._hold()
            root.hold.extend(scopes)

    def _hold(self, scopes: Sequence[PurgeScope] = ()) -> Hold:
        """A hold around a body that is no function's of the graph, which can be extended."""
        return self._timed_hold(scopes) if self.observers.all else self._holding(scopes)

    def _timed_hold(self, scopes: Sequence[PurgeScope], function: Function | None = None) -> Hold:
        now = asyncio.get_running_loop().time
        return TimedHold(self._holding(scopes, function), now, is_empty=not scopes)

    def _holding(self, scopes: Sequence[PurgeScope], function: Function | None = None) -> Hold:
        """A hold on these scopes, around a function if there is one, after whose purge the edges are told."""
        hold = self._store.hold(scopes)
        if self._edges is None:
            return hold
        return self._edges.around(hold, scopes, () if function is None else self._plans.undetermined(function))


async def _closing(files: Iterable[File], work: Awaitable[Ended]) -> Ended:
    try:
        return await work
    finally:
        for one in files:
            one.close()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def held(call: CurrentCall | Reading, *, insist: bool = False) -> None:
    """Wait until the hold of a call is written, as is needed before its body reads from the cache.

    With `insist`, raises `Unavailable` if it cannot be written.
    """
    root = call.root
    if root.hold is not None and not root.has_ended:
        await root.hold.make_visible(insist=insist)


def _unheard(ended: Ended | Exception) -> None:
    """Log the error of a call whose caller has gone."""
    if isinstance(ended, Failure):
        refused = isinstance(_outcome_of_error(ended.error), Refused)
        level = logging.INFO if refused else logging.ERROR
        logger.log(level, "%s failed, and its caller had gone.", ended.function, exc_info=ended.error)


def _outcome_of_error(error: Exception) -> Outcome:
    """A refusal, the caller's fault, has changed nothing. Any other error may have come half-way."""
    refused = isinstance(error, CallError) and CLIENT_ERROR <= error.status < SERVER_ERROR
    return Refused() if refused else Unknown()


def _outcome_of_failure(error: Exception, told: Exception) -> Outcome:
    """The outcome of a function that was begun, by the error and the one that the caller is told."""
    if isinstance(error, NotBegun | NotOpened):
        return Refused()
    # A commit that failed may have been made, even if the caller is told a refusal.
    return Unknown() if isinstance(error, NotClosed) else _outcome_of_error(told)


def _cause(error: Exception) -> Exception:
    """The error of a resource that failed, or the error itself."""
    return error.error if isinstance(error, ResourceFailed) else error


def _outcome_of_answer(function: Function, ended: Ended) -> Outcome:
    return _outcome_of_error(ended.error) if isinstance(ended, Failure) else _outcome_of_result(function, ended.result)


def name_of(outcome: Outcome) -> OutcomeName:
    if isinstance(outcome, Returned):
        return "returned"
    return "refused" if isinstance(outcome, Refused) else "unknown"


def _changed_nothing(outcome: Outcome, plan: PurgePlan) -> bool:
    """Whether a function was refused, and neither its body nor a mutation that it called named anything."""
    return isinstance(outcome, Refused) and not plan.invalidations


def _outcome_of_result(function: Function, result: object) -> Outcome:
    """A view refuses and fails by the status of its response."""
    status = getattr(result, "status_code", 200) if function.is_view else 200
    if status >= SERVER_ERROR:
        return Unknown()
    return Refused() if status >= CLIENT_ERROR else Returned(result)
