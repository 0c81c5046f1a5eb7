"""In one process: applications called as servers call them, and the CPU time of a request.

Contenders take turns in short batches, so that whatever else the machine does hits all of them alike. A figure is the
median of the batches; CPU time is that of the whole process, threads included.
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
    """Who does the work, with which requests. `before`: what happens before each batch, unmeasured."""

    name: str
    app: App
    requests: Sequence[Request]
    before: Callable[[], Awaitable[object]] | None = None
    close: Callable[[], Awaitable[object]] | None = None


@dataclass(slots=True)
class Workload:
    """Contenders on the same work. Every one of them answers each request with the body in its place in `bodies`.

    `limits`: the ratios that have to hold, as (who, whose time is the unit, the highest ratio).
    """

    name: str
    title: str
    contenders: list[Contender]
    bodies: Sequence[bytes] | None = None
    concurrency: int = 1
    batch: int = 400
    limits: list[tuple[str, str, float]] = field(default_factory=list)
    expects: bytes | None = None  # what the Cache-Status of this project's answers has to say


@dataclass(slots=True)
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


async def ask(app: App, request: Request) -> Answer:
    """One request and its whole answer."""
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
    """Every contender answers every request with the bytes that are asked for."""
    for contender in workload.contenders:
        if contender.before is not None:
            await contender.before()
        for place, request in enumerate(contender.requests):
            answer = await ask(contender.app, request)
            where = f"{workload.name}: {contender.name}: {request.path}?{request.query.decode()}"
            has_it = any(name == b"if-none-match" for name, _ in request.headers)
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
    for _ in range(rounds):
        for contender in workload.contenders:
            times[contender.name].append(await _batch(contender, workload))
    for contender in workload.contenders:
        if contender.close is not None:
            await contender.close()
    return times


async def _warmed(contender: Contender, workload: Workload) -> None:
    for _ in range(2):
        await _batch(contender, workload)


async def _batch(contender: Contender, workload: Workload) -> float:
    if contender.before is not None:
        await contender.before()
    requests = [contender.requests[place % len(contender.requests)] for place in range(workload.batch)]
    prepared = [(one.scope(), receiving(one)) for one in requests]
    gc.collect()
    if workload.concurrency == 1:
        return await _one_by_one(contender.app, prepared)
    return await _side_by_side(contender.app, prepared, workload.concurrency)


async def _one_by_one(app: App, prepared: list[tuple[Any, Any]]) -> float:
    send = sending
    begun = time.process_time_ns()
    for scope, receive in prepared:
        await app(scope, receive, send)
    return (time.process_time_ns() - begun) / len(prepared) / 1000


async def _side_by_side(app: App, prepared: list[tuple[Any, Any]], concurrency: int) -> float:
    async def worker(mine: list[tuple[Any, Any]]) -> None:
        for scope, receive in mine:
            await app(scope, receive, sending)

    shares = [prepared[place::concurrency] for place in range(concurrency)]
    begun = time.process_time_ns()
    await asyncio.gather(*(worker(share) for share in shares))
    return (time.process_time_ns() - begun) / len(prepared) / 1000


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}
