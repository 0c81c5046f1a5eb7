"""The tracker as a process of its own under uvicorn, from its first start on."""

import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

ROOT = Path(__file__).parents[2]


@contextmanager
def served(database: Path) -> Iterator[str]:
    """The address of a tracker on a free port. It ends well when it is asked to."""
    command = [sys.executable, "-m", "uvicorn", "examples.tracker.app:app", "--port", "0"]
    environment = {**os.environ, "TRACKER_DB": str(database)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            told = ""
            while (found := re.search(r"running on (http://\S+)", told)) is None:
                line = process.stderr.readline()
                assert line, told
                told += line
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
        assert "Traceback" not in told + rest
        assert "Application shutdown complete" in rest


def test_a_second_start_keeps_changes(tmp_path: Path) -> None:
    with served(tmp_path / "tracker.db") as address, httpx.Client(base_url=address) as web:
        projects = web.get("/api/mizan/ctx/projects/").json()["project_list"]
        assert sum(one["open"] + one["active"] + one["closed"] for one in projects) == 10_000
        web.post("/sign-in/", data={"person_id": 2})
        called = web.post("/api/mizan/call/", json={"fn": "rename_issue", "args": {"issue_id": 7, "title": "Kept"}})
        assert called.status_code == 200
    with served(tmp_path / "tracker.db") as address, httpx.Client(base_url=address) as web:
        assert web.get("/api/mizan/ctx/issue/?issue_id=7").json()["issue_detail"]["title"] == "Kept"


def test_a_change_is_seen_by_the_next_visitor(small: Path) -> None:
    board, issue, people = "board/?project_id=1", "issue/?issue_id=", "people/"
    with served(small) as address, httpx.Client(base_url=f"{address}/api/mizan/ctx/") as visitor:
        row = visitor.get(board).json()["board_page"]["issues"][0]
        issue += str(row["issue_id"])
        for path in (board, issue, people):
            visitor.get(path)
            assert visitor.get(path).headers["cache-status"] == "mizan; hit"
        with httpx.Client(base_url=address) as lead:
            lead.post("/sign-in/", data={"person_id": 2})
            args = {"issue_id": row["issue_id"], "title": "Changed by a lead"}
            called = lead.post("/api/mizan/call/", json={"fn": "rename_issue", "args": args})
        assert called.headers["x-mizan-invalidate"].startswith(
            f"issue;issue_id={row['issue_id']};org_id=1, board;project_id=1"
        )
        assert visitor.get(issue).json()["issue_detail"]["title"] == "Changed by a lead"
        assert visitor.get(board).json()["board_page"]["issues"][0]["title"] == "Changed by a lead"
        assert visitor.get(people).headers["cache-status"] == "mizan; hit"
        etag = visitor.get(people).headers["etag"]
        assert visitor.get(people, headers={"if-none-match": etag}).status_code == 304


def test_the_module_serves_on_port_8000_of_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    served: dict[str, object] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.update(options, title=app.title))
    runpy.run_module("examples.tracker", run_name="__main__")
    assert served == {"host": "127.0.0.1", "port": 8000, "title": "Tracker"}
