"""All files of a client: the generated modules, and beside them the runtime that they import."""

from pathlib import Path

from mizan_core.errors import DeclarationError
from mizan_core.graph.model import Graph

from .api import api_of
from .browser import TYPE_NAMES, client_module, naming
from .modules import WRITTEN_BY, Language, render
from .names import literal
from .react import react_module

RUNTIME = Path(__file__).parent.parent / "static"


def client_files(
    graph: Graph, language: Language, *, base_url: str, react: bool, command: str, runtime: str | None = None
) -> dict[str, bytes]:
    """The files by their names. Their first line says that `command` wrote them.

    `runtime`: the URL from which scripts import the runtime, instead of the file beside them. Raises `DeclarationError`
    for TypeScript, which finds the runtime's code and types in one place only.
    """
    if runtime is not None and language is Language.TS:
        raise DeclarationError("--runtime is for JavaScript. TypeScript finds the runtime beside the client.")
    api = api_of(graph, base_url=base_url, reserved=TYPE_NAMES)
    header = f"{WRITTEN_BY}`{command}`. Changes will be lost.\n/* eslint-disable */"
    texts = render("mizan", header, client_module(api, naming(api)), language)
    if react:
        texts |= render("mizan.react", header, react_module(api), language)
    # A lone surrogate, which a docstring may contain, cannot be encoded in UTF-8.
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    files |= runtime_files()
    return files if runtime is None else _importing(runtime, files)


def runtime_files() -> dict[str, bytes]:
    """The browser runtime and its types. Files beside the client are found without a server, bundler or network."""
    return {name: (RUNTIME / name).read_bytes() for name in ("client.js", "client.d.ts")}


def _importing(runtime: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files without the runtime's code, which scripts import from the URL `runtime`."""
    address = literal(runtime).encode()
    return {
        name: content.replace(b'"./client.js"', address) if name.endswith(".js") else content
        for name, content in files.items()
        if name != "client.js"
    }
