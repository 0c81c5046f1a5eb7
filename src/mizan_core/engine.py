"""How a call, a bundle and a page are answered: one readable sequence each."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Literal, Self, TypeAlias, TypeVar

from .addresses import Addresses, Query, page_texts
from .answers import Answer, Bundle, Failure, Health, Page, as_bundle
from .backend_holds import BackendHold
from .bundle_cache import DEFAULT_MAX_AGE_SECONDS, BundleCache, Clock, Hold, Random
from .cache.backend import CacheBackend
from .cache.guard import DEFAULT_DEADLINE_SECONDS, CacheState
from .cache.memory import MemoryCache
from .declare import Context
from .errors import CacheUnavailable, CallError, DeclarationError, Forbidden, Unavailable
from .fetched import Computed, Passing, PersonalFailure
from .graph import ContextPlan, Function, Graph
from .guards import PermissionsOf, authorise
from .holds import DEFAULT_HOLD_SECONDS
from .identity import ANONYMOUS, Identity
from .inputs import Pairs
from .invalidation import (
    Invalidation,
    Mutating,
    Outcome,
    Refused,
    Returned,
    Unknown,
    current,
    merge,
    named,
    resolve,
)
from .keys import MINIMUM_SECRET_BYTES, KeyMaker, check_secret
from .manifest import page_url
from .memory_holds import MemoryHold
from .pace import Pace, Waiting, before_waiting
from .policies import Never, Per
from .purges import Purge, Purges
from .running import NOBODY, Caller, Runner
from .watch import Watchable
from .wire import encode_json, etag_of, no_such_context, no_such_function

logger = logging.getLogger("mizan")

# How long a shutdown waits for mutations that have begun.
DEFAULT_SHUTDOWN_SECONDS = 30.0

# Without a cache only tags are kept, a few hundred bytes each.
_TAGS_ONLY_BYTES = 4 * 1024 * 1024

Given: TypeAlias = Mapping[str, object] | Pairs
T = TypeVar("T")


class Door(Enum):
    """How a function is reached, which decides who may."""

    CALL = auto()  # a client, by name: guarded, no private functions, no views
    ROUTE = auto()  # its own URL: guarded
    RUN = auto()  # the server itself: everything, without guards


class Engine:
    """Answers calls and fetches over one graph, one cache and one secret. For one event loop.

    An async context manager that also opens itself on first use. Without `cache`, every bundle is computed.
    `cache_secret`: at least 32 bytes, the same in all processes that share a cache; one is made for a cache in memory.
    `on_cache_failure`: "allow" runs a mutation whose scopes cannot be held, "refuse" answers 503 instead.
    `permissions`: given an `Identity` that a token vouches for, its permissions. `max_age`: the longest life of what
    is kept until purged, in seconds. `threads`: how many sync functions run at once. `shutdown`: how long to wait for
    mutations and for purges that are still owed when closing, in seconds. `deadline`: how long one command of the
    cache may take, in seconds. `hold`: how long a scope stays held when the process that changes it dies, in seconds.

    Raises `DeclarationError` for settings that cannot work.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        cache: CacheBackend | None = None,
        cache_secret: str | bytes | None = None,
        on_cache_failure: Literal["allow", "refuse"] = "allow",
        permissions: PermissionsOf | None = None,
        max_age: float = DEFAULT_MAX_AGE_SECONDS,
        threads: int = 40,
        shutdown: float = DEFAULT_SHUTDOWN_SECONDS,
        deadline: float = DEFAULT_DEADLINE_SECONDS,
        hold: float = DEFAULT_HOLD_SECONDS,
        clock: Clock = time.time,
        random: Random = os.urandom,
    ) -> None:
        if on_cache_failure not in ("allow", "refuse"):
            raise DeclarationError(f"on_cache_failure={on_cache_failure!r} is neither 'allow' nor 'refuse'.")
        self.graph = graph
        self._functions = dict(graph.functions)  # which is quicker to ask than what cannot be changed
        self.clock = clock
        self._refuses = on_cache_failure == "refuse"
        self.cache_is_shared = bool(getattr(cache, "shared", False))
        self._permissions = permissions
        self._addresses = Addresses(graph, KeyMaker(_secret_for(cache, cache_secret, random)))
        self._purges = Purges(graph, self._addresses)
        self._backend = MemoryCache(_TAGS_ONLY_BYTES) if cache is None else cache
        self._cache = BundleCache(
            self._backend,
            random=random,
            clock=clock,
            max_age=max_age,
            keeps=cache is not None,
            deadline=deadline,
            hold=hold,
        )
        self._runner = Runner(threads)
        self._shutdown = shutdown
        self.recall = self._cache.recall  # a hit in memory, for a query's slot, without waiting
        self._loop: asyncio.AbstractEventLoop  # where a function runs in a thread, which takes a task to begin
        self._owed: set[asyncio.Task[Any]] = set()  # what has begun and not ended
        self._pace = Pace(self._begin)
        self._reclaiming: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Wait, within bounds, for mutations that have begun. The engine opens itself again when it is used."""
        deadline = asyncio.get_running_loop().time() + self._shutdown
        if self._owed:
            _, late = await asyncio.wait(self._owed, timeout=self._shutdown)
            if late:
                logger.error("Closed while %d mutations were still running.", len(late))
        await self._cache.aclose(max(0.0, deadline - asyncio.get_running_loop().time()))
        self._runner.close()
        close = getattr(self._backend, "aclose", None)
        if close is not None:
            await close()

    def health(self) -> Health:
        """How the cache is, and what is still owed to it."""
        return Health(cache=self._cache.state.value, owed_purges=self._cache.owed, running=len(self._owed))

    async def call(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """Answer a client's call: guarded, and neither private functions nor views.

        Raises `CallError` for refusals and whatever else the function raises.
        """
        return _raised(await self.attempt(name, args, identity=identity, request=request))

    async def run(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """Run any function on behalf of the server, without guards: for cron jobs, workers and scripts."""
        return _raised(await self.attempt(name, args, identity=identity, request=request, door=Door.RUN))

    async def attempt(
        self,
        name: str,
        args: Given,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        door: Door = Door.CALL,
    ) -> Answer | Failure:
        """As `call`, with errors returned beside what went out of date before they were raised."""
        ended = self.begin(name, args, identity=identity, request=request, door=door)
        return await ended.work if isinstance(ended, Waiting) else ended

    def begin(
        self,
        name: str,
        args: Given,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        door: Door = Door.CALL,
    ) -> Answer | Failure | Waiting[Answer | Failure]:
        """As `attempt`: at once, where it takes no waiting, or what has to be waited for, in any case."""
        try:
            function = self._find(name, door)
            if not function.is_open and door is not Door.RUN:
                return Waiting(self._guarded(function, args, Caller(identity, request)))
            sent = function.validator.validate(args)
        except Exception as error:  # noqa: BLE001  # as for a mutation, it is the caller's to raise
            return Failure(error)
        return self._do(function, sent, Caller(identity, request) if function.is_told_who else NOBODY)

    async def fetch(
        self, context: str, params: Given, *, identity: Identity = ANONYMOUS, request: object = None
    ) -> Bundle:
        """Answer with a context's bundle, from the cache where that is as good as computing it.

        Raises `CallError` for refusals, and whatever else the first reader that fails raises.
        """
        plan = self.plan(context)
        await self.authorise(plan, identity)
        return await self.answer(self.query(plan, params, identity), identity=identity, request=request)

    def plan(self, context: str) -> ContextPlan:
        """The context of this name, if it has a bundle. Raises `NotFound`."""
        plan = self.graph.contexts.get(context)
        if plan is None or not plan.readers:
            raise no_such_context()
        return plan

    async def authorise(self, plan: ContextPlan, identity: Identity) -> None:
        """Ask every reader's guard. Raises as they do."""
        if not plan.is_open:
            for reader in plan.readers:
                await authorise(reader, identity, self._permissions)

    def query(self, plan: ContextPlan, params: Given, identity: Identity) -> Query:
        """What is asked of a context, and where its answer is kept for this identity. Raises `InvalidInput`."""
        return self._addresses.query(plan, plan.validator.validate(params), identity)

    async def answer(self, query: Query, *, identity: Identity = ANONYMOUS, request: object = None) -> Bundle:
        """The bundle for whom the guards have let through. Raises whatever the first reader that fails raises."""
        if current.get() is not None:  # what it names is not the mutation's that fetches it
            return await self._outside_mutations(self.answer(query, identity=identity, request=request))
        plan, slot = query.plan, query.slot
        kept = slot is not None and (request is None or _is_watched(plan, request))
        compute = (
            partial(_read_plainly, query)
            if plan.is_plain
            else partial(self._read, query, Caller(identity, request), shared=kept and plan.is_shared)
        )
        if slot is None or not kept:
            body = (await compute()).body
            why = _why_uncached(plan) if slot is None else "unwatched-request"
            return as_bundle(Passing(body, etag_of(body), why), plan.policy, query.spelling.query)
        try:
            fetched = await self._cache.fetch(slot, plan.seconds, compute, plan)
        except PersonalFailure as failure:
            raise failure.error from None
        return as_bundle(fetched, plan.policy, query.spelling.query)

    async def page(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Page:
        """Answer a reader's own route. Raises as `fetch` does."""
        function = self._find(name, Door.ROUTE)
        plan = self.graph.contexts[function.context or ""]
        await authorise(function, identity, self._permissions)
        sent = function.validator.validate(args)
        texts = page_texts(function, sent)
        policy = plan.page_policies[name]
        caller = Caller(identity, request)
        slot = self._addresses.page(plan, texts)
        # A purge that is narrower than the page can tell is a purge that it would miss.
        may_be_kept = all(set(shape) <= set(function.inputs) for shape in plan.shapes) and (
            policy.per is not Per.USER or identity.is_authenticated
        )
        stamps = await self._cache.stamps(slot)
        shared = policy.per is not Per.USER and not isinstance(policy.lifetime, Never)
        try:
            ran = await self._outside_mutations(
                self._runner.run([(function, sent)], caller, policy if shared else None)
            )
        except PersonalFailure as failure:
            raise failure.error from None
        result = ran.results[0]
        return Page(
            result=result if function.is_view else encode_json(_validated(function, result)[1]),
            policy=policy,
            keepable=may_be_kept and await self._cache.unchanged(slot, stamps),
            personal=ran.personal,
            path=page_url(function.declaration.route or "", texts),
        )

    async def invalidate(
        self, affected: Context | str | Callable[..., Any], /, **params: object
    ) -> tuple[Invalidation, ...]:
        """Purge what a write made elsewhere put out of date; what it was comes back, for an edge.

        Raises `DeclarationError` for a context, reader or parameter that does not exist.
        """
        invalidations = tuple(named(self.graph, affected, params))
        await self._finish(self._purge(invalidations))
        return invalidations

    def _find(self, name: str, door: Door) -> Function:
        function = self._functions.get(name)
        if function is None:
            raise no_such_function()
        if not function.is_for_clients and door is Door.CALL:
            if function.is_view:
                raise no_such_function()
            raise Forbidden("This function is not for clients.")
        return function

    async def _guarded(self, function: Function, args: Given, caller: Caller) -> Answer | Failure:
        """Ask the guard first, which has to be waited for."""
        try:
            await authorise(function, caller.identity, self._permissions)
            sent = function.validator.validate(args)
        except Exception as error:  # noqa: BLE001  # as for a mutation, it is the caller's to raise
            return Failure(error)
        ended = self._do(function, sent, caller)
        return await ended.work if isinstance(ended, Waiting) else ended

    def _do(
        self, function: Function, sent: Mapping[str, object], caller: Caller
    ) -> Answer | Failure | Waiting[Answer | Failure]:
        if function.context is not None:
            return Waiting(self._answer_reader(function, sent, caller))
        if function.affects:
            return Waiting(self._finish(self._mutate(function, sent, caller)))
        return self._pace.run(function, self._act(function, sent, caller))

    async def _answer_reader(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Answer | Failure:
        """A reader called alone: uncached, and nothing is invalidated."""
        try:
            ran = await self._outside_mutations(self._runner.run([(function, sent)], caller))
            return _answered(function, ran.results[0])[0]
        except Exception as error:  # noqa: BLE001  # as for a mutation, it is the caller's to raise
            return Failure(error)

    async def _act(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Answer | Failure:
        """A function that declares to affect nothing: nothing is purged but what its body names."""
        mutating = Mutating(self.graph, self._named)
        around = current.get()
        current.set(mutating)
        ended: Answer | Failure | None = None
        try:
            ended = _answered(function, await self._begun(function, sent, caller))[0]
        except Exception as error:  # noqa: BLE001  # the function is not ours, and what it named is told all the same
            ended = Failure(error)
        finally:
            current.set(around)
            if mutating.named:  # it is a mutation, whatever it declares, and has a task from now on
                self._pace.waits(function)
                purge = self._purges.of(merge(mutating.named))
                late = await self._finish(self._settle(mutating.hold, purge))
                ended = late or ended
                if ended is not None:
                    ended.invalidations = purge.invalidations
        return ended

    async def _mutate(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Answer | Failure:
        """Hold what the arguments determine, run, resolve what became stale, purge: in that order, to the end."""
        purge = self._purges.determined(function, sent, caller.identity)
        mutating = Mutating(self.graph, self._named)
        hold = mutating.hold = self._cache.hold(purge.scopes)
        current.set(mutating)
        ended: Answer | Failure
        outcome: Outcome = Unknown()
        refused = False
        try:
            if isinstance(hold, MemoryHold):
                # Until the function first waits, nobody else has a turn, and nothing need be held.
                result = await before_waiting(self._begun(function, sent, caller), hold.begin)
                ended, outcome = _answered(function, result)
            elif refused := await self._refuses_to_run(hold):
                ended, outcome = Failure(Unavailable()), Refused()
            else:
                ended, outcome = _answered(function, await self._begun(function, sent, caller))
        except Exception as error:  # noqa: BLE001  # the function is not ours, and its effects are told all the same
            ended, outcome = Failure(error), Refused() if isinstance(error, CallError) else Unknown()
        finally:  # also where it was cancelled, which leaves its outcome unknown
            if mutating.named or not (function.is_determined and isinstance(outcome, Returned)):
                stale = resolve(self.graph, function, sent, caller.identity, outcome, mutating.named)
                purge = self._purges.of(stale)
            late = await self._settle(hold, purge, insist=self._refuses and not refused)
        ended = late or ended
        ended.invalidations = purge.invalidations
        return ended

    def _begun(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Coroutine[Any, Any, Any]:
        """The function, which is not left half-way."""
        if function.is_direct:
            return function.call(**sent)  # type: ignore[no-any-return]  # it is a coroutine
        return self._runner.to_the_end(function, sent, caller)

    async def _settle(self, hold: Hold | None, purge: Purge, *, insist: bool | None = None) -> Failure | None:
        """End the hold and purge; a failure, if that is insisted on and takes too long to be told as a success."""
        insist = self._refuses if insist is None else insist
        late = await self._cache.settle(hold or self._cache.hold(()), purge.scopes, insist=insist)
        if late is not None:
            return Failure(late)
        if purge.whole:
            self._reclaim(purge.whole)
        return None

    def _named(self, invalidation: Invalidation) -> None:
        """Hold what the body of a function names, from then on. Called on the loop's thread or on the function's."""
        mutating: Mutating = current.get()  # type: ignore[assignment]  # it is what calls this
        scopes = self._addresses.purged([invalidation])
        if mutating.hold is None:
            mutating.hold = self._cache.hold(())
        if threading.get_ident() == mutating.thread:
            mutating.hold.extend(scopes)
        else:
            self._loop.call_soon_threadsafe(mutating.hold.extend, scopes)

    async def _refuses_to_run(self, hold: BackendHold) -> bool:
        """Begin the hold; whether it cannot be written, or its purge could not, and the deployment takes no risk."""
        try:
            await hold.begin()
        except CacheUnavailable:
            return self._refuses
        return self._refuses and self._cache.state is CacheState.DOWN

    async def _purge(self, invalidations: Sequence[Invalidation]) -> None:
        late = await self._settle(None, self._purges.of(invalidations))
        if late is not None:
            raise late.error

    def _reclaim(self, contexts: Sequence[str]) -> None:
        """Give back what whole contexts took, off the request's path and once at a time for each."""
        for context in contexts:
            if context in self._reclaiming:
                continue
            self._reclaiming.add(context)
            task = self._begin(self._cache.reclaim(f"ctx:{context}:"))
            task.add_done_callback(lambda _, context=context: self._reclaiming.discard(context))  # type: ignore[misc]

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end in a task of its own: a caller who goes away cancels only the waiting."""
        loop = self._loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        self._owed.add(loop.create_task(self._to_the_end(work, ended)))
        return await ended

    async def _to_the_end(self, work: Coroutine[Any, Any, T], ended: "asyncio.Future[T]") -> None:
        """Do the work, and tell who waits for it, if they still do, what came of it."""
        try:
            result = await work
            if not ended.done():
                ended.set_result(result)
        except BaseException as error:
            if not ended.done():
                ended.set_exception(error)
                ended.exception()  # whoever waits has it, and if nobody does any more nobody needs it
            if not isinstance(error, Exception):
                raise
        finally:
            self._owed.discard(asyncio.current_task())

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin what has to be done before the engine closes."""
        self._loop = asyncio.get_running_loop()
        task = self._loop.create_task(work)
        self._owed.add(task)
        task.add_done_callback(self._paid)
        return task

    def _paid(self, task: asyncio.Task[Any]) -> None:
        self._owed.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it

    async def _outside_mutations(self, work: Awaitable[T]) -> T:
        """A reader fetched from a mutation's body is a reader: what it names is not the mutation's."""
        around = current.get()
        if around is None:
            return await work
        current.set(None)
        try:
            return await work
        finally:
            current.set(around)

    async def _read(self, query: Query, caller: Caller, *, shared: bool) -> Computed:
        """Run the readers of a bundle and encode what they answer."""
        plan = query.plan
        ran = await self._runner.run(query.calls, caller, plan.policy if shared else None, concurrent=plan.concurrent)
        results = {
            reader.name: _validated(reader, result)[1] for reader, result in zip(plan.readers, ran.results, strict=True)
        }
        return Computed(encode_json(results), ran.personal)


def _secret_for(cache: CacheBackend | None, secret: str | bytes | None, random: Random) -> bytes:
    if secret is not None:
        return check_secret("cache secret", secret)
    if getattr(cache, "shared", False):
        raise DeclarationError(
            "A cache that processes share needs a cache_secret that they share too, or none would see another's purges."
        )
    if cache is not None and not isinstance(cache, MemoryCache):
        logger.warning(
            "No cache_secret was given, so this process's keys are its own: if others use the same %s, neither sees "
            "the other's purges.",
            type(cache).__name__,
        )
    return random(MINIMUM_SECRET_BYTES)


def _raised(ended: Answer | Failure) -> Answer:
    if isinstance(ended, Failure):
        raise ended.error
    return ended


def _why_uncached(plan: ContextPlan) -> str:
    """Why this context's answers, or those for nobody in particular, are kept nowhere."""
    return "never-stored" if isinstance(plan.policy.lifetime, Never) else "anonymous"


def _is_watched(plan: ContextPlan, request: object) -> bool:
    """Whether it will be noticed if a reader looks at who asks, where its answer serves others too."""
    if not plan.is_shared or isinstance(request, Watchable):
        return True
    return not any(reader.takes_request for reader in plan.readers)


def _answered(function: Function, result: object) -> tuple[Answer, Outcome]:
    """The answer, and the outcome as `affects` sees it. Raises what Pydantic says of a result that does not fit."""
    if function.is_view:
        refused = 400 <= getattr(result, "status_code", 200) < 500
        return Answer(result, b""), Refused() if refused else Returned(result)
    validated = function.validate_result(result, from_attributes=True)
    plain = function.dump_result(validated, mode="json", by_alias=True)
    return Answer(result, encode_json(plain)), Returned(validated)


def _validated(function: Function, result: object) -> tuple[Any, Any]:
    """A result through the return annotation: as the annotation has it, and as plain JSON types."""
    validated = function.validate_result(result, from_attributes=True)
    return validated, function.dump_result(validated, mode="json", by_alias=True)


async def _read_plainly(query: Query) -> Computed:
    """What the readers answer, where none of them is told who asks."""
    results = {}
    for reader, share in query.calls:
        result = reader.validate_result(await reader.call(**share), from_attributes=True)
        results[reader.name] = reader.dump_result(result, mode="json", by_alias=True)
    return Computed(encode_json(results))
