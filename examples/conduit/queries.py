"""What is read from the tables, as the caller sees it: a visitor follows nobody and has no favourites."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager, selectinload

from .errors import missing, refused
from .models import Article, Comment, Favorite, Follow, Tag, User
from .schemas import Listed, OfArticle, OfProfile, Page, Profile, Said, Shown


def _following(viewer: int | None) -> ColumnElement[bool]:
    """Whether the viewer follows the user of the row."""
    if viewer is None:
        return false()
    return exists().where(Follow.follower_id == viewer, Follow.followed_id == User.id)


def _favorited(viewer: int | None) -> ColumnElement[bool]:
    if viewer is None:
        return false()
    return exists().where(Favorite.user_id == viewer, Favorite.article_id == Article.id)


def _articles(viewer: int | None) -> Select[Any]:
    """Articles with authors and tags, and what the viewer sees of each."""
    favorites = select(func.count()).where(Favorite.article_id == Article.id).scalar_subquery()
    return (
        select(Article, favorites, _favorited(viewer), _following(viewer))
        .join(Article.author)
        .options(contains_eager(Article.author), selectinload(Article.tags))
    )


def _profile(user: User, following: bool) -> Profile:  # a column of a row
    return Profile(username=user.username, bio=user.bio, image=user.image, following=following)


def _fields(article: Article, favorites: int, favorited: bool, following: bool) -> dict[str, Any]:
    return {
        "slug": article.slug,
        "title": article.title,
        "description": article.description,
        "tag_list": [tag.name for tag in article.tags],
        "created_at": article.created_at,
        "updated_at": article.updated_at,
        "favorited": favorited,
        "favorites_count": favorites,
        "author": _profile(article.author, following),
    }


async def article(session: AsyncSession, slug: str, viewer: int | None) -> OfArticle[Shown]:
    statement = _articles(viewer).where(Article.slug == slug).execution_options(populate_existing=True)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise missing("article")
    return OfArticle(article=Shown(body=row[0].body, **_fields(*row)))


async def article_id(session: AsyncSession, slug: str) -> int:
    """The id of an article that keeps its slug, and is not withdrawn, until the transaction ends. Raises 404."""
    statement = select(Article.id).where(Article.slug == slug).with_for_update(read=True, key_share=True)
    found = await session.scalar(statement)
    if found is None:
        raise missing("article")
    return found


async def page(
    session: AsyncSession, viewer: int | None, conditions: Iterable[ColumnElement[bool]], limit: int, offset: int
) -> Page:
    """The newest articles first. Counts all that there are, on other pages too."""
    where = and_(*conditions) if conditions else and_(True)
    newest = _articles(viewer).where(where).order_by(Article.created_at.desc(), Article.id.desc())
    rows = await session.execute(newest.limit(limit).offset(offset))
    count = await session.scalar(select(func.count()).select_from(Article).where(where))
    return Page(articles=[Listed(**_fields(*row)) for row in rows], articles_count=count or 0)


def listed(tag: str | None, author: str | None, favorited: str | None) -> list[ColumnElement[bool]]:
    """The conditions of a list of articles."""
    conditions: list[ColumnElement[bool]] = []
    if tag is not None:
        conditions.append(exists().where(Tag.article_id == Article.id, Tag.name == tag))
    if author is not None:
        conditions.append(Article.author_id == _id_of(author))
    if favorited is not None:
        conditions.append(exists().where(Favorite.article_id == Article.id, Favorite.user_id == _id_of(favorited)))
    return conditions


def _id_of(username: str) -> Any:
    return select(User.id).where(User.username == username).scalar_subquery()


def followed_by(viewer: int) -> list[ColumnElement[bool]]:
    """The conditions of a feed."""
    return [exists().where(Follow.follower_id == viewer, Follow.followed_id == Article.author_id)]


def _comments(viewer: int | None) -> Select[Comment, bool]:
    return (
        select(Comment, _following(viewer))
        .join(Comment.author)
        .options(contains_eager(Comment.author))
        .execution_options(populate_existing=True)
    )


def _said(comment: Comment, following: bool) -> Said:
    return Said(
        id=comment.id,
        body=comment.body,
        created_at=comment.created_at,
        updated_at=comment.updated_at,
        author=_profile(comment.author, following),
    )


async def comments(session: AsyncSession, slug: str, viewer: int | None) -> list[Said]:
    article_id = await session.scalar(select(Article.id).where(Article.slug == slug))
    if article_id is None:
        raise missing("article")
    rows = await session.execute(_comments(viewer).where(Comment.article_id == article_id).order_by(Comment.id))
    return [_said(*row) for row in rows]


async def comment(session: AsyncSession, comment_id: int, viewer: int | None) -> Said:
    row = (await session.execute(_comments(viewer).where(Comment.id == comment_id))).one_or_none()
    if row is None:  # it was removed meanwhile
        raise missing("comment")
    return _said(*row)


async def profile(session: AsyncSession, username: str, viewer: int | None) -> OfProfile:
    row = (await session.execute(select(User, _following(viewer)).where(User.username == username))).one_or_none()
    if row is None:
        raise missing("profile")
    return OfProfile(profile=_profile(*row))


async def tags(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Tag.name).distinct().order_by(Tag.name)))


async def owned(session: AsyncSession, slug: str, owner: User) -> Article:
    """An article of this user, locked, with its tags. Raises 404 and 403."""
    statement = select(Article).where(Article.slug == slug).options(selectinload(Article.tags))
    found = await session.scalar(statement.with_for_update())
    if found is None:
        raise missing("article")
    if found.author_id != owner.id:
        raise refused(403, "article", "forbidden")
    return found
