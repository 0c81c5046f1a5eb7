"""Work that does not wait needs no task of its own: nothing can come between, not even a cancellation.

Whether a coroutine waits shows when it is driven by hand. What never waited so far is begun where it is asked for.
Should it wait after all, a caller that goes away leaves it to a task, so that it still runs to its end.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Begin: TypeAlias = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@dataclass(slots=True)
class Waiting(Generic[T]):
    """Work that has not ended yet. `is_here`: it goes on in the caller, and not in a task."""

    work: Awaitable[T]
    is_here: bool = False


class Pace:
    """Which work was seen to wait, by whatever stands for it. What has not been seen yet is taken to wait.

    `begin` begins work in a task of its own, and keeps that task.
    """

    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self._prompt: dict[Hashable, Callable[[], None]] = {}
        self._patient: set[Hashable] = set()

    def run(self, what: Hashable, work: Coroutine[Any, Any, T]) -> "T | Waiting[T]":
        """Do the work to its end, whatever becomes of the caller: its result, or what to wait for."""
        waits = self._prompt.get(what)
        if waits is None:
            return Waiting(outlived(self.start(what, work)))
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
        waits()
        return Waiting(_rest(work, awaited, self.begin), is_here=True)

    def start(self, what: Hashable, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin the work in a task of its own, and see whether it waits."""
        return self.begin(work if what in self._patient else self._seen(what, work))

    async def _seen(self, what: Hashable, work: Coroutine[Any, Any, T]) -> T:
        waits = partial(self._waits, what)
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            self._prompt[what] = waits
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
        waits()
        return await _rest(work, awaited)

    def _waits(self, what: Hashable) -> None:
        self._patient.add(what)
        self._prompt.pop(what, None)


@types.coroutine
def before_waiting(work: Coroutine[Any, Any, T], act: Callable[[], object]) -> Generator[Any, Any, T]:
    """The same coroutine; if it has to wait, `act` is called before anybody else gets a turn."""
    try:
        awaited = work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
    act()
    return (yield from _driven(work, awaited))


async def outlived(task: "asyncio.Task[T]") -> T:
    """What a task comes to. Whoever waits for it may be cancelled; the task goes on."""
    if not task.done():
        ended: asyncio.Future[None] = task.get_loop().create_future()
        task.add_done_callback(partial(_tell, ended))
        await ended
    return task.result()


def _tell(waiting: "asyncio.Future[None]", _: object) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _driven(work: Coroutine[Any, Any, T], awaited: Any, begin: Begin | None = None) -> Generator[Any, Any, T]:
    """Drive a coroutine that stands waiting for `awaited`."""
    while True:
        try:
            yield from _untouched(awaited)
        except asyncio.CancelledError as cancelled:
            if begin is not None:
                begin(_rest(work, awaited))
                raise
            step = partial(work.throw, cancelled)
        except GeneratorExit:
            work.close()
            raise
        else:
            step = partial(work.send, None)
        try:
            awaited = step()
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns


def _untouched(awaited: Any) -> Generator[Any, Any, None]:
    """Wait for what a coroutine awaits without cancelling it: a future, or None for another turn of the loop."""
    if awaited is None:
        yield
        return
    awaited._asyncio_future_blocking = False  # noqa: SLF001  # as a task tells a future that it has been taken note of
    yield from asyncio.wait([awaited]).__await__()


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], awaited: Any, begin: Begin | None = None) -> Generator[Any, Any, T]:
    """The rest of a coroutine that has begun. Where `begin` is given, the cancellation of its caller passes it by."""
    return (yield from _driven(work, awaited, begin))
