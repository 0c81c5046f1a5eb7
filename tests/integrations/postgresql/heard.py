"""What triggers notify of, as a listener would understand it."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg

from mizan_core import Graph
from mizan_core.integrations.postgresql.listener import understood
from mizan_core.integrations.postgresql.triggers import Triggers
from mizan_core.protocol.invalidation import spelled

END = "end"


class Database:
    """One connection that writes and one that listens."""

    def __init__(self, graph: Graph, writer: psycopg.Connection, listener: psycopg.Connection) -> None:
        self.graph = graph
        self.writer = writer
        self.listener = listener
        self._numbers = count()

    def create(self, triggers: Triggers) -> None:
        for statement in triggers.create():
            self.writer.execute(statement)

    def payloads(self, *statements: str) -> list[str]:
        """What is notified of by the commit of these."""
        with self.writer.transaction():
            for statement in statements:
                self.writer.execute(statement)
        end = f"{END} {next(self._numbers)}"
        self.writer.execute("SELECT pg_notify('mizan', %s)", [end])
        found: list[str] = []
        for one in self.listener.notifies():
            if one.payload == end:
                break
            found.append(one.payload)
        return found

    def write(self, *statements: str) -> set[str]:
        """What the commit of these makes stale."""
        return {spelled(one) for one in understood(self.graph, self.payloads(*statements))}


@contextmanager
def database(url: str, graph: Graph, *tables: str) -> Iterator[Database]:
    with psycopg.connect(url, autocommit=True) as writer, psycopg.connect(url, autocommit=True) as listener:
        for table in tables:
            writer.execute(table)
        listener.execute("LISTEN mizan")
        yield Database(graph, writer, listener)
