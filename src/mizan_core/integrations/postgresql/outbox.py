"""The outbox: what a write makes stale, in rows of its own transaction, purged by any process after the commit.

A delivery locks due rows, purges what they name, and deletes them, in one transaction. A process that dies on the way
leaves the rows, and another one purges again: at least once. A row that cannot be read is put off, each time for
longer, and none waits for it: a newer version of the program may read it.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import psycopg
from psycopg import AsyncConnection, sql

from ...engine.engine import Engine
from ...engine.hosts.changing import Affected, named_all
from ...errors import CacheUnavailable, DeclarationError
from ...graph.model import Graph
from ...protocol.invalidation import Invalidation
from .connections import Background, Conninfo, Mizan, engine_of, graph_of, heard
from .identifiers import Name, literal, quoted, split_name, within_limit
from .listener import bounded
from .payloads import payloads_of, read_payload
from .sql import drop_statement, mark

logger = logging.getLogger("mizan")

ORIGIN = "the outbox"

# Rows of one transaction: their purges share a round trip, and a dead process holds back so many for a moment.
BATCH = 200
# How long a row that cannot be read is put off: twice as long after each attempt, up to a bound.
LONGEST_DELAY_SECONDS = 300
# How long a delivery rests after a purge that did not get through.
REST_SECONDS = 1.0

_PSYCOPG = (psycopg.Connection, psycopg.Cursor, psycopg.AsyncConnection, psycopg.AsyncCursor)


class Executing(Protocol):
    """A connection, session or cursor."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any: ...


