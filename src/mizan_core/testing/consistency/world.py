"""What the workers serve: rows with a version counter in SQLite, two nested contexts, and every kind of mutation."""

import asyncio
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...engine.current_call import invalidate
from ...errors import Conflict
from ...graph.build import build
from ...graph.declare import Context, Result, client
from ...graph.model import Graph

TEAMS = 10
USERS = 5

# Another process's transaction is over in a moment.
_BUSY_SECONDS = 10.0

_SCHEMA = """
create table rows (team integer, user integer, version integer not null, primary key (team, user));
create table commits (operation text, row text, version integer, primary key (operation, row));
"""


class Kind(StrEnum):
    """The mutations, by what determines their scope."""

    RENAME = "rename"  # all of a card's parameters are arguments
    RETITLE = "retitle"  # one of them is: every card of a team
    RESET = "reset"  # nothing narrows: everything
    PROMOTE = "promote"  # the result names the card
    TOUCH = "touch"  # the body names the cards
    REFUSE = "refuse"  # as rename, and refused before it changes anything

    @property
    def holds(self) -> bool:
        """Whether its scope is known, and held, before it runs."""
        return self not in (Kind.PROMOTE, Kind.TOUCH)


def row_name(team: int, user: int) -> str:
    return f"{team}.{user}"


class Database:
    """The truth. Usable from every thread; a row's version grows by one whenever it is changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def create(self) -> None:
        connection = self._connection()
        connection.executescript(_SCHEMA)
        rows = [(team, user) for team in range(TEAMS) for user in range(USERS)]
        connection.executemany("insert into rows values (?, ?, 0)", rows)

    def versions(self, team: int, user: int | None = None) -> dict[str, int]:
        found = self._connection().execute(
            "select team, user, version from rows where team = ? and (user = ? or ? is null)", (team, user, user)
        )
        return {row_name(team, user): version for team, user, version in found}

    def change(self, operation: str, rows: Iterable[tuple[int, int]]) -> None:
        """In one transaction, the rows' next versions and who made them."""
        with self._transaction() as connection:
            for team, user in rows:
                connection.execute("update rows set version = version + 1 where team = ? and user = ?", (team, user))
                connection.execute(
                    "insert into commits select ?, ?, version from rows where team = ? and user = ?",
                    (operation, row_name(team, user), team, user),
                )

    def commits(self) -> Iterator[tuple[str, str, int]]:
        """Every change: the operation, the row and its version."""
        yield from self._connection().execute("select operation, row, version from commits")

    def close(self) -> None:
        """Every thread's connection."""
        self._local = threading.local()
        while self._connections:
            self._connections.pop().close()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.path,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # for whoever closes it
            )
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = off")  # processes die here, machines do not
            self._local.connection = connection
            self._connections.append(connection)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")


class Pauses:
    """How long functions take around what they do: mostly little, at times long, so that races have their chance."""

    def __init__(self, random: random.Random) -> None:
        self._random = random

    def __call__(self, *, slow: bool = False) -> float:
        often, seldom = self._random.uniform(0.0, 0.004), self._random.uniform(0.02, 0.12)
        return seldom if slow or self._random.random() < 0.2 else often


class Card(BaseModel):
    """What `promote` returns: which card it changed."""

    team: int
    user: int


class World:
    """The functions of one worker. `doomed` operations take their time, and kill it between commit and purge."""

    def __init__(self, database: Database, pauses: Pauses) -> None:
        self.doomed: set[str] = set()
        self._database = database
        self._pauses = pauses

    def graph(self) -> Graph:
        return build([*self._readers(), *self._by_arguments(), *self._by_result_and_body()])

    def _readers(self) -> list[Any]:
        @client(context=_CARD)
        async def card(team: int, user: int) -> dict[str, int]:
            found = self._database.versions(team, user)
            await asyncio.sleep(self._pauses())
            return found

        @client(context=_BOARD)
        def board(team: int) -> dict[str, int]:
            found = self._database.versions(team)
            time.sleep(self._pauses())
            return found

        return [card, board]

    def _by_arguments(self) -> list[Any]:
        @client(affects=[_CARD, _BOARD])
        async def rename(team: int, user: int, operation: str) -> None:
            await self._changed(operation, [(team, user)])

        @client(affects=[_CARD, _BOARD])
        def retitle(team: int, operation: str) -> None:
            self._changed_in_a_thread(operation, [(team, user) for user in range(USERS)])

        @client(affects=[_CARD.whole(), _BOARD.whole()])
        async def reset(operation: str) -> None:
            await self._changed(operation, [(team, user) for team in range(TEAMS) for user in range(USERS)])

        @client(affects=[_CARD, _BOARD])
        def refuse(team: int, user: int, operation: str) -> None:
            time.sleep(self._pauses())
            raise Conflict(operation)

        return [rename, retitle, reset, refuse]

    def _by_result_and_body(self) -> list[Any]:
        @client(affects=[_CARD.where(team=Result("team"), user=Result("user")), _BOARD.where(team=Result("team"))])
        async def promote(number: int, operation: str) -> Card:
            team, user = divmod(number, USERS)
            await self._changed(operation, [(team, user)])
            return Card(team=team, user=user)

        @client(affects=[_CARD.by_body(), _BOARD.by_body()])
        def touch(numbers: list[int], operation: str) -> None:
            rows = [divmod(number, USERS) for number in numbers]
            for team, user in rows:
                invalidate(_CARD, team=team, user=user)
                invalidate(_BOARD, team=team)
            self._changed_in_a_thread(operation, rows)

        return [promote, touch]

    async def _changed(self, operation: str, rows: Iterable[tuple[int, int]]) -> None:
        await asyncio.sleep(self._pauses(slow=operation in self.doomed))
        self._database.change(operation, rows)
        await asyncio.sleep(self._pauses())
        self._dies_if_doomed(operation)

    def _changed_in_a_thread(self, operation: str, rows: Iterable[tuple[int, int]]) -> None:
        time.sleep(self._pauses(slow=operation in self.doomed))
        self._database.change(operation, rows)
        time.sleep(self._pauses())
        self._dies_if_doomed(operation)

    def _dies_if_doomed(self, operation: str) -> None:
        if operation in self.doomed:
            os.kill(os.getpid(), signal.SIGKILL)  # pragma: no cover  # nobody is left to tell


_CARD = Context("card")
_BOARD = Context("board")
