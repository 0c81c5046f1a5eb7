"""An engine tells its edges: when, of what, how long a caller waits, and what is owed when they cannot be told."""

import asyncio
import logging
from typing import Any

import pytest
from pydantic import BaseModel

from mizan_core import (
    BadRequest,
    Context,
    Engine,
    Identity,
    Invalidation,
    MemoryCache,
    Result,
    Unavailable,
    build,
    client,
    invalidate,
)
from mizan_core.engine.answers import Health
from mizan_core.errors import CacheUnavailable
from tests.engine.engines import FailingCache
from tests.telling.edges import StubbornEdge
from tests.virtual_time import run

User, Orders, Report = Context("user"), Context("orders", scopes=[("customer_id",)]), Context("report")


class Shipment(BaseModel):
    customer_id: int


class Shop:
    """Functions that affect a context by argument, by result, by body, or not at all; `edge` is told."""

    def __init__(self, **options: Any) -> None:
        self.edge = StubbornEdge()
        self.events: list[str] = []

        @client(context=User)
        async def profile(user_id: int) -> str:
            return f"user {user_id}"

        @client(context=Orders)
        async def orders(customer_id: int, page: int = 1) -> list[int]:
            return [customer_id, page]

        @client(context=Report)
        async def report() -> int:
            return 1

        @client(affects=User)
        async def rename(user_id: int, name: str = "") -> str:
            self.events.append("ran")
            if name == "refused":
                raise BadRequest("No.")
            if name == "broken":
                raise RuntimeError("broken")
            return name

        @client(affects=profile)
        async def touch(user_id: int) -> None: ...

        @client(affects=Orders.where(customer_id=Result("customer_id")))
        async def ship(order_id: int) -> Shipment:
            return Shipment(customer_id=order_id + 1)

        @client()
        async def note(user_id: int) -> None:
            await asyncio.sleep(0)
            invalidate(User, user_id=user_id)

        @client(affects=Report)
        async def both(user_id: int) -> None:
            await rename(user_id, "inner")

        edges = options.pop("edges", [self.edge])
        options.setdefault("cache", MemoryCache())
        self.engine = Engine(build([profile, orders, report, rename, touch, ship, note, both]), edges=edges, **options)

    async def opened(self) -> Engine:
        """The engine, after the edges have forgotten all that was before it."""
        await self.engine.__aenter__()
        while self.engine.health().owed_to_edges:
            await asyncio.sleep(0.01)
        self.edge.heard.clear()
        self.edge.tried = 0
        return self.engine


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("rename", {"user_id": 5}, ["user;user_id=5"]),
        ("touch", {"user_id": 5}, ["user;user_id=5"]),  # of one reader: edges know contexts
        ("ship", {"order_id": 6}, ["orders;customer_id=7"]),
        ("note", {"user_id": 5}, ["user;user_id=5"]),
        ("both", {"user_id": 5}, ["report", "user;user_id=5"]),
    ],
)
def test_a_call_tells_exactly_what_it_made_stale(name: str, args: dict[str, Any], told: list[str]) -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        await engine.call(name, args)
        assert sorted(shop.edge.all_heard) == told
        assert engine.health() == Health("up", 0, 0)
        await engine.aclose()

    run(story)


def test_run_invalidate_and_changing_tell_as_calls_do() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        await engine.run("rename", {"user_id": 1})
        await engine.invalidate(User, user_id=2)
        async with engine.changing(User.of(user_id=3)) as change:
            await change.also(Report)
            assert len(shop.edge.heard) == 2
        assert shop.edge.heard == [["user;user_id=1"], ["user;user_id=2"], ["user;user_id=3", "report"]]
        await engine.aclose()

    run(story)


def test_parameters_outside_of_every_shape_are_left_out() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        await engine.invalidate(Orders, customer_id=7, page=2)
        await engine.invalidate(Orders, page=2)
        assert shop.edge.heard == [["orders;customer_id=7"], ["orders"]]
        await engine.aclose()

    run(story)


def test_the_origin_has_purged_before_an_edge_is_told() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        await engine.fetch("user", {"user_id": 5})
        asked: list[asyncio.Task[Any]] = []
        shop.edge.on_purge = lambda: asked.append(asyncio.ensure_future(engine.fetch("user", {"user_id": 5})))
        await engine.call("rename", {"user_id": 5})
        assert (await asked[0]).status == "miss"
        await engine.aclose()

    run(story)


def test_the_caller_hears_nothing_before_the_edge_has_forgotten() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        shop.edge.open.clear()
        calling = asyncio.create_task(engine.call("rename", {"user_id": 5}))
        await asyncio.sleep(0.9)
        assert shop.events == ["ran"]
        assert not calling.done()
        shop.edge.open.set()
        assert (await calling).invalidations == (Invalidation("user", {"user_id": 5}),)
        await engine.aclose()

    run(story)


def test_a_caller_waits_for_the_box_and_no_longer() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        now = asyncio.get_running_loop().time
        shop.edge.open.clear()
        began = now()
        await engine.call("rename", {"user_id": 5})
        assert now() - began == pytest.approx(1.0)
        assert engine.health().owed_to_edges == 1
        shop.edge.open.set()
        while engine.health().owed_to_edges:
            await asyncio.sleep(0.01)
        assert shop.edge.heard == [["user;user_id=5"]]
        await engine.aclose()

    run(story)


