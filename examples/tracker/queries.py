"""The queries of the readers. Each answer takes a fixed number of them, whatever its size."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import ColumnElement, Executable, String, Subquery, case, cast, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from mizan_core import NotFound

from .models import Comment, Issue, Organisation, Person, Project, Status
from .schemas import (
    Answer,
    BoardPage,
    BoardRow,
    IssueComment,
    IssueDetail,
    OrganisationCard,
    PersonCard,
    ProjectSummary,
    WorkItem,
    WorkList,
    WorkloadRow,
)

A = TypeVar("A", bound=Answer)

# The organisation of host names that are no other's.
FIRST_ORGANISATION = 1

PAGE_SIZE = 25
WORK_SIZE = 25

# By status: active, open, closed; then the most urgent first; then the newest first.
_ORDER = (
    case({Status.ACTIVE: 0, Status.OPEN: 1, Status.CLOSED: 2}, value=Issue.status),
    Issue.priority,
    Issue.id.desc(),
)
_KEY = (Project.key + "-" + cast(Issue.id, String)).label("key")


async def organisation(session: AsyncSession, org_id: int) -> OrganisationCard:
    """Raises `NotFound` for an organisation that does not exist."""
    found = await session.get(Organisation, org_id)
    if found is None:
        raise NotFound("There is no such organisation.")
    return OrganisationCard(org_id=found.id, name=found.name)


async def organisation_at(session: AsyncSession, hostname: str) -> int:
    """The organisation whose sub-domain is the first label of a host name, or else the first one."""
    found = await session.scalar(select(Organisation.id).where(Organisation.subdomain == hostname.partition(".")[0]))
    return found or FIRST_ORGANISATION


async def people(session: AsyncSession, org_id: int) -> list[PersonCard]:
    query = (
        select(Person.id.label("person_id"), Person.name, Person.role)
        .where(Person.org_id == org_id)
        .order_by(Person.name)
    )
    return await _all(session, PersonCard, query)


async def project_summaries(session: AsyncSession, org_id: int) -> list[ProjectSummary]:
    counted = select(Issue.project_id, *map(_count, Status)).group_by(Issue.project_id).subquery()
    query = (
        select(Project.id.label("project_id"), Project.key, Project.name, Project.archived, Person.name.label("lead"))
        .add_columns(*(func.coalesce(counted.c[status], 0).label(status) for status in Status))
        .join(Person, Person.id == Project.lead_id)
        .outerjoin(counted, counted.c.project_id == Project.id)
        .where(Project.org_id == org_id)
        .order_by(Project.name)
    )
    return await _all(session, ProjectSummary, query)


async def project(session: AsyncSession, project_id: int, org_id: int) -> Project:
    """Raises `NotFound` for a project that does not exist, or is another organisation's."""
    found = await session.get(Project, project_id)
    if found is None or found.org_id != org_id:
        raise NotFound("There is no such project.")
    return found


async def open_project(session: AsyncSession, project_id: int) -> Project:
    """Raises `NotFound` for a project that does not exist, or is not open to the world."""
    found = await session.get(Project, project_id)
    if found is None or not found.open:
        raise NotFound("There is no such project.")
    return found


