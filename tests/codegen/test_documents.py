"""What the documents show of typed clients is generated and compiled as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from mizan_asgi.cli import cli

from .compiling import complaints, project

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|console|tsx?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMPORT = 'import { createMizan } from "./mizan.js";\n'


def blocks(name: str, heading: str) -> dict[str, str]:
    """The first block of each language below a heading."""
    _, _, text = (ROOT / name).read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    found: dict[str, str] = {}
    for block in BLOCK.finditer(text.partition("\n## ")[0]):
        found.setdefault(block[1], block[2])
    return found


def generate(folder: Path, module: str, source: str, *words: str) -> str:
    (folder / f"{module}.py").write_text(source)
    program = "from mizan_asgi.cli import main; main()"
    command = [sys.executable, "-c", program, "generate", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_guides_example_says_what_happens_and_compiles(tmp_path: Path) -> None:
    shown = blocks("docs/guide.md", "Typed clients")
    command, _, answer = shown["console"].partition("\n")
    words = command.removeprefix("$ mizan generate ").split()
    assert generate(tmp_path, "shop", shown["python"], *words) == answer
    files = {path.name: path.read_bytes() for path in (tmp_path / "web/src").iterdir()}
    folder = tmp_path / "project"
    project(folder, files | {"shown.ts": shown["ts"].encode(), "shown.react.tsx": shown["tsx"].encode()})
    assert complaints(folder) == ""


def test_the_readmes_example_compiles(tmp_path: Path) -> None:
    shown = blocks("README.md", "A first app")
    generate(tmp_path, "app", shown["python"], "ts", "app:mizan", "--out", ".")
    files = {name: (tmp_path / name).read_bytes() for name in ("mizan.ts", "client.js", "client.d.ts")}
    folder = tmp_path / "project"
    project(folder, files | {"shown.ts": f"{IMPORT}{shown['ts']}console.log(user_profile['name']);\n".encode()})
    assert complaints(folder) == ""


def test_every_verb_and_option_of_generating_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    assert {"generate", "openapi"} <= {command.callback.__name__ for command in cli.registered_commands}
    for words in (
        "mizan generate ts",
        "mizan generate js",
        "mizan openapi",
        "--react",
        "--check",
        "--watch",
        "--runtime",
    ):
        assert words in guide
