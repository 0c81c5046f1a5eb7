"""Sync functions: what is done in their threads, and what waits for one."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from mizan_core import Context, Engine, Unavailable, client
from tests.engine.engines import engine_of


class Line(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    sku: str


class Order(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    lines: list[Line]


class LazyOrder:
    """As an ORM has it: what was not loaded is loaded by the thread of its session alone."""

    def __init__(self) -> None:
        self._thread = threading.current_thread()

    @property
    def lines(self) -> list[Line]:
        if threading.current_thread() is not self._thread:
            raise RuntimeError("The session belongs to another thread.")
        return [Line(sku="a")]


ORDER = b'{"lines":[{"sku":"a"}]}'


class TestResults:
    def test_a_bundle_reads_lazy_attributes_in_the_readers_thread(self) -> None:
        for concurrent in (False, True):

            @client(context=Context("orders", concurrent=concurrent))
            def order() -> Order:
                return LazyOrder()  # type: ignore[return-value]  # as from_attributes takes it

            @client(context=Context("orders", concurrent=concurrent))
            async def loaded() -> Order:
                return LazyOrder()  # type: ignore[return-value]  # the same

            async def story(engine: Engine) -> None:
                body = (await engine.fetch("orders", {})).body
                assert body == b'{"loaded":' + ORDER + b',"order":' + ORDER + b"}"

            asyncio.run(story(engine_of(order, loaded)))

    @pytest.mark.parametrize("declared", [{}, {"affects": "orders"}, {"context": "orders", "route": "/order/"}])
    def test_so_do_calls_mutations_and_pages(self, declared: dict[str, Any]) -> None:
        @client(**declared)
        def order() -> Order:
            return LazyOrder()  # type: ignore[return-value]  # as from_attributes takes it

        @client(context="orders")
        async def orders() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(order, orders)
            answer = await engine.call("order", {})
            assert (answer.result_json, type(answer.result)) == (ORDER, LazyOrder)
            if "route" in declared:
                assert (await engine.page("order", {})).result == ORDER

        asyncio.run(story())

    @pytest.mark.parametrize("concurrent", [False, True])
    def test_a_sync_function_may_return_an_awaitable(self, concurrent: bool) -> None:
        async def found() -> int:
            return 5

        @client(context=Context("orders", concurrent=concurrent))
        def order() -> int:
            return found()  # type: ignore[return-value]  # a decorator's doing

        async def story() -> None:
            engine = engine_of(order)
            assert (await engine.fetch("orders", {})).body == b'{"order":5}'
            assert (await engine.call("order", {})).body == b'{"result":5}'

        asyncio.run(story())


class Shop:
    """Readers that stay in their threads until `go_on` is set, and a mutation."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[str] = []
        self.in_a_thread = threading.Event()
        self.go_on = threading.Event()

    def functions(self, **declared: Any) -> list[Callable[..., Any]]:
        @client(**({"context": "shelf"} | declared))
        def shelf(number: int) -> int:
            self.begun.append(number)
            self.in_a_thread.set()
            self.go_on.wait()
            return number

        @client(affects="shelf")
        def fill() -> str:
            self.done.append("fill")
            return "filled"

        @client(affects="shelf")
        def shelve(number: int) -> None:
            self.in_a_thread.set()
            self.go_on.wait()
            self.done.append("shelve")

        @client
        def look() -> str:
            self.done.append("look")
            return "seen"

        return [shelf, fill, shelve, look]

    async def ask(self, engine: Engine, count: int) -> list[asyncio.Task[Any]]:
        """So many readers, of which as many as there are threads have begun."""
        asked = [asyncio.create_task(engine.fetch("shelf", {"number": number})) for number in range(count)]
        await asyncio.to_thread(self.in_a_thread.wait)
        return asked


class TestQueue:
    def test_readers_that_take_all_threads_do_not_stop_a_mutation(self) -> None:
        async def story() -> None:
            shop = Shop()
            async with engine_of(*shop.functions(), threads=1) as engine:
                asked = await shop.ask(engine, 3)
                assert (await engine.call("fill", {})).result == "filled"
                shop.go_on.set()
                assert [(await one).status for one in asked] == ["bypass"] * 3  # purged while they were computed

        asyncio.run(story())

    def test_a_full_queue_is_503_and_not_a_wait_without_end(self) -> None:
        async def story() -> None:
            shop = Shop()
            async with engine_of(*shop.functions(), threads=1) as engine:
                asked = await shop.ask(engine, 1)
                asked += [asyncio.create_task(engine.fetch("shelf", {"number": number})) for number in range(1, 26)]
                await asyncio.sleep(0)
                for refused in (engine.fetch("shelf", {"number": 99}), engine.call("look", {})):
                    with pytest.raises(Unavailable, match="waiting for a thread"):
                        await refused
                shop.go_on.set()
                await asyncio.gather(*asked)
                assert (await engine.call("look", {})).result == "seen"

        asyncio.run(story())

    @pytest.mark.parametrize("declared", [{}, {"cache": False}, {"context": Context("shelf", concurrent=True)}])
    def test_readers_without_waiters_do_not_start(self, declared: dict[str, Any]) -> None:
        async def story() -> None:
            shop = Shop()
            async with engine_of(*shop.functions(**declared), threads=1) as engine:
                asked = await shop.ask(engine, 5)
                joined = asyncio.create_task(engine.fetch("shelf", {"number": 4}))
                await asyncio.sleep(0)
                for one in asked:
                    one.cancel()
                await asyncio.wait(asked)
                shop.go_on.set()
                await joined
                await engine.fetch("shelf", {"number": 9})
                assert shop.begun == [0, 4, 9]

        asyncio.run(story())

    @pytest.mark.parametrize("name", ["fill", "look"])
    def test_a_cancelled_call_does_not_start_in_a_thread(self, name: str) -> None:
        async def story() -> None:
            shop = Shop()
            async with engine_of(*shop.functions(), threads=1) as engine:
                busy = asyncio.create_task(engine.call("shelve" if name == "fill" else "shelf", {"number": 0}))
                await asyncio.to_thread(shop.in_a_thread.wait)
                called = asyncio.create_task(engine.call(name, {}))
                for _ in range(5):  # by then it waits for the thread
                    await asyncio.sleep(0)
                called.cancel()
                await asyncio.wait([called])
                shop.go_on.set()
                await busy
                await engine.call(name, {})  # the same thread, afterwards
                assert shop.done.count(name) == 1

        asyncio.run(story())

    def test_a_mutation_begun_in_its_thread_is_not_abandoned(self) -> None:
        async def story() -> None:
            shop = Shop()
            async with engine_of(*shop.functions(), threads=1) as engine:
                called = asyncio.create_task(engine.call("shelve", {"number": 5}))
                await asyncio.to_thread(shop.in_a_thread.wait)
                called.cancel()
                await asyncio.wait([called])
                shop.go_on.set()
                await engine.call("fill", {})  # the same thread, afterwards
                assert shop.done == ["shelve", "fill"]

        asyncio.run(story())
