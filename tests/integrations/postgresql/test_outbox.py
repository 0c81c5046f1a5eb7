"""The outbox: what a transaction wrote is purged, whichever process dies and whatever fails."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from mizan_core import Engine, MemoryCache, RedisCache
from mizan_core.cache.shared import holds
from mizan_core.errors import DeclarationError
from mizan_core.integrations.postgresql import Outbox, Purge, Table, Triggers
from mizan_core.integrations.postgresql import outbox as module
from mizan_core.integrations.sqlalchemy import Writes
from mizan_core.testing.postgres_server import postgres_server
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.integrations.postgresql.shop import GRAPH, ORDERS, TABLES, Order, Report, World, process, said

HOUR = 3600.0  # nothing is found by polling


@pytest_asyncio.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    world = World(postgres_url, MemoryCache())
    world.write(ORDERS, *world.outbox.create())
    async with world.engine:
        yield world


@pytest_asyncio.fixture
async def shared(postgres_url: str, redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """As `world`, over Redis."""
    world = World(postgres_url, RedisCache(redis.url, prefix=f"{request.node.name}:"))
    world.write(ORDERS, *world.outbox.create())
    async with world.engine:
        yield world


def put(world: World, *affected: Any) -> None:
    with psycopg.connect(world.url) as connection:
        world.outbox.add(connection, *affected)


async def only(world: World, *contexts: str) -> None:
    """Waits until every other row is deleted."""
    while world.rows() != list(contexts):
        await asyncio.sleep(0.001)


class TestDelivery:
    @pytest.mark.asyncio
    async def test_rows_are_purged_and_deleted(self, world: World) -> None:
        await world.fill()
        async with world.outbox.delivery(world.url, poll=HOUR) as delivery:
            put(world, Order.of(order_id=1), Order.of(order_id=2), Report)
            assert await world.purges.next() == {"order;order_id=1", "order;order_id=2", "report"}
            assert await world.statuses() == ["miss", "miss", "miss", "hit"]
            await only(world)
            assert delivery.is_connected

    @pytest.mark.asyncio
    async def test_rows_that_were_there_before_are_delivered(self, world: World) -> None:
        put(world, Report)
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {"report"}

    @pytest.mark.asyncio
    async def test_what_is_rolled_back_is_not_delivered(self, world: World) -> None:
        with psycopg.connect(world.url) as connection:
            world.outbox.add(connection, Order.of(order_id=1))
            connection.rollback()
        put(world, Report)
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {"report"}

    @pytest.mark.asyncio
    async def test_more_rows_than_a_batch_are_delivered(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "BATCH", 2)
        for number in range(5):
            put(world, Order.of(order_id=number))
        async with world.outbox.delivery(world.url, poll=HOUR):
            batches = [await world.purges.next() for _ in range(3)]
        assert batches == [
            *({"order;order_id=0", "order;order_id=1"}, {"order;order_id=2", "order;order_id=3"}),
            {"order;order_id=4"},
        ]

    @pytest.mark.asyncio
    async def test_without_notifications_it_polls(self, postgres_url: str) -> None:
        world = World(postgres_url, MemoryCache())
        world.outbox = Outbox(world.engine, notify=False)
        world.write(ORDERS, *world.outbox.create())
        assert world.rows("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
        async with world.engine, world.outbox.delivery(world.url, poll=0.01):
            put(world, Order.of(order_id=1))
            assert await world.purges.next() == {"order;order_id=1"}

    @pytest.mark.asyncio
    async def test_rows_that_another_one_delivers_are_not_waited_for(self, world: World) -> None:
        put(world, Order.of(order_id=1))
        with psycopg.connect(world.url) as delivering:
            delivering.execute("SELECT * FROM mizan_outbox FOR UPDATE")
            async with world.outbox.delivery(world.url, poll=HOUR):
                put(world, Report)
                assert await world.purges.next() == {"report"}


class TestTwoPhases:
    @pytest.mark.asyncio
    async def test_without_notifications_a_transaction_can_be_prepared(self) -> None:
        with postgres_server(max_prepared_transactions="2") as server, server.database() as url:
            world = World(url, MemoryCache())
            world.outbox = Outbox(world.engine, notify=False)
            silent = Triggers(world.engine, *TABLES, outbox=world.outbox)
            world.write(ORDERS, *world.outbox.create(), *silent.create())
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in ("BEGIN", "INSERT INTO orders VALUES (1, 5)", "PREPARE TRANSACTION 'one'"):
                    connection.execute(statement)
                assert world.rows() == []
                connection.execute("COMMIT PREPARED 'one'")
            async with world.engine, world.outbox.delivery(url, poll=0.01):
                assert await world.purges.next() == {"order;order_id=1", "report"}
            world.write(*Triggers(GRAPH, *TABLES).create())
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in ("BEGIN", "INSERT INTO orders VALUES (2, 5)"):
                    connection.execute(statement)
                with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
                    connection.execute("PREPARE TRANSACTION 'two'")


class TestPoison:
    @pytest.mark.asyncio
    async def test_a_row_that_cannot_be_read_blocks_no_other(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for poison in ('{"context": "gone", "scopes": [{}]}', '"nonsense"'):
            world.write(f"INSERT INTO mizan_outbox (payload) VALUES ('{poison}')")
        put(world, Report)
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {"report"}
            put(world, Order.of(order_id=1))
            assert await world.purges.next() == {"order;order_id=1"}
        assert caplog.text.count("of the outbox cannot be read, and is tried again later") == 2
        assert "There is no context 'gone' in this version" in caplog.text

    @pytest.mark.asyncio
    async def test_it_is_tried_again_each_time_later(self, world: World) -> None:
        delays = "SELECT round(extract(epoch FROM due_at - now()))::int FROM mizan_outbox"
        world.write("""INSERT INTO mizan_outbox (payload) VALUES ('{"context": "gone", "scopes": [{}]}')""")
        for attempts, delay in ((1, 1), (2, 2), (3, 4)):
            async with world.outbox.delivery(world.url, poll=HOUR):
                while world.rows("SELECT attempts FROM mizan_outbox") != [attempts]:
                    await asyncio.sleep(0.001)
            assert world.rows(delays)[0] in {delay - 1, delay}  # less what has gone by
            world.write("UPDATE mizan_outbox SET due_at = now()")
        world.write("UPDATE mizan_outbox SET attempts = 2000")
        async with world.outbox.delivery(world.url, poll=HOUR):
            while world.rows("SELECT attempts FROM mizan_outbox") != [2001]:
                await asyncio.sleep(0.001)
        assert 290 < world.rows(delays)[0] <= 300


class TestFailures:
    @pytest.mark.asyncio
    async def test_a_writer_killed_after_its_commit_is_purged(self, shared: World) -> None:
        await shared.fill()
        with process("write", shared.url) as writer:
            assert said(writer) == "committed"
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        assert await shared.statuses() == ["hit", "hit", "hit", "hit"]
        async with shared.outbox.delivery(shared.url, poll=HOUR):
            assert await shared.purges.next() == {"order;order_id=1", "report"}
            assert await shared.statuses() == ["miss", "hit", "miss", "hit"]

    @pytest.mark.asyncio
    async def test_a_delivery_killed_half_way_is_made_again(
        self, shared: World, redis: RedisServer, request: pytest.FixtureRequest
    ) -> None:
        put(shared, Order.of(order_id=1))
        with process("deliver", shared.url, redis.url, f"{request.node.name}:") as delivering:
            assert json.loads(await asyncio.to_thread(said, delivering)) == ["order;order_id=1"]
            async with shared.outbox.delivery(shared.url, poll=0.01):
                put(shared, Report)
                assert await shared.purges.next() == {"report"}
                await only(shared, "order")  # the other one has it
                delivering.send_signal(signal.SIGKILL)
                assert await shared.purges.next() == {"order;order_id=1"}
                await only(shared)

    @pytest.mark.asyncio
    async def test_a_purge_that_fails_leaves_its_rows(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(holds, "INSIST_SECONDS", 0.05)
        monkeypatch.setattr(module, "REST_SECONDS", 0.01)
        with redis_server() as server:
            world = World(postgres_url, RedisCache(server.url), shutdown=0.1)
            world.write(ORDERS, *world.outbox.create())
            async with world.engine:
                server.stop()
                put(world, Report)
                async with world.outbox.delivery(world.url, poll=HOUR):
                    for _ in range(2):
                        await world.purges.next()
                    while "A purge of the outbox did not get through" not in caplog.text:
                        await asyncio.sleep(0.001)
                    assert world.rows() == ["report"]
                    server.start()
                    await only(world)

    @pytest.mark.asyncio
    async def test_a_failed_purge_of_a_notification_is_told(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(holds, "INSIST_SECONDS", 0.05)
        with redis_server() as server:
            world = World(postgres_url, RedisCache(server.url), shutdown=0.1, on_cache_failure="refuse")
            async with world.engine:
                server.stop()
                async with world.triggers.listener(world.url):
                    assert "A purge that PostgreSQL notified of did not get through" in caplog.text
                server.start()


class TestTriggers:
    @pytest.mark.asyncio
    async def test_triggers_can_write_to_it(self, world: World) -> None:
        triggers = Triggers(world.engine, *TABLES, outbox=world.outbox)
        world.write(*triggers.create())
        world.write("INSERT INTO orders VALUES (1, 5), (2, 6)")
        assert world.rows("SELECT payload::text FROM mizan_outbox ORDER BY id") == [
            '{"scopes": [{"order_id": 1}, {"order_id": 2}], "context": "order"}',
            '{"scopes": [{}], "context": "report"}',
        ]
        world.write("UPDATE orders SET total = total")
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {"order;order_id=1", "order;order_id=2", "report"}

    @pytest.mark.asyncio
    async def test_a_payload_may_have_any_length(self, world: World) -> None:
        table = Table("texts", Purge(Order, by={"order_id": "long"}))
        triggers = Triggers(world.engine, table, outbox=world.outbox)
        world.write("CREATE TABLE texts (id int, long text)", *triggers.create())
        world.write("INSERT INTO texts VALUES (1, repeat('x', 20000))")
        assert world.rows("SELECT octet_length(payload->'scopes'->0->>'order_id') FROM mizan_outbox") == [20000]

    @pytest.mark.asyncio
    async def test_a_writer_needs_no_right_to_the_outbox(self, world: World) -> None:
        role = f"writer_{world.url.rpartition('_')[2]}"
        world.write(*Triggers(world.engine, *TABLES, outbox=world.outbox).create(), f"CREATE ROLE {role}")
        try:
            world.write(f"GRANT INSERT ON orders TO {role}", f"SET ROLE {role}", "INSERT INTO orders VALUES (1, 5)")
            assert world.rows() == ["order", "report"]
        finally:
            world.write(f"DROP OWNED BY {role}", f"DROP ROLE {role}")

    def test_they_have_no_listener(self) -> None:
        triggers = Triggers(Engine(GRAPH), *TABLES, outbox=Outbox(GRAPH))
        with pytest.raises(DeclarationError, match=r"use outbox.delivery\(url\)"):
            triggers.listener("postgresql://")


class TestTable:
    @pytest.mark.asyncio
    async def test_making_it_again_keeps_its_rows(self, world: World) -> None:
        put(world, Report)
        world.write(*world.outbox.create())
        assert world.rows() == ["report"]
        async with world.outbox.delivery(world.url, poll=HOUR):
            await world.purges.next()
            put(world, Order.of(order_id=1))  # it wakes once
            await world.purges.next()

    @pytest.mark.asyncio
    async def test_dropping_leaves_nothing_behind(self, world: World) -> None:
        before = world.rows("SELECT count(*) FROM pg_proc")
        world.write(*world.outbox.drop())
        assert world.rows("SELECT to_regclass('mizan_outbox')") == [None]
        assert world.rows("SELECT count(*) FROM pg_proc") == [before[0] - 1]
        world.write(*world.outbox.drop())

    @pytest.mark.asyncio
    async def test_it_may_have_an_odd_name(self, world: World) -> None:
        world.write('CREATE SCHEMA "a b"')
        world.outbox = Outbox(world.engine, table=("a b", 'it\'s "out"'))
        world.write(*world.outbox.create())
        world.write(*Triggers(world.engine, *TABLES, outbox=world.outbox).create(), "INSERT INTO orders VALUES (1, 2)")
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {"order;order_id=1", "report"}
            put(world, Report)
            assert await world.purges.next() == {"report"}

    def test_what_cannot_work_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="names no table"):
            Outbox(GRAPH, table="")
        with pytest.raises(DeclarationError, match="a Mizan or an Engine in place of a graph"):
            Outbox(GRAPH).delivery("postgresql://")
        with pytest.raises(DeclarationError, match="poll=0 is not a number of seconds above 0"):
            Outbox(Engine(GRAPH)).delivery("postgresql://", poll=0)


class TestAdding:
    @pytest.mark.asyncio
    async def test_sessions_of_sqlalchemy_will_do(self, world: World) -> None:
        url = world.url.replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url)
        with Session(engine) as session, session.begin():
            world.outbox.add(session, Order.of(order_id=1), Report)
        with engine.begin() as connection:
            world.outbox.add(connection, Report)
        engine.dispose()
        asynchronous = create_async_engine(url)
        async with AsyncSession(asynchronous) as session_of_loop, session_of_loop.begin():
            await world.outbox.add(session_of_loop, Order.of(order_id=2))
        async with asynchronous.begin() as connection_of_loop:
            await world.outbox.add(connection_of_loop, Order.of(order_id=3))
        await asynchronous.dispose()
        async with world.outbox.delivery(world.url, poll=HOUR):
            assert await world.purges.next() == {*(f"order;order_id={number}" for number in (1, 2, 3)), "report"}

    @pytest.mark.asyncio
    async def test_writes_of_sessions_have_nothing_against_it(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = create_engine(world.url.replace("postgresql:", "postgresql+psycopg:"))
        sessions = sessionmaker(engine)
        Writes(world.engine).attach(sessions)
        with sessions.begin() as session:
            world.outbox.add(session, Report)
        engine.dispose()
        assert world.rows() == ["report"]
        assert caplog.text == ""

    @pytest.mark.asyncio
    async def test_connections_and_cursors_of_psycopg_will_do(self, world: World) -> None:
        with psycopg.connect(world.url) as connection:
            world.outbox.add(connection, Order.of(order_id=1))
            world.outbox.add(connection.cursor(), Order.of(order_id=2))
        async with await psycopg.AsyncConnection.connect(world.url) as of_loop:
            await world.outbox.add(of_loop, Order.of(order_id=3))
            await world.outbox.add(of_loop.cursor(), Order.of(order_id=4))
        assert world.rows() == ["order"] * 4

    @pytest.mark.asyncio
    async def test_what_the_graph_does_not_have_is_refused(self, world: World) -> None:
        with psycopg.connect(world.url) as connection:
            with pytest.raises(DeclarationError, match="no context or reader 'odrer'"):
                world.outbox.add(connection, "odrer")
            with pytest.raises(DeclarationError, match="Nothing is named that is stale"):
                world.outbox.add(connection)

    def test_without_sqlalchemy_only_psycopg_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sqlalchemy", None)
        with pytest.raises(DeclarationError, match="a connection of Psycopg 3, or SQLAlchemy's if it is installed"):
            Outbox(GRAPH).add(Any, Report)  # type: ignore[call-overload]
