"""Sessions, by `Depends`. Each application has its own `sessions`, in `app.state`."""

from collections.abc import AsyncIterator
from typing import Annotated, TypeAlias

from fastapi import Depends, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from .models import Base

Sessions: TypeAlias = async_sessionmaker[AsyncSession]

# The key of the lock under which one of several workers makes the tables.
_LOCK = 2_016


async def make_tables(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        await connection.run_sync(Base.metadata.create_all)


async def _opened(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for a request. A route commits by itself, before it returns."""
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_opened)]
