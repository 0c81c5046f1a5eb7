"""The tracker behind Varnish: `make demo-edge` says what to try, and that works."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.edge.nodes import found

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "examples.tracker.edge"]
OPTIONS = ("--port", "--origin-port", "--purge-port")


def free_ports() -> list[int]:
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in OPTIONS]
        return [one.getsockname()[1] for one in listeners]


def listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def options(ports: list[int]) -> list[str]:
    return [word for option, port in zip(OPTIONS, ports, strict=True) for word in (option, str(port))]


def run(command: str, folder: Path) -> str:
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.timeout(150)
def test_what_it_says_to_try_works(large: Path, tmp_path: Path) -> None:
    found("varnishd")
    ports = free_ports()
    database = shutil.copy(large, tmp_path / "tracker.db")
    environment = {**os.environ, "TRACKER_DB": str(database), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*MODULE, *options(ports)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            told = ""
            while "Ctrl-C ends" not in told:
                line = process.stdout.readline()
                assert line, told
                told += line
            look, sign_in, change, title = re.findall(r"^ {4}(curl .*)$", told, re.MULTILINE)
            assert "fwd=uri-miss; stored, mizan-edge; fwd=uri-miss" in run(look, tmp_path)
            assert "mizan-edge; hit" in run(look, tmp_path)
            run(sign_in, tmp_path)
            assert re.search(r"(?im)^x-mizan-invalidate: .*page;project_id=1", run(change, tmp_path))
            assert run(title, tmp_path) == "Behind an edge\n", "it was fetched again, or is a miss"
            until = time.monotonic() + 50
            while "mizan-edge; hit" not in run(look, tmp_path):
                assert time.monotonic() < until
            assert "405" in run(
                f"curl -sX PURGE -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{ports[0]}/", tmp_path
            )
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert "Application shutdown complete" in rest
    assert "Traceback" not in told + rest
    assert not any(map(listens, ports))


def test_without_varnish_it_says_what_to_install() -> None:
    ports = free_ports()
    code = (
        "import shutil; shutil.which = lambda *_, **__: None\n"
        "import runpy; runpy.run_module('examples.tracker.edge', run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *options(ports)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("There is no varnishd here.\n")
    assert "\n    sudo apt-get install varnish varnish-modules\n" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", range(3))
def test_a_port_that_is_taken_is_named_with_a_way_out(number: int) -> None:
    ports = free_ports()
    taken = ports[number]
    with socket.create_server(("127.0.0.1", taken)):
        ran = subprocess.run([*MODULE, *options(ports)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"Something listens on port {taken} already. End it, or choose another port: "
        f"make demo-edge OPTIONS='{OPTIONS[number]} {taken + 1000}'\n"
    )


def test_a_varnish_that_is_too_old_says_what_is_missing(tmp_path: Path) -> None:
    """One that cannot load the program says so, and what it needs."""
    ports = free_ports()
    old = tmp_path / "varnishd"
    old.write_text("#!/bin/sh\necho 'Could not find VMOD var' >&2\nexit 2\n")
    old.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [*MODULE, *options(ports)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "Could not find VMOD var" in ran.stderr
    assert "sudo apt-get install varnish varnish-modules" in ran.stderr
