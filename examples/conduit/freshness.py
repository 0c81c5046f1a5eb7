"""What each row makes stale, wherever it is written: routes, `/admin`, the worker, mutations.

A rule is asked for every row that a session inserts, changes or deletes, as it was and as it has become. Rows that the
database deletes with others, by a foreign key, are asked for too.
"""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection, select

from mizan_asgi import Mizan
from mizan_core import Context, Invalidation
from mizan_core.integrations.sqlalchemy import Writes

from .clients import ArticleContext, ArticlesContext, CommentsContext, FeedContext, ProfileContext, TagsContext
from .database import Sessions
from .models import Article, Base, Comment, Favorite, Follow, Tag, User

Stale = Iterator[Context | Invalidation]


def of_article(row: Article) -> Stale:
    yield ArticleContext.of(slug=row.slug)
    yield from (ArticlesContext, FeedContext)


def of_slug(row: Article) -> Stale:
    yield CommentsContext.of(slug=row.slug)


def of_tag(row: Tag, connection: Connection) -> Stale:
    yield ArticleContext.of(slug=_slug(connection, row.article_id))
    yield from (ArticlesContext, FeedContext, TagsContext)


def of_favorite(row: Favorite, connection: Connection) -> Stale:
    yield ArticleContext.of(slug=_slug(connection, row.article_id))
    yield from (ArticlesContext, FeedContext)


def of_comment(row: Comment, connection: Connection) -> Stale:
    yield CommentsContext.of(slug=_slug(connection, row.article_id))


def of_follow(row: Follow) -> Stale:
    """Whatever has an author says whether the viewer follows that author."""
    for context in (ProfileContext, ArticleContext, ArticlesContext, CommentsContext, FeedContext):
        yield context.of(viewer=row.follower_id)


def of_user(row: User, connection: Connection) -> Stale:
    """The profile, and what shows the author of an article or a comment: nothing else, for a new user.

    The row is locked while it changes, so nothing is written in this name meanwhile.
    """
    yield ProfileContext.of(username=row.username)
    mine = select(Article.slug).where(Article.author_id == row.id)
    said = select(Article.slug).join(Comment, Comment.article_id == Article.id).where(Comment.author_id == row.id)
    slugs = list(connection.scalars(mine))
    if slugs:
        yield ArticleContext.of(slug=slugs)
        yield from (ArticlesContext, FeedContext)
    commented = list(connection.scalars(said.distinct()))
    if commented:
        yield CommentsContext.of(slug=commented)


def _slug(connection: Connection, article_id: int) -> str | None:
    """The slug of an article, which stays as it is until the transaction ends."""
    statement = select(Article.slug).where(Article.id == article_id)
    return connection.scalar(statement.with_for_update(read=True, key_share=True))


# Classes, the columns whose changes count where not all do, and what is asked.
_RULES: tuple[tuple[type[Base], tuple[str, ...], Callable[..., Stale]], ...] = (
    (Article, (), of_article),
    (Article, ("slug",), of_slug),
    (Tag, (), of_tag),
    (Favorite, (), of_favorite),
    (Comment, (), of_comment),
    (Follow, (), of_follow),
    (User, ("username", "bio", "image"), of_user),
)


def attach(mizan: Mizan, sessions: Sessions) -> None:
    """Purge what these sessions commit."""
    writes = Writes(mizan)
    for model, columns, rule in _RULES:
        writes.on(model, columns=columns)(rule)
    writes.attach(sessions)
