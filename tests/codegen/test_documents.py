"""The documents' examples of typed clients are generated and compiled as they stand there."""

import subprocess
import sys
from pathlib import Path

from mizan_asgi.cli import cli

from ..documents.pages import DOCS, ROOT, first_of_each_language
from .compiling import complaints, project

IMPORT = 'import { createMizan } from "./mizan.js";\n'
PAGE = DOCS / "how-to" / "typed-clients.md"


def generate(folder: Path, module: str, source: str, *words: str) -> str:
    (folder / f"{module}.py").write_text(source)
    program = "from mizan_asgi.cli import main; main()"
    command = [sys.executable, "-c", program, "generate", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_documents_example_compiles_as_shown(tmp_path: Path) -> None:
    shown = first_of_each_language(PAGE)
    command, _, answer = shown["console"].partition("\n")
    words = command.removeprefix("$ mizan generate ").split()
    assert generate(tmp_path, "shop", shown["python"], *words) == answer
    files = {path.name: path.read_bytes() for path in (tmp_path / "web/src").iterdir()}
    folder = tmp_path / "project"
    project(folder, files | {"shown.ts": shown["ts"].encode(), "shown.react.tsx": shown["tsx"].encode()})
    assert complaints(folder) == ""


def test_the_readmes_example_compiles(tmp_path: Path) -> None:
    shown = first_of_each_language(ROOT / "README.md", below="A first app")
    generate(tmp_path, "app", shown["python"], "ts", "app:mizan", "--out", ".")
    files = {name: (tmp_path / name).read_bytes() for name in ("mizan.ts", "client.js", "client.d.ts")}
    folder = tmp_path / "project"
    project(folder, files | {"shown.ts": f"{IMPORT}{shown['ts']}console.log(user_profile['name']);\n".encode()})
    assert complaints(folder) == ""


def test_every_verb_and_option_of_generating_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
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
        assert words in page
