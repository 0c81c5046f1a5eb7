"""Node and the packages of `tests/js`, for tests in Python: with CI=true what is missing is a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent / "js"


def run_node(*arguments: str | Path, cwd: Path = PACKAGES) -> subprocess.CompletedProcess[str]:
    """Run Node with these arguments. The test is skipped where there is no Node, or fails with CI=true."""
    node = shutil.which("node")
    if node is None:
        _missing("There is no node on PATH.")
    return subprocess.run([str(node), *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def run_tool(name: str, *arguments: str | Path, cwd: Path = PACKAGES) -> subprocess.CompletedProcess[str]:
    """Run a program that an npm package brings, such as `tsc` or `esbuild`."""
    return run_node(package_file(f".bin/{name}"), *arguments, cwd=cwd)


def package_file(path: str) -> Path:
    """A file that an npm package brings."""
    file = PACKAGES / "node_modules" / path
    if not file.exists():
        _missing(f"There is no {file}: run `make tests`, which installs it.")
    return file


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
