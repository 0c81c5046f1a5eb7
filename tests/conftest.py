"""Fixtures of all tests: a world of users, orders and messages, a site that serves it, Redis and PostgreSQL."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from mizan_core.testing.postgres_server import PostgresServer, postgres_binaries, postgres_server
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for all tests of a process; `with postgres.database() as url` gives a database of one's own."""
    try:
        postgres_binaries()
    except RuntimeError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database: `postgresql://...`; SQLAlchemy's is `postgresql+psycopg://...`."""
    with postgres.database() as url:
        yield url
