"""When commits hold and purge: async sessions, threads, the loop's own thread, mutations, outages and cancellations."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from mizan_core import DeclarationError, Engine, MemoryCache, Unavailable, build, client
from mizan_core.cache.shared import holds as shared_holds
from mizan_core.protocol.invalidation import spelled
from tests.engine.engines import FailingCache

from .blog import READERS, Article, Base, Blog, Purged, User, Users, engine, writes_of


class Shop:
    """A database that sync sessions write."""

    def __init__(self, path: Path, mizan: Engine) -> None:
        self.database = create_engine(f"sqlite:///{path / 'sync.db'}")
        Base.metadata.create_all(self.database)
        self.sessions = sessionmaker(self.database)
        self.mizan = mizan
        self.purged = Purged()
        mizan.observe(self.purged)
        self.writes = writes_of(mizan)
        self.writes.attach(self.sessions)

    def add(self, name: str = "Ada") -> None:
        with self.sessions.begin() as session:
            session.add(User(name=name))

    def close(self) -> None:
        self.writes.close()
        self.database.dispose()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def opening(mizan: Engine) -> Shop:
        shops.append(Shop(tmp_path, mizan))
        return shops[-1]

    yield opening
    for one in shops:
        one.close()


async def status(mizan: Engine, user_id: int = 1) -> str:
    return (await mizan.fetch("users", {"user_id": user_id})).status


async def status_elsewhere(mizan: Engine) -> str:
    """As a request of nobody's sees it."""
    return await asyncio.get_running_loop().create_task(status(mizan))


@pytest.mark.asyncio
async def test_it_holds_before_the_commit_and_has_purged_after_it(blog: Blog) -> None:
    seen = []
    await status(blog.mizan)

    def look(connection: Any) -> None:
        from sqlalchemy.util import await_only

        seen.append(await_only(status_elsewhere(blog.mizan)))

    async with blog.sessions() as session:
        (await session.get_one(User, 1)).name = "Eve"
        await session.flush()
        assert await status(blog.mizan) == "hit"  # nothing is held by a flush
        bind: Any = (await session.connection()).sync_connection
        event.listen(bind, "commit", look)
        await session.commit()
    assert seen == ["bypass"]
    assert await status(blog.mizan) == "miss"
    assert await status(blog.mizan) == "hit"


@pytest.mark.asyncio
async def test_a_thread_waits_for_its_purge(opened: Callable[..., Shop]) -> None:
    async with engine() as mizan:
        shop = opened(mizan)
        await status(mizan)
        await asyncio.to_thread(shop.add)
        assert shop.purged.take() == {"users;user_id=1", "orgs;org_id=1"}
        assert await status(mizan) == "miss"


def test_a_script_without_a_loop_waits_too(opened: Callable[..., Shop]) -> None:
    mizan = engine()
    shop = opened(mizan)
    shop.add()
    assert shop.purged.take() == {"users;user_id=1", "orgs;org_id=1"}
    mizan.blocking.close()


@pytest.mark.asyncio
async def test_on_the_loop_the_purge_is_begun(opened: Callable[..., Shop]) -> None:
    async with engine() as mizan:
        shop = opened(mizan)
        await status(mizan)
        shop.add()
        assert shop.purged.commits == []
        while not shop.purged.commits:
            await asyncio.sleep(0)
        assert shop.purged.take() == {"users;user_id=1", "orgs;org_id=1"}
        assert await status(mizan) == "miss"


@pytest.mark.asyncio
async def test_a_savepoint_is_purged_with_the_outer_commit(blog: Blog) -> None:
    async with blog.sessions() as session:
        async with session.begin_nested():
            session.add(User(name="Cid", org_id=3))
        assert blog.purged.commits == []
        await session.commit()
    assert blog.purged.take() == {"users;user_id=3", "orgs;org_id=3"}


@pytest.mark.asyncio
async def test_what_other_listeners_write_at_the_commit_is_purged(blog: Blog) -> None:
    async with blog.sessions() as session:

        def write(sync: Session) -> None:
            if not sync.in_nested_transaction():
                sync.add(User(id=9, name="Late", org_id=9))

        event.listen(session.sync_session, "before_commit", write)
        session.add(User(name="Cid", org_id=3))
        await session.commit()
    assert blog.purged.take() == {"users;user_id=3", "orgs;org_id=3", "users;user_id=9", "orgs;org_id=9"}


