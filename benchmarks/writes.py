"""What an attached `Writes` adds to a commit on PostgreSQL: `python -m benchmarks.writes`.

Sessions with and without it commit in turns, so that both see the same load of the machine.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import event, insert, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mizan_core import Context, Engine, MemoryCache, RedisCache, build, client
from mizan_core.integrations.sqlalchemy import Writes
from mizan_core.testing.postgres_server import postgres_server
from mizan_core.testing.redis_server import redis_server

COMMITS = 400

Users, Teams = Context("users"), Context("teams")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    team_id: Mapped[int] = mapped_column(default=1)
    seen: Mapped[int] = mapped_column(default=0)


@client(context=Users)
async def user(user_id: int) -> int:
    return user_id


@client(context=Teams)
async def team(team_id: int) -> int:
    return team_id


async def read(session: AsyncSession, number: int) -> None:
    await session.get_one(User, 1)


async def other_column(session: AsyncSession, number: int) -> None:
    (await session.get_one(User, 1)).seen = number + 1


async def watched_column(session: AsyncSession, number: int) -> None:
    (await session.get_one(User, 1)).name = f"Ada {number}"


async def added(session: AsyncSession, number: int) -> None:
    session.add(User(name="Ben"))


async def bulk(session: AsyncSession, number: int) -> None:
    await session.execute(update(User).where(User.name == "Cid").values(seen=number, name="Cid"))


WRITES: Sequence[Callable[[AsyncSession, int], Awaitable[None]]] = (read, other_column, watched_column, added, bulk)
RULES: dict[str, Callable[[Any], Any]] = {
    "primary key": lambda row: Users.of(user_id=row.id),
    "another column": lambda row: Teams.of(team_id=row.team_id),
}


class Database:
    """Sessions over a database of their own. `sent`: the statements since the last look."""

    def __init__(self, url: str) -> None:
        self.engine = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        self.sessions = async_sessionmaker(self.engine)
        self.sent = 0
        event.listen(self.engine.sync_engine, "after_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.sent += 1

    async def fill(self) -> None:
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(insert(User), [{"name": name} for name in ("Ada", "Cid")])

    async def commit(self, write: Callable[[AsyncSession, int], Awaitable[None]], number: int) -> float:
        began = time.perf_counter()
        async with self.sessions.begin() as session:
            await write(session, number)
        return (time.perf_counter() - began) * 1e6


async def compare(rule: str, plain: Database, attached: Database, cache: Any) -> None:
    async with Engine(build([user, team]), cache=cache, cache_secret="x" * 32) as mizan:
        with Writes(mizan) as writes:
            writes.on(User, columns=("name",))(RULES[rule])
            writes.attach(attached.sessions)
            for write in WRITES:
                without, with_it = [], []
                plain.sent = attached.sent = 0
                for number in range(COMMITS):
                    without.append(await plain.commit(write, number))
                    with_it.append(await attached.commit(write, number))
                print(
                    f"  {write.__name__:15} {statistics.median(without):6.0f} µs, with it "
                    f"{statistics.median(with_it) - statistics.median(without):+6.0f} µs and "
                    f"{(attached.sent - plain.sent) / COMMITS:+.1f} statements"
                )


async def main() -> None:
    with postgres_server(fsync="on") as server, redis_server() as redis:
        for name, make in (("memory", MemoryCache), ("Redis", lambda: RedisCache(redis.url))):
            for rule in RULES:
                with server.database() as one, server.database() as other:
                    plain, attached = Database(one), Database(other)
                    for database in (plain, attached):
                        await database.fill()
                    print(f"Cache in {name}, scope by {rule}:")
                    await compare(rule, plain, attached, make())
                    for database in (plain, attached):
                        await database.engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
