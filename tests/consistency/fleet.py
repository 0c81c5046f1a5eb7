"""What the checker's tests share: one real worker, and the traffic and the history of a run that has no other."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mizan_core.testing.consistency.fleet import WorkerProcess
from mizan_core.testing.consistency.history import History
from mizan_core.testing.consistency.traffic import Traffic
from mizan_core.testing.consistency.world import Database
from tests.consistency.test_worker import settings

HOLD_SECONDS = 0.5


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


async def until(done: Callable[[], object]) -> None:
    while not done():
        await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Fleet:
    worker: WorkerProcess
    history: History
    traffic: Traffic
    database: Database


@asynccontextmanager
async def fleet(redis: str, directory: Path, seed: int = 0) -> AsyncIterator[Fleet]:
    # "allow", so that a machine with a lot to do does not make it refuse.
    told = replace(settings(redis, directory), on_cache_failure="allow", hold=HOLD_SECONDS)
    worker = WorkerProcess(0, told, lambda incarnation: None)
    await worker.start()
    history = History(HOLD_SECONDS)
    database = Database(told.database)
    try:
        yield Fleet(worker, history, Traffic([worker], history, time.monotonic, random.Random(seed)), database)
    finally:
        database.close()
        await worker.aclose()
