"""A blog whose pages are purged by what sessions commit."""

import enum
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, String, Table, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, synonym

from mizan_core import Context, Engine, Invalidation, MemoryCache, build, client
from mizan_core.engine.observers import Called, Observer
from mizan_core.integrations.sqlalchemy import Writes
from mizan_core.protocol.invalidation import spelled


class Base(DeclarativeBase):
    pass


class Status(enum.Enum):
    DRAFT = "draft"
    PUBLIC = "public"


tagged = Table(
    "tagged",
    Base.metadata,
    Column("article_id", ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_name", ForeignKey("tags.name", onupdate="CASCADE"), primary_key=True),
)


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    org_id: Mapped[int] = mapped_column(default=1)
    seen: Mapped[int] = mapped_column(default=0)
    articles: Mapped[list["Article"]] = relationship(
        back_populates="author", cascade="all, delete-orphan", foreign_keys="Article.author_id"
    )


class Article(Base):
    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    )
    title: Mapped[str] = mapped_column(String(50), default="")
    status: Mapped[Status] = mapped_column(default=Status.PUBLIC)
    pinned: Mapped[bool] = mapped_column(default=False)
    editor_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    writer = synonym("author_id")
    author: Mapped[User] = relationship(back_populates="articles", foreign_keys=author_id)
    tags: Mapped[list["Tag"]] = relationship(secondary=tagged)


class Tag(Base):
    __tablename__ = "tags"

    name: Mapped[str] = mapped_column(primary_key=True)


Users, Orgs, Articles, Tags = Context("users"), Context("orgs"), Context("articles"), Context("tags")


@client(context=Users)
async def user(user_id: int) -> int:
    return user_id


@client(context=Orgs)
async def org(org_id: int) -> int:
    return org_id


@client(context=Articles)
async def articles(author_id: int) -> int:
    return author_id


@client(context=Tags)
async def tag(name: str) -> str:
    return name


READERS = (user, org, articles, tag)


def engine(**options: Any) -> Engine:
    return Engine(build(READERS), cache=MemoryCache(), **options)


def writes_of(engine: Engine) -> Writes:
    writes = Writes(engine)

    @writes.on(User, columns=(User.name,))
    def of_user(row: User) -> Iterator[Invalidation]:
        yield Users.of(user_id=row.id)
        yield Orgs.of(org_id=row.org_id)

    @writes.on(Article, columns=("title", "author_id", "status"))
    def of_article(row: Article) -> Invalidation | None:
        return Articles.of(author_id=row.author_id) if row.status is not Status.DRAFT else None

    @writes.on(tagged)
    def of_tagged(row: Any, connection: Connection) -> list[Invalidation]:
        author = connection.scalar(select(Article.author_id).where(Article.id == row.article_id))
        return [Tags.of(name=row.tag_name), Articles.of(author_id=author)]

    return writes


class Purged(Observer):
    """Notes what each commit has purged."""

    sees_hits = False

    def __init__(self) -> None:
        self.commits: list[set[str]] = []

    def called(self, event: Called) -> None:
        if event.outcome != "refused":
            self.commits.append({spelled(one) for one in event.invalidations})

    def take(self) -> set[str]:
        """What the only commit since the last look has purged."""
        commits, self.commits = self.commits, []
        assert len(commits) <= 1
        return commits[0] if commits else set()


def enforce_foreign_keys(connection: Any, record: object) -> None:
    """SQLite does so where it is told to, by each connection."""
    connection.execute("PRAGMA foreign_keys=ON")


class Blog:
    """Two users in two organisations, with articles, and what commits have purged."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], mizan: Engine, writes: Writes) -> None:
        self.sessions = sessions
        self.mizan = mizan
        self.writes = writes
        self.purged = Purged()
        mizan.observe(self.purged)

    @property
    def is_sqlite(self) -> bool:
        return bool(self.sessions.kw["bind"].dialect.name == "sqlite")

    async def fill(self) -> None:
        async with self.sessions.begin() as session:
            ada, ben = User(name="Ada", org_id=1), User(name="Ben", org_id=2)
            session.add_all([ada, ben, Tag(name="red"), Tag(name="blue")])
            await session.flush()
            session.add_all([Article(id=11, author_id=1, title="One"), Article(id=12, author_id=1, title="Two")])
            session.add_all([Article(id=21, author_id=2, title="Three", status=Status.DRAFT)])
        self.purged.take()
