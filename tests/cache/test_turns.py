"""While a scope is held, requests share work: at most one computation of a bundle runs and one waits."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from mizan_core import Context, Engine, MemoryCache, NotFound, build, client
from mizan_core.cache.outcomes import Compute, Computed, PersonalFailure
from mizan_core.cache.turns import Turns
from mizan_core.tasks import EagerRunner, Tasks


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


async def turns_of_the_loop() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Readers:
    """Computations that end when they are told to, and say how many there were and how many ran at once."""

    def __init__(self) -> None:
        self.turns = Turns(EagerRunner(tasks := Tasks()), tasks)
        self.begun: list[asyncio.Future[Computed]] = []
        self.under_way = self.most = 0

    async def compute(self) -> Computed:
        ended: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        self.begun.append(ended)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await ended
        finally:
            self.under_way -= 1

    def ask(self, compute: Compute | None = None) -> "asyncio.Task[Computed]":
        return asyncio.ensure_future(self.turns.take("key", compute or self.compute, "readers"))

    async def ask_beside(self, others: int) -> "tuple[asyncio.Task[Computed], list[asyncio.Task[Computed]]]":
        """A request whose computation runs, and others that wait until it has ended."""
        first = self.ask()
        await turns_of_the_loop()
        waiting = [self.ask() for _ in range(others)]
        await turns_of_the_loop()
        return first, waiting

    async def end(self, number: int, body: bytes = b"1", *, personal: bool = False) -> None:
        self.begun[number].set_result(Computed(body, personal))
        await turns_of_the_loop()


def test_while_a_mutation_runs_762_requests_are_two_computations() -> None:
    computed = 0
    reading, changing = asyncio.Event(), asyncio.Event()
    orders = Context("orders")

    @client(context=orders)
    async def order_list(customer_id: int) -> int:
        nonlocal computed
        computed += 1
        await reading.wait()
        return computed

    @client(affects=orders)
    async def change(customer_id: int) -> None:
        await changing.wait()

    async def story() -> None:
        engine = Engine(build([order_list, change]), cache=MemoryCache())
        mutation = asyncio.ensure_future(engine.call("change", {"customer_id": 7}))
        await turns_of_the_loop()
        asking = [asyncio.ensure_future(engine.fetch("orders", {"customer_id": 7})) for _ in range(762)]
        await turns_of_the_loop()
        reading.set()
        answers = await asyncio.gather(*asking)
        assert {one.status for one in answers} == {"bypass"}
        assert computed == 2
        changing.set()
        await mutation
        assert (await engine.fetch("orders", {"customer_id": 7})).status == "miss"

    run(story)


def test_no_request_is_answered_by_an_earlier_computation() -> None:
    async def story() -> None:
        readers = Readers()
        first, (second, third) = await readers.ask_beside(2)
        assert len(readers.begun) == 1
        await readers.end(0, b"before")
        fourth = readers.ask()
        await turns_of_the_loop()
        await readers.end(1, b"after")
        await readers.end(2, b"later")
        bodies = [(await one).body for one in (first, second, third, fourth)]
        assert bodies == [b"before", b"after", b"after", b"later"]
        assert readers.most == 1
        assert readers.turns._running == {}

    run(story)


def test_a_turn_that_everybody_left_does_not_begin() -> None:
    async def story() -> None:
        readers = Readers()
        first, (second,) = await readers.ask_beside(1)
        second.cancel()
        await turns_of_the_loop()
        await readers.end(0)
        await first
        assert len(readers.begun) == 1
        assert readers.turns._running == {}

    run(story)


def test_a_joined_request_stays_when_another_leaves() -> None:
    async def story() -> None:
        readers = Readers()
        first, (second, third) = await readers.ask_beside(2)
        first.cancel()
        second.cancel()
        await turns_of_the_loop()
        await readers.end(0)
        await readers.end(1, b"2")
        assert (await third).body == b"2"

    run(story)


def test_an_error_is_raised_in_all_joined_requests() -> None:
    async def story() -> None:
        readers = Readers()
        first = readers.ask()
        await turns_of_the_loop()
        others = [readers.ask() for _ in range(3)]
        await turns_of_the_loop()
        await readers.end(0)
        readers.begun[1].set_exception(NotFound("gone"))
        for other in others:
            with pytest.raises(NotFound, match="gone"):
                await other
        assert (await first).body == b"1"
        assert readers.turns._running == {}

    run(story)


@pytest.mark.parametrize("fails", [True, False])
def test_a_personal_result_is_for_its_caller_alone(fails: bool) -> None:
    async def story() -> None:
        readers = Readers()
        first, (second, third) = await readers.ask_beside(2)
        await readers.end(0)
        if fails:
            readers.begun[1].set_exception(PersonalFailure(ValueError()))
        else:
            readers.begun[1].set_result(Computed(b"mine", personal=True))
        await turns_of_the_loop()
        assert len(readers.begun) == 3  # the second one's is its own, and the third computes alone
        await readers.end(2, b"3")
        if fails:
            with pytest.raises(PersonalFailure):
                await second
        else:
            assert (await second).body == b"mine"
        assert (await third).body == b"3"
        await first

    run(story)


def test_a_computation_that_was_cancelled_is_begun_again() -> None:
    async def story() -> None:
        readers = Readers()
        first, (second,) = await readers.ask_beside(1)
        await readers.end(0)
        readers.begun[1].cancel()
        await turns_of_the_loop()
        await readers.end(2, b"again")
        assert (await second).body == b"again"
        await first

    run(story)


def test_a_shared_computation_runs_in_a_waiting_requests_context() -> None:
    asking: ContextVar[str] = ContextVar("asking")

    async def story() -> None:
        readers = Readers()
        seen: list[str] = []

        async def noticing() -> Computed:
            seen.append(asking.get())
            return await readers.compute()

        tasks = []
        for name in ("first", "second", "third"):
            asking.set(name)
            tasks.append(readers.ask(noticing))
            await turns_of_the_loop()
        tasks[1].cancel()
        await turns_of_the_loop()
        await readers.end(0)
        await readers.end(1)
        assert (await tasks[2]).body == b"1"
        assert seen == ["first", "third"]

    run(story)


def test_an_abandoned_event_loop_keeps_no_request_waiting() -> None:
    readers = Readers()
    left, current = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin() -> "asyncio.Task[Computed]":
        asking = readers.ask()
        await turns_of_the_loop()
        return asking

    async def story() -> None:
        asking = await begin()
        await readers.end(1)
        assert (await asking).body == b"1"

    abandoned = left.run_until_complete(begin())
    current.run_until_complete(story())
    assert not abandoned.done()
    tasks = asyncio.all_tasks(left)
    for task in tasks:
        task.cancel()
    left.run_until_complete(asyncio.wait(tasks))
    left.close()
    current.close()


def test_a_mutation_that_fetches_its_held_bundle_computes_alone() -> None:
    mutating, mutated = asyncio.Event(), asyncio.Event()
    orders = Context("orders")
    computed = 0

    @client(context=orders)
    async def order_list(customer_id: int) -> int:
        nonlocal computed
        computed = number = computed + 1
        if number == 1:
            await mutated.wait()
        return number

    @client(affects=orders)
    async def change(customer_id: int) -> None:
        mutating.set()
        await turns_of_the_loop()
        fetched = await engine.fetch("orders", {"customer_id": customer_id})
        assert fetched.body == b'{"order_list":2}'

    engine = Engine(build([order_list, change]), cache=MemoryCache())

    async def story() -> None:
        mutation = asyncio.ensure_future(engine.call("change", {"customer_id": 7}))
        await mutating.wait()
        waiting = asyncio.ensure_future(engine.fetch("orders", {"customer_id": 7}))
        await mutation
        mutated.set()
        assert (await waiting).body == b'{"order_list":1}'

    run(story)
