"""A process that stops between its commit and its purge. Arguments: KIND REDIS DATABASE."""

import asyncio
import sys

from sqlalchemy import create_engine, event, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from mizan_core import Engine, RedisCache

from .blog import User, writes_of
from .names import CACHE_SECRET, HOLD_SECONDS, PREFIX, graph_over

RENAME = update(User).where(User.id == 1).values(name="Eve")


def stop(session: Session) -> None:
    print("committed", flush=True)
    sys.stdin.read()


async def in_an_async_session(mizan: Engine, database: str) -> None:
    sessions = async_sessionmaker(create_async_engine(f"sqlite+aiosqlite:///{database}"))
    writes = writes_of(mizan)
    writes.attach(sessions)
    event.listen(sessions.kw["sync_session_class"], "after_commit", stop, insert=True)
    async with sessions.begin() as session:
        await session.execute(RENAME)


def in_a_sync_session(mizan: Engine, database: str) -> None:
    sessions = sessionmaker(create_engine(f"sqlite:///{database}"))
    writes = writes_of(mizan)
    writes.attach(sessions)
    event.listen(sessions, "after_commit", stop, insert=True)
    with sessions.begin() as session:
        session.execute(RENAME)


if __name__ == "__main__":
    kind, redis, database = sys.argv[1:]
    mizan = Engine(
        graph_over(database),
        cache=RedisCache(redis, prefix=PREFIX + kind, timeout=10),
        cache_secret=CACHE_SECRET,
        hold=HOLD_SECONDS,
    )
    if kind == "async":
        asyncio.run(in_an_async_session(mizan, database))
    else:
        in_a_sync_session(mizan, database)
