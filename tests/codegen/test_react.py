"""The hooks that are generated, where `react-dom/server` renders them."""

from pathlib import Path

from tests.node import run_node

from . import golden
from .compiling import project

HERE = Path(__file__).parent


def test_hooks_render_on_a_server(tmp_path: Path) -> None:
    files = {name: content for name, content in golden.generated().items() if name.endswith(".js")}
    project(tmp_path, {**files, "rendering.test.mjs": (HERE / "rendering.mjs").read_bytes()})
    ran = run_node("--test", "rendering.test.mjs", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
