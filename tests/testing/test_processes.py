"""Real processes over one Redis: two versions of a program side by side, and one that is killed before its purge."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mizan_core.testing.redis_server import RedisServer, redis_server

pytestmark = pytest.mark.timeout(120)

ORDERS = {"customer": 1}
PRICES = {"item": 1}


class Deployed:
    """A process of one version."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def read(self, context: str, **params: int) -> tuple[int, str]:
        """The row that a bundle shows, and how the cache answered."""
        value, status = self._ask({"read": context, "params": params})
        return value, status

    def call(self, name: str, **args: int) -> None:
        assert self._ask({"call": name, "args": args}) == "done"

    def die_after_commit(self, **request: Any) -> None:
        """Begin a write, and `kill -9` between its commit and its purge."""
        self._say(request)
        assert self._hear() == "committed\n"
        self.process.kill()
        self.process.wait()

    def _ask(self, request: dict[str, Any]) -> Any:
        self._say(request)
        return json.loads(self._hear())

    def _say(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as one:
        yield one


@contextmanager
def deployed(version: str, server: RedisServer, rows: Path, *, hold: float = 30.0) -> Iterator[Deployed]:
    if not rows.exists():
        rows.write_text('{"orders": 0, "prices": 0}')
    command = [sys.executable, "-m", "tests.testing.deployed", version, server.url, str(rows), str(hold)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Deployed(process)
        process.kill()


def test_versions_with_other_scope_shapes_purge_each_other(server: RedisServer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    with deployed("old", server, rows) as old, deployed("new", server, rows) as new:
        changes = [
            (old, "order", ORDERS),
            (new, "turn", {"page": 1}),
            (new, "order", ORDERS),
            (new, "turn", {"page": 1}),
        ]
        for known, (writer, name, args) in enumerate([*changes, *changes]):
            for reader in (old, new, old, new):
                assert reader.read("orders", **ORDERS)[0] == known
            writer.call(name, **args)
            for reader in (new, old, new, old):
                assert reader.read("orders", **ORDERS)[0] == known + 1


def test_versions_with_other_revs_purge_each_other(server: RedisServer, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    with deployed("old", server, rows) as old, deployed("new", server, rows) as new:
        for known, writer in enumerate((old, new, old, new), start=1):
            for reader in (old, new):
                reader.read("prices", **PRICES)
                assert reader.read("prices", **PRICES) == (known - 1, "hit")
            writer.call("reprice", **PRICES)
            assert [reader.read("prices", **PRICES) for reader in (old, new)] == [(known, "miss")] * 2


@pytest.mark.parametrize(
    "write",
    [
        {"call": "order_and_stall", "args": ORDERS},
        {"change": "orders", "params": ORDERS},
        {"change_in_thread": "orders", "params": ORDERS},
    ],
    ids=["mutation", "changing", "blocking.changing"],
)
def test_a_process_killed_before_its_purge_leaves_nothing_stale(
    server: RedisServer, tmp_path: Path, write: dict[str, Any]
) -> None:
    rows = tmp_path / "rows.json"
    hold = 3.0
    with deployed("old", server, rows, hold=hold) as survivor, deployed("old", server, rows, hold=hold) as dying:
        survivor.read("orders", **ORDERS)
        assert survivor.read("orders", **ORDERS) == (0, "hit")
        dying.die_after_commit(**write)
        while (answer := survivor.read("orders", **ORDERS)) == (1, "bypass"):  # until the hold has expired
            time.sleep(0.05)
        assert answer == (1, "miss")
        assert survivor.read("orders", **ORDERS) == (1, "hit")
