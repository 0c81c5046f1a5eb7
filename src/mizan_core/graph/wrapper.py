"""The call whose function is running, for what the function's body calls: a context variable, and who reads it.

`@client` returns a mutation in a thin wrapper. Called by the body of another function, the wrapper joins what the
mutation makes stale to the answer of that function; outside of an engine it only calls the mutation.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from types import CodeType, ModuleType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class InnerCall(AbstractContextManager["InnerCall"], AbstractAsyncContextManager["InnerCall"], Protocol):
    """A mutation that another function's body calls: begun and ended by `with`, where nothing has to be waited for, or
    by `async with`."""

    def returned(self, result: T) -> T:
        """Note what the mutation returned. Without it, and without an error, its outcome is unknown."""
        ...


class OuterCall(Protocol):
    """The call whose function is running."""

    def inner(self, declaration: Any, sent: Mapping[str, object]) -> InnerCall:
        """A call of a mutation by the running function's body; `sent` are arguments by their names in Python.

        Raises `DeclarationError` where the running function may change nothing.
        """
        ...


# Read by `invalidate` as well. A task and a thread that a body starts have a copy.
current: ContextVar[Any] = ContextVar("mizan_current_call", default=None)


# Borne by `invalidate`, so that a declaration can tell it in a function's body.
NAMES_STALE = "__mizan_names_stale__"


def names_stale(function: Callable[..., Any]) -> bool:
    """Whether the function's body, or that of what it wraps, mentions `invalidate`, as far as its code shows that."""
    return any(
        _is_naming(_names_known_to(plain), names) for plain in _bodies(function) for names in _names_in(plain.__code__)
    )


def _bodies(function: Callable[..., Any]) -> Iterator[Any]:
    found: Any = function
    while found is not None:
        plain = plain_function(found)
        if plain is not None:
            yield plain
        found = found.func if isinstance(found, functools.partial) else getattr(found, "__wrapped__", None)


def _names_known_to(plain: Any) -> Mapping[str, Any]:
    known = dict(plain.__globals__)
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it is defined further down
            known[name] = cell.cell_contents
    return known


def _names_in(code: CodeType) -> Iterator[tuple[str, ...]]:
    yield (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _is_naming(known: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    found = [known[name] for name in names if name in known]
    members = [vars(one)[name] for one in found if isinstance(one, ModuleType) for name in names if name in vars(one)]
    return any(inspect.getattr_static(one, NAMES_STALE, False) for one in (*found, *members))


def joining(function: Callable[..., Any], declared: Callable[[object], Any]) -> Callable[..., Any]:
    """A function with the same signature that joins the running call. `declared` tells which declaration it bears."""
    bind = functools.cache(lambda: inspect.signature(function).bind)

    def inner_of(call: OuterCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InnerCall:
        return call.inner(declared(wrapper), bind()(*args, **kwargs).arguments)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        call: OuterCall | None = current.get()
        if call is None:
            return await function(*args, **kwargs)
        async with inner_of(call, args, kwargs) as inner:
            return inner.returned(await function(*args, **kwargs))

    def called(*args: Any, **kwargs: Any) -> Any:
        call: OuterCall | None = current.get()
        if call is None:
            return function(*args, **kwargs)
        with inner_of(call, args, kwargs) as inner:
            result = function(*args, **kwargs)
            return result if inspect.isawaitable(result) else inner.returned(result)

    wrapper = wrapping(awaited if is_coroutine_function(function) else called, function)
    return wrapper


def standing_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls what is none: a bound method, a partial, an object. It can be marked, and has a name."""

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapping(awaited if is_coroutine_function(function) else called, function)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """As `inspect` has it, also of callable objects."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(plain_function(function))


def wrapping(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """`functools.wraps`, also around what has no name. The state of a callable object stays its own."""
    functools.update_wrapper(wrapper, function, updated=("__dict__",) if inspect.isfunction(function) else ())
    wrapper.__name__ = name_of(function)
    return wrapper


def plain_function(function: object) -> Callable[..., Any] | None:
    """The function behind a bound method, a partial or a callable object, which is where its annotations were written.

    None where there is none: for a class, for what is built in, and for what cannot be called.
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
    """The name in Python: a partial has that of its function, a callable object that of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
