"""The listener: what any program writes is purged here, also after the connection was lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from mizan_core import Context, Engine, MemoryCache, build, client
from mizan_core.engine.observers import Observer, Purged
from mizan_core.errors import DeclarationError
from mizan_core.integrations.postgresql import Purge, Table, Triggers, connections
from mizan_core.integrations.postgresql import listener as module
from mizan_core.protocol.invalidation import spelled
from mizan_core.testing.postgres_server import PostgresServer

Order, Report, Other = Context("order", scopes=[("order_id",)]), Context("report"), Context("other")


@client(context=Order)
async def order(order_id: int) -> int:
    return order_id


@client(context=Report)
async def report() -> int:
    return 0


@client(context=Other)
async def other() -> int:
    return 0


GRAPH = build([order, report, other])
TABLES = (Table("orders", Purge(Order, by={"order_id": "id"}), Purge(Report, columns="total")),)


class Purges(Observer):
    """What was purged, in order; `next` waits for one more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Purged] = asyncio.Queue()

    def purged(self, event: Purged) -> None:
        self.queue.put_nowait(event)

    async def next(self) -> set[str]:
        return {spelled(one) for one in (await self.queue.get()).invalidations}


class World:
    def __init__(self, url: str) -> None:
        self.url = url
        self.purges = Purges()
        self.engine = Engine(GRAPH, cache=MemoryCache(), observers=[self.purges])
        self.triggers = Triggers(self.engine, *TABLES)

    def write(self, *statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    async def status(self, context: str, **params: object) -> str:
        return (await self.engine.fetch(context, params)).status

    async def fill(self) -> None:
        for context, params in (("order", {"order_id": 1}), ("order", {"order_id": 2}), ("report", {}), ("other", {})):
            await self.engine.fetch(context, params)

    async def statuses(self) -> list[str]:
        return [
            await self.status("order", order_id=1),
            await self.status("order", order_id=2),
            await self.status("report"),
            await self.status("other"),
        ]


@pytest_asyncio.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    world = World(postgres_url)
    world.write("CREATE TABLE orders (id int PRIMARY KEY, total int)", *world.triggers.create())
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
