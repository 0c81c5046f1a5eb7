"""The first start's data: as large as promised, the same every time, and never half of it."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from examples.tracker import seed
from examples.tracker.models import Base

from .world import SMALL

TABLES = ("people", "projects", "issues", "comments")
SECOND = {"people": 4, "projects": 1, "issues": 6, "comments": 1}  # rows of the second organisation


def test_the_seed_has_ten_thousand_issues(large: Path) -> None:
    assert {table: count(large, table) for table in TABLES} == {
        "people": 30 + SECOND["people"],
        "projects": 25 + SECOND["projects"],
        "issues": 10_000 + SECOND["issues"],
        "comments": 25_000 + SECOND["comments"],
    }
    with closing(sqlite3.connect(large)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert {role for (role,) in connection.execute("SELECT role FROM people")} == {
            "admin",
            "lead",
            "developer",
            "viewer",
        }


def test_the_data_are_the_same_ones_every_time(tmp_path: Path) -> None:
    for name in ("one.db", "other.db"):
        seed.fill(tmp_path / name, SMALL)
    assert digest(tmp_path / "one.db") == digest(tmp_path / "other.db")


def test_a_second_start_uses_the_existing_database(tmp_path: Path) -> None:
    path = tmp_path / "tracker.db"
    assert seed.ensure(path, SMALL)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE issues SET title = 'Changed by hand' WHERE id = 1")
    assert not seed.ensure(path, SMALL)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT title FROM issues WHERE id = 1").fetchone() == ("Changed by hand",)


def test_a_start_killed_while_filling_is_filled_again(tmp_path: Path) -> None:
    path = tmp_path / "tracker.db"
    process = subprocess.Popen([sys.executable, "-c", FILL_AND_STOP_HALFWAY, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"half of it is written\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    (abandoned,) = tmp_path.glob("tracker.db-filling-*[0-9]")
    os.utime(abandoned, (0, 0))
    assert seed.ensure(path, SMALL)
    assert count(path, "issues") == SMALL.issues + SECOND["issues"]
    assert not abandoned.exists()


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "tracker.db"
    path.touch()
    assert seed.ensure(path, SMALL)
    assert count(path, "issues") == SMALL.issues + SECOND["issues"]


def test_a_half_filled_file_and_its_log_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "tracker.db"
    with closing(sqlite3.connect(tmp_path / "elsewhere.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {seed.APPLICATION_ID}")
        connection.execute("PRAGMA wal_checkpoint")
        connection.execute("CREATE TABLE people (id INTEGER)")
        for end in ("", "-wal"):  # as a process that was killed leaves them
            shutil.copy(tmp_path / f"elsewhere.db{end}", tmp_path / f"tracker.db{end}")
    assert not seed.is_complete(path)
    assert seed.ensure(path, SMALL)
    assert seed.is_complete(path)
    assert count(path, "issues") == SMALL.issues + SECOND["issues"]


def test_a_failure_while_filling_leaves_neither_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Iterator[dict[str, object]]:
        raise OSError("the disk is full")

    monkeypatch.setattr(seed, "_comments", fail)
    with pytest.raises(OSError, match="the disk is full"):
        seed.ensure(tmp_path / "tracker.db", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not a database at all, but somebody's notes" * 50, None])
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tracker.db"
    if content is None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE letters (id INTEGER)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(seed.ForeignFile, match=r"tracker\.db"):
        seed.ensure(path, SMALL)
    assert path.read_bytes() == before


FILL_AND_STOP_HALFWAY = """
import signal
import sys
from pathlib import Path
from examples.tracker import seed

def stop(*_):
    print("half of it is written", flush=True)
    signal.pause()

seed._comments = stop
seed.ensure(Path(sys.argv[1]), seed.Size(people=6, projects=3, issues=100, comments=100))
"""


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(found)


def digest(path: Path) -> str:
    tables = [table.name for table in Base.metadata.sorted_tables]
    with closing(sqlite3.connect(path)) as connection:
        rows = [connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in tables]
    return hashlib.sha256(repr(rows).encode()).hexdigest()
