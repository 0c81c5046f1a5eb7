"""Connections to SQLite. A function opens a session of its own, from `reading` or from `writing`.

A reader sees one snapshot. A writer has the only write lock from its first statement on: what it reads of the past
(the project that an issue leaves, the person who loses it) cannot change before it writes. Without that, two moves of
one issue could both name the project it was in before either of them, and a board would be left stale.
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
    """The database at `path` is what `reading` and `writing` use until this ends."""
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
    connection.isolation_level = None  # the driver would begin too late; `_begin` does it
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "busy_timeout = 10000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    locked = connection.get_execution_options().get("locked", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if locked else "BEGIN")
