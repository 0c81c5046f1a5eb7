"""Spans and metrics, as OpenTelemetry's own SDK exports them."""

import asyncio
from typing import Any

import httpx
import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from mizan_asgi import Mizan
from mizan_core import Conflict, Engine, Identity, InvalidInput, MemoryCache, NotFound, build, client
from mizan_core.engine.observers import Observer, Purged
from mizan_core.integrations.opentelemetry import BUCKETS, Telemetry

from .observed import World

CONTEXT, FUNCTION = "mizan.context.name", "mizan.function.name"


def is_child(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


class TestSpans:
    @pytest.mark.parametrize("name", ["write", "write_in_thread"])
    @pytest.mark.asyncio
    async def test_a_call_is_between_its_request_and_its_queries(self, name: str) -> None:
        world = World(cache=MemoryCache())
        with world.tracer.start_as_current_span("POST"):
            await world.engine.call(name, {"number": 1})
        call = world.span(f"call {name}")
        assert is_child(call, world.span("POST"))
        assert is_child(world.spans("SELECT")[0], call)
        assert call.attributes == {
            FUNCTION: name,
            "mizan.function.outcome": "returned",
            "mizan.invalidated.contexts": ("rows",),
        }
        assert call.status.status_code is StatusCode.UNSET

    @pytest.mark.asyncio
    async def test_a_computation_is_between_request_and_queries(self) -> None:
        world = World()
        with world.tracer.start_as_current_span("GET"):
            await world.engine.fetch("rows", {"number": 1})
        compute = world.span("compute rows")
        assert is_child(compute, world.span("GET"))
        assert [is_child(one, compute) for one in world.spans("SELECT")] == [True, True]
        assert compute.attributes == {CONTEXT: "rows", "mizan.reader.names": ("row", "count")}
        await world.engine.fetch("rows", {"number": 1})
        assert len(world.spans("compute rows")) == 1

    @pytest.mark.asyncio
    async def test_a_shared_computation_sees_no_baggage_of_its_caller(self) -> None:
        world = World()
        token = attach(baggage.set_baggage("user", "me"))
        await world.engine.fetch("rows", {"number": 1})
        assert world.seen == [None, None]
        await world.engine.call("write_in_thread", {"number": 1})
        assert world.seen == [None, None, "me"]
        detach(token)

    @pytest.mark.asyncio
    async def test_a_request_that_joined_shows_how_long_it_waited(self) -> None:
        world = World(cache=MemoryCache())
        world.gate = asyncio.Event()
        with world.tracer.start_as_current_span("first"):
            first = asyncio.create_task(world.engine.fetch("rows", {"number": 1}))
            await asyncio.sleep(0)
        with world.tracer.start_as_current_span("second"):
            second = asyncio.create_task(world.engine.fetch("rows", {"number": 1}))
            await asyncio.sleep(0)
        world.gate.set()
        await asyncio.gather(first, second)
        wait = world.span("wait rows")
        assert is_child(world.span("compute rows"), world.span("first"))
        assert is_child(wait, world.span("second"))
        assert wait.start_time is not None
        assert wait.end_time is not None
        assert wait.end_time > wait.start_time
        assert wait.attributes == {CONTEXT: "rows", "mizan.cache.status": "miss", "mizan.cache.reason": "uri-miss"}

    @pytest.mark.parametrize(
        ("name", "outcome", "error", "status"),
        [
            ("refuse", "refused", "mizan_core.errors.Conflict", StatusCode.UNSET),
            ("fail", "unknown", "ZeroDivisionError", StatusCode.ERROR),
        ],
    )
    @pytest.mark.asyncio
    async def test_a_failed_call_has_its_error(self, name: str, outcome: str, error: str, status: StatusCode) -> None:
        world = World()
        with pytest.raises((Conflict, ZeroDivisionError)):
            await world.engine.call(name, {"number": 1})
        call = world.span(f"call {name}")
        assert call.attributes is not None
        assert (call.attributes["mizan.function.outcome"], call.attributes["error.type"]) == (outcome, error)
        assert call.status.status_code is status

    @pytest.mark.parametrize(
        ("context", "params", "error", "status"),
        [
            ("rows", {"number": 8}, "mizan_core.errors.NotFound", StatusCode.UNSET),
            ("rows", {"number": 9}, "ZeroDivisionError", StatusCode.ERROR),
            ("mine", {}, "mizan_core.errors.NotFound", StatusCode.UNSET),
        ],
    )
    @pytest.mark.asyncio
    async def test_a_failed_reader_has_its_error(
        self, context: str, params: Any, error: str, status: StatusCode, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World()
        with pytest.raises((NotFound, ZeroDivisionError)):
            await world.engine.fetch(context, params, identity=Identity(5))
        compute = world.span(f"compute {context}")
        assert compute.attributes is not None
        assert compute.attributes["error.type"] == error
        assert compute.status.status_code is status

    @pytest.mark.asyncio
    async def test_a_call_by_a_body_is_the_child_of_its_call(self) -> None:
        world = World()
        await world.engine.call("outer", {})
        assert is_child(world.span("call write_in_thread"), world.span("call outer"))
        outer = world.span("call outer").attributes
        assert outer is not None
        assert outer[FUNCTION] == "outer"

    @pytest.mark.asyncio
    async def test_a_call_that_is_cut_off_ends_its_span(self) -> None:
        world = World(cache=MemoryCache())
        world.gate = asyncio.Event()
        call = asyncio.create_task(world.engine.call("write", {"number": 1}))
        while not world.seen:
            await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task(), call}
        for task in others:  # as a loop does that is closed
            task.cancel()
        await asyncio.gather(call, *others, return_exceptions=True)
        assert world.span("call write").end_time is not None

    @pytest.mark.asyncio
    async def test_a_request_over_http_is_the_parent(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        world = World()
        mizan = Mizan(build([page]), observers=[world.telemetry])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test") as http:
            with world.tracer.start_as_current_span("GET"):
                assert (await http.get("/ctx/page/")).status_code == 200
        assert is_child(world.span("compute page"), world.span("GET"))


class TestMetrics:
    @pytest.mark.asyncio
    async def test_hits_and_reasons_are_told_apart(self) -> None:
        world = World(cache=MemoryCache())
        for _ in range(3):
            await world.engine.fetch("rows", {"number": 1})
        inside = (await world.engine.call("write", {"number": 1})).result
        assert inside == "mizan; fwd=bypass; detail=held"
        await world.engine.fetch("rows", {"number": 1})
        with pytest.raises(NotFound):
            await world.engine.fetch("rows", {"number": 8})
        rows = {CONTEXT: "rows"}
        assert world.points("mizan.fetch.duration") == [
            ({**rows, "mizan.cache.status": "miss", "mizan.cache.reason": "uri-miss"}, 1),
            ({**rows, "mizan.cache.status": "hit"}, 2),
            ({**rows, "mizan.cache.status": "bypass", "mizan.cache.reason": "held"}, 1),
            ({**rows, "mizan.cache.status": "miss", "mizan.cache.reason": "stale"}, 1),
            ({**rows, "error.type": "mizan_core.errors.NotFound"}, 1),
        ]

    @pytest.mark.asyncio
    async def test_holds_purges_and_invalidations_are_counted(self) -> None:
        world = World()
        await world.engine.call("write", {"number": 1})
        with pytest.raises(Conflict):
            await world.engine.call("refuse", {"number": 1})
        await world.engine.invalidate("rows")
        write = {FUNCTION: "write"}
        assert world.points("mizan.hold.duration") == [(write, 1), ({FUNCTION: "refuse"}, 1)]
        assert world.points("mizan.purge.duration") == [(write, 1), ({}, 1)]
        assert world.points("mizan.invalidations") == [({CONTEXT: "rows", **write}, 1), ({CONTEXT: "rows"}, 1)]
        assert world.points("mizan.function.duration") == [
            ({**write, "mizan.function.outcome": "returned"}, 1),
            (
                {
                    FUNCTION: "refuse",
                    "mizan.function.outcome": "refused",
                    "error.type": "mizan_core.errors.Conflict",
                },
                1,
            ),
        ]

    @pytest.mark.asyncio
    async def test_what_is_owed_and_the_caches_state_are_known(self) -> None:
        world = World()
        state = "mizan.cache.state"
        assert world.points("mizan.purge.owed") == [({}, 0)]
        assert world.points(state) == [({state: "up"}, 1)]
        world.cache.down = True
        await world.engine.call("write_in_thread", {"number": 1})
        assert world.points("mizan.purge.owed") == [({}, 1)]
        assert world.points(state) == [({state: "up"}, 0), ({state: "down"}, 1)]
        await world.engine.aclose()

    @pytest.mark.asyncio
    async def test_proofs_of_staleness_are_counted(self) -> None:
        world = World(verify=True, cache=MemoryCache())
        await world.engine.fetch("orders", {})
        await world.engine.call("write", {"number": 1, "text": "new"})
        await world.engine.fetch("orders", {})
        world.rows[1] = "newer"
        await world.engine.call("outer", {})
        orders = {CONTEXT: "orders"}
        assert world.points("mizan.staleness.proofs") == [({**orders, FUNCTION: "write"}, 1), (orders, 1)]
        (checked,) = world.points("mizan.staleness.checks")
        assert checked == (orders, world.verify.checked)

    @pytest.mark.asyncio
    async def test_refusals_are_counted_by_name_and_error(self) -> None:
        world = World()
        for _ in range(2):
            with pytest.raises(InvalidInput):
                await world.engine.call("write", {"number": "secret"})
        with pytest.raises(InvalidInput):
            await world.engine.fetch("rows", {})
        error = {"error.type": "mizan_core.errors.InvalidInput"}
        assert world.points("mizan.refusals") == [({FUNCTION: "write", **error}, 2), ({CONTEXT: "rows", **error}, 1)]

    @pytest.mark.asyncio
    async def test_hits_from_memory_can_be_spared(self) -> None:
        for hits in (True, False):
            world = World(hits=hits, cache=MemoryCache())
            mizan = Mizan(world.engine.graph, observers=[world.telemetry])
            async with httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test") as http:
                answers = [await http.get("/ctx/rows/?number=1") for _ in range(4)]
            assert answers[3].headers["Cache-Status"] == "mizan; hit"
            points = {one["mizan.cache.status"]: count for one, count in world.points("mizan.fetch.duration")}
            assert points == {"miss": 1, "hit": 3 if hits else 1}

    def test_durations_have_buckets_for_hits_and_slow_readers(self) -> None:
        world = World()
        world.telemetry.purged(Purged((), 0.5))
        data = world.reader.get_metrics_data()
        assert data is not None
        (histogram,) = [
            one for one in data.resource_metrics[0].scope_metrics[0].metrics if one.name == "mizan.purge.duration"
        ]
        assert histogram.unit == "s"
        assert tuple(histogram.data.data_points[0].explicit_bounds) == BUCKETS  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_nothing_exported_tells_parameters_or_callers(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.everything()
    data = world.reader.get_metrics_data()
    assert data is not None
    exported = data.to_json() + "".join(one.to_json() for one in world.exporter.get_finished_spans())
    assert "compute rows" in exported
    assert "mizan.hold.duration" in exported
    assert "secret" not in exported


@pytest.mark.asyncio
async def test_without_an_sdk_nothing_is_exported_and_all_works() -> None:
    @client(context="page")
    async def page() -> int:
        return 1

    engine = Engine(build([page]), cache=MemoryCache(), observers=[Telemetry()])
    assert (await engine.fetch("page", {})).body == b'{"page":1}'
    assert (await engine.call("page", {})).result == 1


@pytest.mark.asyncio
async def test_a_function_that_holds_nothing_has_no_hold_figure() -> None:
    @client
    async def look() -> int:
        return 1

    world = World()
    engine = Engine(build([look]), cache=MemoryCache(), observers=[world.telemetry])
    await engine.call("look", {})
    data = world.reader.get_metrics_data()
    assert data is not None
    assert "mizan.function.duration" in data.to_json()
    assert "mizan.hold.duration" not in data.to_json()


@pytest.mark.asyncio
async def test_a_call_that_began_before_has_figures_and_no_span() -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    @client(context="page")
    async def page() -> int:
        return 1

    @client(affects="page")
    async def write() -> None:
        began.set()
        await gate.wait()

    world = World()
    engine = Engine(build([page, write]), cache=MemoryCache(), observers=[Observer()])
    writing = asyncio.ensure_future(engine.call("write", {}))
    await began.wait()
    engine.observe(world.telemetry)
    gate.set()
    await writing
    assert world.exporter.get_finished_spans() == ()
    data = world.reader.get_metrics_data()
    assert data is not None
    assert "mizan.function.duration" in data.to_json()
