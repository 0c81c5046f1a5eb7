"""What is kept, and the mutations that are called through Mizan: favourites and follows.

The caller is a parameter, `viewer`, that the identity fills in, since every answer says what the caller follows and
likes. Visitors share one answer. The other writes stay in `routes.py`, `admin.py` and `worker.py`, as they were:
`freshness.py` says what their rows make stale.
"""

from typing import Annotated, TypeAlias

from pydantic import Field
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from mizan_core import Arg, Context, Me, client

from . import queries
from .errors import missing
from .models import Favorite, Follow, User
from .schemas import OfArticle, OfProfile, Page, Profile, Said, Shown

Viewer: TypeAlias = Annotated[int | None, Me]
Caller: TypeAlias = Annotated[int, Me]
Limit: TypeAlias = Annotated[int, Field(ge=1, le=100)]
Offset: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]

ArticleContext = Context("article", scopes=[("slug",), ("viewer",)])
CommentsContext = Context("comments", scopes=[("slug",), ("viewer",)])
ProfileContext = Context("profile", scopes=[("username",), ("viewer",)])
ArticlesContext = Context("articles", scopes=[("viewer",)])
FeedContext = Context("feed", scopes=[("viewer",)])
TagsContext = Context("tags")


@client(context=ArticleContext)
async def article(session: AsyncSession, slug: str, viewer: Viewer) -> Shown:
    return (await queries.article(session, slug, viewer)).article


@client(context=CommentsContext)
async def comments(session: AsyncSession, slug: str, viewer: Viewer) -> list[Said]:
    return await queries.comments(session, slug, viewer)


@client(context=ProfileContext)
async def profile(session: AsyncSession, username: str, viewer: Viewer) -> Profile:
    return (await queries.profile(session, username, viewer)).profile


@client(context=ArticlesContext)
async def article_list(
    session: AsyncSession,
    viewer: Viewer,
    tag: str | None = None,
    author: str | None = None,
    favorited: str | None = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page:
    return await queries.page(session, viewer, queries.listed(tag, author, favorited), limit, offset)


@client(context=FeedContext)
async def feed(session: AsyncSession, viewer: Caller, limit: Limit = 20, offset: Offset = 0) -> Page:
    return await queries.page(session, viewer, queries.followed_by(viewer), limit, offset)


@client(context=TagsContext)
async def tags(session: AsyncSession) -> list[str]:
    return await queries.tags(session)


# An article says how many like it, to everyone; whether the caller does, to the caller. So do the lists that show it.
LIKED = (ArticleContext.where(slug=Arg("slug")), ArticlesContext.whole(), FeedContext.whole())
# Whatever has an author says whether the caller follows that author.
FOLLOWED = tuple(
    context.where(viewer=Me)
    for context in (ProfileContext, ArticleContext, ArticlesContext, CommentsContext, FeedContext)
)


@client(affects=LIKED)
async def favorite(session: AsyncSession, slug: str, viewer: Caller) -> OfArticle[Shown]:
    row = {"user_id": viewer, "article_id": await queries.article_id(session, slug)}
    await session.execute(insert(Favorite).values(row).on_conflict_do_nothing())
    return await queries.article(session, slug, viewer)


@client(affects=LIKED)
async def unfavorite(session: AsyncSession, slug: str, viewer: Caller) -> OfArticle[Shown]:
    article_id = await queries.article_id(session, slug)
    await session.execute(delete(Favorite).where(Favorite.user_id == viewer, Favorite.article_id == article_id))
    return await queries.article(session, slug, viewer)


@client(affects=FOLLOWED)
async def follow(session: AsyncSession, username: str, viewer: Caller) -> OfProfile:
    row = {"follower_id": viewer, "followed_id": await _user_id(session, username)}
    await session.execute(insert(Follow).values(row).on_conflict_do_nothing())
    return await queries.profile(session, username, viewer)


@client(affects=FOLLOWED)
async def unfollow(session: AsyncSession, username: str, viewer: Caller) -> OfProfile:
    followed_id = await _user_id(session, username)
    await session.execute(delete(Follow).where(Follow.follower_id == viewer, Follow.followed_id == followed_id))
    return await queries.profile(session, username, viewer)


async def _user_id(session: AsyncSession, username: str) -> int:
    found = await session.scalar(select(User.id).where(User.username == username))
    if found is None:
        raise missing("profile")
    return found
