"""The worker's queue: a list in Redis, and one of what is being worked at, so that a job outlives its worker."""

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, cast

from redis.asyncio import Redis

from . import settings

_WAITING, _BEGUN = "helpdesk:waiting", "helpdesk:begun"


@asynccontextmanager
async def _connected() -> AsyncIterator["Redis[bytes]"]:
    redis = Redis.from_url(settings.redis_url())
    try:
        yield redis
    finally:
        await redis.aclose()


async def put(job: str, **args: int) -> None:
    async with _connected() as redis:
        await cast("Awaitable[int]", redis.lpush(_WAITING, json.dumps([job, args])))


async def jobs() -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Each job, one after the other, without end; first those that a worker left when it died.

    A job is done when the next one is asked for. It may be done twice, so jobs have to bear that.
    """
    async with _connected() as redis:
        while await cast("Awaitable[Any]", redis.lmove(_BEGUN, _WAITING, "LEFT", "RIGHT")):
            pass
        while True:
            taken = await cast("Awaitable[Any]", redis.blmove(_WAITING, _BEGUN, 5, "RIGHT", "LEFT"))
            if taken is not None:
                job, args = json.loads(taken)
                yield job, args
                await cast("Awaitable[int]", redis.lrem(_BEGUN, 1, taken))
