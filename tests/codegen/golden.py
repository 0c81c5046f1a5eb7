"""The clients of `awkward` as they are checked in. `python -m tests.codegen.golden` writes them anew."""

from pathlib import Path

from mizan_asgi.codegen.client import client_files, runtime_files
from mizan_asgi.codegen.modules import Language
from mizan_asgi.codegen.openapi import openapi_json

from .awkward import mizan

FOLDER = Path(__file__).parent / "golden"
COMMAND = "python -m tests.codegen.golden"


def generated() -> dict[str, bytes]:
    """What is generated now, but for the runtime, which is the same everywhere."""
    files = {"openapi.json": openapi_json(mizan.graph, base_url=mizan.base_url, title="Awkward", version="3")}
    for language in Language:
        files |= client_files(mizan.graph, language, base_url=mizan.base_url, react=True, command=COMMAND)
    return {name: content for name, content in files.items() if name not in runtime_files()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in generated().items():
        (FOLDER / name).write_bytes(content)
