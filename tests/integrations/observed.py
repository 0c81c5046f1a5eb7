"""An engine that OpenTelemetry's own SDK watches, and one of everything that can happen to it."""

import asyncio
import contextlib
from typing import Any

from opentelemetry import baggage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mizan_core import Conflict, Context, Engine, Identity, InvalidInput, NotFound, build, client
from mizan_core.integrations.opentelemetry import Telemetry
from mizan_core.proof import Verify
from tests.cache.holding_cache import HoldingCache

Rows, Mine, Orders = Context("rows"), Context("mine"), Context("orders")


class FailingCache(HoldingCache):
    """Takes no purge while it is `down`."""

    down = False

    async def release(self, *args: Any) -> None:
        if self.down:
            raise ConnectionError
        await super().release(*args)


class World:
    """Functions whose code makes spans, as an instrumented driver of a database does."""

    def __init__(self, *readers: MetricReader, hits: bool = True, verify: bool = False, cache: Any = None) -> None:
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = tracers.get_tracer("driver")
        self.reader = InMemoryMetricReader()
        meters = MeterProvider(metric_readers=[self.reader, *readers])
        self.telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters, hits=hits)
        self.rows = {1: "one"}
        self.seen: list[Any] = []  # the baggage in the functions
        self.gate: asyncio.Event | None = None
        self.cache = FailingCache() if cache is None else cache
        self.verify = Verify()
        self.engine = Engine(
            build([*self.readers(), *self.others()]),
            cache=self.cache,
            cache_secret="s" * 32,
            shutdown=0.1,
            observers=[self.telemetry],
            verify=self.verify if verify else None,
        )

    def query(self) -> None:
        self.seen.append(baggage.get_baggage("user"))
        with self.tracer.start_as_current_span("SELECT"):
            pass

    def readers(self) -> list[Any]:
        @client(context=Rows)
        async def row(number: int) -> str:
            if self.gate is not None:
                await self.gate.wait()
            self.query()
            if number == 9:
                raise ZeroDivisionError("secret of 9")
            if number not in self.rows:
                raise NotFound(f"secret of {number}")
            return self.rows[number]

        @client(context=Rows)
        def count(number: int) -> int:
            self.query()
            return number

        @client(context=Mine, per="permissions")
        async def mine(me: Identity) -> str:
            raise NotFound(f"secret of {me.user_id}")

        @client(context=Orders)
        async def orders() -> list[str]:
            return [*self.rows.values()]

        return [row, count, mine, orders]

    def others(self) -> list[Any]:
        @client(affects=Rows)
        async def write(number: int, text: str = "secret") -> str:
            self.query()
            inside = (await self.engine.fetch("rows", {"number": number})).cache_status
            self.rows[number] = text
            return inside

        @client(affects=Rows)
        def write_in_thread(number: int) -> None:
            self.query()

        @client(affects=Rows)
        async def refuse(number: int) -> None:
            raise Conflict(f"secret of {number}")

        @client(affects=Rows)
        async def fail(number: int) -> None:
            raise ZeroDivisionError(f"secret of {number}")

        @client
        async def outer() -> None:
            await self.engine.run("write_in_thread", {"number": 1})

        return [write, write_in_thread, refuse, fail, outer]

    async def everything(self) -> None:
        """One of each event."""
        engine, me = self.engine, Identity("secret-user")
        for params in ({"number": 1}, {"number": 1}, {"number": 8}, {"number": 9}):
            with contextlib.suppress(NotFound, ZeroDivisionError):
                await engine.fetch("rows", params, identity=me)
        await engine.fetch("orders", {})
        for params in ({"number": "secret"}, {}):
            with contextlib.suppress(InvalidInput):
                await engine.fetch("rows", params, identity=me)
        with contextlib.suppress(InvalidInput):
            await engine.call("write", {"number": "secret"}, identity=me)
        for name in ("write", "refuse", "fail", "outer"):
            with contextlib.suppress(Conflict, ZeroDivisionError):
                await engine.call(name, {} if name == "outer" else {"number": 1}, identity=me)
        await engine.invalidate("rows", number=1)
        self.cache.down = True
        await engine.call("write", {"number": 1, "text": "secret"}, identity=me)
        await engine.aclose()

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.exporter.get_finished_spans() if one.name == name]

    def span(self, name: str) -> ReadableSpan:
        (found,) = self.spans(name)
        return found

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes of each point of a metric, and its value; of a histogram, how many were recorded."""
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [
            one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics
        ]
        points: list[Any] = [point for metric in metrics if metric.name == name for point in metric.data.data_points]
        return [(dict(one.attributes), one.count if hasattr(one, "count") else one.value) for one in points]
