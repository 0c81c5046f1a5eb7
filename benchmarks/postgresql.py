"""What triggers and the outbox cost a write, and how long after the commit a purge is through.

    python -m benchmarks.postgresql

On a PostgreSQL of its own that syncs to the disk, as users have it. Each round measures every variant in turn, and the
figures are medians over all rounds, in milliseconds.
"""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg

from mizan_core import Context, Engine, MemoryCache, build, client
from mizan_core.engine.observers import Observer, Purged
from mizan_core.integrations.postgresql import Outbox, Purge, Table, Triggers
from mizan_core.testing.postgres_server import postgres_server

Orders = Context("orders", scopes=[("customer_id",)])
TABLE = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int, total int)"
WRITE = "INSERT INTO orders (customer_id, total) VALUES (%s, 5)"
ROUNDS, WRITES = 5, 200


@client(context=Orders)
async def customer_orders(customer_id: int) -> int:
    return customer_id


GRAPH = build([customer_orders])


class Through(Observer):
    """The moment of each purge."""

    def __init__(self) -> None:
        self.moments: asyncio.Queue[float] = asyncio.Queue()

    def purged(self, event: Purged) -> None:
        self.moments.put_nowait(time.perf_counter())


Write = Callable[[psycopg.AsyncConnection, int], Awaitable[object]]


async def plainly(connection: psycopg.AsyncConnection, number: int) -> None:
    await connection.execute(WRITE, [number])


class Variant:
    """One way of telling; `rows`: how many rows each statement writes."""

    def __init__(self, name: str, url: str, through: Through) -> None:
        self.name = name
        self.url = url
        self.through = through
        self.engine = Engine(GRAPH, cache=MemoryCache(), observers=[through])
        outbox = Outbox(self.engine)
        table = Table("orders", Purge(Orders, by="customer_id"))
        triggers = Triggers(self.engine, table, outbox=outbox if "outbox, triggers" in name else None)
        self.statements = [TABLE]
        self.background: Callable[[str], object] | None = None
        self.write: Write = plainly
        if "outbox" in name:
            self.statements += outbox.create()
            self.background = outbox.delivery
        if "triggers" in name:
            self.statements += triggers.create()
            self.background = self.background or triggers.listener
        if name == "outbox, added":
            self.write = adding(outbox)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.engine)
            connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(self.url))
            for statement in self.statements:
                await connection.execute(statement)
            await connection.commit()
            if self.background is not None:
                await stack.enter_async_context(self.background(self.url))
            yield connection


def adding(outbox: Outbox) -> Write:
    async def write(connection: psycopg.AsyncConnection, number: int) -> None:
        await connection.execute(WRITE, [number])
        await outbox.add(connection, Orders.of(customer_id=number))

    return write


async def measure() -> None:
    writes: defaultdict[str, list[float]] = defaultdict(list)
    latencies: defaultdict[str, list[float]] = defaultdict(list)
    with postgres_server(fsync="on", full_page_writes="on") as server:
        async with AsyncExitStack() as stack:
            variants = []
            for name in ("nothing", "triggers, NOTIFY", "outbox, added", "outbox, triggers"):
                variant = Variant(name, stack.enter_context(server.database()), Through())
                variants.append((variant, await stack.enter_async_context(variant.open())))
            await asyncio.sleep(0.5)
            for _ in range(ROUNDS):
                for variant, connection in variants:
                    await one_round(variant, connection, writes[variant.name], latencies[variant.name])
    plain = statistics.median(writes["nothing"])
    print(f"{ROUNDS * WRITES} transactions of one INSERT each; Python {sys.version.split()[0]}. In ms.")
    for name, seconds in writes.items():
        median = statistics.median(seconds)
        print(f"{name:18} write and commit {median * 1e3:6.2f} ({(median - plain) * 1e3:+.2f})", end="")
        if found := sorted(latencies[name]):
            p99 = found[int(len(found) * 0.99)]
            print(f"   commit to purge: median {statistics.median(found) * 1e3:5.2f}, p99 {p99 * 1e3:5.2f}", end="")
        print()


async def one_round(
    variant: Variant, connection: psycopg.AsyncConnection, writes: list[float], latencies: list[float]
) -> None:
    while not variant.through.moments.empty():  # of the start
        variant.through.moments.get_nowait()
    for number in range(WRITES):
        began = time.perf_counter()
        await variant.write(connection, number)
        await connection.commit()
        committed = time.perf_counter()
        writes.append(committed - began)
        if variant.background is not None:
            latencies.append(await variant.through.moments.get() - committed)


if __name__ == "__main__":
    asyncio.run(measure())
