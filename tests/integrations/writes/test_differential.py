"""Random writes by random sessions: after each commit, every bundle is what the database has."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Connection, delete, event, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

from mizan_core import Context, Engine, Invalidation, MemoryCache, build, client
from mizan_core.integrations.sqlalchemy import Writes

from .blog import Article, Base, Status, Tag, User, enforce_foreign_keys, tagged

Names, Orgs, Writers, Tagged = Context("names"), Context("orgs"), Context("writers"), Context("tagged")

USERS, ORGS, TAGS = range(1, 7), range(1, 4), ("red", "blue", "green")
TRANSACTIONS = 16


class Host:
    """A database with an engine whose readers show all of it."""

    def __init__(self, database: AsyncEngine) -> None:
        self.database = database
        self.sessions = sessions = async_sessionmaker(database, expire_on_commit=False)
        self.upserting: Any = sqlite_insert if database.dialect.name == "sqlite" else postgresql_insert

        @client(context=Names)
        async def name_of(user_id: int) -> str | None:
            async with sessions() as session:
                return await session.scalar(select(User.name).where(User.id == user_id))

        @client(context=Orgs)
        async def members(org_id: int) -> list[str]:
            async with sessions() as session:
                return list(await session.scalars(select(User.name).where(User.org_id == org_id).order_by(User.name)))

        @client(context=Writers)
        async def titles(author_id: int) -> list[str]:
            shown = select(Article.title).where(Article.author_id == author_id, Article.status == Status.PUBLIC)
            async with sessions() as session:
                return list(await session.scalars(shown.order_by(Article.title)))

        @client(context=Tagged)
        async def tagged_titles(tag: str) -> list[str]:
            shown = select(Article.title).join(tagged).where(tagged.c.tag_name == tag).order_by(Article.title)
            async with sessions() as session:
                return list(await session.scalars(shown))

        self.mizan = Engine(build([name_of, members, titles, tagged_titles]), cache=MemoryCache())
        self.writes = writes = Writes(self.mizan)

        @writes.on(User, columns=("name",))
        def of_user(row: User) -> list[Invalidation]:
            return [Names.of(user_id=row.id), Orgs.of(org_id=row.org_id)]

        @writes.on(Article, columns=("title", "status"))
        def of_article(row: Article, connection: Connection) -> list[Any]:
            if row.status is Status.DRAFT:
                return [Tagged]
            return [Writers.of(author_id=row.author_id), Tagged]

        @writes.on(tagged)
        def of_tagged(row: Any) -> Invalidation:
            return Tagged.of(tag=row.tag_name)

        writes.attach(sessions)

    async def wrong(self) -> list[str]:
        """The bundles that a cache serves otherwise than the database has them."""
        found = []
        asked: list[tuple[str, dict[str, Any]]] = [
            *(("names", {"user_id": one}) for one in USERS),
            *(("orgs", {"org_id": one}) for one in ORGS),
            *(("writers", {"author_id": one}) for one in USERS),
            *(("tagged", {"tag": one}) for one in TAGS),
        ]
        uncached = Engine(self.mizan.graph)
        for context, params in asked:
            kept = await self.mizan.fetch(context, params)
            if kept.body != (await uncached.fetch(context, params)).body:
                found.append(f"{context} {params}: {kept.body!r} ({kept.status})")
        await uncached.aclose()
        return found


@pytest_asyncio.fixture(params=["sqlite", "psycopg"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    if request.param == "sqlite":
        database = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'blog.db'}")
        event.listen(database.sync_engine, "connect", enforce_foreign_keys)
    else:
        url: str = request.getfixturevalue("postgres_url")
        database = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    async with database.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Tag), [{"name": one} for one in TAGS])
    made = Host(database)
    async with made.mizan:
        yield made
    made.writes.close()
    await database.dispose()


Write = Callable[[AsyncSession, random.Random, Host], Awaitable[object]]


async def add_user(session: AsyncSession, rng: random.Random, host: Host) -> None:
    session.add(User(id=rng.choice(USERS), name=f"N{rng.random()}", org_id=rng.choice(ORGS)))
    await session.flush()


async def change_user(session: AsyncSession, rng: random.Random, host: Host) -> None:
    user = await session.get(User, rng.choice(USERS))
    if user is not None:
        setattr(user, *rng.choice([("name", f"N{rng.random()}"), ("org_id", rng.choice(ORGS)), ("seen", 1)]))


async def delete_user(session: AsyncSession, rng: random.Random, host: Host) -> None:
    user = await session.get(User, rng.choice(USERS), options=[selectinload(User.articles)])
    if user is not None:
        await session.delete(user)


async def delete_users(session: AsyncSession, rng: random.Random, host: Host) -> None:
    await session.execute(delete(User).where(User.org_id == rng.choice(ORGS), User.seen == 0))


async def move_users(session: AsyncSession, rng: random.Random, host: Host) -> None:
    await session.execute(update(User).where(User.org_id == rng.choice(ORGS)).values(org_id=1 + User.org_id % 3))


async def upsert_user(session: AsyncSession, rng: random.Random, host: Host) -> None:
    sent = {"id": rng.choice(USERS), "name": f"N{rng.random()}", "org_id": rng.choice(ORGS)}
    statement = host.upserting(User).values(sent)
    await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=sent))


async def copy_users(session: AsyncSession, rng: random.Random, host: Host) -> None:
    free = select(User.id + 3, User.name + "'", User.org_id, User.seen).where(User.id + 3 <= max(USERS))
    await session.execute(insert(User).from_select(["id", "name", "org_id", "seen"], free))


async def add_articles(session: AsyncSession, rng: random.Random, host: Host) -> None:
    rows = [
        {"author_id": rng.choice(USERS), "title": f"T{rng.random()}", "status": rng.choice(list(Status))}
        for _ in range(rng.randint(1, 3))
    ]
    await session.execute(insert(Article), rows)


async def change_articles(session: AsyncSession, rng: random.Random, host: Host) -> None:
    author = rng.choice(USERS)
    values = rng.choice(
        [{"author_id": rng.choice(USERS)}, {"status": rng.choice(list(Status))}, {"title": f"{author}"}]
    )
    await session.execute(update(Article).where(Article.author_id == author).values(**values))


async def tag_article(session: AsyncSession, rng: random.Random, host: Host) -> None:
    article = await session.scalar(select(Article).order_by(func.random()).limit(1).options(selectinload(Article.tags)))
    if article is not None:
        article.tags = list(await session.scalars(select(Tag).where(Tag.name.in_(rng.sample(TAGS, rng.randint(0, 3))))))


WRITES: tuple[Write, ...] = (
    *(add_user, add_user, change_user, change_user, change_user, delete_user, delete_users, move_users, upsert_user),
    *(copy_users, add_articles, add_articles, change_articles, change_articles, tag_article, tag_article),
)


async def commit_some(host: Host, rng: random.Random) -> bool:
    """One transaction of a few writes, some in savepoints, some of those rolled back. Whether it was committed."""
    async with host.sessions() as session:
        try:
            for _ in range(rng.randint(1, 4)):
                write = rng.choice(WRITES)
                if rng.random() < 0.6:
                    await write(session, rng, host)
                    continue
                async with session.begin_nested() as inner:
                    await write(session, rng, host)
                    await session.flush()
                    if rng.random() < 0.5:
                        await inner.rollback()
            if rng.random() < 0.1:
                await session.rollback()
                return False
            await session.commit()
        except (DBAPIError, StaleDataError):  # a name that is taken, a row that another transaction has deleted
            await session.rollback()
            return False
        return True


@pytest.mark.asyncio
async def test_no_bundle_is_stale_after_a_commit(host: Host) -> None:
    rng = random.Random(0)
    await host.wrong()
    committed = 0
    for _ in range(TRANSACTIONS):
        committed += await commit_some(host, rng)
        assert await host.wrong() == []
    assert committed > TRANSACTIONS / 4


@pytest.mark.asyncio
async def test_no_bundle_is_stale_after_concurrent_commits(host: Host) -> None:
    if host.database.dialect.name == "sqlite":
        pytest.skip("Its transactions run one after the other.")
    rng = random.Random(1)
    await host.wrong()
    for _ in range(TRANSACTIONS // 2):
        await asyncio.gather(
            *(commit_some(host, random.Random(rng.random())) for _ in range(4)), host.wrong(), host.wrong()
        )
        assert await host.wrong() == []
