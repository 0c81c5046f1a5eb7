"""Finding an application by `module:attribute`, as servers do."""

import importlib
import sys
from pathlib import Path

from mizan_core.errors import DeclarationError


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
