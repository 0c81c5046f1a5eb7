"""The engine: answers calls, bundles and pages over one graph, one cache and one secret."""

import asyncio
import functools
import logging
import math
import os
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum, auto
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self, TypedDict, TypeVar

from .. import forks
from ..cache import outcomes
from ..cache.backends.backend import CacheBackend
from ..cache.backends.memory import MemoryCache
from ..cache.bundle_cache import DECLINED, DEFAULT_MAX_AGE_SECONDS, BundleCache, Clock, Random
from ..cache.holds import DEFAULT_HOLD_SECONDS
from ..cache.outcomes import FETCHED, Computed, Hit, PersonalFailure
from ..cache.shared.breaker import DEFAULT_DEADLINE_SECONDS
from ..cache.shared.near import DEFAULT_NEAR_BYTES
from ..cache.store import LOOKED_UP
from ..errors import DeclarationError, Forbidden
from ..graph.declare import Context
from ..graph.identity_params import filled
from ..graph.inputs import Given
from ..graph.model import ContextPlan, Function, Graph
from ..graph.narrowing import named
from ..graph.provide import NOTHING_PROVIDED, Provided
from ..graph.types.round_trip import read_back
from ..graph.wrapper import current
from ..protocol.cache_policy import Never, Per
from ..protocol.files import File
from ..protocol.identity import ANONYMOUS, Identity, permission_key
from ..protocol.invalidation import Invalidation
from ..protocol.keys import MINIMUM_SECRET_BYTES, KeyMaker, check_secret
from ..protocol.problems import no_such_context, no_such_function
from ..tasks import check_asyncio, rest_of
from ..telling.edge import Edge
from ..telling.edges import Edges
from ..telling.journal import Journal
from .answers import (
    Answer,
    Bundle,
    Ended,
    Failure,
    Health,
    Inspected,
    Page,
    TagOfScope,
    answered,
    as_bundle,
    ended_of,
    failure_of,
    passing,
)
from .authorisation import PermissionsOf, authorise, checked_arguments, load_permissions
from .bundle_requests import BundleRequest
from .cache_keys import CacheKeys
from .computations import DEFAULT_READER_TIMEOUT_SECONDS, NOT_COMPUTING, Computation, Computations, computing
from .failures import ErrorMapping, Errors, carrying, log_unheard
from .hosts.blocking import Blocking
from .hosts.changing import Affected, Changing, named_all
from .hosts.pages import page_of
from .hosts.resources import HostDependencies, Resources
from .inner_calls import READING
from .mutations import Mutations, held
from .observers import (
    CacheChanged,
    Checked,
    Computing,
    DebugLog,
    Fetched,
    FetchFailed,
    Observer,
    Observers,
    Refused,
    StaleProof,
    origin,
    running,
)
from .privacy import Watchable, by_identity, lacks_permissions
from .runner import NOBODY, Caller, Runner, read_directly

logger = logging.getLogger("mizan")

# How long a shutdown waits for mutations that have begun.
DEFAULT_SHUTDOWN_SECONDS = 30.0

# Without a cache only tags are kept, a few hundred bytes each.
_TAGS_ONLY_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class Via(Enum):
    """The way to a function, which decides whether its guard is asked."""

    CALL = auto()  # a client, by name: guarded, no private functions, no views
    ROUTE = auto()  # its own URL: guarded
    RUN = auto()  # the server itself: everything, without guards


class Attached(Protocol):
    """Attaches itself to an engine, as `mizan_core.proof.Verify` does."""

    def attach(self, engine: "Engine", /) -> None: ...


class Limits(TypedDict, total=False):
    """Limits of an engine that differ from the defaults; `Engine` explains each of them."""

    max_age: float
    threads: int
    shutdown: float
    deadline: float
    hold: float
    near_bytes: int
    reader_timeout: float | None


