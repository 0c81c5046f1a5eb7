"""Helpers of the tests against a Redis server: caches with ample deadlines, and garbage under their keys."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mizan_core import Engine
from mizan_core.cache.backends.redis import RedisCache
from tests.world import World

SECRET = "s" * 32


def patient(url: str, **options: Any) -> RedisCache:
    """With time enough on a machine that has a lot to do."""
    return RedisCache(url, timeout=5.0, connect_timeout=5.0, **options)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


GARBAGE = [
    lambda client, key: client.rpush(key, "another program's"),
    lambda client, key: client.set(key, b""),
    lambda client, key: client.set(key, b"\x00\xff garbage"),
    lambda client, key: client.set(key, b"n too short"),
]


async def survives_garbage(cache: RedisCache, world: World, client: Any, spoil: Callable[[Any, bytes], Any]) -> None:
    async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine:
        await engine.fetch("user", {"user_id": 5})
        keys = [key async for key in client.scan_iter(match="test:*")]
        assert len(keys) >= 3  # the entry, the whole tag, the scope's tag
        for key in keys:
            await client.delete(key)
            await spoil(client, key)
        await engine.call("update_profile", {"user_id": 5, "name": "x"})
        for key in keys:
            await client.delete(key)
            await spoil(client, key)
        statuses = [(await engine.fetch("user", {"user_id": 5})).status for _ in range(5)]
        assert "hit" not in statuses[:1]
        assert statuses[-1] == "hit"  # what was in the way has been removed
        await engine.call("update_profile", {"user_id": 5, "name": "y"})
        assert engine.health().cache == "up"
        assert engine.health().owed_purges == 0
