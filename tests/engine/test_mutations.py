"""What a mutation purges and when: after its commit, also where its caller hung up or it was cancelled or failed."""

import asyncio
import json
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from mizan_core import (
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Invalidation,
    InvalidInput,
    MemoryCache,
    Result,
    build,
    client,
    invalidate,
)
from mizan_core.engine.answers import ended_of
from tests.engine.engines import ANN, BOB, engine_of, mutation_task
from tests.virtual_time import run
from tests.world import Profile, World


class TestScopes:
    """A mutation that names `user_id` purges everything of that user and nothing of another."""

    def test_every_page_of_the_user_is_forgotten_and_no_other_user(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            pages = [{"user_id": 5}, {"user_id": 5, "page": 2}, {"user_id": 7}]
            for params in pages:
                await engine.fetch("user", params)
            answer = await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert answer.invalidations == (Invalidation("user", {"user_id": 5}),)
            assert [(await engine.fetch("user", params)).status for params in pages] == ["miss", "miss", "hit"]
            assert b"Eve-2" in (await engine.fetch("user", pages[1])).body

        run(story)

    def test_a_bundle_with_rev_and_expiry_is_purged_by_the_result(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            mine, other = {"customer_id": 1, "page": 3}, {"customer_id": 2}
            await engine.fetch("orders", mine)
            await engine.fetch("orders", other)
            answer = await engine.call("ship", {"order_id": 10}, identity=ANN)
            assert answer.invalidations == (Invalidation("orders", {"customer_id": 1}), Invalidation("inbox"))
            assert (await engine.fetch("orders", mine)).body == b'{"customer_orders":[11]}'
            assert (await engine.fetch("orders", other)).status == "hit"

        run(story)

    def test_every_users_own_copy_is_forgotten(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            for identity in (ANN, BOB):
                await engine.fetch("inbox", {}, identity=identity)
                assert (await engine.fetch("inbox", {}, identity=identity)).status == "hit"
            await engine.call("ship", {"order_id": 10}, identity=ANN)
            for identity in (ANN, BOB):
                assert (await engine.fetch("inbox", {}, identity=identity)).status == "miss"

        run(story)

    def test_an_undeclared_argument_is_refused_and_nothing_purged(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            await engine.fetch("user", {"user_id": 5})
            with pytest.raises(InvalidInput) as caught:
                await engine.call("update_profile", {"user_id": 5, "name": "x", "page": 9})
            assert caught.value.errors[0]["loc"] == ["args", "page"]
            assert world.ran["update_profile"] == 0
            assert (await engine.fetch("user", {"user_id": 5})).status == "hit"

        run(story)

    def test_an_undeclared_scope_purges_the_widest_around_it(self) -> None:
        orders = Context("orders")

        @client(context=orders)
        async def listed(customer_id: int, page: int = 1) -> list[int]:
            return [customer_id, page]

        async def story() -> None:
            engine = engine_of(listed)
            await engine.fetch("orders", {"customer_id": 1})
            assert await engine.invalidate(orders, customer_id=2) == (Invalidation("orders", {"customer_id": 2}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_a_context_may_declare_the_scopes_that_bodies_name(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        @client(context=orders)
        async def listed(customer_id: int, page: int = 1) -> list[int]:
            return [customer_id, page]

        async def story() -> None:
            engine = engine_of(listed)
            await engine.fetch("orders", {"customer_id": 1})
            await engine.invalidate("orders", customer_id=2)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "hit"
            await engine.invalidate(listed, customer_id="1")
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    @pytest.mark.parametrize(("affected", "params"), [("nothing", {}), ("user", {"nme": 1}), ("update_profile", {})])
    def test_names_unknown_to_the_graph_cannot_be_invalidated(
        self, world: World, affected: str, params: dict[str, object]
    ) -> None:
        async def story() -> None:
            with pytest.raises(DeclarationError):
                await Engine(world.graph).invalidate(affected, **params)

        run(story)


def page_written_in_a_thread() -> tuple[Any, Any, threading.Event, threading.Event]:
    """A page, a sync mutation of it, and two events: it has begun, and it may commit."""
    rows = {"value": 1}
    begun, commit = threading.Event(), threading.Event()

    @client(context="page")
    async def page() -> int:
        return rows["value"]

    @client(affects="page")
    def write() -> None:
        begun.set()
        commit.wait(50)
        rows["value"] = 2

    return page, write, begun, commit


class TestMutations:
    def test_a_purge_waits_for_a_thread_whose_caller_hung_up(self) -> None:
        page, write, begun, commit = page_written_in_a_thread()

        async def story() -> None:
            async with engine_of(page, write) as engine:
                await engine.fetch("page", {})
                caller = asyncio.create_task(engine.call("write", {}))
                await asyncio.to_thread(begun.wait)
                caller.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await caller
                assert (await engine.fetch("page", {})).status == "bypass"
                commit.set()
            assert (await engine.fetch("page", {})).body == b'{"page":2}'
            assert (await engine.fetch("page", {})).status == "hit"

        run(story)

    def test_a_cancelled_mutation_waits_for_its_thread_and_purges(self) -> None:
        page, write, begun, commit = page_written_in_a_thread()

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await asyncio.to_thread(begun.wait)
            mutation = mutation_task(caller)
            mutation.cancel()
            await asyncio.sleep(0.01)
            assert not mutation.done()
            commit.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).body == b'{"page":2}'

        run(story)

    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_a_mutation_whose_caller_hung_up_ends_and_purges(self, is_cancelled: bool) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        rows = {"value": 1}

        @client(context="page")
        async def page() -> int:
            return rows["value"]

        @client(affects="page")
        async def write() -> None:
            rows["value"] = 2
            begun.set()
            await go_on.wait()

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            mutation = mutation_task(caller)
            if is_cancelled:
                mutation.cancel()
            go_on.set()
            await asyncio.wait([mutation])
            assert mutation.cancelled() == is_cancelled
            assert (await engine.fetch("page", {})).body == b'{"page":2}'
            assert engine.health().running == 0

        run(story)

    def test_a_cancelled_async_mutation_purges_its_declared_scopes(self) -> None:
        begun = asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects=Context("page").by_body())
        async def write() -> None:
            begun.set()
            await asyncio.sleep(60)

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            mutation = mutation_task(caller)
            mutation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_the_first_of_two_mutations_keeps_the_scope_held(self) -> None:
        first_goes, second_goes = asyncio.Event(), asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        async def write(first: bool) -> None:
            await (first_goes if first else second_goes).wait()

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            first = asyncio.create_task(engine.call("write", {"first": True}))
            second = asyncio.create_task(engine.call("write", {"first": False}))
            await asyncio.sleep(0.01)
            assert (await engine.fetch("page", {})).policy == "no-store"
            first_goes.set()
            await first
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=bypass; detail=held"
            second_goes.set()
            await second
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=uri-miss; stored"

        run(story)

    def test_a_bundle_purged_while_computed_is_not_stored(self) -> None:
        reading, read_on = asyncio.Event(), asyncio.Event()

        @client(context="page")
        async def page() -> int:
            reading.set()
            await read_on.wait()
            return 1

        @client(affects="page")
        async def write() -> None:
            pass

        async def story() -> None:
            engine = engine_of(page, write)
            early = asyncio.create_task(engine.fetch("page", {}))
            await reading.wait()
            joined = asyncio.create_task(engine.fetch("page", {}))
            await asyncio.sleep(0)
            await engine.call("write", {})
            late = asyncio.create_task(engine.fetch("page", {}))
            await asyncio.sleep(0)
            read_on.set()
            assert (await early).cache_status == (await joined).cache_status == "mizan; fwd=bypass; detail=purged"
            assert (await early).policy == "no-store"
            assert (await late).cache_status == "mizan; fwd=uri-miss; stored"

        run(story)

    def test_a_refusal_purges_only_scopes_named_by_the_body(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(context="other")
        async def other() -> int:
            return 1

        @client(affects=["other", orders.by_body()])
        async def write(name_it: bool) -> None:
            if name_it:
                invalidate(orders, customer_id=1)
            raise Conflict

        async def story() -> None:
            engine = engine_of(listed, other, write)
            for params in ({"customer_id": 1}, {"customer_id": 2}):
                await engine.fetch("orders", params)
            await engine.fetch("other", {})
            refused = await ended_of(engine.begin("write", {"name_it": True}))
            assert refused.invalidations == (Invalidation("orders", {"customer_id": 1}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"
            assert (await engine.fetch("orders", {"customer_id": 2})).status == "hit"
            assert (await ended_of(engine.begin("write", {"name_it": False}))).invalidations == ()

        run(story)

    def test_an_unexpected_error_purges_everything_declared(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        class Shipped(BaseModel):
            customer_id: int

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(context="by_body")
        async def other(number: int = 0) -> int:
            return number

        @client(affects=[orders.where(customer_id=Result("customer_id")), Context("by_body").by_body()])
        async def write() -> Shipped:
            raise ZeroDivisionError("secret")

        async def story() -> None:
            engine = engine_of(listed, other, write)
            await engine.fetch("orders", {"customer_id": 1})
            failed = await ended_of(engine.begin("write", {}))
            assert failed.invalidations == (Invalidation("orders"), Invalidation("by_body"))
            with pytest.raises(ZeroDivisionError):
                await engine.call("write", {})
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_an_invalid_result_is_an_error_after_the_purge(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        async def write() -> Profile:
            return {"user_id": "not a number"}  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            ended = await ended_of(engine.begin("write", {}))
            assert ended.invalidations == (Invalidation("page"),)
            with pytest.raises(ValueError, match="validation error"):
                await engine.call("write", {})
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_a_mutation_is_not_served_its_own_stale_bundle(self) -> None:
        names = {5: "Ann"}
        engines: list[Engine] = []

        @client(context="user")
        async def user_name(user_id: int) -> str:
            return names[user_id]

        @client(affects="user")
        async def rename(user_id: int, name: str) -> bytes:
            names[user_id] = name
            bundle = await engines[0].fetch("user", {"user_id": user_id})
            assert bundle.cache_status == "mizan; fwd=bypass; detail=held"
            return bundle.body

        async def story() -> None:
            engines.append(engine_of(user_name, rename))
            for name in ("Eve", "Zoe"):
                await engines[0].fetch("user", {"user_id": 5})
                answer = await engines[0].call("rename", {"user_id": 5, "name": name})
                assert json.loads(answer.result) == {"user_name": name}
                assert (await engines[0].fetch("user", {"user_id": 5})).status == "miss"

        run(story)

    def test_a_script_purges_the_web_processes_cache(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            await engine.fetch("orders", {"customer_id": 1})
            answer = await engine.run("import_orders", {"customer_ids": [1, 3]})
            assert answer.result == 2
            assert answer.invalidations == tuple(Invalidation("orders", {"customer_id": n}) for n in (1, 3))
            assert (await engine.fetch("orders", {"customer_id": 1})).body == b'{"customer_orders":[10,11,100]}'

        run(story)

    def test_whole_purges_give_back_memory(self, world: World) -> None:
        async def story() -> None:
            cache = MemoryCache()
            engine = Engine(world.graph, cache=cache)
            for number in range(50):
                await engine.fetch("user", {"user_id": number})
            assert len(cache) > 100
            await asyncio.gather(engine.invalidate("user"), engine.invalidate("user"))
            await engine.aclose()
            assert await cache.delete_by_prefix("ctx:user:") == 0

        run(story)


class TestEagerMutations:
    """Functions that never suspended run without a task; mutations still run to their end."""

    def functions(self, done: list[str], gate: list[asyncio.Event]) -> tuple[Any, ...]:
        async def wrote() -> int:
            if gate:
                await gate[0].wait()
            done.append("written")
            return len(done)

        @client(context="page")
        async def page() -> int:
            return len(done)

        @client(affects="page")
        async def declares() -> int:
            return await wrote()

        @client
        async def names() -> int:
            invalidate("page")
            return await wrote()

        return page, declares, names

    @pytest.mark.parametrize("name", ["declares", "names"])
    def test_a_mutation_that_suspends_for_the_first_time_ends(self, name: str) -> None:
        done: list[str] = []
        gate: list[asyncio.Event] = []

        async def story() -> None:
            engine = Engine(build(self.functions(done, gate)), cache=MemoryCache())
            for _ in range(2):
                await engine.call(name, {})
            gate.append(asyncio.Event())
            caller = asyncio.create_task(engine.call(name, {}))
            await asyncio.sleep(0.01)
            assert engine.health().running == 1
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=bypass; detail=held"
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            gate[0].set()
            await engine.aclose()
            assert done == ["written"] * 3
            assert json.loads((await engine.fetch("page", {})).body) == {"page": 3}

        run(story)
