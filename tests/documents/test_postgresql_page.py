"""The page about PostgreSQL, followed on a real one."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from mizan_core.engine.observers import Observer, Purged
from mizan_core.protocol.invalidation import spelled

from .pages import DOCS
from .running import page_run

PAGE = DOCS / "how-to" / "postgresql.md"
URL = "postgresql://shop@localhost/shop"


class Purges(Observer):
    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue()

    def purged(self, event: Purged) -> None:
        self.queue.put_nowait(", ".join(map(spelled, event.invalidations)))


@pytest.mark.asyncio
async def test_the_triggers_of_the_page_purge(tmp_path: Path, postgres_url: str) -> None:
    with page_run(PAGE, tmp_path, {URL: postgres_url}) as page, psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total int)")
        other.execute("CREATE SCHEMA crm CREATE TABLE customers (id int PRIMARY KEY, name text, email text)")
        for statement in page.triggers.create():
            other.execute(statement)
        purges = Purges()
        page.mizan.engine.observe(purges)
        async with page.lifespan(page.app):
            assert await purges.queue.get() == "orders, report, profile"
            other.execute("INSERT INTO orders VALUES (1, 7, 5)")
            assert await purges.queue.get() == "orders;customer_id=7, report"
            other.execute("UPDATE orders SET customer_id = 8")
            assert await purges.queue.get() == "orders;customer_id=7, orders;customer_id=8"
            other.execute("INSERT INTO crm.customers VALUES (7)")
            assert await purges.queue.get() == "profile;customer_id=7"


@pytest.mark.asyncio
async def test_the_outbox_of_the_page_is_delivered(tmp_path: Path, postgres_url: str) -> None:
    sessions = create_async_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with page_run(PAGE, tmp_path, {URL: postgres_url}) as page, psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE TABLE orders (id serial PRIMARY KEY, customer_id int, total int)")
        for statement in (*page.outbox.create(), *page.safe_triggers.create()):
            other.execute(statement)
        purges = Purges()
        page.mizan.engine.observe(purges)
        async with AsyncSession(sessions) as session:
            await page.add_order(session, 7, 5)
        row = '{"context": "orders", "scopes": [{"customer_id": 8}]}'
        other.execute("INSERT INTO mizan_outbox (payload) VALUES (%s::jsonb)", [row])
        async with page.delivering(page.app):
            assert await purges.queue.get() == "orders;customer_id=7, orders;customer_id=8, report"
    await sessions.dispose()