async def board(session: AsyncSession, project: Project, page: int) -> BoardPage:
    """Raises `NotFound` for a page that does not exist."""
    project_id = project.id
    count = await session.scalar(select(func.count()).where(Issue.project_id == project_id))
    pages = max(1, -(-(count or 0) // PAGE_SIZE))
    if page > pages:
        raise NotFound("The board has no such page.")
    commented = select(func.count()).where(Comment.issue_id == Issue.id).correlate(Issue).scalar_subquery()
    query = (
        select(Issue.id.label("issue_id"), Issue.title, Issue.status, Issue.priority)
        .add_columns(Person.name.label("assignee"), commented.label("comments"))
        .outerjoin(Person, Person.id == Issue.assignee_id)
        .where(Issue.project_id == project_id)
        .order_by(*_ORDER)
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    return BoardPage(
        project_id=project.id,
        key=project.key,
        name=project.name,
        public=project.open,
        page=page,
        pages=pages,
        issues=await _all(session, BoardRow, query),
    )


async def issue(session: AsyncSession, issue_id: int, org_id: int) -> IssueDetail:
    """Raises `NotFound` for an issue that does not exist, or is another organisation's."""
    assignee, reporter = aliased(Person), aliased(Person)
    query = (
        select(Issue.id.label("issue_id"), Issue.project_id, _KEY, Issue.title, Issue.text, Issue.status)
        .add_columns(Issue.priority, Issue.assignee_id, Issue.created_at, Issue.updated_at)
        .add_columns(assignee.name.label("assignee"), reporter.name.label("reporter"))
        .join(Project, Project.id == Issue.project_id)
        .join(reporter, reporter.id == Issue.reporter_id)
        .outerjoin(assignee, assignee.id == Issue.assignee_id)
        .where(Issue.id == issue_id, Project.org_id == org_id)
    )
    found = await _all(session, IssueDetail, query)
    if not found:
        raise NotFound("There is no such issue.")
    return found[0]


async def comments(session: AsyncSession, issue_id: int, org_id: int) -> list[IssueComment]:
    query = (
        select(Comment.id.label("comment_id"), Comment.author_id, Person.name.label("author"))
        .add_columns(Comment.text, Comment.created_at, Comment.edited_at)
        .join(Person, Person.id == Comment.author_id)
        .join(Issue, Issue.id == Comment.issue_id)
        .join(Project, Project.id == Issue.project_id)
        .where(Comment.issue_id == issue_id, Project.org_id == org_id)
        .order_by(Comment.created_at, Comment.id)
    )
    return await _all(session, IssueComment, query)


async def work(session: AsyncSession, person_id: int, org_id: int) -> WorkList:
    """A person's issues that are not closed, in projects that are not archived."""
    theirs = (Issue.assignee_id == person_id, Project.org_id == org_id, *_TO_DO)
    total = await session.scalar(select(func.count()).select_from(Issue).join(Project).where(*theirs))
    query = (
        select(Issue.id.label("issue_id"), _KEY, Issue.title, Issue.status, Issue.priority)
        .join(Project)
        .where(*theirs)
        .order_by(*_ORDER)
        .limit(WORK_SIZE)
    )
    return WorkList(person_id=person_id, total=total or 0, issues=await _all(session, WorkItem, query))


async def workload_by_person(session: AsyncSession, org_id: int) -> list[WorkloadRow]:
    """The counts of each person who has such issues, the busiest first, and of issues without assignee."""
    counted = _to_do_of_each(org_id)
    query = (
        select(Person.name.label("who"), counted.c.open, counted.c.active)
        .select_from(counted)
        .outerjoin(Person, Person.id == counted.c.assignee_id)
        .order_by((counted.c.open + counted.c.active).desc(), Person.name)
    )
    return await _all(session, WorkloadRow, query)


async def workload_by_role(session: AsyncSession, org_id: int) -> list[WorkloadRow]:
    """The same counts, by role."""
    counted = _to_do_of_each(org_id)
    query = (
        select(type_coerce(Person.role, String).label("who"))
        .add_columns(func.sum(counted.c.open).label("open"), func.sum(counted.c.active).label("active"))
        .select_from(counted)
        .outerjoin(Person, Person.id == counted.c.assignee_id)
        .group_by(Person.role)
        .order_by(Person.role)
    )
    return await _all(session, WorkloadRow, query)


async def organisations(session: AsyncSession) -> Sequence[int]:
    return (await session.scalars(select(Organisation.id).order_by(Organisation.id))).all()


async def untouched_since(session: AsyncSession, moment: datetime, org_id: int) -> Sequence[int]:
    """Open issues of an organisation, in unarchived projects, without a change or comment since; the oldest first."""
    commented = select(Comment.id).where(Comment.issue_id == Issue.id, Comment.created_at >= moment).exists()
    query = (
        select(Issue.id)
        .join(Project)
        .where(Project.org_id == org_id, Project.archived.is_(False))
        .where(Issue.status == Status.OPEN, Issue.updated_at < moment, ~commented)
        .order_by(Issue.id)
    )
    return (await session.scalars(query)).all()


_TO_DO = (Issue.status.in_((Status.OPEN, Status.ACTIVE)), Project.archived.is_(False))


def _to_do_of_each(org_id: int) -> Subquery:
    return (
        select(Issue.assignee_id, _count(Status.OPEN), _count(Status.ACTIVE))
        .join(Project)
        .where(Project.org_id == org_id, *_TO_DO)
        .group_by(Issue.assignee_id)
        .subquery()
    )


def _count(status: Status) -> ColumnElement[int]:
    return func.count().filter(Issue.status == status).label(status)


async def _all(session: AsyncSession, answer: type[A], query: Executable) -> list[A]:
    return [answer.model_validate(row) for row in await session.execute(query)]
