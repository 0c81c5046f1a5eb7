"""The example's JavaScript decides as `mizan_core.edge` does, from tables that `mizan edge worker` writes."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from examples.tracker.app import mizan as tracker
from mizan_asgi.cli import cli
from mizan_core import build_manifest, decode_header, encode_header
from mizan_core.edge import locate, read_manifest, tags_of_invalidations, urls_of_invalidations, worker_text
from tests.edge.graphs import RandomWorld
from tests.node import run_node

HERE = Path(__file__).parent
EXAMPLE = Path(__file__).parents[3] / "examples" / "edge_worker"
HOSTILE = ["", ",", "*", "user;a", "user;a=1;a=2", "user;a=%c3", "nobody", "user a", "User/r;a=1 ,\tusers"]


def tables_of(manifest: dict[str, Any]) -> Any:
    text = worker_text(manifest)
    return json.loads(text.removeprefix("export const tables = ").removesuffix(";\n"))


def asked(worlds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    run_node("--version")  # a reason to skip
    node = shutil.which("node")
    assert node is not None
    command = [node, HERE / "compare.mjs"]
    ran = subprocess.run(command, input=json.dumps(worlds), capture_output=True, text=True, check=True)
    answers: list[dict[str, Any]] = json.loads(ran.stdout)
    return answers


def test_javascript_and_python_decide_alike() -> None:
    worlds, expected, named = [], [], 0
    for seed in range(60):
        world = RandomWorld(seed)
        manifest = build_manifest(world.graph)
        edge = read_manifest(manifest)
        urls = ["/", "/a?b=c", "/api/mizan/ctx/user/?", "/user/..", "/user/5/\n"]
        for context in world.pools:
            for _ in range(5):
                values = world.values(context)
                urls.append(world.url(context, values))
                if context in world.pages:
                    urls += [world.page(context, values), world.page(context, values).rstrip("/")]
        urls = [url for url in urls if len(url) <= 1024]
        writes = [encode_header([world.invalidation(name)]) for name in list(world.pools) * 8]
        many = ", ".join(writes[:1] * 33)
        worlds.append({"tables": tables_of(manifest), "urls": urls, "headers": [*writes, many, *HOSTILE], "paths": []})
        kept = [locate(edge, url) for url in urls]
        read = [decode_header(header) for header in writes]
        named += sum(len(urls_of_invalidations(edge, one)) for one in read)
        expected.append(
            {
                "kept": [None if one is None else [one.url, list(one.tags)] for one in kept],
                "tags": [list(tags_of_invalidations(edge, one)) for one in read],
                "urls": [list(urls_of_invalidations(edge, one)) for one in read],
            }
        )
    for answer, wanted in zip(asked(worlds), expected, strict=True):
        writes = len(wanted["tags"])
        assert answer["kept"] == wanted["kept"]
        assert answer["tags"][:writes] == wanted["tags"]
        assert answer["urls"][:writes] == wanted["urls"]
        assert answer["tags"][writes:][:3] == [["*"], [], []]
        assert all(tags == ["*"] for tags in answer["tags"][writes + 3 : -1])
    assert named > 100, "the comparison is about nothing"


def test_a_lost_call_affects_what_its_declaration_says() -> None:
    manifest = build_manifest(tracker.graph)
    call = "/api/mizan/call/"
    paths = [
        f"{call}edit_comment/",
        f"{call}edit_comment",
        f"{call}issue_detail/",
        call,
        f"{call}x/",
        "/p/5/report/",
        "/a",
        "/%61",
    ]
    (answer,) = asked([{"tables": tables_of(manifest), "urls": [], "headers": [], "paths": paths}])
    assert answer["affected"] == ["issue", "issue", "", "*", "*", "board, page, projects, workload", "", "*"]


def test_the_tables_of_the_example_are_those_of_the_tracker(tmp_path: Path) -> None:
    command = ["edge", "worker", "examples.tracker.app:mizan", "--out"]
    checked = CliRunner().invoke(cli, [*command, str(EXAMPLE / "tables.js"), "--check"])
    assert (checked.exit_code, checked.output) == (0, "")
    assert CliRunner().invoke(cli, [*command, str(tmp_path / "tables.js")]).exit_code == 0
    assert (tmp_path / "tables.js").read_bytes() == (EXAMPLE / "tables.js").read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_tables_are_the_same_bytes_twice(seed: int) -> None:
    graph = RandomWorld(seed).graph
    assert worker_text(build_manifest(graph)) == worker_text(build_manifest(graph))
