"""Spans and metrics of an engine for OpenTelemetry. Needs `opentelemetry-api` (the extra `opentelemetry`) alone.

Attributes are names of contexts and functions, outcomes, reasons and classes of errors. They hold no parameters, no
identities and no messages of errors, which could be secrets and would make a time series each.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value
from opentelemetry.metrics import Histogram, MeterProvider, get_meter
from opentelemetry.trace import Span, StatusCode, TracerProvider, get_tracer, set_span_in_context

from ..cache.outcomes import PersonalFailure
from ..engine.observers import (
    CacheChanged,
    Called,
    Calling,
    Checked,
    Computing,
    Fetched,
    FetchFailed,
    Observer,
    Purged,
    Refused,
    StaleProof,
)
from ..errors import CallError

# Of the instrumentation scope.
SCOPE = "mizan_core"

# Upper bounds of buckets, in seconds: a hit takes microseconds, a stuck reader 30 seconds.
BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CONTEXT, FUNCTION, READERS = "mizan.context.name", "mizan.function.name", "mizan.reader.names"
OUTCOME, INVALIDATED = "mizan.function.outcome", "mizan.invalidated.contexts"
STATUS, REASON, STATE = "mizan.cache.status", "mizan.cache.reason", "mizan.cache.state"
ERROR = "error.type"

SERVER_ERROR = 500


class Telemetry(Observer):
    """`Engine(graph, observers=[Telemetry()])`. One for each engine; all may share their providers.

    `tracer_provider`, `meter_provider`: OpenTelemetry's global ones unless they are given. `hits=False` spares the hits
    from memory, which are then not counted and cost nothing.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        hits: bool = True,
    ) -> None:
        self.sees_hits = hits
        self._tracer = get_tracer(SCOPE, tracer_provider=tracer_provider)
        self._call_key = create_key("mizan-call")
        meter = get_meter(SCOPE, meter_provider=meter_provider)

        def seconds(name: str, description: str) -> Histogram:
            return meter.create_histogram(
                name, unit="s", description=description, explicit_bucket_boundaries_advisory=BUCKETS
            )

        self._fetch = seconds("mizan.fetch.duration", "Time until a bundle was answered, by hit, miss and bypass")
        self._function = seconds("mizan.function.duration", "Time until a call of a function was answered")
        self._hold = seconds("mizan.hold.duration", "How long a mutation held what it made stale")
        self._purge = seconds("mizan.purge.duration", "How long a purge took")
        self._invalidations = meter.create_counter(
            "mizan.invalidations", unit="{invalidation}", description="Invalidations that were purged"
        )
        self._refusals = meter.create_counter(
            "mizan.refusals", unit="{request}", description="Requests that a guard refused, or with invalid arguments"
        )
        self._checks = meter.create_counter(
            "mizan.staleness.checks", unit="{bundle}", description="Bundles that were computed again and compared"
        )
        self._proofs = meter.create_counter(
            "mizan.staleness.proofs", unit="{proof}", description="Bundles that were proved stale"
        )
        self._owed = meter.create_up_down_counter(
            "mizan.purge.owed", unit="{mutation}", description="Mutations whose purge has not succeeded yet"
        )
        self._state = meter.create_up_down_counter(
            "mizan.cache.state", unit="{cache}", description="1 for the state that the cache is in, 0 for others"
        )
        self._last = CacheChanged("up", 0)
        self._owed.add(0)
        self._state.add(1, {STATE: "up"})

    def around(self, event: Calling | Computing) -> AbstractContextManager[object]:
        """A span that is the parent of all that the functions' own code makes."""
        if isinstance(event, Calling):
            return self._calling(event, get_current())
        return self._computing(event, get_current())

    @contextmanager
    def _calling(self, event: Calling, asking: Context) -> Iterator[None]:
        span = self._tracer.start_span(f"call {event.function}", asking, attributes={FUNCTION: event.function})
        token = attach(set_value(self._call_key, span, set_span_in_context(span)))
        try:
            yield  # until `called` has been told, which completes the span
        finally:
            detach(token)
            span.end()

    @contextmanager
    def _computing(self, event: Computing, asking: Context) -> Iterator[None]:
        """The span is set in the context of the readers. Baggage of the caller, which may tell who asks, is not."""
        span = self._tracer.start_span(
            f"compute {event.context}", asking, attributes={CONTEXT: event.context, READERS: event.readers}
        )
        token = attach(set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            _fail(span, error.error if isinstance(error, PersonalFailure) else error)
            raise
        finally:
            detach(token)
            span.end()

    def fetched(self, event: Fetched) -> None:
        reason, joined = _reason(event.detail)
        attributes = {CONTEXT: event.context, STATUS: event.status}
        if event.status != "hit":
            attributes[REASON] = reason
        self._fetch.record(event.seconds, attributes)
        if joined:  # the computation has a span in the trace of the request that began it
            end = time.time_ns()
            start = end - int(event.seconds * 1e9)
            self._tracer.start_span(f"wait {event.context}", attributes=attributes, start_time=start).end(end)

    def fetch_failed(self, event: FetchFailed) -> None:
        self._fetch.record(event.seconds, {CONTEXT: event.context, ERROR: _name(event.error)})

    def refused(self, event: Refused) -> None:
        name = {CONTEXT: event.name} if event.function is None else {FUNCTION: event.name}
        self._refusals.add(1, {**name, ERROR: _name(event.error)})

    def called(self, event: Called) -> None:
        attributes = {FUNCTION: event.function, OUTCOME: event.outcome}
        if event.error is not None:
            attributes[ERROR] = _name(event.error)
        self._function.record(event.seconds, attributes)
        function = {FUNCTION: event.function}
        if event.held:
            self._hold.record(event.held, function)
        if event.invalidations and event.purge:
            self._purge.record(event.purge, function)
        contexts = [one.context for one in event.invalidations]
        for context in contexts:
            self._invalidations.add(1, {CONTEXT: context, **function})
        span = get_value(self._call_key)
        if isinstance(span, Span):
            span.set_attributes({**attributes, INVALIDATED: sorted(set(contexts))})
            if event.outcome == "unknown":
                span.set_status(StatusCode.ERROR)

    def purged(self, event: Purged) -> None:
        function = {} if event.function is None else {FUNCTION: event.function}
        self._purge.record(event.seconds, function)
        for one in event.invalidations:
            self._invalidations.add(1, {CONTEXT: one.context, **function})

    def cache_changed(self, event: CacheChanged) -> None:
        last, self._last = self._last, event
        self._owed.add(event.owed - last.owed)
        if event.state != last.state:
            self._state.add(-1, {STATE: last.state})
            self._state.add(1, {STATE: event.state})

    def checked(self, event: Checked) -> None:
        self._checks.add(1, {CONTEXT: event.context})

    def stale(self, event: StaleProof) -> None:
        function = {} if event.mutation is None else {FUNCTION: event.mutation}
        self._proofs.add(1, {CONTEXT: event.context, **function})


@lru_cache
def _reason(detail: str) -> tuple[str, bool]:
    """Why a bundle was no hit, and whether another request computed it, from `Cache-Status` (RFC 9211)."""
    told = dict(one.partition("=")[::2] for one in detail.split("; "))
    return told.get("detail", told.get("fwd", "")), "collapsed" in told


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute(ERROR, _name(error))
    if not (isinstance(error, CallError) and error.status < SERVER_ERROR):
        span.set_status(StatusCode.ERROR)


def _name(error: BaseException) -> str:
    """The class of an error, by its full name."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
