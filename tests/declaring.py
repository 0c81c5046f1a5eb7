"""Functions made of data, for tests that need many of them or choose their parameters at run time."""

import inspect
from collections.abc import Callable
from typing import Any

from mizan_core import Context, client

Made = Callable[..., Any]


def function(name: str, returns: Any = int, /, **inputs: Any) -> Made:
    """A function of this name. An input is given by its annotation, or by a pair of that and a default."""

    def made(**given: Any) -> Any:
        return given

    made.__name__ = made.__qualname__ = name
    made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what functools.wraps sets too
        [_parameter(key, one) for key, one in inputs.items()], return_annotation=returns
    )
    return made


def reader(name: str, context: Context | str, returns: Any = int, /, *, options: Any = None, **inputs: Any) -> Made:
    """A reader of a context; `options` are those of `@client`."""
    return client(context=context, **(options or {}))(function(name, returns, **inputs))


def mutation(name: str, affects: Any, returns: Any = int, /, *, options: Any = None, **inputs: Any) -> Made:
    """A mutation; `options` are those of `@client`."""
    return client(affects=affects, **(options or {}))(function(name, returns, **inputs))


def _parameter(name: str, one: Any) -> inspect.Parameter:
    annotation, default = one if isinstance(one, tuple) else (one, inspect.Parameter.empty)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
