"""`interleave`: every order of the steps, each once, and the order that fails is named."""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from mizan_core import Context, Engine, MemoryCache, build, client
from mizan_core.testing import interleave
from mizan_core.testing.interleaving import _Scheduler, _stepped, _Turns


def steps(name: str, count: int, seen: list[str]) -> Any:
    async def actor() -> str:
        for number in range(count):
            seen.append(f"{name}{number}")
            await asyncio.sleep(0)
        return name

    return actor


@pytest.mark.asyncio
async def test_two_actors_meet_in_every_order_once() -> None:
    seen: list[str] = []
    orders: list[str] = []

    def check(results: Sequence[Any]) -> None:
        assert results == ["a", "b"]
        orders.append(" ".join(seen))

    # Each takes two steps and a last one, in which it returns.
    assert await interleave(steps("a", 2, seen), steps("b", 2, seen), before=seen.clear, check=check) == 20
    assert set(orders) == {
        "a0 a1 b0 b1",
        "a0 b0 a1 b1",
        "a0 b0 b1 a1",
        "b0 a0 a1 b1",
        "b0 a0 b1 a1",
        "b0 b1 a0 a1",
    }


@pytest.mark.asyncio
async def test_the_order_that_fails_is_named() -> None:
    async def reads() -> int:
        return row["version"]

    async def writes() -> None:
        row["version"] = 2

    async def before() -> None:
        row["version"] = 1

    async def check(results: Sequence[Any]) -> None:
        assert results[0] == 1

    row = {"version": 1}
    with pytest.raises(AssertionError) as failed:
        await interleave(reads, writes, before=before, check=check)
    assert failed.value.__notes__ == ["in the order 1 0 of the actors"]


@pytest.mark.asyncio
async def test_an_error_of_an_actor_is_a_result() -> None:
    async def fails() -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(None, int, "x")
        except ValueError as error:
            raise LookupError from error

    found: list[Any] = []
    await interleave(fails, check=found.extend)
    assert {type(one) for one in found} == {LookupError}


@pytest.mark.asyncio
async def test_an_actor_that_waits_for_another_is_passed_over() -> None:
    async def waits() -> str:
        await event.wait()
        return "done"

    async def sets() -> None:
        await asyncio.sleep(0)
        event.set()

    def before() -> None:
        nonlocal event
        event = asyncio.Event()

    event = asyncio.Event()
    found: list[Any] = []
    assert await interleave(waits, sets, before=before, check=found.append, patience=0.01) > 1
    assert {tuple(one) for one in found} == {("done", None)}


@pytest.mark.asyncio
async def test_too_many_orders_are_refused() -> None:
    seen: list[str] = []
    with pytest.raises(RuntimeError, match="more than 5 orders"):
        await interleave(steps("a", 5, seen), steps("b", 5, seen), maximum=5)


@pytest.mark.asyncio
async def test_a_world_that_is_not_set_up_again_is_told() -> None:
    async def actor() -> None:
        for _ in range(next(counts)):
            await asyncio.sleep(0)

    counts = iter([0, 0, 1, 1, 0, 1])
    with pytest.raises(RuntimeError, match="let before= set up the same world"):
        await interleave(actor, actor)


@pytest.mark.asyncio
async def test_an_actor_that_is_left_is_closed() -> None:
    closed: list[bool] = []

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await interleave(stuck, patience=0.01)
    assert closed == [True]


@pytest.mark.asyncio
async def test_a_read_and_a_mutation_are_true_in_every_order() -> None:
    rows = {7: "old"}

    @client(context=Context("orders"))
    async def order(customer_id: int) -> str:
        found = rows[customer_id]
        await asyncio.sleep(0)
        return found

    @client(affects="orders")
    async def write(customer_id: int) -> None:
        await asyncio.sleep(0)
        rows[customer_id] = "new"

    engine = Engine(build([order, write]), cache=MemoryCache())

    async def before() -> None:
        rows[7] = "old"
        await engine.invalidate("orders")

    async def check(results: Sequence[Any]) -> None:
        assert not any(isinstance(one, Exception) for one in results)
        assert (await engine.fetch("orders", {"customer_id": 7})).body == b'{"order":"new"}'

    async def read() -> bytes:
        return (await engine.fetch("orders", {"customer_id": 7})).body

    async def change() -> None:
        await engine.call("write", {"customer_id": 7})

    assert await interleave(read, change, before=before, check=check) > 10


@pytest.mark.asyncio
async def test_an_actor_that_waits_for_something_slow_is_waited_for() -> None:
    async def slow() -> str:
        await asyncio.sleep(0.1)
        return "done"

    found: list[Any] = []
    assert await interleave(slow, check=found.extend, patience=0.01) == 1
    assert found == ["done"]


@pytest.mark.asyncio
async def test_tasks_of_actors_take_turns_and_others_do_not() -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    async def child() -> None:
        seen.append("child")

    async def parent() -> None:
        await asyncio.create_task(child())

    async def other() -> None:
        seen.append("other")

    def before() -> None:
        loop.call_soon(lambda: loop.create_task(other()))

    made: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        made.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        assert await interleave(parent, before=before) >= 1
    finally:
        loop.set_task_factory(None)
    assert set(seen) == {"child", "other"}
    assert len(made) == 6  # two runs: one unchecked, and one order


def test_a_task_that_is_dropped_closes_its_work() -> None:
    closed: list[bool] = []

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            try:
                yield
            finally:
                closed.append(True)

    async def work() -> None:
        await Never()

    async def story() -> None:
        scheduler = _Scheduler([], 0.01)
        scheduler.is_over = True
        stepped = _stepped(work(), _Turns(scheduler, 0))
        stepped.send(None)
        stepped.close()

    asyncio.run(story())
    assert closed == [True]
