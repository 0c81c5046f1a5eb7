"""Functions, bound methods, partials and callable objects: the plain function behind each, its name, its wrappers."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

# An attribute of `invalidate`, by which a declaration finds it among the names that a function's body uses.
NAMES_STALE = "__mizan_names_stale__"


def standing_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls a bound method, a partial or an object, none of which can be marked itself."""

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapping(awaited if is_coroutine_function(function) else called, function)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """As `inspect.iscoroutinefunction`, also for callable objects with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(plain_function(function))


def wrapping(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper with the name and the attributes of `function`, as `functools.wraps` gives them.

    A callable object gives the name of its class, and none of its attributes: they are its state.
    """
    functools.update_wrapper(wrapper, function, updated=("__dict__",) if inspect.isfunction(function) else ())
    wrapper.__name__ = name_of(function)
    return wrapper


def plain_function(function: object) -> Callable[..., Any] | None:
    """The function behind a bound method, a partial or a callable object. Annotations are resolved where it is defined.

    None for a class, a built-in function and an object that cannot be called.
    """
    while not inspect.isfunction(function):
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        else:
            call = inspect.getattr_static(type(function), "__call__", None)
            is_object = not isinstance(function, type | staticmethod | classmethod) and inspect.isfunction(call)
            return call if is_object else None
    return function


def name_of(function: Callable[..., Any]) -> str:
    """The name in Python. A partial has the name of its function, a callable object the name of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def names_stale(function: Callable[..., Any]) -> bool:
    """Whether the body of the function, or of a function that it wraps, mentions `invalidate`: read from its code."""
    return any(
        _is_naming(_names_known_to(plain), names) for plain in _bodies(function) for names in _names_in(plain.__code__)
    )


def _bodies(function: Callable[..., Any]) -> Iterator[Any]:
    """The plain function behind the callable, and those behind each callable that it wraps."""
    found: Any = function
    while found is not None:
        plain = plain_function(found)
        if plain is not None:
            yield plain
        found = found.func if isinstance(found, functools.partial) else getattr(found, "__wrapped__", None)


def _names_known_to(plain: Any) -> Mapping[str, Any]:
    """The globals of a function and the variables that it closes over."""
    known = dict(plain.__globals__)
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the variable is assigned further down
            known[name] = cell.cell_contents
    return known


def _names_in(code: CodeType) -> Iterator[tuple[str, ...]]:
    """The names that a body uses, and for each function inside of it the names that one uses."""
    yield (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _is_naming(known: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether one of the names is `invalidate`, by itself or as a member of a module that another name stands for."""
    found = [known[name] for name in names if name in known]
    members = [vars(one)[name] for one in found if isinstance(one, ModuleType) for name in names if name in vars(one)]
    return any(inspect.getattr_static(one, NAMES_STALE, False) for one in (*found, *members))
