"""Calling the developer's functions: with their request and identity, on the loop or in a thread."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from ..cache.outcomes import Computed, PersonalFailure
from ..errors import DeclarationError, Unavailable
from ..graph.model import Function
from ..protocol.bodies import encode_json
from ..protocol.cache_policy import CachePolicy, Per
from ..protocol.identity import ANONYMOUS, Identity
from .computations import Computation, beside
from .hosts.resources import Opened, Resources
from .privacy import Notice, Watchable, WatchableByUser, by_identity, lacks_permissions, watch_identity

logger = logging.getLogger("mizan")

T = TypeVar("T")

# The attributes that identities with the same permission key have in common.
_SHARED_ATTRIBUTES = frozenset({"staff", "superuser", "permissions", "permission_key"})


@dataclass(slots=True)
class Caller:
    """The identity that asks, and the request that functions are passed."""

    identity: Identity
    request: object = None


_Work: TypeAlias = tuple[Function, Mapping[str, Any]]
# Makes the answer of a function's result.
Finish: TypeAlias = Callable[[Function, Any], Any]


# The caller for functions that take neither an identity nor the request.
NOBODY = Caller(ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Ran:
    """The functions' results, in their order. `personal`: one of them looked at its caller.

    `declined`: one of them said `no_store`.
    """

    results: list[Any]
    personal: bool
    declined: bool


# Calls that may wait for each thread. With 40 threads and 20 ms for a call, the last one waits half a second; a longer
# queue would only delay an overloaded server further.
_WAITING_PER_THREAD = 25

# Each belongs to a thread that waits for it, so there are hardly more than those, times the depth of their calls.
_MAXIMUM_INNER = 10_000


# Whether this is a thread of the engine's, or work that one waits for, as by `engine.blocking`.
_in_thread: ContextVar[bool] = ContextVar("mizan_in_thread", default=False)


class Threads:
    """At most `count` threads, with a bounded queue of calls that wait for them.

    Work that one of the engine's threads waits for gets a thread beyond these: it could wait for its own caller.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._inner: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[], T], wanted: Callable[[], bool]) -> "asyncio.Future[T]":
        """Do the work in a thread, unless it is cancelled or no longer `wanted` before it begins.

        Raises `Unavailable` if too many calls wait. The future raises `NotBegun` if the work was no longer wanted.
        """
        if _in_thread.get():
            return self._start(self._beyond(), work, wanted)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, thread_name_prefix=self._name)
        if self._pool._work_queue.qsize() >= self._count * _WAITING_PER_THREAD:  # noqa: SLF001  # the only way to know
            raise Unavailable("Too many calls are waiting for a thread. Try again shortly.")
        return self._start(self._pool, work, wanted)

    def _start(
        self, pool: ThreadPoolExecutor, work: Callable[[], T], wanted: Callable[[], bool]
    ) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(pool, contextvars.copy_context().run, _begin, work, wanted)

    def _beyond(self) -> ThreadPoolExecutor:
        if self._inner is None:
            self._inner = ThreadPoolExecutor(_MAXIMUM_INNER, thread_name_prefix=f"{self._name}-inner")
        return self._inner

    def close(self) -> None:
        for pool in (self._pool, self._inner):
            if pool is not None:
                pool.shutdown(wait=False)
        self._pool = self._inner = None


class NotBegun(Unavailable):
    """The caller had gone before a thread could begin the work."""

    DETAIL = "The request had gone away before this could begin."


