"""Orders, whose contexts are kept in a cache that processes share, and programs that write to them."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from mizan_core import CacheBackend, Context, Engine, RedisCache, build, client
from mizan_core.engine.observers import Observer, Purged
from mizan_core.integrations.postgresql import Outbox, Purge, Table, Triggers
from mizan_core.protocol.invalidation import spelled

SECRET = "s" * 32
ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, total int)"

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
    """One process of the application, and its database."""

    def __init__(self, url: str, cache: CacheBackend, **options: Any) -> None:
        self.url = url
        self.purges = Purges()
        self.engine = Engine(GRAPH, cache=cache, cache_secret=SECRET, observers=[self.purges], **options)
        self.triggers = Triggers(self.engine, *TABLES)
        self.outbox = Outbox(self.engine)

    def write(self, *statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str = "SELECT payload->>'context' FROM mizan_outbox ORDER BY id") -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return [row[0] for row in connection.execute(query)]

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


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of this module, killed at the end."""
    command = [sys.executable, "-m", __name__, *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def write_and_wait(url: str) -> None:
    """A worker: commits an order with what it makes stale, and would go on."""
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 5)")
        Outbox(GRAPH).add(connection, Order.of(order_id=1), Report)
    print("committed", flush=True)
    sys.stdin.read()


async def deliver_half(url: str, redis: str, prefix: str) -> None:
    """A process that delivers, and stands still between the purge and the deletion of its rows."""
    engine = Engine(GRAPH, cache=RedisCache(redis, prefix=prefix), cache_secret=SECRET)
    purge = engine.purge

    async def halting(invalidations: Sequence[Any], **options: Any) -> None:
        await purge(invalidations, **options)
        print(json.dumps([spelled(one) for one in invalidations]), flush=True)
        await asyncio.get_running_loop().create_future()

    engine.purge = halting  # type: ignore[method-assign]  # where it stands still
    async with engine, Outbox(engine).delivery(url):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", url]:
            write_and_wait(url)
        case ["deliver", url, redis, prefix]:
            asyncio.run(deliver_half(url, redis, prefix))
