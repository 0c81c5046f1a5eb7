"""`mizan generate`: what is written where, what `--check` says, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mizan_asgi.cli import cli
from mizan_asgi.cli.files import write
from mizan_core.errors import DeclarationError

TARGET = "tests.codegen.awkward:mizan"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["generate", *map(str, words)])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["ts"], {"mizan.ts"}),
        (["ts", "--react"], {"mizan.ts", "mizan.react.ts"}),
        (["js"], {"mizan.js", "mizan.d.ts"}),
        (["js", "--react"], {"mizan.js", "mizan.d.ts", "mizan.react.js", "mizan.react.d.ts"}),
    ],
)
def test_a_client_is_written_with_the_runtime_beside_it(words: list[str], written: set[str], tmp_path: Path) -> None:
    language, *options = words
    folder = tmp_path / "web" / "src"
    ran = run(language, TARGET, "--out", folder, *options)
    assert ran.exit_code == 0, ran.output
    assert names(folder) == written | {"client.js", "client.d.ts"}
    assert {Path(line).name for line in ran.stdout.split()} == names(folder)
    assert run(language, TARGET, "--out", folder, *options, "--check").exit_code == 0


def test_a_file_says_by_which_command_it_was_written(tmp_path: Path) -> None:
    run("ts", TARGET, "--out", tmp_path, "--react")
    for name in ("mizan.ts", "mizan.react.ts"):
        first = (tmp_path / name).read_text().splitlines()[0]
        assert first == f"// Written by `mizan generate ts {TARGET} --react`. Changes will be lost."


def test_an_up_to_date_file_is_not_written_again(tmp_path: Path) -> None:
    run("ts", TARGET, "--out", tmp_path)
    (tmp_path / "mizan.ts").write_text("")
    before = (tmp_path / "client.d.ts").stat().st_mtime_ns
    assert run("ts", TARGET, "--out", tmp_path).stdout == f"{tmp_path / 'mizan.ts'}\n"
    assert (tmp_path / "client.d.ts").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["mizan.ts", "client.d.ts"])
def test_check_names_outdated_files_and_the_remedy(name: str, tmp_path: Path) -> None:
    run("ts", TARGET, "--out", tmp_path)
    (tmp_path / name).write_text("// edited")
    ran = run("ts", TARGET, "--out", tmp_path, "--check")
    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert ran.stderr == (
        f"mizan: out of date in {tmp_path}: {name}. Run: mizan generate ts {TARGET} --out {tmp_path}\n"
    )
    assert (tmp_path / name).read_text() == "// edited"
    (tmp_path / name).unlink()
    assert run("ts", TARGET, "--out", tmp_path, "--check").exit_code == 1


def test_check_does_not_ask_how_the_command_was_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ["from tests.codegen.awkward import mizan", "other = mizan", "class app:", "  mizan = mizan"]
    (tmp_path / "shop.py").write_text("\n".join(module))
    monkeypatch.syspath_prepend(str(tmp_path))
    run("js", TARGET, "--react", "--out", tmp_path / "web")
    for target in ("shop:other", "shop:app.mizan", "shop:mizan"):
        for options in ([], ["--base-url", "/awk/"]):
            words = ["js", target, *options, "--react", "--out", tmp_path / "web"]
            assert run(*words, "--check").exit_code == 0
            assert run(*words).stdout == "", "nothing is written that says the same"


def test_the_base_url_is_that_of_the_mizan_unless_said_otherwise(tmp_path: Path) -> None:
    run("ts", TARGET, "--out", tmp_path)
    assert 'createClient({ baseUrl: "/awk",' in (tmp_path / "mizan.ts").read_text()
    run("ts", TARGET, "--out", tmp_path, "--base-url", "https://example.com/m")
    assert 'createClient({ baseUrl: "https://example.com/m",' in (tmp_path / "mizan.ts").read_text()


def test_scripts_may_import_the_runtime_from_a_mizan(tmp_path: Path) -> None:
    options = ["--react", "--runtime", "/awk/client.js"]
    ran = run("js", TARGET, "--out", tmp_path, *options)
    assert ran.exit_code == 0, ran.output
    assert names(tmp_path) == {"mizan.js", "mizan.d.ts", "mizan.react.js", "mizan.react.d.ts", "client.d.ts"}
    assert 'import { createClient } from "/awk/client.js";' in (tmp_path / "mizan.js").read_text()
    assert 'from "./client.js"' in (tmp_path / "mizan.d.ts").read_text()
    assert "--react --runtime /awk/client.js`" in (tmp_path / "mizan.js").read_text().splitlines()[0]
    assert run("js", TARGET, "--out", tmp_path, *options, "--check").exit_code == 0
    refused = run("ts", TARGET, "--out", tmp_path, "--runtime", "/awk/client.js")
    assert (refused.exit_code, "--runtime is for JavaScript" in refused.stderr) == (2, True)


def test_two_processes_write_the_same(tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        program = "from mizan_asgi.cli import main; main()"
        command = [sys.executable, "-c", program, "generate", "ts", TARGET, "--out", tmp_path / seed, "--react"]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed}, capture_output=True)
        written.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ts", "tests.codegen.missing"], "no module 'tests.codegen.missing'"),
        (["ts", "tests.codegen.awkward:missing"], "has no 'missing'"),
        (["ts", "tests.codegen.awkward:T"], "is a TypeVar, and neither"),
    ],
)
def test_a_target_that_cannot_be_imported_is_told_in_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    ran = run(*words, "--out", tmp_path)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert names(tmp_path) == set()


def test_another_language_is_refused(tmp_path: Path) -> None:
    assert run("elm", TARGET, "--out", tmp_path).exit_code == 2


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for options in ([], ["--check"]):
        assert run("ts", TARGET, "--out", file, *options).exit_code != 0
    assert "is not a folder" in run("ts", TARGET, "--out", file).stderr
    assert file.read_text() == "mine"


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "mizan.ts").mkdir()
    ran = run("ts", TARGET, "--out", tmp_path, "--react")
    assert ran.exit_code == 2
    assert "mizan.ts is a folder" in ran.stderr
    assert names(tmp_path) == {"mizan.ts"}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a": b"old", "b": b"old"})
    made: list[Path] = []
    chmod = Path.chmod

    def failing(path: Path, mode: int) -> None:
        made.append(path)
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", failing)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path, {"a": b"new", "b": b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}


def test_files_keep_their_mode_and_new_ones_have_the_usual(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write(tmp_path, {"a": b"1"})
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "a").chmod(0o600)
    write(tmp_path, {"a": b"2"})
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DeclarationError, match="a is a folder"):
        write(tmp_path, {"a": b""})
