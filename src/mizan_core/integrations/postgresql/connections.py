"""A connection that waits for notifications, and is opened again whenever it breaks."""

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, Self, TypeAlias

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...engine.engine import Engine
from ...errors import DeclarationError
from ...graph.model import Graph

logger = logging.getLogger("mizan")

# A URL or keywords, as libpq reads them, or a function that returns them: a password may change.
Conninfo: TypeAlias = str | Callable[[], str]

# After a failure, how long to wait before the next attempt; each time twice as long, up to a bound.
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.1, 5.0

# A peer that vanished without a word is noticed after about half a minute, unless the user's settings say otherwise.
_SETTINGS = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "connect_timeout": 10}

# The driver in a URL of SQLAlchemy.
_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+(?=://)")


class HasEngine(Protocol):
    """An application over an engine, as `mizan_asgi.Mizan` is."""

    @property
    def engine(self) -> Engine: ...


Mizan: TypeAlias = Engine | HasEngine


def engine_of(mizan: Mizan) -> Engine:
    """The engine of an application, or itself."""
    return mizan if isinstance(mizan, Engine) else mizan.engine


def graph_of(mizan: Mizan | Graph) -> Graph:
    """The graph of an application, of an engine, or itself."""
    return mizan if isinstance(mizan, Graph) else engine_of(mizan).graph


async def heard(connection: AsyncConnection, seconds: float) -> list[str]:
    """The payload of the next notification, with those of the same packet. None after so many seconds without one."""
    return [one.payload async for one in connection.notifies(timeout=seconds, stop_after=1)]


class Background(ABC):
    """An async context manager around a task that is connected to PostgreSQL.

    Entering it raises `psycopg.OperationalError` where the database cannot be reached. Later failures are logged, and
    it connects again. For one event loop, that of the engine.
    """

    def __init__(self, conninfo: Conninfo, channel: str) -> None:
        self._conninfo = conninfo
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._connection: AsyncConnection

    @property
    def is_connected(self) -> bool:
        """Whether it hears of what is written now."""
        return self._task is not None and not self._connection.closed

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise DeclarationError(f"This {type(self).__name__} runs already; enter it once, in the lifespan.")
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._run(), name=f"mizan {type(self).__name__}")
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._connection.close()

    @abstractmethod
    async def _opened(self) -> None:
        """What is done once a connection listens."""

    @abstractmethod
    async def _work(self, connection: AsyncConnection) -> None:
        """What is done with it from then on, until it breaks or the task is cancelled."""

    async def _connect(self) -> AsyncConnection:
        conninfo = self._conninfo if isinstance(self._conninfo, str) else self._conninfo()
        settings = _SETTINGS | conninfo_to_dict(_DRIVER.sub(r"\1", conninfo))
        connection = await AsyncConnection.connect(make_conninfo("", **settings), autocommit=True)
        try:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            await self._opened()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _run(self) -> None:
        while True:
            try:
                await self._work(self._connection)
            except psycopg.Error as error:
                logger.warning("%s: the connection to PostgreSQL broke: %s", type(self).__name__, error)
            except Exception:  # what it was about to do is done after it has connected again
                logger.exception("%s failed.", type(self).__name__)
            await self._connection.close()
            self._connection = await self._connected_again()

    async def _connected_again(self) -> AsyncConnection:
        seconds = FIRST_RETRY_SECONDS
        while True:
            await asyncio.sleep(seconds)
            try:
                return await self._connect()
            except Exception as error:  # noqa: BLE001  # a function of the user's may return where to connect
                logger.warning("%s cannot connect to PostgreSQL: %s", type(self).__name__, error)
            seconds = min(2 * seconds, LAST_RETRY_SECONDS)
