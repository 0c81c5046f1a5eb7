"""`python -m benchmarks.serving PORT REDIS CONTENDER`: one contender under uvicorn, with uvloop and httptools."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
import uvloop

from mizan_core import RedisCache

from .contenders import frameworks, ours, raw
from .world import OURS, THEIRS, USERS, body_of


async def _bare_hiredis(url: str) -> Any:
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
    _, bare = await asyncio.get_running_loop().create_connection(raw.Hiredis, host, int(port))
    await _seeded(url)
    return raw.FromRedis(bare.get)


async def _redis_py(url: str) -> Any:
    await _seeded(url)
    return raw.FromRedis(raw.redis_py(url).get)


async def _seeded(url: str) -> None:
    async with raw.redis_py(url) as server:
        for user_id in range(USERS):
            await server.set(b"raw:user:%d" % user_id, raw.packed(body_of(user_id)))


def _made(make: Callable[[], Any]) -> Callable[[str], Awaitable[Any]]:
    async def made(_: str) -> Any:
        return make()

    return made


async def _litestar_on_redis(url: str) -> Any:
    return frameworks.litestar(raw.redis_py(url))


async def _fastapi_cache_on_redis(url: str) -> Any:
    return frameworks.fastapi_with_fastapi_cache(raw.redis_py(url))


async def _mizan_on_redis(url: str) -> Any:
    return ours.mizan(cache=RedisCache(url))


async def _mounted_on_redis(url: str) -> Any:
    return ours.mounted(ours.mizan(cache=RedisCache(url)))


async def _hits_first_on_redis(url: str) -> Any:
    return ours.hits_first(ours.mizan(cache=RedisCache(url)))


async def _cashews(_: str) -> Any:
    return await frameworks.fastapi_with_cashews()


# Each contender: the path at which it serves the bundle, and how it is made, given the URL of a Redis.
FROM_MEMORY: dict[str, tuple[str, Callable[[str], Awaitable[Any]]]] = {
    "raw floor": (THEIRS, _made(raw.Hit)),
    "mizan": (OURS, _made(ours.mizan)),
    "mizan in FastAPI": (OURS, _made(lambda: ours.mounted(ours.mizan()))),
    "mizan in FastAPI, hits first": (OURS, _made(lambda: ours.hits_first(ours.mizan()))),
    "Starlette, a dict": (THEIRS, _made(frameworks.starlette_with_a_dict)),
    "Litestar's cache": ("/ctx/user", _made(frameworks.litestar)),
    "FastAPI, aiocache": (THEIRS, _made(frameworks.fastapi_with_aiocache)),
    "FastAPI, cashews": (THEIRS, _cashews),
    "FastAPI, fastapi-cache2": (THEIRS, _made(frameworks.fastapi_with_fastapi_cache)),
}

FROM_REDIS: dict[str, tuple[str, Callable[[str], Awaitable[Any]]]] = {
    "bare hiredis protocol": (THEIRS, _bare_hiredis),
    "redis-py, one key": (THEIRS, _redis_py),
    "mizan": (OURS, _mizan_on_redis),
    "mizan in FastAPI": (OURS, _mounted_on_redis),
    "mizan in FastAPI, hits first": (OURS, _hits_first_on_redis),
    "Litestar's cache": ("/ctx/user", _litestar_on_redis),
    "FastAPI, cashews": (THEIRS, frameworks.fastapi_with_cashews),
    "FastAPI, fastapi-cache2": (THEIRS, _fastapi_cache_on_redis),
}

TABLES = {"memory": FROM_MEMORY, "redis": FROM_REDIS}


async def _serve(port: int, url: str, table: str, name: str) -> None:
    _, make = TABLES[table][name]
    config = uvicorn.Config(
        await make(url), port=port, http="httptools", lifespan="off", access_log=False, log_level="warning"
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