def test_no_caller_waits_for_an_edge_known_to_fail() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        now = asyncio.get_running_loop().time
        shop.edge.error = ConnectionError()
        await engine.call("rename", {"user_id": 1})
        assert engine.health() == Health("up", 0, 0, owed_to_edges=1, failing_edges=("edge",))
        began = now()
        await engine.call("rename", {"user_id": 2})
        assert now() == began
        assert engine.health().owed_to_edges == 2
        shop.edge.error = None
        while engine.health().owed_to_edges:
            await asyncio.sleep(0.01)
        assert engine.health() == Health("up", 0, 0)
        assert sorted(shop.edge.all_heard) == ["user;user_id=1", "user;user_id=2"]
        await engine.aclose()

    run(story)


def test_a_caller_waits_for_the_others_of_a_failing_edge() -> None:
    async def story() -> None:
        broken, slow = StubbornEdge("broken", error=ConnectionError()), StubbornEdge("slow")
        engine = Shop(edges=[broken, slow]).engine
        async with engine:
            await engine.call("rename", {"user_id": 1})
            assert engine.health().failing_edges == ("broken",)
            slow.open.clear()
            calling = asyncio.create_task(engine.call("rename", {"user_id": 2}))
            await asyncio.sleep(0.9)
            assert not calling.done()
            slow.open.set()
            await calling
            assert slow.heard[-1] == ["user;user_id=2"]
            broken.error = None

    run(story)


def test_no_caller_waits_again_for_an_edge_that_took_too_long() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        now = asyncio.get_running_loop().time
        shop.edge.open.clear()
        await engine.call("rename", {"user_id": 1})
        assert engine.health().failing_edges == ("edge",)
        began = now()
        await engine.call("rename", {"user_id": 2})
        assert now() == began
        shop.edge.open.set()
        while engine.health().owed_to_edges:
            await asyncio.sleep(0.01)
        assert engine.health() == Health("up", 0, 0)
        await engine.aclose()

    run(story)


@pytest.mark.parametrize(("name", "told"), [("refused", []), ("broken", ["user;user_id=5"])])
def test_a_failure_tells_and_a_refusal_does_not(name: str, told: list[str]) -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        with pytest.raises((BadRequest, RuntimeError)):
            await engine.call("rename", {"user_id": 5, "name": name})
        assert shop.edge.all_heard == told
        await engine.aclose()

    run(story)


def test_a_caller_that_leaves_cancels_no_telling() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        shop.edge.open.clear()
        calling = asyncio.create_task(engine.call("rename", {"user_id": 5}))
        while not shop.edge.tried:
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])
        shop.edge.open.set()
        await engine.aclose()
        assert shop.edge.heard == [["user;user_id=5"]]

    run(story)


def test_a_reader_and_a_call_that_changes_nothing_tell_nothing() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        await engine.fetch("user", {"user_id": 5})
        await engine.call("profile", {"user_id": 5}, identity=Identity("1"))
        async with engine.changing():
            pass
        assert shop.edge.tried == 0
        await engine.aclose()

    run(story)


class TestRefusing:
    def test_no_mutation_runs_while_an_edge_fails(self) -> None:
        async def story() -> None:
            shop = Shop(on_cache_failure="refuse")
            engine = await shop.opened()
            shop.edge.error = ConnectionError()
            with pytest.raises(CacheUnavailable):
                await engine.invalidate(Report)
            for work in (engine.call("rename", {"user_id": 5}), engine.run("ship", {"order_id": 5})):
                with pytest.raises(Unavailable):
                    await work
            with pytest.raises(Unavailable):
                async with engine.changing(Report):
                    raise AssertionError
            assert shop.events == []
            shop.edge.error = None
            while engine.health().failing_edges:
                await asyncio.sleep(0.01)
            await engine.call("rename", {"user_id": 5})
            assert shop.events == ["ran"]
            await engine.aclose()

        run(story)

    def test_a_caller_hears_that_an_edge_was_not_told(self) -> None:
        async def story() -> None:
            shop = Shop(on_cache_failure="refuse")
            engine = await shop.opened()
            shop.edge.open.clear()
            with pytest.raises(CacheUnavailable):
                await engine.call("rename", {"user_id": 5})
            assert shop.events == ["ran"]
            shop.edge.open.set()
            await engine.aclose()
            assert shop.edge.heard == [["user;user_id=5"]]

        run(story)


class TestAnOriginWhosePurgeIsOwed:
    def test_its_edges_are_told_again_once_it_is_through(self) -> None:
        async def story() -> None:
            cache = FailingCache()
            shop = Shop(cache=cache)
            engine = await shop.opened()
            cache.broken = True
            await engine.call("rename", {"user_id": 5})
            assert shop.edge.heard == [["user;user_id=5"]]
            assert engine.health().owed_purges == 1
            await asyncio.sleep(5)
            assert shop.edge.heard == [["user;user_id=5"]]
            cache.broken = False
            while len(shop.edge.heard) < 2:
                await asyncio.sleep(0.1)
            assert shop.edge.heard == [["user;user_id=5"]] * 2
            assert engine.health().owed_purges == 0
            await engine.aclose()

        run(story)


