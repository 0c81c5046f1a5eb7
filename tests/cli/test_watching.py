"""`mizan generate --watch`: every change is seen, an error is shown and got over, and Ctrl-C ends it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mizan_asgi.cli import cli
from mizan_asgi.cli.watching import noting_sources, watch
from mizan_core import GraphError

# The processes of pytest-xdist ignore Ctrl-C, and so would what they start.
PROGRAM = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from mizan_asgi.cli import main; main()"
ARGUMENTS = ["generate", "ts", "shop", "--out", "web"]
CLIENTS = """
from mizan_core import client
from .names import Name

@client
async def {name}() -> Name: ...
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose `clients` import another module of it."""
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "names.py").write_text("Name = str\n")
    (package / "clients.py").write_text(CLIENTS.format(name="first"))
    return package


class Steps:
    """Stands for the pause between two looks: each does the next thing that a developer does."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps: Iterator[Callable[[], object]] = iter(steps)

    def __call__(self, seconds: float) -> None:
        step = next(self._steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def written() -> str:
    return Path("web/mizan.ts").read_text(encoding="utf-8")


def says(text: str) -> Callable[[], None]:
    def check() -> None:
        assert text in written()

    return check


def test_a_change_of_any_module_that_was_imported_is_written(shop: Path) -> None:
    steps = Steps(
        says("first(args?: Nothing, options?: CallOptions<Contexts>): Promise<string>"),
        lambda: (shop / "names.py").write_text("Name = int\n"),
        says("first(args?: Nothing, options?: CallOptions<Contexts>): Promise<number>"),
    )
    with pytest.raises(KeyboardInterrupt):
        watch(ARGUMENTS, pause=steps)


def test_new_and_removed_modules_are_noticed(shop: Path) -> None:
    (shop / "cart").mkdir()
    (shop / "cart" / "__init__.py").write_text("")
    new = shop / "cart" / "clients.py"
    steps = Steps(
        lambda: new.write_text("from mizan_core import client\n@client\nasync def second() -> int: ...\n"),
        says("second("),
        new.unlink,
        says("first("),
    )
    with pytest.raises(KeyboardInterrupt):
        watch(ARGUMENTS, pause=steps)
    assert "second(" not in written()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("def (:\n", "SyntaxError"),
        ("from mizan_core import client\n@client\ndef g(x): ...\n", "mizan: g: parameter 'x' has no annotation"),
    ],
)
def test_an_error_in_a_source_is_shown_and_the_watch_goes_on(
    shop: Path, broken: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    good = (shop / "clients.py").read_text()
    (shop / "clients.py").write_text(broken)
    shown: list[str] = []
    steps = Steps(
        lambda: shown.append(capfd.readouterr().err),
        lambda: (shop / "clients.py").write_text(good),
        says("first("),
    )
    with pytest.raises(KeyboardInterrupt):
        watch(ARGUMENTS, pause=steps)
    assert said in shown[0]


def test_a_change_during_generation_is_not_missed(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run
    texts = iter([CLIENTS.format(name="second"), CLIENTS.format(name="third")])

    def changing(command: list[str], **options: object) -> object:
        ran = run(command, **options)  # type: ignore[call-overload]
        if "second(" in written() and (text := next(texts, None)):
            (shop / "clients.py").write_text(text)
        return ran

    monkeypatch.setattr(subprocess, "run", changing)
    steps = Steps(lambda: (shop / "clients.py").write_text(next(texts)), says("third("))
    with pytest.raises(KeyboardInterrupt):
        watch(ARGUMENTS, pause=steps)


def test_a_file_dated_in_the_future_is_looked_at_twice(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, runs = subprocess.run, []

    def counted(command: list[str], **options: object) -> object:
        runs.append(command)
        if len(runs) > 2:
            raise KeyboardInterrupt
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    os.utime(shop / "names.py", (time.time() + 3600, time.time() + 3600))
    with pytest.raises(KeyboardInterrupt):
        watch(ARGUMENTS, pause=Steps())
    assert len(runs) == 2


def test_where_nothing_is_found_there_is_nothing_to_watch(shop: Path) -> None:
    assert watch(["generate", "ts", "nothing", "--out", "web"], pause=Steps()) == 2
    ran = CliRunner().invoke(cli, ["generate", "ts", "nothing", "--out", "web", "--watch"])
    assert ran.exit_code == 2
    assert not Path("web").exists()


def test_sources_are_the_files_of_the_project(tmp_path: Path) -> None:
    report = tmp_path / "sources"
    with noting_sources(report):
        pass
    noted = [Path(line) for line in report.read_text().splitlines()]
    assert Path(__file__) in noted
    assert not [path for path in noted if "site-packages" in path.parts or "mizan_asgi" in path.parts]


def test_a_module_that_failed_is_a_source_as_well(tmp_path: Path) -> None:
    report, broken = tmp_path / "sources", tmp_path / "broken.py"
    broken.write_text("def (:")

    def compiling() -> None:
        try:
            compile(broken.read_text(), str(broken), "exec")
        except SyntaxError:
            raise GraphError(["it does not compile"]) from None

    with pytest.raises(GraphError), noting_sources(report):
        compiling()
    assert str(broken) in report.read_text().splitlines()


def test_watching_and_checking_exclude_each_other() -> None:
    ran = CliRunner().invoke(cli, ["generate", "ts", "shop", "--out", "web", "--watch", "--check"])
    assert ran.exit_code == 2
    assert "use one of them" in ran.stderr


def test_ctrl_c_stops_without_a_complaint(shop: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, *ARGUMENTS, "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        overdue = threading.Timer(30, process.kill)
        overdue.start()
        told = [process.stdout.readline().strip() for _ in range(3)]
        (shop / "names.py").write_text("Name = bytes | int\n")  # perhaps while the first run is not over yet
        told.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        overdue.cancel()
    assert told == ["web/mizan.ts", "web/client.js", "web/client.d.ts", "web/mizan.ts"]
    assert "Promise<string | number>" in written()
    assert process.returncode == 0
    assert errors == "Watching the files that shop imports. Press Ctrl-C to stop.\n"
