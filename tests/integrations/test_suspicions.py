"""Suspicions over real databases: which functions write what a context reads, and never invalidate it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy
from sqlalchemy import create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, selectinload, sessionmaker

from mizan_asgi import Mizan
from mizan_core import (
    Conflict,
    Context,
    DeclarationError,
    Engine,
    MemoryCache,
    RedisCache,
    build,
    client,
    invalidate,
)
from mizan_core.integrations.sqlalchemy import Opaque, Suspect, Suspicions, TableColumn
from mizan_core.testing.redis_server import RedisServer

from .shop import Base, Customer, Line, Order

Orders, Names, Count = Context("orders"), Context("names"), Context("count", concurrent=True)
TABLES = [one for name, one in Base.metadata.tables.items() if name != "diary"]


class Shop:
    """Readers and writers over one database, through an async and a sync engine of SQLAlchemy."""

    def __init__(self, path: Path) -> None:
        self.sync: sqlalchemy.Engine = create_engine(f"sqlite:///{path}")
        self.databases: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        self.session = async_sessionmaker(self.databases)
        self.sync_session = sessionmaker(self.sync)
        Base.metadata.create_all(self.sync, tables=TABLES)
        with self.sync_session() as session:
            session.add(Customer(id=1, name="Ada", orders=[Order(id=1), Order(id=2)]))
            session.commit()

    def engine(self, *functions: Callable[..., Any]) -> Engine:
        return Engine(build([*self.readers(), *functions]), cache=MemoryCache())

    async def dispose(self) -> None:
        self.sync.dispose()
        await self.databases.dispose()

    def readers(self) -> list[Callable[..., Any]]:
        @client(context=Orders)
        async def order_list(customer_id: int) -> list[str]:
            async with self.session() as session:
                customer = await session.get(Customer, customer_id, options=[selectinload(Customer.orders)])
                return [] if customer is None else [order.status for order in customer.orders]

        @client(context=Names)
        def name_list() -> list[str]:
            with self.sync_session() as session:
                return list(session.scalars(select(Customer.name)))

        @client(context=Count)
        async def order_count() -> int:
            async with self.session() as session:
                return await session.scalar(select(func.count()).select_from(Order)) or 0

        @client(context=Count)
        async def line_count() -> int:
            async with self.session() as session:
                return await session.scalar(select(func.count()).select_from(Line)) or 0

        return [order_list, name_list, order_count, line_count]

    async def read(self, engine: Engine) -> None:
        """Run every reader once."""
        await engine.fetch("orders", {"customer_id": 1})
        await engine.fetch("names", {})
        await engine.fetch("count", {})

    async def write(self, statement: Any) -> None:
        async with self.session() as session:
            await session.execute(statement)
            await session.commit()

    async def suspects(self, function: Callable[..., Any], **arguments: Any) -> list[tuple[str, list[str]]]:
        """The contexts and columns for which a function is suspected that has run once, as the readers have."""
        engine = self.engine(function)
        with Suspicions(engine, self.databases, self.sync) as suspicions:
            await self.read(engine)
            await engine.run(function.__name__, arguments)
        return [(one.context, list(map(str, one.columns))) for one in suspicions.suspects()]


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path / "shop.db")
    yield shop
    await shop.dispose()


class TestSuspects:
    @pytest.mark.asyncio
    async def test_a_forgotten_context_is_suspected_with_its_remedy(self, shop: Shop) -> None:
        @client(affects=Orders)
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))

        engine = shop.engine(rename)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await engine.run("rename", {"name": "Eve"})
            await shop.read(engine)
        (suspect,) = suspicions.suspects()
        assert suspect == Suspect("rename", "names", (TableColumn("customers", "name"),), ("name_list",))
        assert str(suspect) == (
            "rename writes customers.name, read by name_list of context 'names', and never invalidates it: add 'names' "
            "to its affects=, or, if no answer of it can change, to its spares=."
        )

    @pytest.mark.asyncio
    async def test_two_workers_over_redis_are_both_under_suspicion(self, shop: Shop, redis: RedisServer) -> None:
        @client(affects=Orders)
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))

        graph = build([*shop.readers(), rename])
        workers = [
            Engine(graph, cache=RedisCache(redis.url, prefix="suspicion"), cache_secret="s" * 32) for _ in range(2)
        ]
        async with workers[0] as first, workers[1] as second:
            with (
                Suspicions(first, shop.databases, shop.sync) as one,
                Suspicions(second, shop.databases, shop.sync) as other,
            ):
                for worker in (first, second):  # of the second, a reader runs where the first one's rename has purged
                    await shop.read(worker)
                    await worker.run("rename", {"name": "Eve"})
                for suspicions in (one, other):
                    assert [(found.mutation, found.context) for found in suspicions.suspects()] == [("rename", "names")]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("options", [{"affects": [Orders, Names]}, {"affects": Orders, "spares": [Names]}])
    async def test_an_affected_or_spared_context_is_not(self, shop: Shop, options: Any) -> None:
        @client(**options)
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))

        assert await shop.suspects(rename, name="Eve") == []

    @pytest.mark.asyncio
    async def test_sync_sessions_in_threads_are_seen(self, shop: Shop) -> None:
        @client(spares=[Orders])
        def rename(name: str) -> None:
            with shop.sync_session() as session:
                session.scalars(select(Customer)).one().name = name
                session.commit()

        assert await shop.suspects(rename, name="Eve") == [("names", ["customers.name"])]

    @pytest.mark.asyncio
    async def test_core_connections_are_seen(self, shop: Shop) -> None:
        @client
        async def fill() -> None:
            async with shop.databases.begin() as connection:
                await connection.execute(insert(Line), [{"order_id": 1, "sku": "a"}, {"order_id": 1, "sku": "b"}])

        assert await shop.suspects(fill) == [("count", ["rows of lines"])]

    @pytest.mark.asyncio
    async def test_a_relationship_that_is_loaded_later_is_read(self, shop: Shop) -> None:
        @client(context="statuses")
        def statuses() -> list[str]:
            with shop.sync_session() as session:
                return [order.status for order in session.scalars(select(Customer)).one().orders]

        @client(spares=Orders)
        async def pay() -> None:
            await shop.write(update(Order).values(status="paid"))

        engine = shop.engine(statuses, pay)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await engine.fetch("statuses", {})
            await engine.run("pay", {})
        (suspect,) = suspicions.suspects()
        assert (suspect.context, list(map(str, suspect.columns))) == (
            "statuses",
            ["orders.changed_at", "orders.status"],
        )

    @pytest.mark.asyncio
    async def test_a_cascade_is_named(self, shop: Shop) -> None:
        @client(affects=[Orders, Names])
        async def leave() -> None:
            await shop.write(delete(Customer))

        engine = shop.engine(leave)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            await engine.run("leave", {})
        (suspect,) = suspicions.suspects()
        assert (suspect.context, suspect.readers) == ("count", ("line_count", "order_count"))
        assert suspect.cascades == ("lines.order_id is ON DELETE CASCADE", "orders.customer_id is ON DELETE CASCADE")
        assert "rows of orders (lines.order_id is ON DELETE CASCADE; orders.customer_id" in str(suspect)

    @pytest.mark.asyncio
    async def test_a_write_without_a_reader_suspects_nobody(self, shop: Shop) -> None:
        @client
        async def annotate() -> None:
            await shop.write(update(Customer).values(note="regular"))

        assert await shop.suspects(annotate) == []

    @pytest.mark.asyncio
    async def test_a_reader_that_writes_is_suspected(self, shop: Shop) -> None:
        @client(context="visits")
        async def visit() -> None:
            await shop.write(update(Customer).values(name="visited"))

        engine = shop.engine(visit)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            await engine.fetch("visits", {})
        suspect = next(one for one in suspicions.suspects() if one.context == "names")
        assert (suspect.mutation, suspect.is_reader) == ("visit", True)
        assert str(suspect).endswith("a reader changes nothing; write in a function without context=.")

    @pytest.mark.asyncio
    async def test_what_is_kept_for_seconds_or_nowhere_is_left_out(self, shop: Shop) -> None:
        async def count() -> int:
            async with shop.session() as session:
                return await session.scalar(select(func.count()).select_from(Line)) or 0

        old = client(context="old", name="old_count", cache=60)(count)
        private = client(context="private", name="private_count", private=True)(count_of(count))

        @client(affects=Count)
        async def fill() -> None:
            await shop.write(insert(Line).values(order_id=1, sku="a"))

        engine = shop.engine(old, private, fill)
        with Suspicions(engine, shop.databases) as suspicions:
            await engine.fetch("old", {})
            await engine.run("private_count", {})
            await engine.run("fill", {})
        assert suspicions.suspects() == ()


def count_of(count: Callable[..., Any]) -> Callable[..., Any]:
    """Another function that does the same."""

    async def again() -> int:
        found: int = await count()
        return found

    return again


class TestBodies:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(("names", "suspected"), [(True, []), (False, [("names", ["customers.name"])])])
    async def test_a_body_answers_for_what_is_left_to_it(self, shop: Shop, names: bool, suspected: Any) -> None:
        @client(affects=[Orders, Names.by_body()])
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))
            if names:
                invalidate(Names)
            else:
                invalidate.nothing()

        assert await shop.suspects(rename, name="Eve") == suspected

    @pytest.mark.asyncio
    async def test_a_refused_body_is_not_asked(self, shop: Shop) -> None:
        @client(affects=[Orders, Names.by_body()])
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))
            raise Conflict

        engine = shop.engine(rename)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            with pytest.raises(Conflict):
                await engine.run("rename", {"name": "Eve"})
        assert suspicions.suspects() == ()

    @pytest.mark.asyncio
    async def test_a_function_without_affects_answers_by_its_calls(self, shop: Shop) -> None:
        @client(spares=Orders)
        async def rename(name: str) -> None:
            await shop.write(update(Customer).values(name=name))
            invalidate(Names)

        assert await shop.suspects(rename, name="Eve") == []

    @pytest.mark.asyncio
    async def test_a_caller_answers_for_what_it_calls(self, shop: Shop) -> None:
        @client(affects=Orders)
        async def store(name: str) -> None:
            await shop.write(update(Customer).values(name=name))

        @client(affects=Names)
        async def rename(name: str) -> None:
            await store(name)

        engine = shop.engine(store, rename)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            await engine.run("rename", {"name": "Eve"})
            assert suspicions.suspects() == ()
            await engine.run("store", {"name": "Eve"})
        assert [(one.mutation, one.context) for one in suspicions.suspects()] == [("store", "names")]


class TestAttribution:
    @pytest.mark.asyncio
    async def test_interleaved_functions_are_told_apart(self, shop: Shop) -> None:
        both = asyncio.Barrier(2)

        @client(affects=Names, spares=Orders)
        async def rename() -> None:
            async with shop.session() as session:
                await both.wait()
                await session.execute(update(Customer).values(name="Eve"))
                await both.wait()
                await session.rollback()

        @client(affects=Count)
        async def order() -> None:
            async with shop.session() as session:
                await both.wait()
                await session.execute(select(Order.id))
                await both.wait()
                await session.execute(insert(Order).values(customer_id=1, status="new"))
                await session.rollback()

        engine = shop.engine(rename, order)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            await asyncio.gather(engine.run("rename", {}), engine.run("order", {}))
        assert [(one.mutation, one.context, list(map(str, one.columns))) for one in suspicions.suspects()] == [
            ("order", "orders", ["rows of orders"])
        ]

    @pytest.mark.asyncio
    async def test_another_engines_functions_are_not_this_ones(self, shop: Shop) -> None:
        @client
        async def elsewhere() -> None:
            await shop.write(update(Customer).values(name="Eve"))

        other = Engine(build([elsewhere]))
        engine = shop.engine()
        with Suspicions(engine, shop.databases, shop.sync) as suspicions, Suspicions(other, shop.databases):
            await shop.read(engine)
            await other.run("elsewhere", {})
        assert suspicions.suspects() == ()
        assert suspicions.report().written_outside == ("customers",)

    @pytest.mark.asyncio
    async def test_writes_outside_of_functions_are_told(self, shop: Shop) -> None:
        engine = shop.engine()
        with Suspicions(engine, shop.sync) as suspicions:
            await engine.fetch("names", {})
            with Session(shop.sync) as session:
                session.add(Customer(name="Eve"))
                session.add(Line(order_id=1, sku="of no context that was read"))
                session.commit()
        assert suspicions.report().written_outside == ("customers",)
        assert "Written outside of any function: customers." in str(suspicions.report())


class TestOpaque:
    @pytest.mark.asyncio
    async def test_text_is_told_with_its_function(self, shop: Shop) -> None:
        @client(affects=Orders)
        async def rename() -> None:
            await shop.write(text("UPDATE customers SET name = 'Eve'"))
            async with shop.databases.connect() as connection:
                await connection.exec_driver_sql("SELECT name FROM customers")

        engine = shop.engine(rename)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await shop.read(engine)
            await engine.run("rename", {})
        report = suspicions.report()
        assert report.suspects == ()
        assert report.opaque == (
            Opaque("rename", "SELECT name FROM customers"),
            Opaque("rename", "UPDATE customers SET name = 'Eve'"),
        )
        assert "rename uses SELECT name FROM customers, whose columns are not known" in str(report)

    @pytest.mark.asyncio
    async def test_a_raw_connection_is_told(self, shop: Shop) -> None:
        @client(affects=Orders)
        def rename() -> None:
            raw = shop.sync.raw_connection()
            raw.cursor().execute("UPDATE customers SET name = 'Eve'")
            raw.close()

        @client(affects=Orders)
        async def rename_too() -> None:
            raw = await shop.databases.raw_connection()
            raw.close()

        engine = shop.engine(rename, rename_too)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            await engine.run("rename", {})
            await engine.run("rename_too", {})
            await shop.read(engine)  # with the same connection of the driver, from the pool
            with shop.sync.connect():
                pass
        told = "a raw connection of the driver"
        assert suspicions.report().opaque == (Opaque("rename", told), Opaque("rename_too", told))

    @pytest.mark.asyncio
    async def test_engines_that_share_a_pool_are_not_taken_for_raw(self, shop: Shop) -> None:
        engine = shop.engine()
        with Suspicions(engine, shop.databases.execution_options(locked=True), shop.sync) as suspicions:
            await shop.read(engine)
        assert suspicions.report().opaque == ()


class TestReport:
    @pytest.mark.asyncio
    async def test_functions_that_did_not_run_are_told(self, shop: Shop) -> None:
        @client
        async def ping() -> None: ...

        @client(context="greeting")
        async def greeting() -> str:
            return "Hello"

        engine = shop.engine(ping, greeting)
        with Suspicions(engine, shop.databases) as suspicions:
            await engine.fetch("greeting", {})
            assert suspicions.report().not_run == ("line_count", "name_list", "order_count", "order_list", "ping")
            await engine.run("ping", {})
            await engine.fetch("count", {})
            assert suspicions.report().not_run == ("name_list", "order_list")
            assert str(suspicions.report()) == "Not seen running: name_list, order_list."
            await shop.read(engine)
        assert str(suspicions.report()) == "Nothing is suspected."

    @pytest.mark.asyncio
    async def test_a_hit_runs_no_reader(self, shop: Shop) -> None:
        engine = shop.engine()
        await engine.fetch("names", {})
        with Suspicions(engine, shop.databases) as suspicions:
            assert (await engine.fetch("names", {})).status == "hit"
        assert "name_list" in suspicions.report().not_run


class TestListening:
    @pytest.mark.asyncio
    async def test_closed_it_hears_no_more(self, shop: Shop) -> None:
        @client
        async def ping() -> None: ...

        engine = shop.engine(ping)
        with Suspicions(engine, shop.databases, shop.sync) as suspicions:
            pass
        suspicions.close()
        await engine.run("ping", {})  # which an observer would be told of
        await shop.read(engine)  # whose statements a listener would be told of
        assert set(suspicions.report().not_run) == engine.graph.functions.keys()

    @pytest.mark.asyncio
    @pytest.mark.parametrize("how", ["everything", "engine", "sessionmaker", "binds", "option engine"])
    async def test_databases_are_named_in_any_way(self, shop: Shop, how: str) -> None:
        locked = shop.databases.execution_options(locked=True)
        databases: dict[str, list[Any]] = {
            "everything": [],
            "engine": [shop.databases],
            "sessionmaker": [shop.session],
            "binds": [async_sessionmaker(binds={Line: shop.databases})],
            "option engine": [locked, shop.databases],
        }

        @client(affects=Names)
        async def fill() -> None:
            async with AsyncSession(locked) as session:
                session.add(Line(order_id=1, sku="a"))
                await session.commit()

        engine = shop.engine(fill)
        with Suspicions(engine, *databases[how]) as suspicions:
            await engine.fetch("count", {})
            await engine.run("fill", {})
        assert [(one.mutation, one.context) for one in suspicions.suspects()] == [("fill", "count")]

    def test_a_mizan_is_taken_for_its_engine(self, shop: Shop) -> None:
        mizan = Mizan(build(shop.readers()))
        with Suspicions(mizan, shop.sync_session) as suspicions:
            assert suspicions.report().not_run == tuple(sorted(mizan.graph.functions))

    @pytest.mark.parametrize(
        ("database", "words"), [(sessionmaker(), "bound to no engine"), ("sqlite://", "'sqlite://' is neither")]
    )
    def test_what_cannot_be_listened_to_is_refused(self, shop: Shop, database: Any, words: str) -> None:
        with pytest.raises(DeclarationError, match=words):
            Suspicions(shop.engine(), database)

    @pytest.mark.asyncio
    async def test_it_can_be_closed_after_the_database(self, shop: Shop) -> None:
        with Suspicions(shop.engine(), shop.databases, shop.sync):
            await shop.dispose()
            with shop.sync.connect() as connection:
                connection.execute(select(Line.id))

    def test_a_listener_of_the_hosts_stays(self, shop: Shop) -> None:
        heard: list[str] = []
        event.listen(shop.sync, "before_cursor_execute", lambda *given: heard.append(given[2]))
        with Suspicions(shop.engine(), shop.sync), shop.sync.connect() as connection:
            connection.execute(select(Line.id))
        with shop.sync.connect() as connection:
            connection.execute(select(Line.id))
        assert len(heard) == 2
