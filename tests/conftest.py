"""What the tests share: a world of users, orders and messages, and a Redis server."""

from collections.abc import Iterator

import pytest

from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server
