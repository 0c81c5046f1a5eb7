"""The types of arguments and of answers."""

from datetime import datetime
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from .models import Status
from .roles import Role

# Row ids: from 1 to the largest whole number that a browser's JSON.parse keeps exactly.
Id: TypeAlias = Annotated[int, Field(ge=1, le=2**53 - 1)]
PageNumber: TypeAlias = Annotated[int, Field(ge=1, le=100_000)]
Title: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=160)]
Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class Answer(BaseModel):
    """An answer, which can be made from a row whose columns have the names of its fields."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class OrganisationCard(Answer):
    org_id: int
    name: str


class PersonCard(Answer):
    person_id: int
    name: str
    role: Role


class ProjectSummary(Answer):
    """A project, with its numbers of issues by status."""

    project_id: int
    key: str
    name: str
    lead: str
    archived: bool
    open: int
    active: int
    closed: int


class BoardRow(Answer):
    issue_id: int
    title: str
    status: Status
    priority: int
    assignee: str | None
    comments: int


class BoardPage(Answer):
    """One page of a project's issues: active ones first, closed ones last. `public`: it has a page for the world."""

    project_id: int
    key: str
    name: str
    public: bool
    page: int
    pages: int
    issues: list[BoardRow]


class IssueDetail(Answer):
    """One issue. It does not show whether its project is archived, or archiving would purge every issue."""

    issue_id: int
    project_id: int
    key: str
    title: str
    text: str
    status: Status
    priority: int
    assignee_id: int | None
    assignee: str | None
    reporter: str
    created_at: datetime
    updated_at: datetime


class IssueComment(Answer):
    comment_id: int
    author_id: int
    author: str
    text: str
    created_at: datetime
    edited_at: datetime | None


class WorkItem(Answer):
    issue_id: int
    key: str
    title: str
    status: Status
    priority: int


class WorkList(Answer):
    """The most urgent of a person's issues, and the number of all of them."""

    person_id: int
    total: int
    issues: list[WorkItem]


class WorkloadRow(Answer):
    """The numbers of a person's or a role's issues, in projects that are not archived. `who` is None: no assignee."""

    who: str | None
    open: int
    active: int


class Abilities(Answer):
    permissions: list[str]


class IssueChanged(Answer):
    issue_id: int
    project_id: int


class IssuesClosed(Answer):
    issue_ids: list[int]
    project_ids: list[int]


class CommentAdded(Answer):
    comment_id: int
    issue_id: int
    project_id: int
