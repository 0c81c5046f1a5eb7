"""In-process measurement: the CPU time of a request to an application, called as a server calls it.

Contenders take turns in short batches, every other round in reverse order, so that other work of the machine affects
all of them alike, and each follows both of its neighbours equally often. A figure is the median of the batches; CPU
time is that of the whole process, threads included. A ratio is the median of the ratios within each round, where both
were measured within milliseconds of each other.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .world import Request

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(slots=True)
class Contender:
    """An application and its requests. `before` is run before each batch, unmeasured."""

    name: str
    app: App
    requests: Sequence[Request]
    before: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a contender's time may be, over another's. `beyond`: the bases that are subtracted from the two."""

    who: str
    unit: str
    at_most: float
    beyond: tuple[str, str] | None = None

    def ratio(self, times: dict[str, list[float]]) -> float:
        """The median of the rounds' ratios; of differences, which are noisier, the ratio of the medians."""
        over, under = times[self.who], times[self.unit]
        if self.beyond is not None:
            less, than = (times[base] for base in self.beyond)
            return _median_of_differences(over, less) / _median_of_differences(under, than)
        return statistics.median(mine / theirs for mine, theirs in zip(over, under, strict=True))


def _median_of_differences(times: list[float], base: list[float]) -> float:
    return statistics.median(whole - part for whole, part in zip(times, base, strict=True))


@dataclass(slots=True)
class Workload:
    """Contenders on the same work. Each answers the n-th request with the n-th body of `bodies`.

    `limits`: the ratios that have to hold. `waits`: wall-clock time is measured, which includes waiting for Redis.
    `rounds`: the most rounds, if one takes long.
    """

    name: str
    title: str
    contenders: list[Contender]
    bodies: Sequence[bytes] | None = None
    concurrency: int = 1
    batch: int = 400
    limits: list[Limit] = field(default_factory=list)
    expects: bytes | None = None  # text that the Cache-Status of Mizan's answers must contain
    waits: bool = False
    rounds: int | None = None

    @property
    def unit(self) -> str:
        return "µs per request" if self.waits else "µs of CPU per request"

    def clock(self) -> int:
        """Nanoseconds."""
        return time.perf_counter_ns() if self.waits else time.process_time_ns()


@dataclass(slots=True)
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


async def ask(app: App, request: Request) -> Answer:
    """Send one request, and return its whole answer."""
    answer = Answer()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await app(request.scope(), receiving(request), send)
    return answer


def receiving(request: Request) -> Callable[[], Awaitable[Any]]:
    async def receive() -> Any:
        return {"type": "http.request", "body": request.body, "more_body": False}

    return receive


async def sending(message: Any) -> None: ...


async def check(workload: Workload) -> None:
    """Check that every contender answers every request with the expected bytes."""
    for contender in workload.contenders:
        if contender.before is not None:
            await contender.before()
        for place, request in enumerate(contender.requests):
            answer = await ask(contender.app, request)
            where = f"{workload.name}: {contender.name}: {request.path}?{request.query.decode()}"
            has_it = dict(answer.headers).get(b"etag") in [v for n, v in request.headers if n == b"if-none-match"]
            assert answer.status == (304 if has_it else 200), f"{where}: {answer.status} {answer.body!r}"
            if workload.bodies is not None:
                assert answer.body == (b"" if has_it else workload.bodies[place]), f"{where}: {answer.body!r}"
            if workload.expects is not None and contender.name.startswith("mizan"):
                told = dict(answer.headers)[b"cache-status"]
                assert told.startswith(workload.expects), f"{where}: {told!r}"


async def run(workload: Workload, rounds: int) -> dict[str, list[float]]:
    """Microseconds per request, for each batch of each contender."""
    for contender in workload.contenders:  # warm up
        await _warmed(contender, workload)
    await check(workload)
    times: dict[str, list[float]] = {contender.name: [] for contender in workload.contenders}
    there, back = workload.contenders, workload.contenders[::-1]
    for number in range(min(rounds, workload.rounds or rounds)):
        for contender in back if number % 2 else there:
            times[contender.name].append(await batch(contender, workload))
    return times


async def _warmed(contender: Contender, workload: Workload) -> None:
    for _ in range(2):
        await batch(contender, workload)


async def batch(contender: Contender, workload: Workload) -> float:
    """Microseconds per request."""
    prepared = await prepare(contender, workload)
    begun = workload.clock()
    await answer(contender, workload, prepared)
    return (workload.clock() - begun) / len(prepared) / 1000


async def prepare(contender: Contender, workload: Workload) -> list[tuple[Any, Any]]:
    """Prepare a batch, unmeasured."""
    if contender.before is not None:
        await contender.before()
    requests = [contender.requests[place % len(contender.requests)] for place in range(workload.batch)]
    prepared = [(one.scope(), receiving(one)) for one in requests]
    gc.collect()
    return prepared


async def answer(contender: Contender, workload: Workload, prepared: list[tuple[Any, Any]]) -> None:
    """Answer the batch: the part that is measured."""
    if workload.concurrency == 1:
        await one_by_one(contender.app, prepared)
    else:
        await side_by_side(contender.app, prepared, workload.concurrency)


async def one_by_one(app: App, prepared: list[tuple[Any, Any]]) -> None:
    send = sending
    for scope, receive in prepared:
        await app(scope, receive, send)


async def side_by_side(app: App, prepared: list[tuple[Any, Any]], concurrency: int) -> None:
    shares = [prepared[place::concurrency] for place in range(concurrency)]
    await asyncio.gather(*(one_by_one(app, share) for share in shares))
