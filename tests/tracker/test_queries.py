"""Each bundle takes a fixed number of statements, however much it shows, and they find their rows by an index."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Engine as Database
from sqlalchemy import event

from examples.tracker import database
from examples.tracker.database import reading
from examples.tracker.roles import Role, identity_of
from examples.tracker.seed import FIRST
from mizan_core import Engine

from .world import GRAPH

BUNDLES: dict[tuple[str, tuple[tuple[str, int], ...]], int] = {
    ("people", ()): 1,
    ("projects", ()): 1,
    ("board", (("project_id", 1),)): 3,
    ("board", (("page", 12), ("project_id", 1))): 3,
    ("issue", (("issue_id", 9000),)): 2,
    ("work", ()): 2,
    ("organisation", ()): 1,
    ("workload", ()): 1,
    ("abilities", ()): 0,
    ("me", ()): 1,
}


@pytest_asyncio.fixture
async def engine(large: Path) -> AsyncIterator[Engine]:
    async with database.opened(large), Engine(GRAPH) as engine:
        yield engine


@pytest.mark.asyncio
@pytest.mark.parametrize(("bundle", "expected"), BUNDLES.items())
async def test_a_bundle_takes_a_fixed_number_of_statements(
    engine: Engine, bundle: tuple[str, tuple[tuple[str, int], ...]], expected: int
) -> None:
    context, params = bundle
    with statements() as seen:
        await engine.fetch(context, dict(params), identity=identity_of(2, Role.LEAD, FIRST))
    assert len(seen) == expected


@pytest.mark.asyncio
async def test_large_tables_are_read_by_an_index(engine: Engine, large: Path) -> None:
    with statements() as seen:
        for context, params in BUNDLES:
            await engine.fetch(context, dict(params), identity=identity_of(2, Role.LEAD, FIRST))
    with closing(sqlite3.connect(large)) as connection:
        plans = [step[3] for text, values in seen for step in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    assert all(
        "INDEX" in step or "PRIMARY KEY" in step for step in plans if re.match("(SCAN|SEARCH) (issues|comm)", step)
    )
    for index in ("issues_of_project", "issues_of_person", "ix_comments_issue_id"):
        assert any(index in step for step in plans)


@pytest.mark.asyncio
async def test_a_function_leaves_no_connection_open(engine: Engine) -> None:
    for context, params in BUNDLES:
        await engine.fetch(context, dict(params), identity=identity_of(2, Role.LEAD, FIRST))
    assert reading.kw["bind"].pool.checkedout() == 0


@contextmanager
def statements() -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    seen: list[tuple[str, tuple[object, ...]]] = []

    def note(_: object, __: object, text: str, values: tuple[object, ...], *___: object) -> None:
        if text.startswith("SELECT"):
            seen.append((text, values))

    event.listen(Database, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Database, "before_cursor_execute", note)
