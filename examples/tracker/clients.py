"""The functions of the tracker: its contexts, their readers, and the mutations with the contexts that they affect.

Four habits to copy. Who asks is a parameter: `Org` and `Mine` are filled in by the caller's identity, so that no client
can ask for another organisation's bundle or for another person's list. A mutation names every context that shows the
data it writes, narrowed as far as it can be by arguments, fields of the result, or the caller. Scopes that only the
body knows, such as the person whose list had the issue before, are named with `invalidate` before the commit, from rows
read in the same transaction. And a context that would be purged too often shows less: an issue's detail does not show
whether its project is archived; `projects` does.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mizan_core import (
    Arg,
    BadRequest,
    Claim,
    Conflict,
    Context,
    Forbidden,
    Identity,
    Me,
    NotFound,
    Result,
    Unauthorized,
    client,
    invalidate,
)

from . import pages, queries, settings
from .database import reading, writing
from .models import Comment, Issue, Person, Project, Status
from .roles import PERMISSIONS, Role, has, may
from .schemas import (
    Abilities,
    BoardPage,
    CommentAdded,
    Id,
    IssueChanged,
    IssueComment,
    IssueDetail,
    IssuesClosed,
    OrganisationCard,
    PageNumber,
    PersonCard,
    ProjectSummary,
    Text,
    Title,
    WorkList,
    WorkloadRow,
)

# Filled in by the caller's identity: the organisation of the person, or of a visitor's host name, and the person.
Org: TypeAlias = Annotated[Id, Claim("org")]
Mine: TypeAlias = Annotated[Id, Me]

OrganisationContext = Context("organisation")
PeopleContext = Context("people")
ProjectsContext = Context("projects")
BoardContext = Context("board")
PageContext = Context("page")  # the public page of a board, which is for everyone: it has no parameter of the identity
IssueContext = Context("issue")
WorkContext = Context("work", scopes=[("person_id",)])  # for `invalidate` in bodies, which the graph cannot see
WorkloadContext = Context("workload")
AbilitiesContext = Context("abilities")
MeContext = Context("me")

# Every page of a board, for the organisation and, where the project is open, for the world.
BOARDS = (
    BoardContext.where(project_id=Result("project_id")),
    PageContext.where(project_id=Result("project_id")),
)


# Readers of an organisation: one answer for all of its people and visitors


@client(context=OrganisationContext)
async def organisation(org_id: Org) -> OrganisationCard:
    async with reading() as session:
        return await queries.organisation(session, org_id)


@client(context=PeopleContext)
async def people_list(org_id: Org) -> list[PersonCard]:
    """All people, by name."""
    async with reading() as session:
        return await queries.people(session, org_id)


@client(context=ProjectsContext)
async def project_list(org_id: Org) -> list[ProjectSummary]:
    """All projects with their counts. Every change of a status makes it stale, so it is one small query."""
    async with reading() as session:
        return await queries.project_summaries(session, org_id)


@client(context=BoardContext)
async def board_page(project_id: Id, org_id: Org, page: PageNumber = 1) -> BoardPage:
    """A page of a project's issues. Mutations narrow by the project alone: a change may move issues on all pages."""
    async with reading() as session:
        return await queries.board(session, await queries.project(session, project_id, org_id), page)


@client(context=IssueContext)
async def issue_detail(issue_id: Id, org_id: Org) -> IssueDetail:
    async with reading() as session:
        return await queries.issue(session, issue_id, org_id)


@client(context=IssueContext)
async def issue_comments(issue_id: Id, org_id: Org) -> list[IssueComment]:
    async with reading() as session:
        return await queries.comments(session, issue_id, org_id)


# The reader whose answer is for everyone


