"""The Python on a page, run in the page's order."""

import ast
import asyncio
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from .pages import ROOT, Block, blocks

# Of the plugins that are installed here, users are told of pytest-asyncio alone.
PYTEST = "pytest -q -W error -p no:valkey -p no:cacheprovider"


@contextmanager
def page_run(page: Path, folder: Path, instead: Mapping[str, str] | None = None) -> Iterator[ModuleType]:
    """Run a page's Python: its files as files in `folder`, all other blocks together as one module.

    `instead` maps texts of the page, such as an address, to those that stand for them here.
    """
    module = ModuleType("a_page_of_the_documents")
    sys.modules[module.__name__] = module
    try:
        for block in blocks(page):
            if block.language == "python" or block.file is not None:
                _run(block, folder, module, instead or {})
        yield module
    finally:
        del sys.modules[module.__name__]


def _run(block: Block, folder: Path, module: ModuleType, instead: Mapping[str, str]) -> None:
    text = block.text
    for shown, here in instead.items():
        text = text.replace(shown, here)
    if block.file is not None:
        run_file(folder, block.file, text)
        return
    code = compile(text, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, vars(module)))
    else:
        exec(code, vars(module))


def run_file(folder: Path, name: str, text: str) -> None:
    """Save a file and run it: a file of tests by pytest, any other of Python as a program."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if file.suffix != ".py":
        return
    is_tests = file.name.startswith("test_")
    command = [sys.executable, "-m", *PYTEST.split(), name] if is_tests else [sys.executable, "-W", "error", name]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder}"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=50)
    assert ran.returncode == 0, f"{name}:\n{ran.stdout}{ran.stderr}"