class TestTheBeginning:
    def test_edges_forget_all_that_a_lost_process_knew(self) -> None:
        async def story() -> None:
            shop = Shop()
            async with shop.engine:
                while engine_owes(shop):
                    await asyncio.sleep(0)
                assert sorted(shop.edge.all_heard) == ["orders", "report", "user"]
            async with shop.engine:  # it is opened again: nothing was lost
                await asyncio.sleep(5)
            assert len(shop.edge.all_heard) == 3

        run(story)

    def test_an_engine_that_was_not_opened_begins_by_its_first_use(self) -> None:
        async def story() -> None:
            shop = Shop()
            await shop.engine.fetch("user", {"user_id": 5})
            while engine_owes(shop):
                await asyncio.sleep(0)
            assert "user" in shop.edge.all_heard
            await shop.engine.aclose()

        run(story)


class TestTheSecondPurge:
    def test_it_comes_after_its_time_and_no_caller_waits(self) -> None:
        async def story() -> None:
            shop = Shop()
            shop.edge.again = 5.0
            engine = await shop.opened()
            now = asyncio.get_running_loop().time
            began = now()
            await engine.call("rename", {"user_id": 5})
            assert now() == began
            assert engine.health().owed_to_edges == 1
            await asyncio.sleep(4.9)
            assert shop.edge.heard == [["user;user_id=5"]]
            await asyncio.sleep(0.2)
            assert shop.edge.heard == [["user;user_id=5"]] * 2
            assert engine.health().owed_to_edges == 0
            await engine.aclose()

        run(story)


def test_a_new_loop_goes_on_with_what_an_ended_one_left() -> None:
    shop = Shop(shutdown=0.0)

    async def begun() -> None:
        engine = await shop.opened()
        shop.edge.error = ConnectionError()
        await engine.call("rename", {"user_id": 5})
        assert engine.health().owed_to_edges == 1  # the loop ends without any shutdown

    async def gone_on() -> None:
        shop.edge.error = None
        async with shop.engine as engine:
            while engine.health().owed_to_edges:
                await asyncio.sleep(0.01)
            assert shop.edge.heard == [["user;user_id=5"]]
            await engine.call("rename", {"user_id": 6})

    run(begun)
    run(gone_on)
    assert shop.edge.all_heard == ["user;user_id=5", "user;user_id=6"]


def test_an_engine_that_is_opened_again_tells_what_it_owes() -> None:
    async def story() -> None:
        shop = Shop(shutdown=0.0)
        engine = await shop.opened()
        shop.edge.error = ConnectionError()
        await engine.call("rename", {"user_id": 5})
        await engine.aclose()
        shop.edge.error = None
        async with engine:
            while engine.health().owed_to_edges:
                await asyncio.sleep(0.01)
        assert shop.edge.heard == [["user;user_id=5"]]

    run(story)


def test_an_engine_is_opened_and_closed_any_number_of_times() -> None:
    async def story() -> None:
        shop = Shop()
        await shop.engine.aclose()  # it was never used
        engine = await shop.opened()
        async with engine:
            await engine.invalidate(Report)
        assert shop.edge.heard == [["report"]]
        assert shop.edge.closed == 2

    run(story)


def test_a_scope_that_is_named_twice_is_told_once() -> None:
    async def story() -> None:
        shop = Shop()
        engine = await shop.opened()
        async with engine.changing(User.of(user_id=5)) as change:
            await change.also(User.of(user_id=5))
            await change.also(User)
            await change.also(User.of(user_id=6))
        assert shop.edge.heard == [["user"]]
        await engine.aclose()

    run(story)


def test_closing_says_what_was_never_told(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        shop = Shop(shutdown=2.0)
        engine = await shop.opened()
        shop.edge.error = ConnectionError()
        await engine.call("rename", {"user_id": 5})
        await engine.aclose()
        assert shop.edge.closed == 1

    with caplog.at_level(logging.ERROR, "mizan"):
        run(story)
    assert "Closed. Mutations whose edges were never told, and that are lost: 1." in caplog.messages


@pytest.mark.parametrize(("again", "heard"), [(1.0, 2), (10.0, 1)])
def test_a_shutdown_leaves_no_second_purge_for_after_it(
    again: float, heard: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        shop = Shop(shutdown=5.0)
        engine = await shop.opened()
        shop.edge.again = again
        closed: list[int] = []
        shop.edge.on_purge = lambda: closed.append(shop.edge.closed)
        await engine.call("rename", {"user_id": 5})
        await engine.aclose()
        await asyncio.sleep(20)
        assert closed == [0] * heard  # each while the connections were open
        assert shop.edge.closed == 1

    with caplog.at_level(logging.ERROR, "mizan"):
        run(story)
    assert len(caplog.messages) == (heard == 1), caplog.messages


def engine_owes(shop: Shop) -> bool:
    return bool(shop.engine.health().owed_to_edges)
