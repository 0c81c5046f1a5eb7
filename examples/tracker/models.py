"""The tables: organisations, and of each its people, projects, issues and comments."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import DateTime, Dialect, Enum, ForeignKey, Index, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .roles import Role


class Status(StrEnum):
    """The state of an issue."""

    OPEN = "open"
    ACTIVE = "active"
    CLOSED = "closed"


class Moment(TypeDecorator[datetime]):
    """An aware datetime. SQLite stores it in UTC, without the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


def _by_value(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=10, values_callable=lambda members: [one.value for one in members])


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment(),
        Role: _by_value(Role),
        Status: _by_value(Status),
    }


class Organisation(Base):
    """A tenant. `subdomain`: the first label of the host names at which it is served."""

    __tablename__ = "organisations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    subdomain: Mapped[str] = mapped_column(unique=True)


class Person(Base):
    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str]
    role: Mapped[Role]


class Project(Base):
    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    org_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"))
    key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    lead_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    archived: Mapped[bool] = mapped_column(default=False)
    open: Mapped[bool] = mapped_column(default=True)  # anyone in the world may read its page


class Issue(Base):
    __tablename__ = "issues"
    __table_args__ = (
        Index("issues_of_project", "project_id", "status", "priority"),
        Index("issues_of_person", "assignee_id", "status", "priority", "project_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    title: Mapped[str]
    text: Mapped[str]
    status: Mapped[Status]
    priority: Mapped[int]  # from 1, the most urgent, to 4
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"))
    reporter_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Comment(Base):
    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id"), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    text: Mapped[str]
    created_at: Mapped[datetime]
    edited_at: Mapped[datetime | None]
