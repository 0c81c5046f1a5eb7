"""Work now or later: coroutines that run at once where they do not suspend, and tasks that outlive their callers.

"Now or later" is said in one way: `T | Awaitable[T]`. A caller tells the two apart by the types that it expects at
once (`isinstance(found, (Hit, Fresh))`), and awaits anything else.

A coroutine suspends when it awaits something that is not ready. Until then no other task runs and no cancellation
arrives, so a coroutine that never suspends needs no task. Whether one suspends is found out by driving it by hand
(`send`). Work that has never suspended so far is begun in place; if it suspends after all, that one time it is
cancelled along with its caller, as any coroutine is.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from .errors import DeclarationError

T = TypeVar("T")


def check_asyncio() -> None:
    """Raise `DeclarationError` where no event loop of asyncio's runs: under trio, or outside of any loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise DeclarationError(
            "Mizan runs on asyncio alone, and no event loop of asyncio's is running here. Under trio it cannot run: "
            "start the server with asyncio, as 'hypercorn --worker-class asyncio' does, and tests with anyio's backend "
            "'asyncio'."
        ) from None


class Tasks:
    """Tasks that run to their end although their callers may go away."""

    def __init__(self) -> None:
        # By the future that callers wait for. The event loop keeps only weak references to tasks.
        self._running: dict[asyncio.Future[Any], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self, work: Coroutine[Any, Any, T], unheard: Callable[[T | Exception], object] | None = None
    ) -> "asyncio.Future[T]":
        """Begin work in a task of its own; one caller at most awaits its result.

        A caller that is cancelled cancels only its waiting. A result or error that comes after that is passed to
        `unheard`.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        task = loop.create_task(_report(work, ended, unheard, self._running))
        if not ended.done():  # an eager task factory may have finished the work already
            self._running[ended] = task
        return ended

    async def wait(self, seconds: float) -> int:
        """Wait at most so many seconds for all tasks; returns how many are still running."""
        if not self._running:
            return 0
        _, late = await asyncio.wait(self._running.values(), timeout=seconds)
        return len(late)

    async def cancel(self) -> None:
        """Cancel the tasks that are still running, and wait for their end."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _report(
    work: Coroutine[Any, Any, T],
    ended: "asyncio.Future[T]",
    unheard: Callable[[T | Exception], object] | None,
    running: "dict[asyncio.Future[Any], asyncio.Task[None]]",
) -> None:
    """Do the work and pass on its result or error: to the caller, or to `unheard` if the caller has gone."""
    try:
        result = await work
        if not ended.done():
            ended.set_result(result)
        elif unheard is not None:
            unheard(result)
    except BaseException as error:
        if not ended.done():
            ended.set_exception(error)
            ended.exception()  # marks it as retrieved: a caller that awaits still gets it
        elif unheard is not None and isinstance(error, Exception):
            unheard(error)
        if not isinstance(error, Exception):
            raise
    finally:
        running.pop(ended, None)


class EagerRunner:
    """Runs coroutines without a task as long as their kind is not known to suspend.

    A kind that was never seen, and one that has suspended once, runs in one of `tasks`; the result or error of work
    whose caller has gone is passed to `unheard`.
    """

    def __init__(self, tasks: Tasks, unheard: Callable[[Any], object] | None = None) -> None:
        self._start = tasks.start
        self._unheard = unheard
        self._eager: dict[Hashable, Callable[[], None]] = {}  # by kind: the function that marks it as suspending
        # For work of a kind that a caller begins in place: the function to call if it suspends. None where such work
        # has to be given to `run`.
        self.eager = self._eager.get
        self._suspending: set[Hashable] = set()

    def run(self, kind: Hashable, work: Coroutine[Any, Any, T]) -> T | Awaitable[T]:
        """Run work of this kind. Returns its result, or an awaitable of it if it has not ended yet."""
        suspends = self._eager.get(kind)
        if suspends is None:
            ended = self._start(work if kind in self._suspending else self._observed(kind, work), self._unheard)
            return ended.result() if ended.done() else ended
        try:
            awaited = work.send(None)
        except StopIteration as returned:
            return returned.value  # type: ignore[no-any-return]  # the coroutine's result
        suspends()
        return rest_of(work, awaited)

    def mark_suspending(self, kind: Hashable) -> None:
        """Run work of this kind in tasks from now on."""
        self._suspending.add(kind)
        self._eager.pop(kind, None)

    async def _observed(self, kind: Hashable, work: Coroutine[Any, Any, T]) -> T:
        """Do the work and note whether it suspended."""
        try:
            awaited = work.send(None)
        except StopIteration as returned:
            if kind not in self._suspending:
                self._eager[kind] = partial(self.mark_suspending, kind)
            return returned.value  # type: ignore[no-any-return]  # the coroutine's result
        self.mark_suspending(kind)
        return await rest_of(work, awaited)


@types.coroutine
def before_suspending(work: Coroutine[Any, Any, T], act: Callable[[], object]) -> Generator[Any, Any, T]:
    """The same coroutine; when it first suspends, `act` is called before any other task can run."""
    try:
        awaited = work.send(None)
    except StopIteration as returned:
        return returned.value  # type: ignore[no-any-return]  # the coroutine's result
    act()
    return (yield from rest_of(work, awaited))


@types.coroutine
def rest_of(work: Coroutine[Any, Any, T], awaited: Any, context: Context | None = None) -> Generator[Any, Any, T]:
    """The rest of a coroutine that has suspended on `awaited`; each step runs in `context` if one is given."""
    send: Callable[..., Any] = work.send
    throw: Callable[..., Any] = work.throw
    if context is not None:
        send, throw = partial(context.run, send), partial(context.run, throw)
    while True:
        try:
            step = partial(send, (yield awaited))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  # thrown into the coroutine, which may handle it
            step = partial(throw, error)
        try:
            awaited = step()
        except StopIteration as returned:
            return returned.value  # type: ignore[no-any-return]  # the coroutine's result
