"""Fixtures of all tests: a world of users, orders and messages, a site that serves it, and a Redis server."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.http.site import Site
from tests.world import World

# Properties are checked without a deadline: a machine that is busy proves nothing about the code.
settings.register_profile("mizan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mizan")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server
