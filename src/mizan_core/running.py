"""Calling the developer's functions: with their request and identity, on the loop or in a thread."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from .fetched import PersonalFailure
from .graph import CachePolicy, Function
from .identity import ANONYMOUS, Identity
from .policies import Per
from .watch import Notice, Watchable, WatchableByUser, watch_identity

logger = logging.getLogger("mizan")

T = TypeVar("T")

# What of an identity everyone with the same permissions shares.
_SHARED_ATTRIBUTES = frozenset({"staff", "superuser", "permissions", "permission_key"})


@dataclass(slots=True)
class Caller:
    """Who asks, and the request that the functions are handed."""

    identity: Identity
    request: object = None


_Work: TypeAlias = tuple[Function, Mapping[str, Any]]


# For functions that are not told who asks.
NOBODY = Caller(ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Ran:
    """What the functions returned, in their order. `personal`: one of them looked at who asks."""

    results: list[Any]
    personal: bool


class Runner:
    """Runs functions; sync ones in at most `threads` threads of its own."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    async def run(
        self,
        calls: Sequence[tuple[Function, Mapping[str, object]]],
        caller: Caller,
        shared: CachePolicy | None = None,
        *,
        concurrent: bool = False,
    ) -> Ran:
        """Run them one after the other, or side by side if `concurrent`; sync ones share one trip to a thread.

        With `shared`, the answer serves other requests too, so it is noticed whether a function looks at what these
        need not have in common. If one then fails after it has looked, the error is raised as a `PersonalFailure`.
        """
        seen: list[tuple[str, str]] = []
        works = [(function, _given(function, arguments, caller, shared, seen)) for function, arguments in calls]
        try:
            results = await (self._side_by_side(works) if concurrent else self._in_turn(works))
        except Exception as error:
            if not seen:
                raise
            _report(seen)
            raise PersonalFailure(error) from error
        if seen:
            _report(seen)
        return Ran(results, personal=bool(seen))

    def to_the_end(
        self, function: Function, arguments: Mapping[str, object], caller: Caller
    ) -> Coroutine[Any, Any, Any]:
        """Run one function that must not be left half-way: a cancellation waits for its thread."""
        given = _given(function, arguments, caller, None, [])
        if not function.is_async:
            return _outlasting(self._start(partial(function.call, **given)))
        return function.call(**given)  # type: ignore[no-any-return]  # it is a coroutine

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    async def _in_turn(self, works: Sequence[_Work]) -> list[Any]:
        results: list[Any] = []
        in_threads: list[int] = []
        for place, (function, given) in enumerate(works):
            if function.is_async:
                results.append(await function.call(**given))
            else:
                results.append(None)
                in_threads.append(place)
        if in_threads:
            calls = [partial(works[place][0].call, **works[place][1]) for place in in_threads]
            answers = await self._start(lambda: [call() for call in calls])
            for place, answer in zip(in_threads, answers, strict=True):
                results[place] = await _finished(answer)
        return results

    async def _side_by_side(self, works: Sequence[_Work]) -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(function, given)) for function, given in works]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _one(self, function: Function, given: Mapping[str, Any]) -> Any:
        if function.is_async:
            return await function.call(**given)
        return await _finished(await self._start(partial(function.call, **given)))

    def _start(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="mizan")
        return asyncio.get_running_loop().run_in_executor(self._pool, contextvars.copy_context().run, _raising, work)


def _raising(work: Callable[[], T]) -> T:
    """What a thread does. No future can be told of a StopIteration, and whoever waits for it would wait for ever."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("A function raised StopIteration.") from error


async def _outlasting(thread: "asyncio.Future[T]") -> T:
    """Wait for a thread, whatever comes."""
    cancelled: asyncio.CancelledError | None = None
    while not thread.done():
        try:
            await asyncio.wait([thread])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        thread.exception()
        raise cancelled
    return await _finished(thread.result())


async def _finished(answer: T) -> T:
    """What a sync function answered, which may be a coroutine of another function's."""
    return await answer if inspect.isawaitable(answer) else answer


def _given(
    function: Function,
    arguments: Mapping[str, object],
    caller: Caller,
    shared: CachePolicy | None,
    seen: list[tuple[str, str]],
) -> Mapping[str, Any]:
    """The arguments, and what else the function takes."""
    if not function.takes_more:
        return arguments
    signature = function.signature
    given: dict[str, Any] = dict(arguments)

    def notice(what: str) -> None:
        seen.append((function.name, what))

    if signature.takes_request:
        given["request"] = _request(caller.request, None if shared is None else shared.per, notice)
    for name in signature.identity_parameters:
        watched = shared is not None and shared.per is Per.PERMISSIONS
        given[name] = watch_identity(caller.identity, _SHARED_ATTRIBUTES, notice) if watched else caller.identity
    return given


def _request(request: object, kept_per: Per | None, notice: Notice) -> object:
    """The request as a function may read it whose answer is kept per this, or for nobody else."""
    if not isinstance(request, Watchable):
        return request
    if kept_per is None:
        return request.plain()
    if kept_per is not Per.USER:
        return request.watched(notice)
    return request.watched_by_user(notice) if isinstance(request, WatchableByUser) else request.plain()


def _report(seen: Sequence[tuple[str, str]]) -> None:
    """One line for each answer that could not be shared."""
    name, what = seen[0]
    logger.error(
        "%s looked at who asks (%s), and its answer would have been kept for others as well. It was not stored. "
        "Declare %s with per='user', with cache=False where it is about visitors who are not signed in, or let it take "
        "what it needs as a parameter.",
        name,
        what,
        name,
    )
