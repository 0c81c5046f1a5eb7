"""A PostgreSQL database for each test, and Conduit over it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from mizan_core.testing.postgres_server import PostgresServer

from .town import Town
from .world import Conduit, driven, running


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes an empty database, and returns its URL."""
    with ExitStack() as opened:
        yield lambda: driven(opened.enter_context(postgres.database()))


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    return new_database()


@pytest_asyncio.fixture
async def conduit(database: str) -> AsyncIterator[Conduit]:
    async with running(database) as conduit:
        yield conduit


@pytest_asyncio.fixture
async def town(database: str, conduit: Conduit) -> AsyncIterator[Town]:
    users = {name: await conduit.register(name) for name in ("ada", "bob", "eve")} | {"visitor": {}}
    slugs = [await conduit.publish(users["bob"], "One", "old"), await conduit.publish(users["eve"], "Two", "new")]
    async with running(database, cache=None) as plain:
        town = Town(conduit, plain, users, [*slugs, "renamed", "three"])
        await town.send("POST", "/profiles/bob/follow", "ada")
        await town.send("POST", "/articles/one/favorite", "ada")
        await town.send("POST", "/articles/one/comments", "eve", comment={"body": "First"})
        await town.keep("ada", "visitor")
        yield town
