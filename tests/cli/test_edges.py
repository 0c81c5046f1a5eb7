"""The command line: `mizan edge varnish|nginx`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mizan_asgi.cli import cli
from mizan_core import build_manifest
from mizan_core.edge import nginx_text, varnish_text
from tests.edge.origins import Origin

origin = Origin()
graph = origin.graph
mizan = origin.mizan
TARGET = f"{__name__}:mizan"
OPTIONS = ("--origin", "http://127.0.0.1:8000")
PLACES = ("--listen", "443 ssl", "--purge-listen", "10.0.0.1:8611", "--cache-path", "/srv/kept")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["edge", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("kind", ["varnish", "nginx"])
def test_a_program_is_written_and_checked(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "mizan.conf"
    written = run(kind, TARGET, *OPTIONS, "--out", str(out))
    assert written == (0, f"{out}\n")
    text = varnish_text if kind == "varnish" else nginx_text
    command = f"mizan edge {kind} {TARGET} --origin http://127.0.0.1:8000"
    assert out.read_text() == text(origin.manifest, origin="http://127.0.0.1:8000", written_by=command)
    assert run(kind, TARGET, *OPTIONS, "--out", str(out)) == (0, "")
    assert run(kind, TARGET, *OPTIONS, "--out", str(out), "--check") == (0, "")
    assert run(kind, f"{__name__}:graph", *OPTIONS, "--out", str(out), "--check") == (0, ""), (
        "the first line is left out"
    )
    code, said = run(kind, TARGET, *OPTIONS, "--host", "example.com", "--out", str(out), "--check")
    assert (code, said) == (1, f"mizan: {out} is out of date. Run: {command} --host example.com --out {out}\n")


def test_every_option_is_part_of_the_program(tmp_path: Path) -> None:
    out = tmp_path / "mizan.conf"
    assert run("nginx", TARGET, *OPTIONS, *PLACES, "--base-url", "/m", "--out", str(out))[0] == 0
    text = out.read_text()
    assert text.startswith(
        f"# Written by `mizan edge nginx {TARGET} --origin http://127.0.0.1:8000 --listen '443 ssl' "
        "--purge-listen 10.0.0.1:8611 --cache-path /srv/kept --base-url /m`."
    )
    manifest = build_manifest(graph, base_url="/m")
    assert text.partition("\n")[2] == nginx_text(
        manifest,
        origin="http://127.0.0.1:8000",
        listen="443 ssl",
        purge_listen="10.0.0.1:8611",
        cache_path="/srv/kept",
    )
    assert run("varnish", TARGET, *OPTIONS, "--base-url", "/m", "--out", str(out))[0] == 0
    assert '"^/m/ctx/things/' in out.read_text()


def test_a_defect_is_told_in_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / "x")
    code, said = run("varnish", TARGET, "--origin", "https://a", "--out", out)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("mizan: Varnish speaks no TLS")
    assert run("nginx", TARGET, *OPTIONS, "--host", "a b", "--out", out)[0] == 2
