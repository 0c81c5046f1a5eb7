"""One example world that the tests share: users with profiles, orders with pages, an inbox, and the mutations on them."""

from collections.abc import Iterator

import pytest

from tests.servers import RedisServer, redis_server
from tests.world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server
