"""The data of the first start: ten thousand issues, the same ones every time.

A database is filled under another name, marked as complete, and then renamed. A tracker's database without that mark is
filled again.
"""

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, insert

from . import words
from .models import Base, Comment, Issue, Organisation, Person, Project, Status
from .roles import Role

# Two numbers that SQLite stores for applications: the application of the file, and, once it is complete, its layout.
APPLICATION_ID = 0x4D697A54
LAYOUT = 2

# An unfinished file of this age was left by a killed process: filling takes a few seconds.
ABANDONED_SECONDS = 60

# The organisation of the first start's data, and a small second one, at the sub-domain of its name.
FIRST, SECOND = 1, 2

SEED = 20250106
FIRST_DAY = datetime(2025, 1, 6, 8, tzinfo=UTC)
DAYS = 480


@dataclass(frozen=True, slots=True)
class Size:
    """The first organisation's numbers of rows. `people` and `projects` are at most as many as `words` has."""

    people: int = len(words.PEOPLE)
    projects: int = len(words.PROJECTS)
    issues: int = 10_000
    comments: int = 25_000


class ForeignFile(Exception):
    """The file belongs to another application, and was left as it is."""


def ensure(path: Path, size: Size | None = None) -> bool:
    """Fill the database at `path` unless it is complete. Returns whether it was filled. Raises `ForeignFile`."""
    if is_complete(path):
        return False
    filling = path.with_name(f"{path.name}-filling-{os.getpid()}")
    _tidy(path)
    try:
        fill(filling, Size() if size is None else size)
        for left_behind in ("-wal", "-shm", "-journal"):  # SQLite's own files beside the old database
            path.with_name(path.name + left_behind).unlink(missing_ok=True)
        filling.replace(path)
    finally:
        filling.unlink(missing_ok=True)
    return True


def is_complete(path: Path) -> bool:
    """Whether the file exists and was filled to the end. Raises `ForeignFile` if it is not a tracker's."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ForeignFile(f"{path} is not an SQLite database that can be read; remove it or name another.") from error
    if owner != APPLICATION_ID:
        raise ForeignFile(f"{path} is a database of another application; remove it or name another.")
    return bool(layout == LAYOUT)


def fill(path: Path, size: Size) -> None:
    """Write a new database."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = OFF")  # a file spoiled by a crash is filled again
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
            Base.metadata.create_all(connection)
            _insert(connection, size)
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.exec_driver_sql(f"PRAGMA user_version = {LAYOUT}")
    finally:
        engine.dispose()


def _tidy(path: Path) -> None:
    for left_behind in path.parent.glob(f"{path.name}-filling-*"):
        if time.time() - left_behind.stat().st_mtime > ABANDONED_SECONDS:
            left_behind.unlink(missing_ok=True)


def _insert(connection: Connection, size: Size) -> None:
    rng = random.Random(SEED)
    issues = list(_issues(rng, size))
    organisations = [
        {"id": place, "name": name, "subdomain": name.lower()}
        for place, name in enumerate(words.ORGANISATIONS, start=FIRST)
    ]
    connection.execute(insert(Organisation), organisations)
    connection.execute(insert(Person), list(_people(size)))
    connection.execute(insert(Project), list(_projects(rng, size)))
    connection.execute(insert(Issue), issues)
    connection.execute(insert(Comment), list(_comments(rng, size, issues)))
    _insert_second(connection, size)


