"""`mizan purge --since`: what a deployment has changed is purged at the edges, exactly."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mizan_asgi import Mizan
from mizan_asgi.cli import cli
from mizan_asgi.edge import Nodes
from mizan_core import build, build_manifest, client
from tests.edge.vendors.apis import NodeApi
from tests.http.servers import listening

mizan: Mizan  # what the command finds; each test sets it up


def graph_of(*, rev: int = 0, with_report: bool = True) -> Any:
    @client(context="user", rev=rev)
    async def profile(user_id: int) -> str:
        return ""

    @client(context="orders")
    async def orders(customer_id: int) -> list[int]:
        return []

    @client(context="report")
    async def report() -> int:
        return 1

    return build([profile, orders, *[report] * with_report])


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["purge", f"{__name__}:mizan", *words])


def deployed(path: Path, before: Any, after: Any, status: int = 200) -> tuple[Result, list[str]]:
    """The result of the command after a deployment, and what a node has heard."""
    path.write_text(json.dumps(build_manifest(before)))

    async def purged() -> tuple[Result, list[str]]:
        global mizan  # noqa: PLW0603  # the command finds it by its name
        node = NodeApi()
        node.status = status
        async with listening(node.app) as (host, port):
            mizan = Mizan(after, edge=Nodes(f"http://{host}:{port}"), shutdown=0.5)
            return await asyncio.to_thread(run, "--since", str(path)), node.heard

    return asyncio.run(purged())


def test_exactly_what_has_changed_is_purged(tmp_path: Path) -> None:
    result, heard = deployed(tmp_path / "old.json", graph_of(), graph_of(rev=1))
    assert result.exit_code == 0, result.output
    assert heard == ["user"]
    assert result.stdout.splitlines() == [
        "user: rev, readers",
        "X-Mizan-Invalidate: user",
        "/api/mizan/ctx/user/*",
    ]


def test_a_context_that_was_removed_is_purged_too(tmp_path: Path) -> None:
    result, heard = deployed(tmp_path / "old.json", graph_of(), graph_of(with_report=False))
    assert result.exit_code == 0, result.output
    assert heard == ["report"]
    assert result.stdout.splitlines()[0] == "report: removed"


def test_nothing_is_purged_where_nothing_has_changed(tmp_path: Path) -> None:
    result, heard = deployed(tmp_path / "old.json", graph_of(), graph_of())
    assert result.exit_code == 0, result.output
    assert result.stdout == "Nothing that is kept means anything else.\n"
    assert heard == []


@pytest.mark.parametrize("after", [{"rev": 1}, {"with_report": False}])
def test_an_edge_that_was_not_told_is_an_error(tmp_path: Path, after: dict[str, Any]) -> None:
    result, _ = deployed(tmp_path / "old.json", graph_of(), graph_of(**after), status=500)
    assert result.exit_code == 2
    assert "run this again" in result.stderr


@pytest.mark.parametrize("text", ["not JSON", "[]", "{}", '{"version": 2, "contexts": {}}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    global mizan  # noqa: PLW0603  # the command finds it by its name
    mizan = Mizan(graph_of())
    path = tmp_path / "old.json"
    path.write_text(text)
    result = run("--since", str(path))
    assert result.exit_code == 2
    assert "manifest" in result.stderr


@pytest.mark.parametrize("words", [(), ("user", "--since", "old.json")])
def test_a_context_or_a_manifest_is_named(words: tuple[str, ...]) -> None:
    global mizan  # noqa: PLW0603  # the command finds it by its name
    mizan = Mizan(graph_of())
    result = run(*words)
    assert result.exit_code == 2
    assert "not both" in result.stderr
