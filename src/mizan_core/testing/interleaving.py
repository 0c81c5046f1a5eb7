"""Every order of a few coroutines: each runs from one suspension to the next, and in every order of these steps.

A task factory wraps the coroutine of every task that belongs to an actor, so that it asks for its turn before each
step. One actor at a time has the turn. An actor that has taken a step and does not come back for its next turn within
`patience` waits for another actor, or for something slow, and others go on meanwhile.
"""

import asyncio
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

Actor = Callable[[], Awaitable[Any]]

# More orders than a test should take.
MAXIMUM_ORDERS = 10_000

# So many turns of the event loop make up the patience with an actor.
_TURNS = 20

_scheduler: ContextVar["_Scheduler | None"] = ContextVar("mizan_interleaving", default=None)


async def interleave(
    *actors: Actor,
    before: Callable[[], object] | None = None,
    check: Callable[[Sequence[Any]], object] | None = None,
    patience: float = 0.05,
    maximum: int = MAXIMUM_ORDERS,
) -> int:
    """Run the actors once in every order of their steps; returns how many orders there are.

    `before` sets up the same world for each order, cached entries included, and `check` is given what the actors
    returned, or the exceptions that they raised, in their order; both may be async. An `AssertionError` of `check` is
    noted with the order that led to it. They run once more at first, unchecked, for what an application does at its
    first request alone. Raises `RuntimeError` if there are more than `maximum` orders, or if the actors take other
    steps in one order than they did in another.
    """
    if before is not None:
        await _if_awaitable(before())
    await _Scheduler([], patience).run(actors)
    choices: list[tuple[int, int]] = []  # at each step: which actor had the turn, of how many that could
    for count in range(1, maximum + 1):
        if before is not None:
            await _if_awaitable(before())
        scheduler = _Scheduler([choice for choice, _ in choices], patience)
        results = await scheduler.run(actors)
        if check is not None:
            try:
                await _if_awaitable(check(results))
            except AssertionError as error:
                error.add_note(f"in the order {' '.join(str(number) for number in scheduler.order)} of the actors")
                raise
        choices = scheduler.choices
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return count
        choices[-1] = choices[-1][0] + 1, choices[-1][1]
    raise RuntimeError(f"There are more than {maximum} orders: let the actors take fewer steps, or raise maximum=.")


class _Turns:
    """The turns of one task of an actor."""

    def __init__(self, scheduler: "_Scheduler", actor: int) -> None:
        self.actor = actor
        self.granted: asyncio.Future[None] | None = None  # while it asks for a turn
        self._scheduler = scheduler

    async def take(self) -> None:
        """Wait for the turn; a scheduler that is over grants it at once."""
        if self._scheduler.is_over:
            return
        self.granted = asyncio.get_running_loop().create_future()
        self._scheduler.changed.set()
        try:
            await self.granted
        finally:
            self.granted = None

    def grant(self) -> None:
        granted, self.granted = self.granted, None
        if granted is not None and not granted.done():
            granted.set_result(None)

    def end(self) -> None:
        self._scheduler.turns.remove(self)
        self._scheduler.changed.set()


class _Scheduler:
    """One order: `prefix` says which actor has each of the first turns, and the first that can has every other."""

    def __init__(self, prefix: list[int], patience: float) -> None:
        self.turns: list[_Turns] = []
        self.changed = asyncio.Event()
        self.choices: list[tuple[int, int]] = []
        self.order: list[int] = []
        self.is_over = False
        self._prefix = prefix
        self._patience = patience

    async def run(self, actors: Sequence[Actor]) -> list[Any]:
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        loop.set_task_factory(partial(_factory, factory))
        try:
            tasks = [self._begin(number, actor) for number, actor in enumerate(actors)]
            try:
                while not all(task.done() for task in tasks):
                    await self._step()
            finally:
                results = await self._end(tasks)
            return results
        finally:
            loop.set_task_factory(factory)

    async def _end(self, tasks: "Sequence[asyncio.Task[Any]]") -> list[Any]:
        """What the actors came to; those that have not ended are cancelled."""
        self.is_over = True
        for one in self.turns:
            one.grant()
        for task in tasks:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, number: int, actor: Actor) -> "asyncio.Task[Any]":
        token = _scheduler.set(self)
        number_token = _actor.set(number)
        try:
            return asyncio.get_running_loop().create_task(_awaited(actor))
        finally:
            _actor.reset(number_token)
            _scheduler.reset(token)

    async def _step(self) -> None:
        """Grant the next turn, and wait until its task asks for another, ends, or is given up to wait for others."""
        ready = await self._ready()
        if not ready:  # all of them wait for something slow
            return
        place = len(self.choices)
        choice = self._prefix[place] if place < len(self._prefix) else 0
        self.choices.append((choice, len(ready)))
        if choice >= len(ready):
            raise RuntimeError("The actors took other steps than before: let before= set up the same world each time.")
        granted = ready[choice]
        self.order.append(granted.actor)
        granted.grant()
        await self._until(lambda: granted not in self.turns or granted.granted is not None)

    async def _ready(self) -> list[_Turns]:
        """Those that ask for a turn; waits for one, for a while."""
        await self._until(lambda: any(one.granted is not None for one in self.turns))
        return [one for one in self.turns if one.granted is not None]

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds, at most as long as patience lasts.

        It is looked for in many turns of the event loop, so that a busy machine, where turns take long, has more time.
        """
        loop = asyncio.get_running_loop()
        for _ in range(_TURNS):
            if holds():
                return
            self.changed.clear()
            late = loop.call_later(self._patience / _TURNS, self.changed.set)
            await self.changed.wait()
            late.cancel()


_actor: ContextVar[int] = ContextVar("mizan_interleaving_actor", default=-1)


def _factory(factory: Any, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """Make a task; one that belongs to an actor takes turns."""
    scheduler = _scheduler.get()
    if scheduler is not None:
        turns = _Turns(scheduler, _actor.get())
        scheduler.turns.append(turns)
        work = _in_turns(work, turns)
    return asyncio.Task(work, loop=loop, **options) if factory is None else factory(loop, work, **options)


async def _in_turns(work: Coroutine[Any, Any, Any], turns: _Turns) -> Any:
    try:
        return await _stepped(work, turns)
    finally:
        work.close()  # it may not have begun
        turns.end()


@types.coroutine
def _stepped(work: Coroutine[Any, Any, Any], turns: _Turns) -> Generator[Any, Any, Any]:
    step: Callable[[], Any] = partial(work.send, None)
    while True:
        yield from turns.take().__await__()
        try:
            awaited = step()
        except StopIteration as returned:
            return returned.value
        try:
            step = partial(work.send, (yield awaited))
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  # thrown into the coroutine, which may handle it
            step = partial(work.throw, error)


async def _awaited(actor: Actor) -> Any:
    return await actor()


async def _if_awaitable(found: object) -> None:
    if inspect.isawaitable(found):
        await found