def _insert_second(connection: Connection, size: Size) -> None:
    """The second organisation: one project that is not open, whose people have all four roles."""
    project = {"id": size.projects + 1, "org_id": SECOND, "key": "KES", "name": "Nesting boxes", "open": False}
    first = size.people + 1
    people = [
        {"id": first + place, "org_id": SECOND, "name": name, "role": role}
        for place, (name, role) in enumerate(
            zip(words.SECOND_PEOPLE, (Role.ADMIN, Role.LEAD, Role.DEVELOPER, Role.VIEWER), strict=True)
        )
    ]
    issues = [
        {
            "id": size.issues + number,
            "project_id": project["id"],
            "title": title,
            "text": words.EXPECTATIONS[0],
            "status": Status.ACTIVE if number == 1 else Status.OPEN,
            "priority": 1 + number % 4,
            "assignee_id": first + number % 3,
            "reporter_id": first,
            "created_at": FIRST_DAY + timedelta(days=number),
            "updated_at": FIRST_DAY + timedelta(days=number),
        }
        for number, title in enumerate(words.SECOND_TITLES, start=1)
    ]
    comment = {"id": size.comments + 1, "issue_id": issues[0]["id"], "author_id": first, "edited_at": None}
    connection.execute(insert(Person), people)
    connection.execute(insert(Project), [project | {"lead_id": first, "archived": False}])
    connection.execute(insert(Issue), issues)
    connection.execute(insert(Comment), [comment | {"text": words.REMARKS[0], "created_at": FIRST_DAY}])


def _people(size: Size) -> Iterator[dict[str, Any]]:
    """The first four people have all four roles, so that a small database has them too."""
    first = (Role.ADMIN, Role.LEAD, Role.DEVELOPER, Role.VIEWER)
    for place, name in enumerate(words.PEOPLE[: size.people]):
        role = first[place] if place < len(first) else Role.LEAD if place % 7 == 0 else Role.DEVELOPER
        yield {"id": place + 1, "org_id": FIRST, "name": name, "role": Role.VIEWER if place % 10 == 9 else role}


def _projects(rng: random.Random, size: Size) -> Iterator[dict[str, Any]]:
    for place, (key, name, _) in enumerate(words.PROJECTS[: size.projects]):
        lead_id = rng.randint(1, size.people)
        yield {
            "id": place + 1,
            "org_id": FIRST,
            "key": key,
            "name": name,
            "lead_id": lead_id,
            "archived": False,
            "open": True,
        }


def _issues(rng: random.Random, size: Size) -> Iterator[dict[str, Any]]:
    """Older issues are more often closed; some projects are busier than others."""
    busy = [rng.uniform(0.4, 2.0) for _ in range(size.projects)]
    for number in range(1, size.issues + 1):
        age = 1 - number / size.issues
        created = FIRST_DAY + timedelta(days=int(DAYS * (1 - age)), seconds=rng.randrange(9 * 3600))
        project = rng.choices(range(size.projects), busy)[0]
        status = rng.choices(tuple(Status), (1.2 - age, 0.35, 0.5 + 2.5 * age))[0]
        assigned = status is Status.ACTIVE or rng.random() < 0.75
        yield {
            "id": number,
            "project_id": project + 1,
            "title": _title(rng, words.PROJECTS[project][2]),
            "text": " ".join([*rng.sample(words.OBSERVATIONS, rng.randint(1, 3)), rng.choice(words.EXPECTATIONS)]),
            "status": status,
            "priority": rng.choices((1, 2, 3, 4), (1, 4, 10, 5))[0],
            "assignee_id": rng.randint(1, size.people) if assigned else None,
            "reporter_id": rng.randint(1, size.people),
            "created_at": created,
            "updated_at": created + timedelta(minutes=round(rng.expovariate(1 / 12_000))),
        }


def _title(rng: random.Random, parts: tuple[str, ...]) -> str:
    part = rng.choice(parts)
    if rng.random() < 0.25:
        return rng.choice(words.WISHES).format(part=part)
    title = f"{part} {rng.choice(words.FAULTS)} {rng.choice(words.CIRCUMSTANCES)}"
    return title[0].upper() + title[1:]


def _comments(rng: random.Random, size: Size, issues: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number in range(1, size.comments + 1):
        issue = rng.choice(issues)
        yield {
            "id": number,
            "issue_id": issue["id"],
            "author_id": rng.randint(1, size.people),
            "text": " ".join(rng.sample(words.REMARKS, rng.randint(1, 2))),
            "created_at": issue["created_at"] + timedelta(minutes=round(rng.expovariate(1 / 9_000))),
            "edited_at": None,
        }
