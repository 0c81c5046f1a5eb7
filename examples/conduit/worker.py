"""`python -m examples.conduit.worker` does the jobs of the table `jobs`, one after the other.

It writes by SQLAlchemy's sessions, as the application does, and shares the application's cache.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from .app import app
from .database import Sessions
from .models import Comment, Job, Tag

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.2


async def rename_tag(session: AsyncSession, old: str, new: str) -> None:
    """The tag of all articles that have it. An article that has both keeps one."""
    same = aliased(Tag)
    both = select(same.article_id).where(same.name == new)
    await session.execute(delete(Tag).where(Tag.name == old, Tag.article_id.in_(both)))
    await session.execute(update(Tag).where(Tag.name == old).values(name=new))


async def remove_comments(session: AsyncSession, word: str) -> None:
    """Those that have this word in them."""
    await session.execute(delete(Comment).where(Comment.body.contains(word, autoescape=True)))


JOBS: dict[str, Callable[..., Awaitable[None]]] = {"rename_tag": rename_tag, "remove_comments": remove_comments}


async def work(sessions: Sessions) -> bool:
    """Do the oldest job that no other worker has begun. Returns whether there was one."""
    async with sessions() as session:
        oldest = select(Job).where(Job.done.is_(False)).order_by(Job.id).limit(1)
        job = await session.scalar(oldest.with_for_update(skip_locked=True))
        if job is None:
            return False
        try:
            await JOBS[job.name](session, **job.args)
            job.done = True
            await session.commit()
        except DBAPIError:  # a deadlock, or a row that somebody else has written meanwhile: another try is made
            logger.warning("Job %s is put off.", job.id, exc_info=True)
            await session.rollback()
        return True


async def main() -> None:
    async with app.router.lifespan_context(app):
        while True:
            if not await work(app.state.sessions):
                await asyncio.sleep(_IDLE_SECONDS)


if __name__ == "__main__":
    asyncio.run(main())