class ResourceFailed(Exception):
    """A resource failed, and not its function."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class NotOpened(ResourceFailed):
    """A resource could not be opened, so that its function did not begin."""


class NotClosed(ResourceFailed):
    """A resource could not be closed after its function had returned, so that it is unknown what was committed."""


class Wanted:
    """Whether a caller still waits. Asked from any thread."""

    is_gone = False

    def __call__(self) -> bool:
        return not self.is_gone

    async def waiting(self, work: Awaitable[T]) -> T:
        """Wait for the work as this caller."""
        try:
            return await work
        except asyncio.CancelledError:
            self.is_gone = True
            raise


class Runner:
    """Runs functions; sync ones in threads, `threads` for mutations and as many for all others."""

    def __init__(self, threads: int, is_wanted: Callable[[Hashable], bool], resources: Resources) -> None:
        """`is_wanted`: whether a request waits for the computation of this key."""
        self._is_wanted = is_wanted
        self._resources = resources
        self._threads = Threads(threads, "mizan")
        # Slow readers must not block mutations.
        self._threads_of_mutations = Threads(threads, "mizan-mutation")

    async def run(
        self,
        computation: Computation,
        calls: Sequence[tuple[Function, Mapping[str, object]]],
        caller: Caller,
        finish: Finish,
        shared: CachePolicy | None,
        *,
        concurrent: bool = False,
        reports: bool = True,
    ) -> Ran:
        """Run functions one after the other, or side by side if `concurrent`; in turn, sync ones share one thread.

        `finish` makes the answer of each result. It is called where the function ran, for it may take long or load a
        lazy result.

        With `shared`, the policy of an answer that serves other requests too, a function is watched for reads of what
        these need not have in common. The error of one that fails after such a read is a `PersonalFailure`. With
        `reports`, such a read is logged as an error.
        """
        seen: list[tuple[str, str]] = []
        missed: list[Function] = []
        works = [(function, _given(function, arguments, caller, shared, seen, missed)) for function, arguments in calls]
        try:
            if concurrent:
                results = await self._side_by_side(works, computation, finish, _asking(caller, shared))
            elif any(function.resources for function, _ in calls):
                results = await self._resources.within(
                    works,
                    _asking(caller, shared),
                    lambda opened: self._in_turn([_with(opened, *work) for work in works], computation, finish),
                )
            else:
                results = await self._in_turn(works, computation, finish)
        except Exception as error:
            if not seen:
                raise
            if reports:
                _report(seen)
            raise PersonalFailure(error) from error
        if missed:  # a function has caught the error
            raise _no_permissions(missed[0])
        if seen and reports:
            _report(seen)
        return Ran(results, personal=bool(seen), declined=computation.declined)

    def to_the_end(
        self,
        function: Function,
        arguments: Mapping[str, object],
        caller: Caller,
        finish: Finish,
        wanted: Wanted,
    ) -> Coroutine[Any, Any, Any]:
        """Run one function to its end: a cancellation waits for its thread.

        A function that still waits for a thread does not begin once it is no longer `wanted`: `NotBegun` is raised.
        """
        given = _given(function, arguments, caller, None, [], [])
        if function.resources:
            return self._to_the_end_with_resources(function, given, _asking(caller, None), finish, wanted)
        return self._to_the_end(function, given, finish, wanted)

    async def _to_the_end_with_resources(
        self, function: Function, given: Mapping[str, Any], request: object, finish: Finish, wanted: Wanted
    ) -> Any:
        """As `_to_the_end`. The resources are closed, and so committed, before this returns or raises."""
        has_begun = has_returned = False

        async def work(opened: Opened) -> Any:
            nonlocal has_begun, has_returned
            has_begun = True
            result = await self._to_the_end(*_with(opened, function, given), finish, wanted)
            has_returned = True
            return result

        try:
            return await self._resources.within([(function, given)], request, work)
        except Exception as error:
            if not has_begun:
                raise NotOpened(error) from error
            if has_returned:
                raise NotClosed(error) from error
            raise

    def _to_the_end(
        self, function: Function, given: Mapping[str, Any], finish: Finish, wanted: Wanted
    ) -> Coroutine[Any, Any, Any]:
        if function.is_async:
            return _finished(function, function.call(**given), finish)
        threads = self._threads_of_mutations if function.affects else self._threads
        thread = threads.start(partial(_call, function, given, finish), wanted)
        return _finished_in_thread(function, thread, finish, wanted)

    def close(self) -> None:
        self._threads.close()
        self._threads_of_mutations.close()

    async def _in_turn(self, works: Sequence[_Work], computation: Computation, finish: Finish) -> list[Any]:
        results: list[Any] = []
        in_threads: list[int] = []
        for place, (function, given) in enumerate(works):
            if function.is_async:
                computation.running = function.name
                results.append(finish(function, await function.call(**given)))
            else:
                results.append(None)
                in_threads.append(place)
        if in_threads:
            computation.running = works[in_threads[0]][0].name

            def work() -> None:
                for place in in_threads:
                    function, given = works[place]
                    computation.running = function.name
                    results[place] = _call(function, given, finish)

            await self._threads.start(work, partial(self._is_wanted, computation.key))
            for place in in_threads:
                results[place] = await _from_thread(works[place][0], results[place], finish)
        return results

    async def _side_by_side(
        self, works: Sequence[_Work], computation: Computation, finish: Finish, request: object
    ) -> list[Any]:
        computation.running = ", ".join(function.name for function, _ in works)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._one(function, given, computation, finish, request))
                    for function, given in works
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _one(
        self, function: Function, given: Mapping[str, Any], computation: Computation, finish: Finish, request: object
    ) -> Any:
        """Run a reader beside others, with resources of its own: a session serves one task at a time."""
        beside.set((computation, function.name))  # in the context of this reader's own task

        async def work(opened: Opened) -> Any:
            given_all = _with(opened, function, given)[1]
            if function.is_async:
                return finish(function, await function.call(**given_all))
            wanted = partial(self._is_wanted, computation.key)
            answer = await self._threads.start(partial(_call, function, given_all, finish), wanted)
            return await _from_thread(function, answer, finish)

        try:
            return await self._resources.within([(function, given)], request, work)
        except Exception:
            computation.running = function.name
            raise


def _with(opened: Opened, function: Function, given: Mapping[str, Any]) -> _Work:
    """The function, given its resources too."""
    return function, {**given, **{name: opened[key] for name, key in function.resources.items()}}


def _asking(caller: Caller, shared: CachePolicy | None) -> object:
    """The request that dependencies may read: none where the answer serves other requests too."""
    request = None if shared is not None else caller.request
    return request.plain() if isinstance(request, Watchable) else request


async def read_directly(computation: Computation, calls: Sequence[tuple[Function, Mapping[str, object]]]) -> Computed:
    """The readers' results by their names, as JSON: the short way for a bundle all of whose readers `runs_directly`."""
    results = {}
    for reader, arguments in calls:
        computation.running = reader.name
        result = reader.validate_result(await reader.call(**arguments), from_attributes=True)
        # As `plain_result`, written out.
        results[reader.member] = reader.dump_result(result, mode="json", by_alias=True)
    return Computed(encode_json(results), declined=computation.declined)


