"""What only a database with many writers shows: rows that come in between, two phases, statements in statements."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from sqlalchemy import create_engine, delete, insert, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from mizan_core.testing.postgres_server import postgres_server

from .blog import Base, Blog, Purged, Tag, User, engine, writes_of


@pytest_asyncio.fixture
async def blog(postgres_url: str) -> AsyncIterator[Blog]:
    database = create_async_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    async with database.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with engine() as mizan:
        with writes_of(mizan) as writes:
            sessions = async_sessionmaker(database, expire_on_commit=False)
            writes.attach(sessions)
            found = Blog(sessions, mizan, writes)
            await found.fill()
            yield found
    await database.dispose()


@pytest.mark.asyncio
async def test_rows_are_locked_between_their_reading_and_the_write(blog: Blog) -> None:
    others = create_engine(blog.sessions.kw["bind"].url)
    free: list[list[int]] = []

    @blog.writes.on(User, columns=("name",))
    def look(row: User) -> None:
        if isinstance(row.org_id, int):  # the rows were read
            with others.begin() as other:
                free.append(list(other.scalars(select(User.id).with_for_update(skip_locked=True))))

    async with blog.sessions.begin() as session:
        await session.execute(update(User).where(User.org_id == 1).values(name="Eve"))
        assert free == [[2]]
    others.dispose()


@pytest.mark.asyncio
async def test_rows_that_come_in_between_widen(blog: Blog) -> None:
    """The statement also changes a row that another transaction has committed after the rows were read."""
    others = create_engine(blog.sessions.kw["bind"].url)
    arrived: list[int] = []

    @blog.writes.on(User, columns=("name",))
    def arrive(row: User) -> None:
        if isinstance(row.org_id, int) and not arrived:  # the rows were read
            arrived.append(row.org_id)
            with others.begin() as other:
                other.execute(insert(User).values(name="Cid", org_id=1))

    async with blog.sessions.begin() as session:
        assert arrived == []
        result = await session.execute(update(User).where(User.org_id == 1).values(name=User.name + "!"))
    assert arrived == [1]
    assert result.rowcount == 2  # type: ignore[attr-defined]  # a result of an UPDATE
    assert blog.purged.take() == {"users", "orgs"}
    others.dispose()


@pytest.fixture
def two_phase_url() -> Iterator[str]:
    with postgres_server(max_prepared_transactions="2") as server, server.database() as url:
        yield url


def test_two_phases_purge_after_the_second(two_phase_url: str) -> None:
    database = create_engine(two_phase_url.replace("postgresql:", "postgresql+psycopg:"))
    Base.metadata.create_all(database)
    sessions = sessionmaker(database, twophase=True)
    mizan, purged = engine(), Purged()
    mizan.observe(purged)
    with writes_of(mizan) as writes:
        writes.attach(sessions)
        with sessions() as session:
            session.add(User(name="Cid", org_id=3))
            session.prepare()
            assert purged.commits == []
            assert mizan.blocking.fetch("orgs", {"org_id": 3}).status == "bypass"
            session.commit()
        assert purged.take() == {"users;user_id=1", "orgs;org_id=3"}
        with sessions() as session:
            session.add(User(name="Dan", org_id=4))
            session.prepare()
            session.rollback()
        assert purged.commits == []
        assert mizan.blocking.fetch("orgs", {"org_id": 4}).status == "miss"
    mizan.blocking.close()
    database.dispose()


@pytest.mark.asyncio
async def test_statements_within_statements_purge_whole_contexts(blog: Blog) -> None:
    gone = delete(User).where(User.id == 2).returning(User.id).cte("gone")
    async with blog.sessions.begin() as session:
        await session.execute(select(gone.c.id))
    assert blog.purged.take() == {"users", "orgs", "articles", "tags"}
    gone = delete(User).where(User.id == 5).returning(User.id).cte("gone")
    async with blog.sessions.begin() as session:
        await session.execute(
            insert(Tag).from_select(["name"], select(User.name).where(User.id.in_(select(gone.c.id))))
        )
    assert blog.purged.take() == {"users", "orgs", "articles", "tags"}