@client(context=PageContext, route="/p/{project_id}/")
async def project_page(project_id: Id) -> HTMLResponse:
    """The first page of an open project's board as plain HTML, which an edge may keep until the board becomes stale."""
    async with reading() as session:
        try:
            board = await queries.board(session, await queries.open_project(session, project_id), 1)
        except NotFound:
            return HTMLResponse(pages.missing(), status_code=404)
    return HTMLResponse(pages.project(board))


# Readers of the caller


@client(context=MeContext)
async def whoami(person_id: Mine | None) -> PersonCard | None:
    """The person who is signed in; None for all visitors, who share that answer."""
    if person_id is None:
        return None
    async with reading() as session:
        person = await session.get_one(Person, person_id)
        return PersonCard(person_id=person.id, name=person.name, role=person.role)


@client(context=WorkContext)
async def my_issues(person_id: Mine, org_id: Org) -> WorkList:
    """The caller's open issues. A visitor has no list: 401. A mutation narrows by the person or the organisation."""
    async with reading() as session:
        return await queries.work(session, person_id, org_id)


@client(context=WorkloadContext, auth=True, per="permissions")
async def workload(me: Identity, org_id: Org) -> list[WorkloadRow]:
    """The numbers of open issues, by person; by role for callers without the permission `people.workload`."""
    async with reading() as session:
        if has(me, "people.workload"):
            return await queries.workload_by_person(session, org_id)
        return await queries.workload_by_role(session, org_id)


@client(context=AbilitiesContext)
async def abilities(role: Annotated[Role | None, Claim("role")]) -> Abilities:
    """The permissions of the caller's role, so that a page can hide what would be refused: one answer for each role."""
    return Abilities(permissions=sorted(PERMISSIONS[role]) if role is not None else [])


# Mutations of one issue


@client(
    affects=[IssueContext, *BOARDS],
    auth=may("issue.edit"),
)
async def rename_issue(issue_id: Id, title: Title, org_id: Org) -> IssueChanged:
    """Does not affect `projects` and `workload`, which show counts and no titles."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        _work_changed(issue.assignee_id)
        issue.title = title
        return _touched(issue)


@client(
    affects=[IssueContext, *BOARDS, ProjectsContext, WorkloadContext],
    auth=may("issue.edit"),
)
async def set_status(issue_id: Id, status: Status, me: Identity, org_id: Org) -> IssueChanged:
    if status is Status.CLOSED and not has(me, "issue.close"):
        raise Forbidden("Closing an issue takes the permission issue.close.")
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        _work_changed(issue.assignee_id)
        issue.status = status
        return _touched(issue)


@client(
    affects=[IssueContext, *BOARDS, WorkloadContext],
    auth=may("issue.edit"),
)
async def assign_issue(issue_id: Id, assignee_id: Id | None, org_id: Org) -> IssueChanged:
    """The lists of the old and the new assignee change. The body names them: a binding cannot skip None."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        if assignee_id is not None:
            person = await session.get(Person, assignee_id)
            if person is None or person.org_id != org_id:
                raise NotFound("There is no such person.")
        _work_changed(issue.assignee_id, assignee_id)
        issue.assignee_id = assignee_id
        return _touched(issue)


@client(
    affects=[
        IssueContext,
        *BOARDS,
        WorkloadContext,
        WorkContext,
    ],
    auth=may("issue.edit"),
)
async def take_issue(issue_id: Id, person_id: Mine, org_id: Org) -> IssueChanged:
    """Moves the issue to the caller's list, from the list of the old assignee."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        _work_changed(issue.assignee_id)
        issue.assignee_id = person_id
        return _touched(issue)


@client(
    affects=[IssueContext, BoardContext.by_body(), PageContext.by_body(), ProjectsContext],
    spares=[WorkloadContext],  # it counts the issues of all projects that are not archived, and both are not
    auth=may("issue.move"),
)
async def move_issue(issue_id: Id, to_project_id: Id, org_id: Org) -> IssueChanged:
    """Two boards change, and the assignee's list: it shows the issue's key, which begins with the project's key."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        await _unarchived(session, to_project_id, org_id)
        _boards_changed(issue.project_id, to_project_id)
        _work_changed(issue.assignee_id)
        issue.project_id = to_project_id
        return _touched(issue)


