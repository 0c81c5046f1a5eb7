"""`TARGET` of the command line: found, and asked for its graph and base URL."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from mizan_core.engine.engine import Engine
from mizan_core.errors import DeclarationError
from mizan_core.graph.discover import discover
from mizan_core.graph.model import Graph

from ..app import Mizan

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


def engine_of(found: Found) -> Engine:
    """The engine of a `Mizan`, or one over the graph with the settings of the environment."""
    if isinstance(found, Engine):
        return found
    return (found if isinstance(found, Mizan) else Mizan.from_env(found)).engine


def base_url_of(found: Found) -> str:
    """The mount point of a `Mizan`; the default for an engine or a graph, which have none."""
    return found.base_url if isinstance(found, Mizan) else "/api/mizan"


def import_target(target: str) -> object:
    """The attribute that `module:attribute` names, or the module itself. The current folder can be imported from.

    Raises `DeclarationError` where there is no such module or attribute; errors inside the module pass through.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    module_name, colon, attributes = target.partition(":")
    if not module_name or (colon and not attributes):
        raise DeclarationError(f"{target!r} is not of the form module:attribute, such as blog.app:mizan.")
    found: object = _import(module_name)
    for attribute in attributes.split(".") if attributes else ():
        if not hasattr(found, attribute):
            raise DeclarationError(f"{target!r}: {module_name!r} has no {attribute!r}.")
        found = getattr(found, attribute)
    return found


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise DeclarationError(f"There is no module {name!r}. Is this the folder to run from?") from None
        raise
