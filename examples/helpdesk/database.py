"""Sessions, for SQLite in a file that all processes of one machine open.

`reading` sees one snapshot. `writing` has the write lock from its first statement on: what it reads cannot change
before it writes, and it waits for another process's writes instead of failing.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from .models import Base, Member, Organisation

reading = async_sessionmaker[AsyncSession](expire_on_commit=False)
writing = async_sessionmaker[AsyncSession](expire_on_commit=False)


def use(path: Path) -> None:
    """Let `reading` and `writing` use the database at `path`. A connection is closed with its session."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
    event.listen(engine.sync_engine, "connect", _set_up)
    event.listen(engine.sync_engine, "begin", _begin)
    reading.configure(bind=engine)
    writing.configure(bind=engine.execution_options(locked=True))


async def make() -> None:
    """Make the tables, with two organisations and their members, unless they are there."""
    async with writing.begin() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        if await session.get(Organisation, 1) is None:
            session.add_all([Organisation(id=1, name="Kestrel"), Organisation(id=2, name="Merlin")])
            await session.flush()
            names = {1: (1, "Ada"), 2: (1, "Bo"), 3: (2, "Cy")}
            session.add_all(Member(id=id_, org_id=org_id, name=name) for id_, (org_id, name) in names.items())


def _set_up(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions: the driver would do it too late
    for pragma in ("busy_timeout = 10000", "journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    locked = connection.get_execution_options().get("locked", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if locked else "BEGIN")
