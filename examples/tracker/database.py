"""Connections to SQLite. Each function opens a session of its own, from `reading` or from `writing`.

A reading session sees one snapshot. A writing session holds the only write lock from its first statement on, so rows
that it reads (the project that an issue leaves, its assignee) cannot change before it writes. Without the lock, two
simultaneous moves of one issue would both name the same old project, and a board would stay stale.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, Connection, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

reading = async_sessionmaker[AsyncSession](expire_on_commit=False)
writing = async_sessionmaker[AsyncSession](expire_on_commit=False)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[None]:
    """Let `reading` and `writing` use the database at `path` until this ends."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=AsyncAdaptedQueuePool)
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "begin", _begin)
    reading.configure(bind=engine)
    writing.configure(bind=engine.execution_options(locked=True))
    try:
        yield
    finally:
        await engine.dispose()


def _set_up(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions: the driver would do it too late
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "busy_timeout = 10000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    locked = connection.get_execution_options().get("locked", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if locked else "BEGIN")
