"""The published sequence of requests, with the cache and without."""

from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import RedisCache
from mizan_core.testing.redis_server import RedisServer

from .published import SEQUENCE
from .world import Conduit, running, walk

SECRET = b"what all workers of Conduit share in tests"
VARYING = {"createdAt", "updatedAt", "token", "id"}


def steady(answer: Any) -> Any:
    """An answer without what every run makes anew."""
    if isinstance(answer, dict):
        return {key: steady(value) for key, value in answer.items() if key not in VARYING}
    return [steady(one) for one in answer] if isinstance(answer, list | tuple) else answer


@pytest.mark.asyncio
async def test_the_published_sequence_holds(conduit: Conduit) -> None:
    answers = await walk(conduit.web, SEQUENCE)
    assert len(answers) == len(SEQUENCE) == 36


@pytest.mark.asyncio
@pytest.mark.parametrize("cache", ["none", "redis"])
async def test_it_answers_the_same_with_any_cache(
    cache: str, new_database: Callable[[], str], conduit: Conduit, redis: RedisServer
) -> None:
    options: dict[str, Any] = {"cache": None}
    if cache == "redis":
        options = {"cache": RedisCache(redis.url, prefix="conduit-published:"), "cache_secret": SECRET}
    async with running(new_database(), **options) as other:
        assert steady(await walk(other.web, SEQUENCE)) == steady(await walk(conduit.web, SEQUENCE))
