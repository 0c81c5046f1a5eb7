"""Folders in which generated clients are compiled and run, with the packages of `tests/js`."""

import json
from collections.abc import Mapping
from pathlib import Path

from mizan_asgi.codegen.client import runtime_files
from tests.node import PACKAGES, run_tool

# Stricter than `--strict`: what projects turn on as well.
OPTIONS = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "noPropertyAccessFromIndexSignature": True,
    "noImplicitReturns": True,
    "noUnusedLocals": True,
    "noUnusedParameters": True,
    "verbatimModuleSyntax": True,
    "isolatedModules": True,
    "jsx": "react-jsx",
    "module": "nodenext",
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "types": [],
    "noEmit": True,
}


def project(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder a project with these files and the runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node_modules").symlink_to(PACKAGES / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS}))
    for name, content in {**runtime_files(), **files}.items():
        (folder / name).write_bytes(content)


def complaints(folder: Path) -> str:
    """What `tsc` has against the project; nothing where it compiles."""
    ran = run_tool("tsc", "-p", folder, cwd=folder)
    assert (ran.returncode == 0) == (not ran.stdout), ran.stderr
    return ran.stdout