# Mutations of comments


@client(
    affects=[issue_comments, *BOARDS],
    auth=may("comment.write"),
)
async def add_comment(issue_id: Id, text: Text, person_id: Mine, org_id: Org) -> CommentAdded:
    """Affects the board, which counts comments, and of the issue only the comments."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        comment = Comment(issue_id=issue.id, author_id=person_id, text=text, created_at=_now())
        session.add(comment)
        await session.flush()
        return CommentAdded(comment_id=comment.id, issue_id=issue.id, project_id=issue.project_id)


@client(affects=[issue_comments], auth=may("comment.write"))
async def edit_comment(issue_id: Id, comment_id: Id, text: Text, person_id: Mine, org_id: Org) -> IssueComment:
    """Takes the issue in order to narrow by it. It has to be the comment's own, or the wrong issue would be purged."""
    async with writing.begin() as session:
        issue = await _changeable(session, issue_id, org_id)
        comment = await session.get(Comment, comment_id)
        if comment is None or comment.issue_id != issue.id:
            raise NotFound("The issue has no such comment.")
        if comment.author_id != person_id:
            raise Forbidden("This is the comment of another person.")
        comment.text, comment.edited_at = text, _now()
        await session.flush()
        return next(one for one in await queries.comments(session, issue_id, org_id) if one.comment_id == comment_id)


# Mutations of several issues, and of projects


@client(
    affects=[
        IssueContext.where(issue_id=Arg("issue_ids")),
        BoardContext.where(project_id=Result("project_ids")),
        PageContext.where(project_id=Result("project_ids")),
        ProjectsContext,
        WorkloadContext,
    ],
    auth=may("issue.close"),
)
async def close_issues(issue_ids: Annotated[list[Id], Field(min_length=1, max_length=64)], org_id: Org) -> IssuesClosed:
    """Closes all of them or none. A list narrows to one scope for each member; beyond 64, to the whole context."""
    async with writing.begin() as session:
        found = await session.execute(
            select(Issue, Project).join(Project).where(Issue.id.in_(issue_ids), Project.org_id == org_id)
        )
        rows = found.all()
        if len(rows) < len(set(issue_ids)):
            raise NotFound("One of the issues does not exist.")
        if any(project.archived for _, project in rows):
            raise Conflict("One of the issues is in an archived project.")
        issues = [issue for issue, _ in rows]
        _work_changed(*(issue.assignee_id for issue in issues))
        for issue in issues:
            if issue.status is not Status.CLOSED:
                issue.status = Status.CLOSED
                _touched(issue)
        return IssuesClosed(
            issue_ids=sorted(issue.id for issue in issues),
            project_ids=sorted({issue.project_id for issue in issues}),
        )


@client(
    affects=[ProjectsContext, BoardContext, PageContext, WorkContext, WorkloadContext],
    auth=may("project.archive"),
)
async def archive_project(project_id: Id, org_id: Org, archived: bool = True) -> ProjectSummary:
    """Removes a project's issues from all lists. Nearly every person has some, so all lists of the organisation go."""
    async with writing.begin() as session:
        project = await queries.project(session, project_id, org_id)
        project.archived = archived
        await session.flush()
        return next(one for one in await queries.project_summaries(session, org_id) if one.project_id == project_id)


