"""A small tracker in this process, and how a test sees what went stale in it."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from examples.tracker.app import authenticate, hosting
from examples.tracker.roles import Role, identity_of, visitor_of
from examples.tracker.seed import FIRST, Size
from mizan_asgi import Mizan
from mizan_core import Answer, Identity, NotFound, discover

from .truth import Row, Truth

SMALL = Size(people=8, projects=3, issues=90, comments=120)
GRAPH = discover("examples.tracker")
SECRET = "what the repository and the tracker know"

ADMIN, LEAD, DEVELOPER, VIEWER = 1, 2, 3, 4


@dataclass(frozen=True)
class Ask:
    """One bundle as a person of the first organisation asks for it. `scope` names it with all its pages and copies."""

    context: str
    params: tuple[tuple[str, int], ...]
    person_id: int | None
    role: Role | None

    @property
    def identity(self) -> Identity:
        return identity_of(self.person_id, self.role, FIRST) if self.person_id and self.role else visitor_of(FIRST)

    @property
    def scope(self) -> str:
        whose = [str(self.person_id)] if self.context == "work" else []
        return " ".join([self.context, *whose, *(str(value) for name, value in self.params if name != "page")])


@dataclass
class Seen:
    """What a change did, by scope: `stale` was computed again, `changed` has other contents than before."""

    stale: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)


class Tracker:
    """The application over a database of its own, with an empty cache."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mizan = Mizan(GRAPH, authenticate=authenticate)
        self.engine = self.mizan.engine
        self.app = hosting(self.mizan)
        self.truth = Truth(path)

    async def call(self, name: str, by: int = ADMIN, **args: Any) -> Answer:
        role = Role(self.truth.people[by]["role"])
        answer = await self.engine.call(name, args, identity=identity_of(by, role, FIRST))
        self.truth = Truth(self.path)
        return answer

    @asynccontextmanager
    async def web(
        self, person_id: int | None = None, *, host: str = "tracker.test"
    ) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as web:
            if person_id is not None:
                await web.post("/sign-in/", data={"person_id": person_id})
            yield web

    @property
    def watched_issues(self) -> list[int]:
        """The newest; it would take long to ask for all."""
        return sorted(self.truth.issues)[-40:]

    def issue(self, status: str = "open", *, assigned: bool = True, project_id: int = 1) -> Row:
        """A watched issue of this kind, assigned to a person other than the four named ones."""
        return next(
            row
            for row in map(self.truth.issues.__getitem__, self.watched_issues)
            if row["status"] == status
            and row["project_id"] == project_id
            and ((row["assignee_id"] or 0) > VIEWER if assigned else row["assignee_id"] is None)
        )

    def write(self, statement: str, *values: object) -> None:
        """A change in the tables that nothing is told of."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement, values)

    def comment_of(self, person_id: int) -> Row:
        """A comment of theirs on a watched issue."""
        mine = (row for row in self.truth.comments if row["author_id"] == person_id)
        return next(row for row in mine if row["issue_id"] in self.watched_issues)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Seen]:
        """Records the changes made inside; afterwards every bundle is checked against the tables."""
        seen = Seen()
        asks = list(self._asks())
        before = {ask: (await self._fetch(ask))[1] for ask in asks}
        assert before == {ask: self._true(ask) for ask in asks}
        assert all([(await self._fetch(ask))[0] == "hit" for ask in asks])
        yield seen
        self.truth = Truth(self.path)
        for ask in asks:
            status, said = await self._fetch(ask)
            assert said == self._true(ask), f"{ask} is stale"
            seen.stale |= {ask.scope} if status == "miss" else set()
            seen.changed |= {ask.scope} if said != before[ask] else set()
        for scope in seen.stale:
            again = [await self._fetch(ask) for ask in asks if ask.scope == scope]
            assert all(status == "hit" or said is None for status, said in again)

    def _asks(self) -> Iterator[Ask]:
        people = {row["id"]: Role(row["role"]) for row in self.truth.people.values()}
        somebody: list[tuple[int | None, Role | None]] = [(None, None), *((one, people[one]) for one in range(1, 5))]
        for context in ("organisation", "people", "projects"):
            yield Ask(context, (), None, None)
        for person_id, role in somebody:
            for context in ("abilities", "me"):
                yield Ask(context, (), person_id, role)
            if person_id is not None:
                yield Ask("workload", (), person_id, role)
        for project_id in self.truth.projects:
            for page in range(1, self.truth.pages(project_id) + 1):
                yield Ask("board", (("project_id", project_id), ("page", page)), None, None)
        for issue_id in self.watched_issues:
            yield Ask("issue", (("issue_id", issue_id),), None, None)
        for person_id, role in people.items():
            yield Ask("work", (), person_id, role)

    async def _fetch(self, ask: Ask) -> tuple[str, Any]:
        try:
            bundle = await self.engine.fetch(ask.context, dict(ask.params), identity=ask.identity)
        except NotFound:  # a board's last page, when its last issue has moved away
            return "miss", None
        return bundle.status, json.loads(bundle.body)

    def _true(self, ask: Ask) -> Any:
        return self.truth.bundle(ask.context, dict(ask.params), ask.role, ask.person_id)