@pytest.mark.asyncio
async def test_a_failed_commit_is_purged_for_it_may_have_succeeded(blog: Blog) -> None:
    async with blog.sessions() as session:
        session.add(User(name="Cid", org_id=3))
        await session.flush()
        session.add(Article(author_id=99))
        with pytest.raises(IntegrityError):
            await session.commit()
    assert blog.purged.take() == {"users;user_id=3", "orgs;org_id=3", "articles;author_id=99"}


@pytest.mark.asyncio
async def test_a_commit_that_does_not_begin_releases_its_hold(blog: Blog) -> None:
    await status(blog.mizan)
    async with blog.sessions() as session:
        (await session.get_one(User, 1)).name = "Eve"

        def refuse(sync: Session) -> None:
            raise PermissionError

        event.listen(session.sync_session, "before_commit", refuse)
        with pytest.raises(PermissionError):
            await session.commit()
    assert blog.purged.commits == []
    assert await status(blog.mizan) == "hit"


@pytest.mark.asyncio
async def test_a_flush_that_fails_leaves_nothing_held(blog: Blog) -> None:
    with pytest.raises(IntegrityError):
        async with blog.sessions.begin() as session:
            session.add(User(name="Ada", org_id=3))
    assert blog.purged.commits == []
    assert blog.mizan.health().running == 0


@pytest.mark.asyncio
async def test_a_deployment_that_refuses_commits_nothing(blog: Blog, opened: Callable[..., Shop]) -> None:
    cache = FailingCache()
    async with Engine(build(READERS), cache=cache, on_cache_failure="refuse") as mizan:
        shop = opened(mizan)
        cache.broken = True
        with pytest.raises(Unavailable):
            await asyncio.to_thread(shop.add)
        with pytest.raises(Unavailable):
            shop.add()  # on the loop's thread, of a cache that is known to be down
        with shop.sessions() as session:
            assert session.query(User).all() == []


@pytest.mark.asyncio
async def test_a_purge_that_fails_does_not_fail_its_commit(
    opened: Callable[..., Shop], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.05)
    cache = FailingCache()
    async with Engine(build(READERS), cache=cache, on_cache_failure="refuse", shutdown=0.1) as mizan:
        shop = opened(mizan)

        def fails(session: Session) -> None:
            cache.broken = True

        event.listen(shop.sessions, "before_commit", fails)
        await asyncio.to_thread(shop.add)
        with shop.sessions() as session:
            assert session.query(User).count() == 1
        assert mizan.health().owed_purges == 1
    assert "tried again" in caplog.text


@pytest.mark.asyncio
async def test_what_a_mutation_commits_joins_its_answer(blog: Blog) -> None:
    sessions = blog.sessions

    @client()
    async def rename(user_id: int, name: str) -> None:
        async with sessions.begin() as session:
            (await session.get_one(User, user_id)).name = name

    @client(affects=Users)
    async def provided(session: AsyncSession, user_id: int, org_id: int) -> None:
        (await session.get_one(User, user_id)).org_id = org_id

    async with Engine(build([*READERS, rename, provided], provide={AsyncSession: sessions.begin})) as mizan:
        with writes_of(mizan) as writes:
            writes.attach(sessions)
            answer = await mizan.call("rename", {"user_id": 1, "name": "Eve"})
            assert {one.context for one in answer.invalidations} == {"users", "orgs"}
            answer = await mizan.call("provided", {"user_id": 1, "org_id": 6})
            assert set(map(spelled, answer.invalidations)) == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=6"}


@pytest.mark.asyncio
async def test_sync_sessions_join_the_mutation_that_they_are_in(opened: Callable[..., Shop]) -> None:
    shops: list[Shop] = []

    @client()
    def in_a_thread(name: str) -> None:
        shops[0].add(name)

    @client()
    async def on_the_loop(name: str) -> None:
        shops[0].add(name)

    async with Engine(build([*READERS, in_a_thread, on_the_loop])) as mizan:
        shops.append(opened(mizan))
        for number, name in enumerate(("in_a_thread", "on_the_loop"), start=1):
            answer = await mizan.call(name, {"name": name})
            assert set(map(spelled, answer.invalidations)) == {f"users;user_id={number}", "orgs;org_id=1"}


@pytest.mark.asyncio
async def test_a_reader_that_writes_is_refused(opened: Callable[..., Shop]) -> None:
    shops: list[Shop] = []

    @client(context="names")
    async def name_on_the_loop() -> str:
        shops[0].add()
        return "Ada"

    @client(context="names")
    def name_in_a_thread() -> str:
        shops[0].add()
        return "Ada"

    async with Engine(build([*READERS, name_on_the_loop, name_in_a_thread])) as mizan:
        shops.append(opened(mizan))
        for name in ("name_on_the_loop", "name_in_a_thread"):
            with pytest.raises(DeclarationError, match="may change nothing"):
                await mizan.run(name, {})
        with shops[0].sessions() as session:
            assert session.query(User).all() == []