class Engine:
    """Answers calls and fetches over one graph, one cache and one secret. For one event loop.

    An async context manager that also opens itself on first use. Without `cache`, every bundle is computed.
    `cache_secret`: at least 32 bytes, the same in all processes that share a cache; one is made for a cache in memory.
    `on_cache_failure`: "allow" runs a mutation whose scopes cannot be held, "refuse" answers 503 instead.
    `permissions`: loads the permissions of an `Identity` from a token. `errors`: by class of exception, the `CallError`
    that callers are told instead: a class, or a function of the exception. `max_age`: the longest life of a stored
    answer, in seconds. `threads`: how many sync functions run at once. `shutdown`: how long closing waits for mutations
    and for owed purges, in seconds. `deadline`: how long one command of the cache may take, in seconds. `hold`: how
    long a scope stays held when the process that changes it dies, in seconds. `near_bytes`: how much of a shared cache
    is copied into this process's memory, so that a hit moves no body; 0 for nothing. `reader_timeout`: how long the
    readers of one answer may take together, in seconds, or None. `carry`: the context variables that readers of stored
    answers see; they see no other variable that was set for one request. `provide`: factories of resources that replace
    those of the graph, by type or by the factory of a `Provide`, as for tests. `dependencies`: what solves the
    `Depends(...)` of functions; `Mizan(graph, fastapi=app)` sets it. `edges`: the caches in front of this process that
    are told what is stale, after every purge and before its caller hears of it.

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
        errors: Errors = MappingProxyType({}),
        max_age: float = DEFAULT_MAX_AGE_SECONDS,
        threads: int = 40,
        shutdown: float = DEFAULT_SHUTDOWN_SECONDS,
        deadline: float = DEFAULT_DEADLINE_SECONDS,
        hold: float = DEFAULT_HOLD_SECONDS,
        near_bytes: int = DEFAULT_NEAR_BYTES,
        reader_timeout: float | None = DEFAULT_READER_TIMEOUT_SECONDS,
        carry: Iterable[ContextVar[Any]] = (),
        provide: Provided = NOTHING_PROVIDED,
        dependencies: HostDependencies | None = None,
        edges: Sequence[Edge] = (),
        observers: Iterable[Observer] = (),
        verify: Attached | None = None,
        clock: Clock = time.time,
        random: Random = os.urandom,
    ) -> None:
        if on_cache_failure not in ("allow", "refuse"):
            raise DeclarationError(f"on_cache_failure={on_cache_failure!r} is neither 'allow' nor 'refuse'.")
        bounds = {"max_age": max_age, "threads": threads, "deadline": deadline, "hold": hold}
        if reader_timeout is not None:
            bounds["reader_timeout"] = reader_timeout
        for name, bound in bounds.items():
            if not 0 < bound < math.inf:
                raise DeclarationError(f"{name}={bound!r} has to be a number above 0, and not without end.")
        if not 0 <= near_bytes < math.inf:
            raise DeclarationError(f"near_bytes={near_bytes!r} has to be a number of bytes; 0 keeps no copies.")
        self.graph = check_graph(graph)
        # Functions callable by name without a guard.
        self._for_anyone = {
            name: one for name, one in graph.functions.items() if one.is_for_clients and one.has_no_guard
        }
        self.clock = clock
        self.cache_is_shared = bool(getattr(cache, "shared", False))
        self._permissions = permissions
        self.home: asyncio.AbstractEventLoop | None = None  # the loop that it is used on
        self._cache_keys = CacheKeys(graph, KeyMaker(_secret_for(cache, cache_secret, random)))
        self._backend = MemoryCache(_TAGS_ONLY_BYTES) if cache is None else cache
        self._make_cache = partial(
            BundleCache,
            self._backend,
            random=random,
            clock=clock,
            max_age=max_age,
            keeps=cache is not None,
            deadline=deadline,
            hold=hold,
            near_bytes=near_bytes,
            unheard=log_unheard,
        )
        self.errors = ErrorMapping(errors)
        self._observers = Observers()
        resources = Resources(graph, provide, dependencies, asyncio.to_thread)
        self._make_runner = partial(Runner, threads, resources=resources)
        self._make_computations = partial(Computations, reader_timeout, check_carry(carry), reading=READING)
        self._shutdown = shutdown
        self.refuses = on_cache_failure == "refuse"
        self._told_edges = tuple(edges)
        self._make_journal = partial(Journal, self._backend, deadline=deadline, lease=hold)
        self._assemble()
        forks.listen(self)
        if logger.isEnabledFor(logging.DEBUG):
            self.observe(DebugLog())
        for observer in observers:
            self.observe(observer)
        if verify is not None:
            verify.attach(self)

    def _assemble(self) -> None:
        """Make the parts that live in one process and on one event loop."""
        self._cache = self._make_cache()
        self._store = store = self._cache.store
        self._runner = self._make_runner(self._cache.is_wanted)
        self._computations = self._make_computations()
        self._run = self._computations.run
        self.peek = store.peek  # the stored entry of a request's slot, at once, where it is in this process's memory
        self.edges = self._make_edges() if self._told_edges else None  # those that are told, if there are any
        self._mutations = Mutations(
            self.graph,
            self._cache_keys,
            store,
            self._runner,
            self.errors,
            self._observers,
            refuses=self.refuses,
            edges=self.edges,
        )

    def _make_edges(self) -> Edges:
        return Edges(self._told_edges, self._make_journal(), self._store, self.graph.contexts)

    def observe(self, observer: Observer) -> None:
        """Tell this observer of everything from now on."""
        self._observers.add(observer)
        self._let_observe()

    def unobserve(self, observer: Observer) -> None:
        """Tell this observer of nothing more."""
        self._observers.remove(observer)
        self._let_observe()

    def _let_observe(self) -> None:
        """Shadow `answer` by `_answer_observed` while there are observers. Without any, `answer` costs nothing more."""
        self._store.let_peek(not self._observers.see_hits)
        self._run = self._run_surrounded if self._observers.surrounding else self._computations.run
        if self._observers.all:
            vars(self)["answer"] = self._answer_observed
            self._store.on_change(self._tell_of_cache)
        else:
            vars(self).pop("answer", None)

    async def __aenter__(self) -> Self:
        check_asyncio()
        self._come_home(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _come_home(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note the loop that the engine is used on. One that is running stays, unless it is that of `blocking`."""
        if self.home is None or not self.home.is_running() or self.blocking.owns(self.home):
            self.home = loop
        if self.edges is not None and self.home is loop:
            self.edges.begin(self._mutations.purge, self.graph.contexts)

    def begin_anew(self) -> None:
        """As `forks.BeginsAnew`: the parent's loops, threads and computations are not the child's."""
        forks.keep(self.home, self._cache, self._runner, self._computations, self._mutations, self.edges)
        self.home = None
        self._assemble()
        self._let_observe()

    async def aclose(self) -> None:
        """Wait, within bounds, for mutations that have begun. The engine opens itself again when it is used."""
        deadline = asyncio.get_running_loop().time() + self._shutdown
        await self._mutations.aclose(self._shutdown)
        if self.edges is not None:
            await self.edges.aclose(max(0.0, deadline - asyncio.get_running_loop().time()))
        await self._store.aclose(max(0.0, deadline - asyncio.get_running_loop().time()))
        self._runner.close()
        close = getattr(self._backend, "aclose", None)
        if close is not None:
            await close()

    def health(self) -> Health:
        """The state of the cache, the owed purges, and the mutations under way."""
        edges = self.edges
        return Health(
            cache=self._store.state.value,
            owed_purges=self._store.owed,
            running=len(self._mutations),
            owed_to_edges=0 if edges is None else edges.owed,
            failing_edges=() if edges is None else edges.failing,
        )

    async def call(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """Answer a client's call: guarded, and neither private functions nor views.

        Raises `CallError` for refusals, and any error of the function; `invalidations_of` the error gives what the call
        made stale all the same.
        """
        check_asyncio()
        return _raised(await ended_of(self.begin(name, args, identity=identity, request=request)))

    async def run(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """Run any function on behalf of the server, without guards: for cron jobs, workers and scripts."""
        check_asyncio()
        return _raised(await ended_of(self.begin(name, args, identity=identity, request=request, via=Via.RUN)))

    def begin(
        self,
        name: str,
        args: Given,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        via: Via = Via.CALL,
    ) -> Ended | Awaitable[Ended]:
        """As `call`, but an error is returned as a `Failure`; without an awaitable if nothing suspended."""
        loop = asyncio.get_running_loop()
        if loop is not self.home:
            self._come_home(loop)
        try:
            function = self._for_anyone.get(name)
            if function is None:
                function = self._find(name, via)
                if not function.has_no_guard and via is not Via.RUN:
                    return self._guarded(function, args, identity, request)
            sent = function.validator.validate(args)
            if function.identity_params:
                sent = filled(function.identity_params, sent, identity)
        except Exception as error:  # noqa: BLE001  # returned as a `Failure`
            return self._refusal(error, name, identity)
        caller = NOBODY
        if function.depends_on_caller:
            if not function.takes_only_inputs and self._permissions is not None and lacks_permissions(identity):
                return self._begin_with_permissions(function, sent, Caller(identity, request))
            caller = Caller(identity, request)
        if function.context is not None:
            return self._answer_reader(function, sent, caller)
        return self._mutations.begin(function, sent, caller)

    async def admit(
        self, name: str, *, identity: Identity = ANONYMOUS, via: Via = Via.CALL
    ) -> tuple[Function, Identity]:
        """Find a function and ask its guard, before its arguments are read. Raises `CallError`.

        A guard that takes arguments is asked once they have been validated. Returns the identity, with its permissions
        if they were loaded.
        """
        check_asyncio()
        try:
            function = self._find(name, via)
            return function, await authorise(function, identity, self._permissions)
        except Exception as error:
            self._tell_of_refusal(error, name, identity)
            raise

    async def _checked(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Caller:
        """Ask a guard that takes arguments. Returns the caller, with permissions if they were loaded."""
        given = checked_arguments(function, sent, caller.request)
        identity = await authorise(function, caller.identity, self._permissions, given)
        return caller if identity is caller.identity else Caller(identity, by_identity(caller.request, identity))

    async def _known(self, caller: Caller) -> Caller:
        """The caller with its permissions loaded, for a function that takes the identity or the request."""
        if self._permissions is None or not lacks_permissions(caller.identity):
            return caller
        known = await load_permissions(caller.identity, self._permissions)
        return Caller(known, by_identity(caller.request, known))

    async def _admitted(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Caller:
        """Ask a guard that takes arguments, and load the permissions that the function may read."""
        if function.guard_arguments:
            caller = await self._checked(function, sent, caller)
        return caller if function.takes_only_inputs else await self._known(caller)

    async def _begin_with_permissions(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Ended:
        try:
            known = await self._known(caller)
        except Exception as error:  # noqa: BLE001  # returned as a `Failure`
            return self._refusal(error, function.name, caller.identity)
        return await self._ended(function, sent, known)

    async def call_admitted(
        self,
        function: Function,
        args: Given,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        may_change: bool = True,
    ) -> Ended:
        """As `begin`, for a caller that `admit` has let through.

        Without `may_change`, as for a GET, a body that changes something fails.
        """
        try:
            sent = filled(function.identity_params, function.validator.validate(args), identity)
            caller = await self._admitted(function, sent, Caller(identity, request))
        except Exception as error:  # noqa: BLE001  # returned as a `Failure`
            return self._refusal(error, function.name, identity)
        return await self._ended(function, sent, caller, may_change=may_change)

    def call_with_files(
        self,
        function: Function,
        args: Given,
        files: Iterable[File],
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        may_change: bool = True,
    ) -> Awaitable[Ended]:
        """As `call_admitted`. Once the function has ended, though its caller may be gone, the files are closed."""
        work = self.call_admitted(function, args, identity=identity, request=request, may_change=may_change)
        return self._mutations.with_files(work, files)

    async def fetch(
        self, context: str, params: Given, *, identity: Identity = ANONYMOUS, request: object = None
    ) -> Bundle:
        """Answer with a context's bundle, from the cache if that has a valid one.

        Raises `CallError` for refusals, and the error of the first reader that fails.
        """
        check_asyncio()
        plan = self.plan(context)
        try:
            identity = await self.authorise(plan, identity)
            try:
                query = self.query(plan, params, identity)
            except Exception as error:
                self.tell_refused(plan, error, identity)
                raise
            return await self.answer(query, identity=identity, request=request)
        except Exception as error:
            told = self.errors.told(error)
            if told is error:
                raise
            raise told from told.__cause__

    def plan(self, context: str) -> ContextPlan:
        """The context of this name, if it has a bundle. Raises `NotFound`."""
        plan = self.graph.contexts.get(context)
        if plan is None or not plan.readers:
            raise no_such_context()
        return plan

    async def authorise(self, plan: ContextPlan, identity: Identity) -> Identity:
        """Ask every reader's guard; those that take arguments are asked by `answer`. Raises as they do.

        Returns the identity, with its permissions if they were loaded.
        """
        if not plan.has_no_guard:
            try:
                for reader in plan.readers:
                    identity = await authorise(reader, identity, self._permissions)
            except Exception as error:
                self.tell_refused(plan, error, identity)
                raise
        return identity

    def tell_refused(self, plan: ContextPlan, error: Exception, identity: Identity) -> None:
        """Tell the observers that a bundle was refused before it was looked up."""
        if self._observers.all:
            self._observers.tell(Refused(None, plan.name, error, identity))

    def query(self, plan: ContextPlan, params: Given, identity: Identity) -> BundleRequest:
        """The request for a context's bundle, with the slot of its answer for this identity.

        Raises `InvalidInput`, and `Unauthorized` for an identity that cannot fill in a parameter.
        """
        sent = plan.validator.validate(params)
        if plan.identity_params:
            sent = filled(plan.identity_params, sent, identity)
        return self._cache_keys.query(plan, sent, identity)

    def begin_answer(self, query: BundleRequest, identity: Identity) -> Bundle | Awaitable[Bundle]:
        """As `answer`, for a caller without a request: at once where nothing has to wait. It has to be awaited at once.

        Most misses pass here, so the common case of `answer` is written out.
        """
        plan, slot = query.plan, query.slot
        if not plan.runs_directly or plan.guards_take_arguments or self._observers.all or current.get() is not None:
            return self.answer(query, identity=identity)
        loop = asyncio.get_running_loop()
        if loop is not self.home:
            self._come_home(loop)
        if slot is None:
            work: Any = self._run((query.name, identity.user_id), None, False, read_directly, query.calls)
            try:
                awaited = work.send(None)
            except StopIteration as ended:
                return self._uncached(query, ended.value)
            return self._uncached_later(query, rest_of(work, awaited))
        compute = partial(self._run, slot.key, None, True, read_directly, query.calls)
        fetched = self._cache.begin(slot, plan.seconds, compute, plan)
        if isinstance(fetched, FETCHED):
            return as_bundle(fetched, plan.policy, query.spelling.query, identity)
        return self._fetched_later(query, fetched, identity)

    @property
    def is_observed(self) -> bool:
        """Whether observers are told of requests, so that each has to come by `begin_answer` or `answer`."""
        return bool(self._observers.all)

    async def stored(self, query: BundleRequest) -> Bundle | None:
        """The stored answer, if it is for everyone; None where it has to be computed. No observer is told."""
        if query.slot is None or not query.plan.policy.for_everyone:
            return None
        found = self._store.look_up(query.slot)
        if not isinstance(found, LOOKED_UP):
            found = await found
        return as_bundle(found, query.plan.policy, query.spelling.query) if isinstance(found, Hit) else None

    async def _fetched_later(
        self, query: BundleRequest, fetched: Awaitable[outcomes.Fetched], identity: Identity
    ) -> Bundle:
        return as_bundle(await fetched, query.plan.policy, query.spelling.query, identity)

    async def _uncached_later(self, query: BundleRequest, computed: Awaitable[Computed]) -> Bundle:
        return self._uncached(query, await computed)

    def _uncached(self, query: BundleRequest, computed: Computed, why: str | None = None) -> Bundle:
        """The answer of a bundle that is not looked up; `why`, unless the request itself is the reason."""
        detail = DECLINED if computed.declined else why or _why_uncached(query)
        return passing(computed.body, detail, query.plan.policy, query.spelling.query)

    async def answer(
        self,
        query: BundleRequest,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        asked_by: Computation | None = None,
        in_mutation: bool = False,
    ) -> Bundle:
        """The bundle for a caller that the guards have let through. Raises the error of the first reader that fails.

        `asked_by`: the computation whose reader asks, once it is known that no circle of waits comes of it.
        `in_mutation`: a mutation's body asks, so the readers may see rows that are not committed yet.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.home:
            self._come_home(loop)
        if asked_by is None and current.get() is not None:
            return await self._answer_a_function(query, identity, request)
        plan, slot = query.plan, query.slot
        if plan.guards_take_arguments:
            caller = Caller(identity, request)
            for reader, share in query.calls:
                if reader.guard_arguments:
                    caller = await self._checked(reader, share, caller)
            if caller.identity is not identity:  # stored where a session with these permissions finds it
                identity, request = caller.identity, caller.request
                query = self._cache_keys.known_as(query, identity)
                slot = query.slot
        kept = slot is not None and (request is None or _is_watched(plan, request, identity))
        key = _key(query, identity) if slot is None else slot.key
        compute: Callable[[], Awaitable[Computed]]
        if plan.runs_directly:  # the common case, spared the call of `_compute`
            compute = partial(self._run, key, asked_by, kept, read_directly, query.calls)
        else:
            compute = partial(self._compute, query, identity, request, key, asked_by, kept=kept)
        if slot is None or not kept:
            return self._uncached(query, await compute(), None if slot is None else "unwatched-request")
        try:
            fetched = await self._cache.fetch(slot, plan.seconds, compute, plan, alone=in_mutation)
        except PersonalFailure as failure:
            raise failure.error from None
        return as_bundle(fetched, plan.policy, query.spelling.query, identity)

    def _compute(
        self,
        query: BundleRequest,
        identity: Identity,
        request: object,
        key: Hashable,
        asked_by: Computation | None,
        *,
        kept: bool,
    ) -> Awaitable[Computed]:
        """Run the readers of a bundle."""
        plan = query.plan
        if plan.runs_directly:
            return self._run(key, asked_by, kept, read_directly, query.calls)
        if self._permissions is not None and plan.depends_on_caller and lacks_permissions(identity):
            return self._compute_with_permissions(key, asked_by, kept, query, identity, request)
        return self._run(key, asked_by, kept, self._read, query, identity, request, kept)

    async def compute_again(
        self, asked: BundleRequest, *, identity: Identity = ANONYMOUS, request: object = None
    ) -> bytes | None:
        """The bundle as its readers answer now, None if one declines to have it kept. Nothing is looked up or stored.

        Raises as the readers do.
        """
        kept = asked.slot is not None and (request is None or _is_watched(asked.plan, request, identity))
        try:
            computed = await self._compute(asked, identity, request, ("again", id(asked)), None, kept=kept)
        except PersonalFailure as failure:
            raise failure.error from None
        return None if computed.declined else computed.body

    async def is_stored(self, asked: BundleRequest, body: bytes) -> bool:
        """Whether this very body would be served from the cache now."""
        if asked.slot is None:
            return False
        found = self._store.look_up(asked.slot)
        if not isinstance(found, LOOKED_UP):
            found = await found
        return isinstance(found, Hit) and found.body == body

    async def inspect(self, asked: BundleRequest) -> Inspected | None:
        """What the cache has of a bundle now; None for one that is kept nowhere. Raises `CacheUnavailable`."""
        if asked.slot is None:
            return None
        return await self._cache.inspect(asked.slot, asked.plan.shapes, asked.plan.seconds)

    async def tags_of(self, invalidations: Sequence[Invalidation]) -> tuple[TagOfScope, ...]:
        """The tags that these invalidations purge. Raises `CacheUnavailable`."""
        scopes = [self._cache_keys.purged([one])[0] for one in invalidations]
        states = await self._cache.states(scopes)
        return tuple(
            TagOfScope(one, scope.tag, state) for one, scope, state in zip(invalidations, scopes, states, strict=True)
        )

    def tag_of(self, invalidation: Invalidation) -> str:
        """The tag that purging it deletes (protocol, section 7)."""
        return self._cache_keys.purged([invalidation])[0].tag

    async def heal(self, asked: BundleRequest, proof: StaleProof) -> None:
        """Purge the smallest scope that this bundle is in, since it was proved stale."""
        nulls = asked.plan.parameters.keys() - asked.spelling.texts.keys()
        bundle = Invalidation(asked.plan.name, asked.spelling.texts, nulls=frozenset(nulls))
        await self._mutations.purge([bundle], proof=proof)

    def tell(self, event: Checked | StaleProof) -> None:
        """Tell the observers what a proof has found."""
        self._observers.tell(event)

    async def _answer_observed(
        self,
        query: BundleRequest,
        *,
        identity: Identity = ANONYMOUS,
        request: object = None,
        asked_by: Computation | None = None,
        in_mutation: bool = False,
    ) -> Bundle:
        """As `answer`, told to the observers."""
        if asked_by is not None:  # the function's own question has been told of
            return await Engine.answer(
                self, query, identity=identity, request=request, asked_by=asked_by, in_mutation=in_mutation
            )
        inside = current.get() is not None
        now = asyncio.get_running_loop().time
        began = now()
        name, texts = query.plan.name, query.spelling.texts
        try:
            bundle = await Engine.answer(self, query, identity=identity, request=request)
        except Exception as error:
            self._observers.tell(FetchFailed(name, texts, error, now() - began))
            raise
        detail = bundle.cache_status.removeprefix("mizan; ")
        self._observers.tell(
            Fetched(name, texts, bundle.status, detail, now() - began, bundle.body, identity, query, request, inside)
        )
        return bundle

    @types.coroutine
    def _run_surrounded(
        self,
        key: Hashable,
        asked_by: Computation | None,
        shared: bool,
        read: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
    ) -> Generator[Any, Any, T]:
        """As `Computations.run`, within the context managers that observers give (`Observer.around`)."""
        asked = args[0]
        calls = asked.calls if isinstance(asked, BundleRequest) else asked
        names = tuple(function.name for function, _ in calls)
        around = self._observers.around(Computing(calls[0][0].context or "", names, shared))

        async def within(computation: Computation) -> T:
            with around:
                return await read(computation, *args)

        return (yield from self._computations.run(key, asked_by, shared, within))

    def _tell_of_cache(self) -> None:
        self._observers.tell(CacheChanged(self._store.state.value, self._store.owed))

    async def _answer_a_function(self, query: BundleRequest, identity: Identity, request: object) -> Bundle:
        """The bundle that the body of a mutation or of a reader asks for."""
        call = current.get()
        await held(call)
        asking = computing.get() or NOT_COMPUTING
        with self._computations.waiting(asking, _key(query, identity)):
            bundle = await self.answer(
                query, identity=identity, request=request, asked_by=asking, in_mutation=call is not READING
            )
        if bundle.declined and asking is not NOT_COMPUTING:
            asking.declined = True
        return bundle

    async def page(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Page:
        """Answer a reader's own route. Raises as `fetch` does."""
        function, identity = await self.admit(name, identity=identity, via=Via.ROUTE)
        return await self.page_admitted(function, args, identity=identity, request=request)

    async def page_admitted(
        self, function: Function, args: Given, *, identity: Identity = ANONYMOUS, request: object = None
    ) -> Page:
        """As `page`, for a caller that `admit` has let through."""
        plan = self.graph.contexts[function.context or ""].readers_alone[function.member]
        try:
            asked = self.query(plan, args, identity)
        except Exception as error:
            self._tell_of_refusal(error, function.name, identity)
            raise
        return page_of(asked, await self.answer(asked, identity=identity, request=request))

    async def invalidate(
        self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object
    ) -> tuple[Invalidation, ...]:
        """Purge after a write that no mutation of this graph made. Returns the invalidations, for an edge.

        Raises `DeclarationError` for a context, reader or parameter that does not exist.
        """
        check_asyncio()
        invalidations = tuple(named(self.graph, affected, params))
        if self._observers.all:
            names = running()
            await self._mutations.purge(invalidations, function=names[-1] if names else None, origin=origin())
        else:
            await self._mutations.purge(invalidations)
        return invalidations

    async def purge(
        self, invalidations: Sequence[Invalidation], *, insist: bool = True, origin: str | None = None
    ) -> None:
        """Purge what the graph was asked for before: for what delivers invalidations, such as an outbox.

        With `insist`, raises `CacheUnavailable` unless the purge is through within half a minute; it is retried all the
        same. `origin`: where it comes from, as observers are told.
        """
        await self._mutations.purge(invalidations, insist=insist, origin=origin)

    @functools.cached_property
    def blocking(self) -> Blocking:
        """The same methods for code without an event loop, such as scripts, workers, notebooks and threads."""
        return Blocking(self)

    def changing(self, *affected: Affected, name: str = "changing", identity: Identity = ANONYMOUS) -> Changing:
        """Around a write of the host's own: holds what it makes stale, and purges that at the end, however it ends.

        Takes contexts, their names, invalidations such as `Orders.of(customer_id=7)`, and readers. `name` is what
        observers are told; `identity`: who writes, for mutations that the body calls. Entering it raises `Unavailable`
        where that cannot be held and the deployment refuses. Raises `DeclarationError` as `invalidate` does.

        Gives an object with `also(*affected)`, which holds and purges more (await it before the write), `invalidations`
        and `header`, the value of `X-Mizan-Invalidate`; both can be read after the end.
        """
        return Changing(self._mutations, named_all(self.graph, affected), name=name, identity=identity)

    def _find(self, name: str, via: Via) -> Function:
        function = self.graph.functions.get(name)
        if function is None:
            raise no_such_function()
        if not function.is_for_clients and via is Via.CALL:
            if function.is_view:
                raise no_such_function()
            raise Forbidden("This function is not for clients.")
        return function

    async def _guarded(self, function: Function, args: Given, identity: Identity, request: object) -> Ended:
        """As `begin`, for a function whose guard has to be awaited first."""
        try:
            identity = await authorise(function, identity, self._permissions)
        except Exception as error:  # noqa: BLE001  # returned as a `Failure`
            return self._refusal(error, function.name, identity)
        return await self.call_admitted(function, args, identity=identity, request=request)

    def _failure(self, error: Exception, function: str) -> Failure:
        return failure_of(self.errors, function, error)

    def _refusal(self, error: Exception, function: str, identity: Identity) -> Failure:
        """The failure of a call that ended before its function began."""
        self._tell_of_refusal(error, function, identity)
        return self._failure(error, function)

    def _tell_of_refusal(self, error: Exception, function: str, identity: Identity) -> None:
        if self._observers.all and function in self.graph.functions:
            self._observers.tell(Refused(function, None, error, identity))

    async def _ended(
        self, function: Function, sent: Mapping[str, object], caller: Caller, *, may_change: bool = True
    ) -> Ended:
        """Run a function whose guard has let the caller through. `sent`: validated arguments."""
        if function.context is not None:
            return await self._answer_reader(function, sent, caller)
        return await ended_of(self._mutations.begin(function, sent, caller, may_change=may_change))

    async def _answer_reader(self, function: Function, sent: Mapping[str, object], caller: Caller) -> Ended:
        """A reader called alone: uncached, and nothing is invalidated."""
        if function.round_trips:
            sent = read_back(function.round_trips, sent) or sent
        try:
            key, calls = (function.name, caller.identity.user_id), [(function, sent)]
            ran = await self._run(key, computing.get(), False, self._runner.run, calls, caller, answered, None)
            answer: Answer = ran.results[0][0]
        except Exception as error:  # noqa: BLE001  # returned as a `Failure`
            return self._failure(error, function.name)
        return answer

    async def _compute_with_permissions(
        self,
        key: Hashable,
        asked_by: Computation | None,
        kept: bool,
        query: BundleRequest,
        identity: Identity,
        request: object,
    ) -> Computed:
        """Compute for a token. If its permissions have changed since it was issued, for this request alone."""
        known = await self._known(Caller(identity, request))
        run = self._run(key, asked_by, kept, self._read, query, known.identity, known.request, kept)
        if query.plan.policy.per is Per.ALL or permission_key(known.identity) == permission_key(identity):
            return await run
        try:
            computed = await run
        except Exception as error:
            raise PersonalFailure(error) from error
        return Computed(computed.body, personal=True, declined=computed.declined)

    async def _read(
        self, computation: Computation, query: BundleRequest, identity: Identity, request: object, shared: bool
    ) -> Computed:
        """Run the readers of a bundle, and encode their results."""
        plan, caller = query.plan, Caller(identity, request)
        policy = (plan.policy if identity.is_authenticated else plan.policy_of_visitors) if shared else None
        ran = await self._runner.run(
            computation,
            query.calls,
            caller,
            query.finish,
            policy,
            concurrent=plan.concurrent,
            reports=plan.is_shared,
        )
        return query.computed(ran.results, personal=ran.personal, declined=ran.declined)


def check_graph(graph: object) -> Graph:
    """The same graph. Raises `DeclarationError` for any other object."""
    if not isinstance(graph, Graph):
        raise DeclarationError(
            f"A graph is what build([...]) or discover('package') makes, and this is a {type(graph).__name__}."
        )
    return graph


def check_carry(carry: object) -> tuple[ContextVar[Any], ...]:
    """The context variables that readers see. Raises `DeclarationError` for anything else."""
    listed: list[object] = list(carry) if isinstance(carry, Iterable) else [None]
    if not all(isinstance(one, ContextVar) for one in listed):
        raise DeclarationError(f"carry={carry!r} is no list of ContextVars; write carry=[the_variable].")
    return tuple(listed)  # type: ignore[arg-type]  # all of them were checked above


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


def _raised(ended: Ended) -> Answer:
    if isinstance(ended, Failure):
        raise carrying(ended.error, ended.invalidations)
    return ended


def _why_uncached(query: BundleRequest) -> str:
    """The reason why a request has no slot, for `Cache-Status`."""
    if isinstance(query.plan.policy.lifetime, Never):
        return "never-stored"
    return "no-canonical-url"


def _is_watched(plan: ContextPlan, request: object, identity: Identity) -> bool:
    """Whether it would be noticed that a reader of a shared answer looks at its caller. All visitors share."""
    if (identity.is_authenticated and not plan.is_shared) or isinstance(request, Watchable):
        return True
    return not any(reader.takes_request for reader in plan.readers)


def _key(query: BundleRequest, identity: Identity) -> Hashable:
    """The key of a bundle's computation, whether the bundle is stored or not."""
    return query.name if query.slot is not None else (query.name, identity.user_id)
