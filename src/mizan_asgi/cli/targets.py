"""What `TARGET` names on the command line."""

from types import ModuleType
from typing import TypeAlias

from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError
from mizan_core.graph.discover import discover
from mizan_core.graph.model import Graph

from ..app import Mizan
from .importing import import_target

Found: TypeAlias = Mizan | Engine | Graph


def find(target: str) -> Found:
    """A `Mizan`, `Engine` or `Graph` by `module:attribute`, or the graph of a package. Raises `DeclarationError`."""
    found = import_target(target)
    if isinstance(found, ModuleType):
        return discover(target)
    if isinstance(found, Mizan | Engine | Graph):
        return found
    raise DeclarationError(f"{target} is a {type(found).__name__}, and neither a Mizan, an Engine nor a Graph.")


def graph_of(found: Found) -> Graph:
    return found if isinstance(found, Graph) else found.graph


def base_url_of(found: Found) -> str:
    """Where it is mounted, as far as it knows."""
    return found.base_url if isinstance(found, Mizan) else "/api/mizan"
