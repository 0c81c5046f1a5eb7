"""The listener: what any program writes is purged here, also after the connection was lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from mizan_core import MemoryCache
from mizan_core.errors import DeclarationError
from mizan_core.integrations.postgresql import Triggers, connections
from mizan_core.integrations.postgresql import listener as module
from mizan_core.testing.postgres_server import PostgresServer
from tests.integrations.postgresql.shop import ORDERS, TABLES, World


@pytest_asyncio.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    world = World(postgres_url, MemoryCache())
    world.write(ORDERS, *world.triggers.create())
    async with world.engine:
        yield world


@pytest.mark.asyncio
async def test_a_write_of_another_program_is_purged(world: World) -> None:
    async with world.triggers.listener(world.url):
        assert await world.purges.next() == {"order", "report"}
        await world.fill()
        world.write("INSERT INTO orders VALUES (1, 5)")
        assert (await world.purges.next()) == {"order;order_id=1", "report"}
        assert await world.statuses() == ["miss", "hit", "miss", "hit"]


@pytest.mark.asyncio
async def test_observers_are_told_where_a_purge_comes_from(world: World) -> None:
    async with world.triggers.listener(world.url):
        assert (await world.purges.queue.get()).cause == "at a notification of PostgreSQL"


@pytest.mark.asyncio
async def test_connecting_purges_what_was_missed(world: World) -> None:
    await world.fill()
    async with world.triggers.listener(world.url):
        assert await world.statuses() == ["miss", "miss", "miss", "hit"]


@pytest.mark.asyncio
async def test_a_connection_that_breaks_is_opened_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.triggers.listener(world.url) as listener:
        await world.purges.next()
        await world.fill()
        world.write("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert await world.purges.next() == {"order", "report"}
        assert await world.statuses() == ["miss", "miss", "miss", "hit"]
        world.write("INSERT INTO orders VALUES (2, 5)")
        assert await world.purges.next() == {"order;order_id=2", "report"}
        assert listener.is_connected
    assert "Listener: the connection to PostgreSQL broke: " in caplog.text


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_tried_until_it_is_back(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, world: World
) -> None:
    tried = asyncio.Event()
    urls = [world.url, "postgresql://127.0.0.1:1/nothing", "postgresql://127.0.0.1:1/nothing"]

    def url() -> str:
        if urls:
            return urls.pop(0)
        tried.set()
        return world.url

    monkeypatch.setattr(connections, "FIRST_RETRY_SECONDS", 0.01)
    async with world.triggers.listener(url):
        await world.purges.next()
        world.write("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await tried.wait()
        assert await world.purges.next() == {"order", "report"}
    assert caplog.text.count("Listener cannot connect to PostgreSQL: connection failed") == 2


@pytest.mark.asyncio
async def test_what_fails_on_entry_leaves_no_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*arguments: object, **options: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(world.engine, "purge", failing)
    with pytest.raises(RuntimeError, match="a defect"):
        await world.triggers.listener(world.url).__aenter__()
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    while world.rows(listening) != [0]:  # the server notices a moment later
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_a_database_that_is_not_there_is_told_on_entry(world: World) -> None:
    listener = world.triggers.listener("postgresql://127.0.0.1:1/nothing")
    with pytest.raises(psycopg.OperationalError):
        await listener.__aenter__()
    await listener.__aexit__()
    assert not listener.is_connected


@pytest.mark.asyncio
async def test_a_listener_is_entered_once(world: World) -> None:
    async with world.triggers.listener(world.url) as listener:
        with pytest.raises(DeclarationError, match="Listener runs already; enter it once"):
            await listener.__aenter__()
    async with listener:
        assert listener.is_connected
    assert not listener.is_connected


@pytest.mark.asyncio
async def test_an_application_and_an_url_of_sqlalchemy_will_do(world: World) -> None:
    triggers = Triggers(SimpleNamespace(engine=world.engine), *TABLES)
    async with triggers.listener(world.url.replace("postgresql:", "postgresql+asyncpg:")) as listener:
        assert listener.is_connected


@pytest.mark.asyncio
async def test_a_silent_connection_is_probed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = asyncio.Event()
    execute = psycopg.AsyncConnection.execute

    async def noted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        if query == "SELECT 1":
            probed.set()
        return await execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", noted)
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    async with world.triggers.listener(world.url):
        await world.purges.next()
        await probed.wait()
        world.write("INSERT INTO orders VALUES (2, 5)")
        assert await world.purges.next() == {"order;order_id=2", "report"}


@pytest.mark.asyncio
async def test_an_unexpected_failure_connects_and_purges_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    understood = module.understood
    fails = [True]

    def failing(graph: Any, payloads: Sequence[str]) -> Any:
        if fails.pop() if fails else False:
            raise RuntimeError("a defect")
        return understood(graph, payloads)

    monkeypatch.setattr(module, "understood", failing)
    async with world.triggers.listener(world.url):
        await world.purges.next()
        world.write("INSERT INTO orders VALUES (1, 5)")
        assert await world.purges.next() == {"order", "report"}
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == ["Listener failed."]
