"""Shared by the tests of the checker: a run with one real worker, its traffic and its history."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from mizan_core.testing.consistency.fleet import WorkerProcess
from mizan_core.testing.consistency.history import History
from mizan_core.testing.consistency.traffic import Traffic
from mizan_core.testing.consistency.worker import Settings, Worker
from mizan_core.testing.consistency.world import Database

HOLD_SECONDS = 0.5

# A cache that answers late is a cache that is down: a machine with a lot to do must not make it so.
PATIENT_SECONDS = 60.0


def settings(redis: str, directory: Path) -> Settings:
    with closing(Database(directory / "truth.sqlite")) as database:
        database.create()
    prefix, path = f"{directory.name}:", directory / "truth.sqlite"
    return Settings(redis, prefix, path, "refuse", 3.0, (), "0", PATIENT_SECONDS)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


async def until(done: Callable[[], object]) -> None:
    while not done():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(worker: Worker) -> AsyncIterator[int]:
    """A worker within this process; its port."""
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(worker.serve(port.set_result))
    try:
        yield await port
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@dataclass(frozen=True, slots=True)
class Fleet:
    worker: WorkerProcess
    history: History
    traffic: Traffic
    database: Database


@asynccontextmanager
async def fleet(redis: str, directory: Path, seed: int = 0) -> AsyncIterator[Fleet]:
    told = replace(settings(redis, directory), hold=HOLD_SECONDS)
    worker = WorkerProcess(0, told, lambda incarnation: None)
    await worker.start()
    history = History(HOLD_SECONDS)
    database = Database(told.database)
    try:
        yield Fleet(worker, history, Traffic([worker], history, time.monotonic, random.Random(seed)), database)
    finally:
        database.close()
        await worker.aclose()
