"""Generated clients, running: the requests that they make, and the hooks on a server."""

from pathlib import Path

import pytest

from tests.node import run_node

from . import golden
from .compiling import project

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["calling", "rendering"])
def test_a_generated_client_works(name: str, tmp_path: Path) -> None:
    files = {name: content for name, content in golden.generated().items() if name.endswith(".js")}
    project(tmp_path, {**files, f"{name}.test.mjs": (HERE / f"{name}.mjs").read_bytes()})
    ran = run_node("--test", f"{name}.test.mjs", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