@client(
    affects=[BoardContext, PageContext, ProjectsContext, WorkloadContext],
    spares=[IssueContext, WorkContext],  # no bundle of the new issue was asked for, and it is on no person's list
    route="/p/{project_id}/report/",
)
async def report_issue(project_id: Id, title: Title, me: Identity, org_id: Org) -> Response:
    """The target of a plain form: makes an issue without assignee, and redirects to the page, which was purged by then.

    A person reads the answer in a browser, so a refusal is a page and not a guard's. A 4xx purges nothing.
    """
    if not has(me, "issue.report"):
        async with reading() as session:
            return HTMLResponse(pages.sign_in(await queries.people(session, org_id), project_id), status_code=403)
    async with writing.begin() as session:
        project = await _unarchived(session, project_id, org_id)
        now = _now()
        session.add(
            Issue(
                project_id=project_id,
                title=title,
                text="",
                status=Status.OPEN,
                priority=3,
                reporter_id=_person_id(me),
                created_at=now,
                updated_at=now,
            )
        )
    return RedirectResponse(f"/p/{project_id}/" if project.open else f"/#/p/{project_id}", status_code=303)


class Fix(BaseModel):
    """The webhook's body: a commit that fixes an issue was merged."""

    issue_id: Id
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]


@client(
    affects=[
        IssueContext.by_body(),
        BoardContext.by_body(),
        PageContext.by_body(),
        ProjectsContext.by_body(),
        WorkloadContext.by_body(),
    ],
    private=True,
    route="/webhooks/git/",
    methods=["POST"],
)
async def fix_merged(request: Request) -> Response:
    """Closes the issue that a commit fixes. The issue is in the signed body, so no argument can narrow.

    Nobody of an organisation asks here: the secret is the tracker's, and the issue says whose it is.
    """
    fix = _verified(await request.body(), request.headers.get("x-signature-256", ""))
    async with writing.begin() as session:
        issue = await session.get(Issue, fix.issue_id)
        project = None if issue is None else await session.get(Project, issue.project_id)
        if issue is None or project is None:
            raise NotFound("There is no such issue.")
        _check_unarchived(project)
        invalidate(IssueContext, issue_id=issue.id)
        _boards_changed(issue.project_id)
        invalidate(ProjectsContext, org_id=project.org_id)
        invalidate(WorkloadContext, org_id=project.org_id)
        _work_changed(issue.assignee_id)
        issue.status = Status.CLOSED
        _touched(issue)
    return Response(status_code=204)


def _verified(body: bytes, signature: str) -> Fix:
    """The parsed body, if its signature was made with the shared secret."""
    secret = settings.webhook_secret()
    if secret is None:
        raise NotFound
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise Unauthorized("The signature does not match the body.")
    try:
        return Fix.model_validate_json(body)
    except ValidationError:
        raise BadRequest("The body is not a fix.") from None


async def _changeable(session: AsyncSession, issue_id: int, org_id: int) -> Issue:
    """Raises `NotFound` for an issue that does not exist, or is another organisation's."""
    issue = await session.get(Issue, issue_id)
    project = None if issue is None else await session.get(Project, issue.project_id)
    if issue is None or project is None or project.org_id != org_id:
        raise NotFound("There is no such issue.")
    _check_unarchived(project)
    return issue


async def _unarchived(session: AsyncSession, project_id: int, org_id: int) -> Project:
    project = await queries.project(session, project_id, org_id)
    _check_unarchived(project)
    return project


def _check_unarchived(project: Project) -> None:
    if project.archived:
        raise Conflict("The project is archived.")


def _boards_changed(*projects: int) -> None:
    invalidate(BoardContext, project_id=list(projects))
    invalidate(PageContext, project_id=list(projects))


def _work_changed(*people: int | None) -> None:
    """Invalidates the lists of these people. None (no assignee) is left out: it would mean all lists."""
    for person_id in people:
        if person_id is not None:
            invalidate(WorkContext, person_id=person_id)


def _touched(issue: Issue) -> IssueChanged:
    issue.updated_at = _now()
    return IssueChanged(issue_id=issue.id, project_id=issue.project_id)


def _person_id(me: Identity) -> int:
    """The caller's person id. Behind a guard the caller is always signed in."""
    if me.user_id is None:
        raise Unauthorized
    return int(me.user_id)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
