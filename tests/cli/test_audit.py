"""`mizan audit`: a recording played against a scratch database, and what it prints."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mizan_asgi import Mizan
from mizan_asgi.cli import cli
from mizan_core import Context, Engine, build, client

ROWS = {"first": "old", "second": "old"}


@client(context="pages")
async def page(name: str) -> str:
    return ROWS[name]


@client(context="ticks")
async def ticks() -> int:
    ROWS["ticks"] = ROWS.get("ticks", "") + "."
    return len(ROWS["ticks"])


@client(affects=["pages", "ticks"])
async def write(name: str, text: str) -> None:
    if text == "broken":
        raise LookupError("broken")
    ROWS["second"] += text


@client(affects=Context("pages").whole())
async def shout(name: str) -> None:
    ROWS[name] += "!"


graph = build([page, ticks, write, shout])
engine = Engine(graph)
mizan = Mizan(graph)

PAGES = '{"fetch":"pages","params":{"name":"first"}}\n{"fetch":"pages","params":{"name":"second"}}\n'
WRITTEN = '{"call":"write","args":{"name":"second","text":"er"}}\n'
BROKEN = '{"call":"write","args":{"name":"second","text":"broken"}}\n'


def audit(tmp_path: Path, lines: str, *options: str, target: str = "engine") -> tuple[int, str]:
    ROWS.update(first="old", second="old")
    recording = tmp_path / "calls.jsonl"
    recording.write_text(lines)
    ran = CliRunner().invoke(cli, ["audit", f"{__name__}:{target}", "--calls", str(recording), *options])
    return ran.exit_code, ran.output


@pytest.mark.parametrize("target", ["engine", "mizan", "graph"])
def test_a_stale_bundle_is_printed_and_exits_with_one(tmp_path: Path, target: str) -> None:
    code, said = audit(tmp_path, PAGES + WRITTEN, "--scratch", target=target)
    assert code == 1
    assert "2 calls and" in said
    assert "stale: pages(name='second') was stale after write: it differs at $.page" in said


def test_a_true_recording_exits_with_zero_and_says_so(tmp_path: Path) -> None:
    only_second = PAGES.splitlines(keepends=True)[1]
    code, said = audit(tmp_path, only_second + WRITTEN, "--scratch")
    assert (code, said.splitlines()[-1]) == (0, "Nothing was stale.")


def test_what_could_not_be_verified_and_what_failed_is_printed(tmp_path: Path) -> None:
    code, said = audit(tmp_path, '{"fetch":"ticks","params":{}}\n' + BROKEN, "--scratch")
    assert code == 0
    assert "not verified: ticks differs from itself at $.ticks" in said
    assert "failed: write: LookupError: broken" in said


def test_a_wide_declaration_is_printed(tmp_path: Path) -> None:
    code, said = audit(tmp_path, PAGES + '{"call":"write","args":{"name":"first","text":""}}\n', "--scratch")
    assert code == 0
    assert "wide: write purged 2 bundles of pages, 0 of which had changed" in said


def test_the_narrowing_of_a_wide_declaration_is_named(tmp_path: Path) -> None:
    code, said = audit(tmp_path, PAGES + '{"call":"shout","args":{"name":"second"}}\n', "--scratch")
    assert code == 0
    assert "wide: shout purged 2 bundles of pages, 1 of which had changed; .where(name=Arg('name')) would" in said


def test_a_database_has_to_be_called_scratch(tmp_path: Path) -> None:
    code, said = audit(tmp_path, PAGES)
    assert code == 2
    assert "may be thrown away, and say so with --scratch" in said


def test_a_recording_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    assert "Line 1 of the recording is neither" in audit(tmp_path, "no\n", "--scratch")[1]
    ran = CliRunner().invoke(cli, ["audit", f"{__name__}:engine", "--scratch", "--calls", str(tmp_path / "none")])
    assert ran.exit_code == 2
    assert "none cannot be read: No such file or directory." in ran.output