async def _finished(function: Function, work: Awaitable[Any], finish: Finish) -> Any:
    return finish(function, await work)


async def _finished_in_thread(function: Function, thread: "asyncio.Future[Any]", finish: Finish, wanted: Wanted) -> Any:
    return await _from_thread(function, await _outlasting(thread, wanted), finish)


def _call(function: Function, given: Mapping[str, Any], finish: Finish) -> Any:
    """Call a function in a thread. If it returns an awaitable, that is finished on the event loop."""
    result = function.call(**given)
    return result if inspect.isawaitable(result) else finish(function, result)


async def _from_thread(function: Function, answer: Any, finish: Finish) -> Any:
    """The answer that `_call` returned; if that is an awaitable, its result is finished here."""
    return finish(function, await answer) if inspect.isawaitable(answer) else answer


def _begin(work: Callable[[], T], wanted: Callable[[], bool]) -> T:
    """Do a thread's work. A future takes no StopIteration: without this, its caller would wait for ever."""
    if not wanted():
        raise NotBegun
    _in_thread.set(True)
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("A function raised StopIteration.") from error


async def _outlasting(thread: "asyncio.Future[T]", wanted: Wanted) -> T:
    """Wait for a thread to its end. A cancellation is raised after that."""
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
            wanted.is_gone = True
    if cancelled is not None:
        thread.exception()
        raise cancelled
    return thread.result()


def _given(
    function: Function,
    arguments: Mapping[str, object],
    caller: Caller,
    shared: CachePolicy | None,
    seen: list[tuple[str, str]],
    missed: list[Function],
) -> Mapping[str, Any]:
    """The arguments, with the request and the identities that the function takes."""
    if function.takes_only_inputs:
        return arguments
    signature, identity = function.signature, caller.identity
    given: dict[str, Any] = dict(arguments)
    lacks = lacks_permissions(identity)
    watched = shared is not None and shared.per is Per.PERMISSIONS

    def notice(what: str) -> None:
        seen.append((function.name, what))

    def notice_of_identity(attribute: str) -> None:
        if lacks and attribute == "permissions":
            missed.append(function)
            raise _no_permissions(function)
        if watched and attribute not in _SHARED_ATTRIBUTES:
            notice(attribute)

    if watched or lacks:
        identity = watch_identity(identity, frozenset(), notice_of_identity)
    if signature.takes_request:
        request = by_identity(caller.request, identity) if lacks else caller.request
        given["request"] = _request(request, None if shared is None else shared.per, notice)
    for name in signature.identities:
        given[name] = identity
    return given


def _no_permissions(function: Function) -> DeclarationError:
    return DeclarationError(
        f"{function.name} asks for identity.permissions, and a token does not carry them. Give the app permissions=, a "
        "function that loads them."
    )


def _request(request: object, kept_per: Per | None, notice: Notice) -> object:
    """The request for a function whose answer is kept `kept_per`, or is for this request alone if None."""
    if not isinstance(request, Watchable):
        return request
    if kept_per is None:
        return request.plain()
    if kept_per is not Per.USER:
        return request.watched(notice)
    return request.watched_by_user(notice) if isinstance(request, WatchableByUser) else request.plain()


def _report(seen: Sequence[tuple[str, str]]) -> None:
    """Log one line for an answer that could not be shared."""
    name, what = seen[0]
    logger.error(
        "%s looked at who asks (%s), and its answer would have been kept for others as well. It was not stored. "
        "Declare %s with per='user', with cache=False where it is about visitors who are not signed in, or let it take "
        "what it needs as a parameter.",
        name,
        what,
        name,
    )
