"""The tutorial is followed as it stands: its files are written, its commands run, and they print what it shows."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import DOCS, ROOT, Block, blocks
from .running import PYTEST, TIMEOUT_SECONDS, run_file

pytestmark = pytest.mark.timeout(300)  # dozens of programs, on a machine with a lot to do


class Reader:
    """A person at a terminal, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._port = ""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}

    def follow(self, block: Block) -> None:
        if block.file is not None:
            run_file(self._folder, block.file, block.text)
        elif block.language == "console":
            for command, printed in block.commands:
                self._type(command, printed, block.place)
        else:
            pytest.fail(f"{block.place}: this block is neither a file nor a console")

    def close(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)

    def _type(self, command: str, printed: list[str], place: str) -> None:
        if command.startswith("pip install "):
            return  # this environment has them
        if command.startswith("pytest "):
            command = command.replace("pytest -q", f"{sys.executable} -m {PYTEST}")
        if command.startswith("uvicorn "):
            self._serve(command)
            return
        shown = self._run(command.replace("localhost:8000", f"127.0.0.1:{self._port}"), place)
        wanted = "".join(f"{line}\n" for line in printed)
        assert without_times(shown) == without_times(wanted), f"{place}: $ {command}\n{shown}"

    def _run(self, command: str, place: str) -> str:
        ran = subprocess.run(
            command,
            shell=True,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        assert ran.stderr == "", f"{place}: $ {command}\n{ran.stderr}"
        shown = ran.stdout.replace("\r\n", "\n").rstrip("\n")
        return f"{shown}\n" if shown else ""

    def _serve(self, command: str) -> None:
        """Begin the server on a socket that listens already, so that no other process can have its port."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            self._port = str(listening.getsockname()[1])
            self._server = subprocess.Popen(
                [sys.executable, "-m", *command.split(), "--fd", str(listening.fileno()), "--log-level", "warning"],
                cwd=self._folder,
                env=self._environment,
                pass_fds=[listening.fileno()],
            )


def without_times(shown: str) -> str:
    return re.sub(r"in [\d.]+s", "in a moment", shown)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_the_tutorial_does_what_it_shows(reader: Reader) -> None:
    followed = blocks(DOCS / "tutorial.md")
    assert len(followed) > 10
    for block in followed:
        reader.follow(block)
