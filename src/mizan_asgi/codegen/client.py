"""Everything that a client consists of: the generated modules, and the runtime that they import, beside them."""

from pathlib import Path

from mizan_core.errors import DeclarationError
from mizan_core.graph.model import Graph

from .api import describe
from .browser import TYPE_NAMES, client_module, naming
from .modules import WRITTEN_BY, Language, render
from .names import literal
from .react import react_module

RUNTIME = Path(__file__).parent.parent / "static"


def client_files(
    graph: Graph, language: Language, *, base_url: str, react: bool, command: str, runtime: str | None = None
) -> dict[str, bytes]:
    """The files by their names. `command` is named in them as what wrote them.

    `runtime`: where scripts find the runtime; its types stay beside. Raises `DeclarationError` for TypeScript, which
    has to find both in one place.
    """
    if runtime is not None and language is Language.TS:
        raise DeclarationError("--runtime is for JavaScript. TypeScript finds the runtime beside the client.")
    api = describe(graph, base_url=base_url, reserved=TYPE_NAMES)
    header = f"{WRITTEN_BY}`{command}`. Changes will be lost.\n/* eslint-disable */"
    texts = render("mizan", header, client_module(api, naming(api)), language)
    if react:
        texts |= render("mizan.react", header, react_module(api), language)
    # Half of a surrogate pair, which a docstring may have, is no UTF-8.
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    files |= runtime_files()
    return files if runtime is None else _importing(runtime, files)


def _importing(runtime: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files without the runtime, which scripts import from there."""
    address = literal(runtime).encode()
    return {
        name: content.replace(b'"./client.js"', address) if name.endswith(".js") else content
        for name, content in files.items()
        if name != "client.js"
    }


def runtime_files() -> dict[str, bytes]:
    """The browser runtime and its types: beside the client, it needs no server, bundler or network to be found."""
    return {name: (RUNTIME / name).read_bytes() for name in ("client.js", "client.d.ts")}
