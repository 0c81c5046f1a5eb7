"""Scopes that a function's body names with `invalidate()`: held at once, purged at the end."""

import asyncio
import contextvars
import threading

import pytest

from mizan_core import (
    Arg,
    Context,
    DeclarationError,
    Engine,
    Invalidation,
    MemoryCache,
    client,
    invalidate,
)
from tests.engine.engines import Elsewhere, engine_of, mutation_task
from tests.virtual_time import run


class TestNaming:
    def test_a_cancelled_function_purges_the_scopes_it_named(self) -> None:
        begun = asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> None:
            invalidate("page")
            begun.set()
            await asyncio.sleep(60)

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            mutation_task(caller).cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).status == "miss"
            assert engine.health().running == 0

        run(story)

    def test_scopes_named_in_a_thread_are_held_then_purged(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])
        named, go_on = threading.Event(), threading.Event()

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(affects=orders.by_body())
        def write() -> None:
            invalidate(orders, customer_id=1)
            invalidate(orders, customer_id=1)
            named.set()
            go_on.wait(50)

        async def story() -> None:
            engine = engine_of(listed, write)
            await engine.fetch("orders", {"customer_id": 1})
            writing = asyncio.create_task(engine.call("write", {}))
            await asyncio.to_thread(named.wait)
            await asyncio.sleep(0.01)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "bypass"
            assert (await engine.fetch("orders", {"customer_id": 2})).status == "miss"
            go_on.set()
            assert (await writing).invalidations == (Invalidation("orders", {"customer_id": 1}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "hit"

        run(story)

    def test_a_function_that_declares_no_effects_may_still_name_some(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def act() -> None:
            invalidate("page")

        async def story() -> None:
            engine = engine_of(page, act)
            await engine.fetch("page", {})
            assert (await engine.call("act", {})).body == b'{"invalidate":["page"],"result":null}'
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_readers_cannot_invalidate_also_inside_a_mutation(self) -> None:
        engines: list[Engine] = []

        def helper() -> None:
            invalidate("page")

        @client(context="page")
        async def page() -> int:
            helper()
            return 1

        @client(context="fine", cache=False)
        async def fine() -> int:
            return 1

        @client(affects="fine")
        async def write() -> bytes:
            bundle = await engines[0].fetch("fine", {})
            with pytest.raises(DeclarationError, match="outside of a mutation"):
                await engines[0].fetch("page", {})
            invalidate("page")
            return bundle.body

        async def story() -> None:
            engines.append(engine_of(page, fine, write))
            assert (await engines[0].call("write", {})).invalidations == (Invalidation("fine"), Invalidation("page"))
            with pytest.raises(DeclarationError):
                await engines[0].call("page", {})

        run(story)

    @pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
    def test_a_body_is_not_served_a_bundle_that_it_named(self, cache: type[MemoryCache]) -> None:
        engines: list[Engine] = []

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> str:
            invalidate("page")
            return (await engines[0].fetch("page", {})).cache_status

        async def story() -> None:
            engines.append(engine_of(page, write, cache=cache(), cache_secret="s" * 32))
            for _ in range(2):
                await engines[0].fetch("page", {})
                assert (await engines[0].call("write", {})).result == "mizan; fwd=bypass; detail=held"
                assert (await engines[0].fetch("page", {})).status == "miss"

        run(story)

    @pytest.mark.parametrize("affects", ["user", None])
    def test_invalidate_after_the_functions_end_is_an_error(self, affects: str | None) -> None:
        late: list[asyncio.Task[None]] = []

        @client(context="user")
        async def user_name(user_id: int) -> str:
            return "Ann"

        async def name_late() -> None:
            await asyncio.sleep(0)
            with pytest.raises(DeclarationError, match=r"engine\.invalidate"):
                invalidate("user", user_id=5)
            await engines[0].fetch("user", {"user_id": 5})

        @client(affects=affects and Context("user").where(user_id=Arg("number")))
        async def write(number: int) -> None:
            late.append(asyncio.create_task(name_late()))

        engines: list[Engine] = []

        async def story() -> None:
            engines.append(engine_of(user_name, write))
            await engines[0].call("write", {"number": 5})
            await late[0]
            assert (await engines[0].fetch("user", {"user_id": 5})).status == "hit"

        run(story)

    def test_a_scope_named_by_a_thread_at_the_end_is_purged(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client(context="other")
        async def other() -> int:
            return 1

        @client(affects="other")
        async def write() -> None:
            naming = threading.Thread(target=contextvars.copy_context().run, args=(invalidate, "page"))
            naming.start()
            naming.join()

        async def story() -> None:
            engine = engine_of(page, other, write)
            await engine.fetch("page", {})
            assert (await engine.call("write", {})).invalidations == (Invalidation("other"), Invalidation("page"))
            assert [(await engine.fetch("page", {})).status for _ in range(2)] == ["miss", "hit"]

        run(story)

    def test_a_thread_names_scopes_in_a_second_event_loop(self) -> None:
        names = False

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> None:
            if names:
                await asyncio.to_thread(invalidate, "page")

        engine = engine_of(page, write)

        async def story() -> None:
            await engine.call("write", {})
            assert (await engine.call("write", {})).invalidations == ((Invalidation("page"),) if names else ())

        run(story)
        names = True
        run(story)

    def test_invalidate_outside_of_a_mutation_names_the_alternative(self) -> None:
        with pytest.raises(DeclarationError, match=r"engine\.invalidate"):
            invalidate("page")