class AsyncExecuting(Protocol):
    """The same of an async driver."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """The way of triggers into the outbox. Their functions write to it whoever writes to their tables."""

    table: Name
    maximum_bytes: int | None = None
    function_options: str = " SECURITY DEFINER"

    def send(self, payload: str) -> str:
        return f"INSERT INTO {quoted(self.table)} (payload) SELECT {payload}::jsonb"


class Outbox:
    """What is stale, written in the transaction itself: by `add`, and by `Triggers(..., outbox=outbox)`.

    `table`: its name, in the schema `public` where it names none. `notify`: an insert wakes deliveries up by `NOTIFY`;
    without it they look every `poll` seconds. Raises `DeclarationError` for what names no table.
    """

    def __init__(
        self, mizan: Mizan | Graph, *, table: str | tuple[str, str] = "mizan_outbox", notify: bool = True
    ) -> None:
        name = split_name("table", table)
        self.table: Name = name if len(name) == 2 else ("public", *name)
        self.rows = Rows(self.table)
        self._mizan = mizan
        self._graph = graph_of(mizan)
        self._notify = notify
        self._channel = within_limit(".".join(self.table))

    def create(self) -> tuple[str, ...]:
        """Statements that make the table, unless it is there. For one transaction."""
        return tuple(self._create())

    def drop(self) -> tuple[str, ...]:
        """Statements that drop the table, with what has yet to be delivered."""
        return drop_statement(self._channel), f"DROP TABLE IF EXISTS {quoted(self.table)};"

    @overload
    def add(self, connection: AsyncExecuting, *affected: Affected) -> Awaitable[None]: ...

    @overload
    def add(self, connection: Executing, *affected: Affected) -> None: ...

    def add(self, connection: Executing, *affected: Affected) -> Awaitable[None] | None:
        """Write what is stale in the open transaction of a connection or session. To be awaited where that is async.

        Takes what `changing` takes, and a connection or cursor of Psycopg 3 or a connection or session of SQLAlchemy.
        Raises `DeclarationError` for what the graph does not have.
        """
        payloads = payloads_of(named_all(self._graph, affected))
        if not payloads:
            raise DeclarationError(
                "Nothing is named that is stale; write outbox.add(session, Orders.of(customer_id=7))."
            )
        insert: Any = sql.SQL("INSERT INTO {} (payload) SELECT unnest(%s::jsonb[])").format(sql.Identifier(*self.table))
        given = (insert, [payloads]) if isinstance(connection, _PSYCOPG) else (_insert(self.table, payloads),)
        done = connection.execute(*given)
        return done if inspect.isawaitable(done) else None

    def delivery(self, conninfo: Conninfo, *, poll: float = 5.0) -> "Delivery":
        """Delivers, in this process: `async with outbox.delivery(url):`. Any number of processes may.

        `conninfo`: a URL such as `postgresql://user@host/name`, or a function that returns it. `poll`: how often it
        looks for rows that no notification told of, in seconds.
        """
        if isinstance(self._mizan, Graph):
            raise DeclarationError("A delivery purges: give Outbox a Mizan or an Engine in place of a graph.")
        if not poll > 0:
            raise DeclarationError(f"poll={poll!r} is not a number of seconds above 0.")
        return Delivery(engine_of(self._mizan), self.table, conninfo, self._channel, poll)

    def _create(self) -> Iterator[str]:
        table, channel = quoted(self.table), literal(self._channel)
        yield drop_statement(self._channel)
        yield f"""CREATE TABLE IF NOT EXISTS {table} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  payload jsonb NOT NULL,
  written_at timestamptz NOT NULL DEFAULT now(),
  due_at timestamptz NOT NULL DEFAULT now(),
  attempts integer NOT NULL DEFAULT 0
);"""
        if self._notify:
            name = within_limit(f"{self.table[-1]}_wakes")
            function = quoted((self.table[0], name))
            yield f"""CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_catalog.pg_notify(TG_ARGV[0], ''''); RETURN NULL; END';"""
            yield f"COMMENT ON FUNCTION {function}() IS {literal(mark(self._channel))};"
            yield (
                f"CREATE TRIGGER {quoted(name)} AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION "
                f"{function}({channel});"
            )


class Delivery(Background):
    """Purges what the rows of an outbox name, and deletes them."""

    def __init__(self, engine: Engine, table: Name, conninfo: Conninfo, channel: str, poll: float) -> None:
        super().__init__(conninfo, channel)
        self._engine = engine
        self._poll = poll
        name = sql.Identifier(*table)
        self._lock = sql.SQL(
            "SELECT id, payload::text FROM {} WHERE due_at <= now() ORDER BY id LIMIT {} FOR UPDATE SKIP LOCKED"
        ).format(name, BATCH)
        self._delete = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(name)
        self._put_off = sql.SQL(
            "UPDATE {} SET attempts = attempts + 1, due_at = now() + interval '1 second' * least(2.0 ^ attempts, {}) "
            "WHERE id = ANY(%s)"
        ).format(name, LONGEST_DELAY_SECONDS)

    async def _opened(self) -> None:
        """Rows that were written before are found by the first look."""

    async def _work(self, connection: AsyncConnection) -> None:
        while True:
            try:
                if not await self._deliver(connection):
                    await heard(connection, self._poll)
            except CacheUnavailable:
                logger.warning("A purge of the outbox did not get through. Its rows are kept, and it is tried again.")
                await asyncio.sleep(REST_SECONDS)

    async def _deliver(self, connection: AsyncConnection) -> int:
        """Deliver one batch. Returns how many rows that were. Raises `CacheUnavailable`, and leaves them."""
        async with connection.transaction():
            rows = await (await connection.execute(self._lock)).fetchall()
            if not rows:
                return 0
            delivered, unread, stale = self._read(rows)
            if stale:
                await self._engine.purge(bounded(stale), origin=ORIGIN)
            await connection.execute(self._delete, [delivered])
            if unread:
                await connection.execute(self._put_off, [unread])
        return len(rows)

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> tuple[list[int], list[int], list[Invalidation]]:
        """The ids of rows that can be read, those of the others, and what the first name."""
        delivered: list[int] = []
        unread: list[int] = []
        stale: list[Invalidation] = []
        for number, payload in rows:
            try:
                stale += read_payload(self._engine.graph, payload)
                delivered.append(number)
            except (DeclarationError, ValueError) as error:
                logger.error("Row %d of the outbox cannot be read, and is tried again later: %s", number, error)  # noqa: TRY400  # where it was found out does not matter
                unread.append(number)
        return delivered, unread, stale


def _insert(table: Name, payloads: Sequence[str]) -> Any:
    """The statement for SQLAlchemy. Written with its constructs: what observes sessions can tell what it is."""
    try:
        from sqlalchemy import column, insert  # noqa: PLC0415  # an optional extra
        from sqlalchemy import table as table_of  # noqa: PLC0415
        from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415
    except ImportError:
        raise DeclarationError(
            "outbox.add takes a connection of Psycopg 3, or SQLAlchemy's if it is installed."
        ) from None
    rows = table_of(table[-1], column("payload", JSONB), schema=table[0])
    return insert(rows).values([{"payload": json.loads(one)} for one in payloads])
