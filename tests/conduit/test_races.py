"""Two transactions at once, of which one decides what the other makes stale: the second waits for the first."""

import asyncio

import pytest
from sqlalchemy import text

from examples.conduit.models import Article, Comment

from .town import Town

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def waits(town: Town, second: asyncio.Task[None]) -> bool:
    """Whether the second transaction waits for a lock of the first one; False if it has ended."""
    while not second.done():
        async with town.plain.app.state.sessions() as session:
            if await session.scalar(_WAITING):
                return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.asyncio
async def test_a_rename_waits_for_a_comment_that_is_deleted(town: Town) -> None:
    async with town.conduit.app.state.sessions() as first:
        await first.delete(await first.get_one(Comment, 1))
        await first.flush()
        second = asyncio.create_task(town.send("PUT", "/articles/one", article={"title": "Renamed"}))
        waited = await waits(town, second)
        await town.conduit.web.get("/articles/renamed/comments")  # would keep what the first has not committed
        await first.commit()
    await second
    await town.check()
    assert waited


@pytest.mark.asyncio
async def test_a_new_picture_waits_for_an_article_that_is_published(town: Town) -> None:
    async with town.conduit.app.state.sessions() as first:
        row = {"slug": "three", "title": "Three", "description": "d", "body": "b", "author_id": 2}
        first.add(Article(**row, tags=[]))
        await first.flush()
        second = asyncio.create_task(town.send("PUT", "/user", user={"image": "https://example.org/bob.png"}))
        waited = await waits(town, second)
        await first.commit()
        await town.conduit.web.get("/articles/three")  # would keep the old picture, if the second had not seen it
    await second
    await town.check()
    assert waited
