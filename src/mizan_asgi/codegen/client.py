"""Everything that a client consists of: the generated modules, and the runtime that they import, beside them."""

from pathlib import Path

from mizan_core.graph import Graph

from .api import describe
from .browser import TYPE_NAMES, client_module, naming
from .modules import Language, render
from .react import react_module

RUNTIME = Path(__file__).parent.parent / "static"


def client_files(graph: Graph, language: Language, *, base_url: str, react: bool, command: str) -> dict[str, bytes]:
    """The files by their names. `command` is named in them as what wrote them."""
    api = describe(graph, base_url=base_url, reserved=TYPE_NAMES)
    header = f"// Written by `{command}`. Changes will be lost.\n/* eslint-disable */"
    texts = render("mizan", header, client_module(api, naming(api)), language)
    if react:
        texts |= render("mizan.react", header, react_module(api), language)
    # Half of a surrogate pair, which a docstring may have, is no UTF-8.
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    return files | runtime_files()


def runtime_files() -> dict[str, bytes]:
    """The browser runtime and its types: beside the client, it needs no server, bundler or network to be found."""
    return {name: (RUNTIME / name).read_bytes() for name in ("client.js", "client.d.ts")}
