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


# For one program. A machine with a lot to do takes its time.
TIMEOUT_SECONDS = 120


@contextmanager
def page_run(page: Path, folder: Path, instead: Mapping[str, str] | None = None) -> Iterator[ModuleType]:
    """Run a page's Python: its files as files in `folder`, all other blocks together as one module.

    A file of tests runs with the page's other tests, after everything else. `instead` maps texts of the page, such as
    an address, to those that stand for them here.
    """
    module = ModuleType("a_page_of_the_documents")
    sys.modules[module.__name__] = module
    try:
        shown = [one for one in blocks(page) if one.language == "python" or one.file is not None]
        for block in shown:
            _run(block, folder, module, instead or {})
        if any(is_tests(one.file) for one in shown):
            _succeed(f"-m {PYTEST}", folder)
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
    """Save a file, and run it if it is a program: Python, and no tests."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if file.suffix == ".py" and not is_tests(name):
        _succeed(f"-W error {name}", folder)


def is_tests(name: str | None) -> bool:
    return name is not None and Path(name).name.startswith("test_")


def _succeed(arguments: str, folder: Path) -> None:
    command = [sys.executable, *arguments.split()]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder}"}
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert ran.returncode == 0, f"python {arguments}:\n{ran.stdout}{ran.stderr}"
