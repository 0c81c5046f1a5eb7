"""Finds the marked functions of a package, or of one module, and builds them."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import GraphError
from .build import build
from .declare import declaration_of
from .model import Graph
from .provide import NOTHING_PROVIDED, Provided


def discover(package: str, *, provide: Provided = NOTHING_PROVIDED) -> Graph:
    """Build the marked functions of all `clients` modules below a package; for a module, those of the module.

    `provide`: as for `build`. Import errors of those modules pass through. A package without any marked function is a
    `GraphError`.
    """
    root = importlib.import_module(package)
    modules = list(_client_modules(root)) if hasattr(root, "__path__") else [root]
    functions: dict[int, Callable[..., Any]] = {}
    for module in modules:
        for member in vars(module).values():
            if declaration_of(member) is not None:
                functions.setdefault(id(member), member)
    if not functions:
        where = f"a 'clients' module below {package!r}" if hasattr(root, "__path__") else f"module {package!r}"
        raise GraphError([f"no function marked with @client was found in {where}"])
    return build(functions.values(), provide=provide)


def _client_modules(package: ModuleType) -> Iterator[ModuleType]:
    """The modules below a package with `clients` in their path; all of them, if the package is called `clients`."""
    itself = package.__name__.rpartition(".")[2] == "clients"
    if itself:
        yield package
    for name in _names_below(list(package.__path__), f"{package.__name__}."):
        if itself or "clients" in name.removeprefix(package.__name__).split("."):
            yield importlib.import_module(name)


def _names_below(folders: Sequence[str], prefix: str) -> Iterator[str]:
    """The names of all modules below a package; imports none.

    `pkgutil.walk_packages` imports packages, and passes over those that fail.
    """
    for found in pkgutil.iter_modules(folders, prefix):
        yield found.name
        if found.ispkg:
            own = found.name.removeprefix(prefix)
            yield from _names_below([str(Path(folder, own)) for folder in folders], f"{found.name}.")
