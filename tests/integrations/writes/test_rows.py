"""What a commit purges, for every way in which a session of SQLAlchemy can write."""

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .blog import Article, Blog, Tag, User, tagged

pytestmark = pytest.mark.asyncio


async def test_an_insert_purges_the_scopes_of_its_row(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        session.add(User(name="Cid", org_id=3))
    assert blog.purged.take() == {"users;user_id=3", "orgs;org_id=3"}


async def test_a_python_default_is_known_of_an_insert(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        session.add(User(name="Cid"))
    assert blog.purged.take() == {"users;user_id=3", "orgs;org_id=1"}


async def test_a_move_purges_both_scopes(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        ada = await session.get_one(User, 1)
        ada.org_id = 5
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=5"}


async def test_the_row_in_the_database_counts_not_the_loaded_one(blog: Blog) -> None:
    async with blog.sessions() as late:
        ada = await late.get_one(User, 1)
        await late.commit()  # not expired: it still says that she is in organisation 1
        async with blog.sessions.begin() as session:
            (await session.get_one(User, 1)).org_id = 7
        blog.purged.take()
        ada.org_id = 8
        await late.commit()
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=7", "orgs;org_id=8"}


async def test_other_columns_purge_nothing(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        (await session.get_one(User, 1)).seen = 4
        await session.execute(update(User).values(seen=User.seen + 1))
    assert blog.purged.commits == []


async def test_a_delete_purges_what_its_row_was_in(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.delete(await session.get_one(User, 2))
    assert blog.purged.take() == {"users;user_id=2", "orgs;org_id=2"}


async def test_a_bulk_update_purges_each_row_before_and_after(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.execute(update(Article).where(Article.title.in_(["One", "Three"])).values(author_id=2))
    assert blog.purged.take() == {"articles;author_id=1", "articles;author_id=2"}


async def test_an_expression_is_read_after_a_bulk_update(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.execute(update(User).where(User.name == "Ada").values(org_id=User.org_id + 8))
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=9"}


async def test_a_bulk_delete_purges_what_its_rows_were_in(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.execute(delete(User).where(User.org_id == select(func.max(User.org_id)).scalar_subquery()))
    assert blog.purged.take() == {"users;user_id=2", "orgs;org_id=2"}


async def test_many_rows_of_one_insert_are_all_purged(blog: Blog) -> None:
    rows = [{"id": number, "name": f"N{number}", "org_id": number} for number in range(30, 33)]
    expected = {f"users;user_id={one}" for one in range(30, 33)} | {f"orgs;org_id={one}" for one in range(30, 33)}
    for statement, sent in (
        (insert(User), rows),
        (insert(User).values(rows), None),
        (insert(User.__table__), rows),
        (insert(User).returning(User), rows),
    ):
        async with blog.sessions.begin() as session:
            await session.execute(statement, sent)
        assert blog.purged.take() == expected
        async with blog.sessions.begin() as session:
            await session.execute(delete(User).where(User.id >= 30))
        blog.purged.take()


async def test_keys_that_nobody_was_told_widen(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.execute(insert(User).values([{"name": "X", "org_id": 4}, {"name": "Y", "org_id": 5}]))
    assert blog.purged.take() == {"users", "orgs;org_id=4", "orgs;org_id=5"}


async def test_rows_of_a_select_purge_whole_contexts(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        copied = select(User.name + "'s twin", User.org_id, User.seen)
        await session.execute(insert(User).from_select(["name", "org_id", "seen"], copied))
    assert blog.purged.take() == {"users", "orgs"}


async def test_an_upsert_purges_also_what_it_may_replace(blog: Blog) -> None:
    upserting = sqlite_insert if blog.is_sqlite else postgresql_insert
    async with blog.sessions.begin() as session:
        statement = upserting(User).values(id=1, name="Ada", org_id=6)
        await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"org_id": 6}))
    assert blog.purged.take() == {"users;user_id=1", "orgs"}
    async with blog.sessions.begin() as session:
        await session.execute(upserting(User).values(id=1, name="A", org_id=6).on_conflict_do_nothing())
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=6"}
    if blog.is_sqlite:
        async with blog.sessions.begin() as session:
            await session.execute(insert(User).prefix_with("OR REPLACE").values(id=1, name="Ben", org_id=6))
        assert blog.purged.take() == {"users", "orgs"}


async def test_cascades_of_the_unit_of_work_are_purged(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.delete(await session.get_one(User, 1))
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "articles;author_id=1"}


async def test_cascades_of_the_database_are_purged(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.execute(delete(User).where(User.id == 1))
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "articles;author_id=1"}


async def test_rows_of_a_secondary_table_are_purged(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        article = await session.get_one(Article, 11)
        tags = list(await session.scalars(select(Tag)))
        await session.run_sync(lambda _: article.tags.extend(tags))
    assert blog.purged.take() == {"tags;name=red", "tags;name=blue", "articles;author_id=1"}
    async with blog.sessions.begin() as session:
        article = await session.get_one(Article, 11)
        await session.run_sync(lambda _: article.tags.pop(0))
    assert len(blog.purged.take()) == 2
    async with blog.sessions.begin() as session:
        await session.execute(tagged.delete().where(tagged.c.article_id == 11))
    assert len(blog.purged.take()) == 2


async def test_bulk_saved_objects_are_purged(blog: Blog) -> None:
    async with blog.sessions.begin() as session:
        await session.run_sync(
            lambda sync: sync.bulk_save_objects([User(name="X", org_id=4), User(name="Y", org_id=5)])
        )
    assert blog.purged.take() == {"users", "orgs;org_id=4", "orgs;org_id=5"}
    async with blog.sessions.begin() as session:
        await session.run_sync(lambda sync: sync.bulk_update_mappings(User, [{"id": 1, "org_id": 9}]))
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=9"}


async def test_a_rolled_back_savepoint_leaves_what_was_before(blog: Blog) -> None:
    async with blog.sessions() as session:
        ada = await session.get_one(User, 1)
        ada.org_id = 5
        await session.flush()
        async with session.begin_nested() as inner:
            ada.org_id = 6
            await session.flush()
            await inner.rollback()
        await session.commit()
    assert blog.purged.take() == {"users;user_id=1", "orgs;org_id=1", "orgs;org_id=5"}


async def test_a_rollback_purges_nothing(blog: Blog) -> None:
    async with blog.sessions() as session:
        (await session.get_one(User, 1)).org_id = 5
        await session.flush()
        await session.rollback()
        await session.commit()
    assert blog.purged.commits == []
    assert blog.mizan.health().running == 0
