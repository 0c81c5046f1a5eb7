"""A blog in a file of SQLite's, and in PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from .blog import Base, Blog, enforce_foreign_keys, engine, writes_of


@pytest_asyncio.fixture(params=["sqlite", "psycopg"])
async def blog(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blog]:
    if request.param == "sqlite":
        database = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'blog.db'}")
        event.listen(database.sync_engine, "connect", enforce_foreign_keys)
    else:
        url: str = request.getfixturevalue("postgres_url")
        database = create_async_engine(url.replace("postgresql://", f"postgresql+{request.param}://"))
    async with database.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions = async_sessionmaker(database, expire_on_commit=False)
    async with engine() as mizan:
        with writes_of(mizan) as writes:
            writes.attach(sessions)
            found = Blog(sessions, mizan, writes)
            await found.fill()
            yield found
    await database.dispose()
