"""The application under check: rows with a version counter in SQLite, nested contexts, all kinds of mutations.

Of every card and board there is one that its address names, and one that the identity of who asks names.
"""

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
from typing import Annotated, Any

from pydantic import BaseModel

from ...engine.current_call import invalidate
from ...errors import Conflict
from ...graph.build import build
from ...graph.declare import Context, Result, client
from ...graph.model import Graph
from ...graph.types.identity_sources import Claim, Me

TEAMS = 10
USERS = 5

# SQLite waits so long for the transaction of another process, which takes milliseconds.
_BUSY_SECONDS = 10.0

_SCHEMA = """
create table rows (team integer, user integer, version integer not null, primary key (team, user));
create table commits (operation text, row text, version integer, primary key (operation, row));
"""


class Kind(StrEnum):
    """The mutations, by the way in which their scope is determined."""

    RENAME = "rename"  # all of a card's parameters are arguments
    RETITLE = "retitle"  # one of a card's parameters is an argument: every card of a team
    RESET = "reset"  # no narrowing: every card and board
    PROMOTE = "promote"  # the result names the card
    TOUCH = "touch"  # the body names the cards
    WORK = "work"  # the caller's identity names the card
    REFUSE = "refuse"  # as rename, but it refuses before it changes anything

    @property
    def holds(self) -> bool:
        """Whether its scope is known, and held, before it runs."""
        return self not in (Kind.PROMOTE, Kind.TOUCH)


def rows_of(team: int, user: int | None) -> frozenset[str]:
    """The names of a user's row, or of every row of the team."""
    return frozenset(row_name(team, one) for one in (range(USERS) if user is None else (user,)))


def row_name(team: int, user: int) -> str:
    return f"{team}.{user}"


class Database:
    """The source of truth, usable from every thread. A row's version grows by one at each change."""

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
        """The version of a user's row, or of every row of the team, by row name."""
        found = self._connection().execute(
            "select team, user, version from rows where team = ? and (user = ? or ? is null)", (team, user, user)
        )
        return {row_name(team, user): version for team, user, version in found}

    def change(self, operation: str, rows: Iterable[tuple[int, int]]) -> None:
        """Give each row its next version and record the operation that made it, in one transaction."""
        with self._transaction() as connection:
            for team, user in rows:
                connection.execute("update rows set version = version + 1 where team = ? and user = ?", (team, user))
                connection.execute(
                    "insert into commits select ?, ?, version from rows where team = ? and user = ?",
                    (operation, row_name(team, user), team, user),
                )

    def commits(self) -> Iterator[tuple[str, str, int]]:
        """Every recorded change: the operation, the row and its version."""
        yield from self._connection().execute("select operation, row, version from commits")

    def close(self) -> None:
        """Close the connections of all threads."""
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
                check_same_thread=False,  # another thread may close it
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
    """Random pauses of functions around their work: most are short and some long, so that races occur."""

    def __init__(self, random: random.Random) -> None:
        self._random = random

    def __call__(self, *, slow: bool = False) -> float:
        often, seldom = self._random.uniform(0.0, 0.004), self._random.uniform(0.02, 0.12)
        return seldom if slow or self._random.random() < 0.2 else often


class Card(BaseModel):
    """The result of `promote`: the card that it changed."""

    team: int
    user: int


class World:
    """The functions of one worker. `doomed` operations are slow, and kill the worker between commit and purge."""

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

        @client(context=_DESK)
        async def desk(team: Annotated[int, Claim("team")], user: Annotated[int, Me]) -> dict[str, int]:
            found = self._database.versions(team, user)
            await asyncio.sleep(self._pauses())
            return found

        @client(context=_LOBBY)
        async def lobby(team: Annotated[int, Claim("team")]) -> dict[str, int]:
            found = self._database.versions(team)
            await asyncio.sleep(self._pauses())
            return found

        return [card, board, desk, lobby]

    def _by_arguments(self) -> list[Any]:
        @client(affects=_EVERYTHING)
        async def rename(team: int, user: int, operation: str) -> None:
            await self._changed(operation, [(team, user)])

        @client(affects=_EVERYTHING)
        def retitle(team: int, operation: str) -> None:
            self._changed_in_a_thread(operation, [(team, user) for user in range(USERS)])

        @client(affects=[one.whole() for one in _EVERYTHING])
        async def reset(operation: str) -> None:
            await self._changed(operation, [(team, user) for team in range(TEAMS) for user in range(USERS)])

        @client(affects=_EVERYTHING)
        def refuse(team: int, user: int, operation: str) -> None:
            time.sleep(self._pauses())
            raise Conflict(operation)

        @client(affects=_EVERYTHING)
        async def work(team: Annotated[int, Claim("team")], user: Annotated[int, Me], operation: str) -> None:
            await self._changed(operation, [(team, user)])

        return [rename, retitle, reset, refuse, work]

    def _by_result_and_body(self) -> list[Any]:
        of_a_user = [one.where(team=Result("team"), user=Result("user")) for one in (_CARD, _DESK)]
        of_a_team = [one.where(team=Result("team")) for one in (_BOARD, _LOBBY)]

        @client(affects=[*of_a_user, *of_a_team])
        async def promote(number: int, operation: str) -> Card:
            team, user = divmod(number, USERS)
            await self._changed(operation, [(team, user)])
            return Card(team=team, user=user)

        @client(affects=[one.by_body() for one in _EVERYTHING])
        def touch(numbers: list[int], operation: str) -> None:
            rows = [divmod(number, USERS) for number in numbers]
            for team, user in rows:
                for context in (_CARD, _DESK):
                    invalidate(context, team=team, user=user)
                for context in (_BOARD, _LOBBY):
                    invalidate(context, team=team)
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
            os.kill(os.getpid(), signal.SIGKILL)  # pragma: no cover  # a killed process records no coverage


_CARD = Context("card")
_BOARD = Context("board")
_DESK = Context("desk")  # the card of the user who asks, in the team of the claim
_LOBBY = Context("lobby")  # the board of the claim's team, for visitors
_EVERYTHING = [_CARD, _BOARD, _DESK, _LOBBY]