class PausingCache(MemoryCache):
    """A cache that purges when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.purging, self.may_purge = asyncio.Event(), asyncio.Event()

    async def delete(self, *keys: str) -> int:
        self.purging.set()
        await self.may_purge.wait()
        return await super().delete(*keys)


@pytest.mark.asyncio
async def test_a_cancelled_commit_purges_all_the_same(blog: Blog) -> None:
    cache = PausingCache()
    async with Engine(build(READERS), cache=cache, deadline=30) as mizan:
        writes = writes_of(mizan)
        purged = Purged()
        mizan.observe(purged)
        writes.attach(blog.sessions)

        async def commit() -> None:
            async with blog.sessions() as session:
                (await session.get_one(User, 1)).name = "Eve"
                await session.commit()

        work = asyncio.create_task(commit())
        await cache.purging.wait()
        work.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not work.done()
        cache.may_purge.set()
        await asyncio.wait([work])
        assert work.cancelled()
        assert purged.take() == {"users;user_id=1", "orgs;org_id=1"}
    async with blog.sessions() as session:
        assert (await session.get_one(User, 1)).name == "Eve"


@pytest.mark.asyncio
async def test_text_is_told_of_once(blog: Blog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="mizan")
    for _ in range(2):
        async with blog.sessions.begin() as session:
            await session.execute(text("UPDATE users SET seen = 1"))
            await (await session.connection()).exec_driver_sql("DELETE FROM tagged")
            await session.execute(text("SELECT * FROM users FOR UPDATE" if not blog.is_sqlite else "SELECT 1"))
            await session.execute(text("UPDATE tags SET name = 'x' WHERE name = 'none'"))
    said = [one.getMessage() for one in caplog.records if one.name == "mizan"]
    assert len(said) == 2
    assert said[0].endswith("UPDATE users SET seen = 1")
    assert "mizan triggers" in said[1]


@pytest.mark.asyncio
async def test_a_connection_without_a_session_is_told_of(blog: Blog, caplog: pytest.LogCaptureFixture) -> None:
    database: Any = blog.sessions.kw["bind"]
    for name in ("X", "Y"):
        async with database.begin() as connection:
            await connection.execute(insert(User).values(name=name, org_id=1))
    said = [one.getMessage() for one in caplog.records if one.name == "mizan"]
    assert len(said) == 1
    assert "outside of an attached session" in said[0]


@pytest.mark.asyncio
async def test_a_closed_writes_listens_no_more(blog: Blog) -> None:
    blog.writes.close()
    async with blog.sessions.begin() as session:
        await session.execute(update(User).values(name=User.name + "!"))
    assert blog.purged.commits == []


@pytest.mark.asyncio
async def test_many_threads_commit_at_once(opened: Callable[..., Shop]) -> None:
    async with engine() as mizan:
        shop = opened(mizan)
        barrier = threading.Barrier(4)

        def add(number: int) -> None:
            barrier.wait()
            shop.add(f"N{number}")

        await asyncio.gather(*(asyncio.to_thread(add, number) for number in range(4)))
        assert set.union(*shop.purged.commits) == {"orgs;org_id=1", *(f"users;user_id={one}" for one in range(1, 5))}


@pytest.mark.asyncio
async def test_savepoints_of_connections_without_a_session_are_let_be(blog: Blog) -> None:
    async with blog.sessions.kw["bind"].begin() as connection:
        inner = await connection.begin_nested()
        await inner.rollback()


def shuts_down(mizan: Engine) -> Callable[[Session], None]:
    """A listener that ends the loop on which a commit holds, as a web application does that ends meanwhile."""

    def close(session: Session) -> None:
        mizan.blocking.close()

    return close


def test_a_loop_that_ends_in_between_is_replaced(opened: Callable[..., Shop]) -> None:
    mizan = engine()
    shop = opened(mizan)
    assert [mizan.blocking.fetch("users", {"user_id": 1}).status for _ in range(2)] == ["miss", "hit"]
    event.listen(shop.sessions, "after_commit", shuts_down(mizan), insert=True)
    shop.add()
    assert mizan.blocking.fetch("users", {"user_id": 1}).status == "bypass"  # until the hold has expired
    mizan.blocking.close()


def test_a_purge_that_fails_on_another_loop_is_told(
    opened: Callable[..., Shop], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.05)
    cache = FailingCache()
    mizan = Engine(build(READERS), cache=cache, on_cache_failure="refuse", shutdown=0.1)
    shop = opened(mizan)
    event.listen(shop.sessions, "after_commit", shuts_down(mizan), insert=True)
    event.listen(shop.sessions, "after_commit", lambda session: setattr(cache, "broken", True), insert=True)
    shop.add()
    assert "A commit's purge has not succeeded." in caplog.text
    mizan.blocking.close()


def test_a_hold_that_cannot_be_released_fails_no_rollback(
    opened: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    mizan = engine()
    shop = opened(mizan)

    def refuse(session: Session) -> None:
        raise PermissionError

    event.listen(shop.sessions, "before_commit", shuts_down(mizan))
    event.listen(shop.sessions, "before_commit", refuse)
    with pytest.raises(PermissionError):
        shop.add()
    assert "could not be released" in caplog.text
    mizan.blocking.close()


@pytest.mark.asyncio
async def test_on_the_loop_a_hold_that_fails_is_told(
    opened: Callable[..., Shop], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FailingCache()
    async with Engine(build(READERS), cache=cache, on_cache_failure="refuse", shutdown=0.1) as mizan:
        shop = opened(mizan)

        def write(session: Session) -> None:
            session.add(User(id=9, name="Late", org_id=9))

        event.listen(shop.sessions, "before_commit", write)
        cache.broken = True
        shop.add()
        while "could not be held or purged yet" not in caplog.text:
            await asyncio.sleep(0.01)
        cache.broken = False
    with shop.sessions() as session:
        assert session.query(User).count() == 2


@pytest.mark.asyncio
async def test_on_the_loop_what_is_written_late_is_purged_too(opened: Callable[..., Shop]) -> None:
    async with engine() as mizan:
        shop = opened(mizan)

        def write(session: Session) -> None:
            session.add(User(id=9, name="Late", org_id=9))

        event.listen(shop.sessions, "before_commit", write)
        shop.add()
        while not shop.purged.commits:
            await asyncio.sleep(0)
        assert shop.purged.take() == {"users;user_id=1", "orgs;org_id=1", "users;user_id=9", "orgs;org_id=9"}


@pytest.mark.asyncio
async def test_a_released_savepoint_is_not_committed(blog: Blog) -> None:
    """The driver of SQLite would commit it, for it begins no transaction before a savepoint."""
    async with blog.sessions() as session:
        async with session.begin_nested():
            session.add(User(name="Cid", org_id=3))
        await session.rollback()
        assert await session.scalar(select(User).where(User.name == "Cid")) is None
    assert blog.purged.commits == []


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["commit", "rollback", "close", "begin"])
async def test_commits_into_an_outer_transaction_are_purged_again(blog: Blog, end: str) -> None:
    """As in tests whose database is rolled back: the session's commit is one, and the end of all is another."""
    purged = {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=4"}
    async with blog.sessions.kw["bind"].connect() as connection:
        outer = await connection.begin()
        async with blog.sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            (await session.get_one(User, 1)).org_id = 4
            await session.commit()
        assert blog.purged.take() == purged
        if end == "close":
            await connection.close()
        elif end == "begin":
            await outer.commit()
            await connection.begin()
            assert blog.purged.take() == purged
        else:
            await getattr(outer, end)()
            assert blog.purged.commits == []  # it is held until the connection is used again, or closed
    if end != "begin":
        assert blog.purged.take() == purged
    async with blog.sessions() as session:
        assert (await session.get_one(User, 1)).org_id == (1 if end in ("rollback", "close") else 4)


def test_a_sync_outer_transaction_purges_again_at_its_end(opened: Callable[..., Shop]) -> None:
    mizan = engine()
    shop = opened(mizan)
    purged = {"users;user_id=1", "orgs;org_id=1"}
    with shop.database.connect() as connection:
        outer = connection.begin()
        with shop.sessions.begin() as session:
            assert session.connection() is not connection
        with shop.sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(User(name="Ada"))
            session.commit()
        assert shop.purged.take() == purged
        outer.rollback()
    assert shop.purged.take() == purged
    mizan.blocking.close()


def test_a_commit_of_the_connection_alone_is_purged(opened: Callable[..., Shop]) -> None:
    mizan = engine()
    shop = opened(mizan)
    with shop.sessions() as session:
        session.add(User(name="Ada"))
        session.flush()
        session.connection().commit()
        assert mizan.blocking.fetch("users", {"user_id": 1}).status == "bypass"
    assert shop.purged.take() == {"users;user_id=1", "orgs;org_id=1"}
    mizan.blocking.close()
