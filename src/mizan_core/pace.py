"""Work that does not wait needs no task of its own: nothing can come between, not even a cancellation.

Whether a coroutine waits shows when it is driven by hand. What never waited so far is begun where it is asked for; if
it waits after all, that once it is cancelled with its caller, as any coroutine is.
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
    """Work that has not ended yet."""

    work: Awaitable[T]


class Pace:
    """Which work was seen to wait, by whatever stands for it. What has not been seen yet is taken to wait.

    `begin` begins work in a task of its own, and keeps that task.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._prompt: dict[Hashable, Callable[[], None]] = {}
        self._patient: set[Hashable] = set()

    def run(self, what: Hashable, work: Coroutine[Any, Any, T]) -> "T | Waiting[T]":
        """Do the work: its result, or what to wait for."""
        waits = self._prompt.get(what)
        if waits is None:
            task = self._begin(work if what in self._patient else self._seen(what, work))
            return Waiting(outlived(task))
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
