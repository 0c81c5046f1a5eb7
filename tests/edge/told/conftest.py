"""Two nodes of Varnish, two of nginx, and an origin in a process of its own, for all tests here."""

from collections.abc import Iterator

import pytest

from mizan_core.testing.redis_server import RedisServer
from tests.edge.told.fleet import Fleet, Origin, fleet_of


@pytest.fixture(scope="session")
def fleet(redis: RedisServer) -> Iterator[Fleet]:
    with fleet_of(["varnish", "varnish", "nginx", "nginx"], redis.url) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def origin(fleet: Fleet) -> Iterator[Origin]:
    with fleet.origin() as origin:
        yield origin
