"""`tasks`: work that never suspended is begun in place, and tasks outlive their callers."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from mizan_core import Engine, MemoryCache, build, client
from mizan_core.engine.answers import Answer, ended_of
from mizan_core.errors import CacheUnavailable
from mizan_core.tasks import EagerRunner, Tasks, before_suspending
from tests import virtual_time


class Begun(Tasks):
    """Remembers the tasks that it started."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, Any], unheard: Any = None) -> "asyncio.Future[Any]":
        ended = super().start(work, unheard)
        self.begun.append(self._running[ended])
        return ended


def run(story: Callable[[EagerRunner, Begun], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        tasks = Begun()
        await story(EagerRunner(tasks), tasks)

    virtual_time.run(main)


async def ended(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def at_once(value: int = 1) -> int:
    return value


def test_an_unseen_kind_gets_a_task_and_an_eager_one_none() -> None:
    async def story(runner: EagerRunner, tasks: Begun) -> None:
        assert await ended(runner.run("a", at_once())) == 1
        assert len(tasks.begun) == 1
        assert runner.run("a", at_once(2)) == 2
        assert len(tasks.begun) == 1
        assert await ended(runner.run("b", at_once(3))) == 3
        assert len(tasks.begun) == 2

    run(story)


def test_a_kind_that_suspended_gets_a_task_from_then_on() -> None:
    async def story(runner: EagerRunner, tasks: Begun) -> None:
        for count in (1, 2, 3):
            assert await ended(runner.run("a", asyncio.sleep(0, count))) == count
            assert len(tasks.begun) == count

    run(story)


def test_eager_work_that_suspends_is_awaited_in_place() -> None:
    async def task_of() -> asyncio.Task[Any] | None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return asyncio.current_task()

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        await ended(runner.run("a", at_once()))
        assert await ended(runner.run("a", task_of())) is asyncio.current_task()
        assert len(tasks.begun) == 1
        await ended(runner.run("a", at_once()))
        assert len(tasks.begun) == 2

    run(story)


def test_a_cancelled_caller_cancels_work_without_a_task_only() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0.01)
            done.append("to the end")
        except asyncio.CancelledError:
            done.append("cut off")
            raise

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        await ended(runner.run("a", at_once()))
        for _ in range(2):
            caller = asyncio.create_task(ended(runner.run("a", work())))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        await tasks.begun[-1]
        assert done == ["cut off", "to the end"]

    run(story)


def test_a_time_limit_within_the_work_is_its_own() -> None:
    async def limited() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            return "in time"
        return "too late"

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        await ended(runner.run("a", at_once()))
        for _ in range(2):
            assert await ended(runner.run("a", limited())) == "in time"

    run(story)


def test_work_cancelled_from_within_raises_cancelled_error() -> None:
    async def work() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        try:
            await future
        except asyncio.CancelledError:
            return "told"
        return "not told"

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        await ended(runner.run("a", at_once()))
        assert await ended(runner.run("a", work())) == "told"

    run(story)


def test_a_task_that_is_cancelled_cancels_its_work() -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        waiting = asyncio.create_task(ended(runner.run("a", work())))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.begun[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert heard == ["cancelled"]

    run(story)


def test_errors_are_raised_in_the_caller() -> None:
    async def fails(waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise LookupError

    async def story(runner: EagerRunner, tasks: Begun) -> None:
        for waits in (False, False, True, True):
            with pytest.raises(LookupError):
                await ended(runner.run("a", fails(waits)))
        await ended(runner.run("b", at_once()))
        with pytest.raises(LookupError):
            await ended(runner.run("b", fails(False)))
        with pytest.raises(LookupError):
            await ended(runner.run("b", fails(True)))

    run(story)


def test_work_without_a_waiter_is_closed() -> None:
    closed: list[bool] = []

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            try:
                while True:
                    yield
            finally:
                closed.append(True)

    async def work() -> None:
        await Never()

    before = before_suspending(work(), lambda: None)
    before.send(None)
    before.close()
    assert closed == [True]


def test_a_callback_runs_before_work_suspends() -> None:
    order: list[str] = []

    async def work(waits: bool) -> str:
        order.append("begun")
        if waits:
            await asyncio.sleep(0)
            order.append("waited")
        return "done"

    async def main() -> None:
        assert await before_suspending(work(False), lambda: order.append("acted")) == "done"
        assert order == ["begun"]
        assert await before_suspending(work(True), lambda: order.append("acted")) == "done"
        assert order == ["begun", "begun", "acted", "waited"]

    virtual_time.run(main)


def test_work_without_a_caller_runs_to_its_end() -> None:
    async def main() -> None:
        tasks = Tasks()
        done: list[str] = []

        async def work() -> str:
            await asyncio.sleep(0.01)
            done.append("done")
            return "done"

        for unheard in (None, done.append):
            waiting = asyncio.create_task(ended(tasks.start(work(), unheard)))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert await tasks.wait(1) == 0
        assert done == ["done"] * 3  # each work, and what came of the second

    virtual_time.run(main)


def test_a_kind_marked_as_suspending_gets_a_task() -> None:
    async def story(runner: EagerRunner, tasks: Begun) -> None:
        async def tells() -> None:
            runner.mark_suspending("a")

        for count in (1, 2):
            await ended(runner.run("a", tells()))
            assert len(tasks.begun) == count

    run(story)


def begun_at_once(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """For Python 3.11, what `asyncio.eager_task_factory` makes of work that does not wait: a task that has ended."""
    task = loop.create_future()
    try:
        contextvars.copy_context().run(work.send, None)
    except StopIteration as result:
        task.set_result(result.value)
    return task


def test_under_eager_tasks_finished_work_is_not_awaited() -> None:
    @client(context="page")
    async def page() -> int:
        return 1

    @client(affects="page")
    async def write() -> None: ...

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", begun_at_once))
        engine = Engine(build([page, write]))
        for _ in range(3):
            async with asyncio.timeout(5):
                for _ in range(2):
                    assert (await engine.fetch("page", {})).body == b'{"page":1}'
                await engine.call("write", {})
            await asyncio.sleep(0)
            assert engine.health().running == 0

    virtual_time.run(main)


def test_under_eager_tasks_a_purge_may_end_before_its_await() -> None:
    class FailsOnce(MemoryCache):
        failing = False

        async def delete(self, *keys: str) -> int:
            failing, self.failing = self.failing, False
            if failing:
                raise CacheUnavailable
            return await super().delete(*keys)

    cache = FailsOnce()

    @client(context="page")
    async def page() -> int:
        return 1

    @client(affects="page")
    async def write() -> None:
        cache.failing = True

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", begun_at_once))
        engine = Engine(build([page, write]), cache=cache, cache_secret="s" * 32, on_cache_failure="refuse")
        assert isinstance(await ended_of(engine.begin("write", {})), Answer)
        assert engine.health().owed_purges == 0

    virtual_time.run(main)
