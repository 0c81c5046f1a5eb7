"""Work that outlives its caller in a task, and work that does not wait and needs none.

Nothing can come between what does not wait, not even a cancellation. Whether a coroutine waits shows when it is driven
by hand. What never waited so far is begun where it is asked for; if it waits after all, that once it is cancelled with
its caller, as any coroutine is.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from .errors import DeclarationError

T = TypeVar("T")


@dataclass(slots=True)
class Waiting(Generic[T]):
    """Work that has not ended yet."""

    work: Awaitable[T]


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
    """Tasks that nobody else keeps: they run to their end, whoever waits for them."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Future[Any], asyncio.Task[Any]] = {}  # by what tells that they have ended

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._running[task] = task
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[Any, Any, T], unheard: Callable[[T], object] | None = None) -> T:
        """What work comes to that is done in a task of its own: a caller who goes away cancels only the waiting.

        What it comes to after that is told to `unheard`.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        task = loop.create_task(self._told(work, ended, unheard))
        if not ended.done():  # as it is where the loop's tasks begin at once
            self._running[ended] = task
        return await ended

    async def wait(self, seconds: float) -> int:
        """Wait so long for all of them; how many are still running."""
        if not self._running:
            return 0
        _, late = await asyncio.wait(self._running.values(), timeout=seconds)
        return len(late)

    async def _told(
        self, work: Coroutine[Any, Any, T], ended: "asyncio.Future[T]", unheard: Callable[[T], object] | None
    ) -> None:
        """Do the work, and tell who waits for it, if they still do, what came of it."""
        try:
            result = await work
            if not ended.done():
                ended.set_result(result)
            elif unheard is not None:
                unheard(result)
        except BaseException as error:
            if not ended.done():
                ended.set_exception(error)
                ended.exception()  # whoever waits has it, and if nobody does any more nobody needs it
            raise
        finally:
            self._running.pop(ended, None)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it, and if nobody did nobody needs it


class EagerRunner:
    """Which work was seen to wait, by whatever stands for it. What has not been seen yet is taken to wait.

    What waits is done in one of `tasks`; what it comes to when its caller has gone, a result or an error, is told to
    `unheard`.
    """

    def __init__(self, tasks: Tasks, unheard: Callable[[Any], object] | None = None) -> None:
        self._begin = tasks.begin
        self._unheard = unheard
        self._prompt: dict[Hashable, Callable[[], None]] = {}
        self._patient: set[Hashable] = set()

    def run(self, what: Hashable, work: Coroutine[Any, Any, T]) -> "T | Waiting[T]":
        """Do the work: its result, or what to wait for."""
        waits = self._prompt.get(what)
        if waits is None:
            task = self._begin(work if what in self._patient else self._seen(what, work))
            # Where the loop's tasks begin at once, it may have ended, and nobody is told of that any more.
            return task.result() if task.done() else Waiting(outlived(task, self._unheard))
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
        waits()
        return Waiting(_rest(work, awaited))

    def waits(self, what: Hashable) -> None:
        """Take this work to wait, from now on."""
        self._patient.add(what)
        self._prompt.pop(what, None)

    async def _seen(self, what: Hashable, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, and remember whether it waited."""
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            if what not in self._patient:
                self._prompt[what] = partial(self.waits, what)
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
        self.waits(what)
        return await _rest(work, awaited)


@types.coroutine
def before_waiting(work: Coroutine[Any, Any, T], act: Callable[[], object]) -> Generator[Any, Any, T]:
    """The same coroutine; if it has to wait, `act` is called before anybody else gets a turn."""
    try:
        awaited = work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
    act()
    return (yield from _rest(work, awaited))


async def outlived(task: "asyncio.Task[T]", unheard: Callable[[T], object] | None = None) -> T:
    """What a task comes to. Whoever waits for it may be cancelled; the task goes on, and ends with `unheard`."""
    if not task.done():
        ended: asyncio.Future[None] = task.get_loop().create_future()
        task.add_done_callback(partial(_tell, ended))
        try:
            await ended
        except asyncio.CancelledError:
            if unheard is not None:
                task.add_done_callback(partial(_tell_unheard, unheard))
            raise
    return task.result()


def _tell_unheard(unheard: Callable[[Any], object], task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        unheard(task.exception() or task.result())


def _tell(waiting: "asyncio.Future[None]", _: object) -> None:
    if not waiting.done():
        waiting.set_result(None)


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """The rest of a coroutine that stands waiting for `awaited`."""
    while True:
        try:
            step = partial(work.send, (yield awaited))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  # it is the coroutine's to handle
            step = partial(work.throw, error)
        try:
            awaited = step()
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
