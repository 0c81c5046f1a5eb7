"""The thin wrapper that `@client` returns for a mutation, and the running call that it joins.

A context variable holds the call whose function is running. When the body of that function calls a mutation, the
wrapper adds what the mutation makes stale to the answer of the running call. Outside of an engine it only calls the
mutation.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from .callables import is_coroutine_function, wrapping

T = TypeVar("T")

# The running call, or None. `invalidate` reads it as well. A task or a thread that a body starts has a copy.
current: ContextVar[Any] = ContextVar("mizan_current_call", default=None)


class InnerCall(AbstractContextManager["InnerCall"], AbstractAsyncContextManager["InnerCall"], Protocol):
    """A call of a mutation by another function's body: `with` in a synchronous body, `async with` in an async one."""

    def returned(self, result: T) -> T:
        """Note the result of the mutation. Without it, and without an error, the outcome is unknown."""
        ...


class OuterCall(Protocol):
    """The call whose function is running."""

    def inner(self, declaration: Any, sent: Mapping[str, object]) -> InnerCall:
        """A call of a mutation by the running function's body; `sent` are arguments by their names in Python.

        Raises `DeclarationError` where the running function may change nothing.
        """
        ...


def joining(function: Callable[..., Any], declared: Callable[[object], Any]) -> Callable[..., Any]:
    """A function with the same signature that joins the running call. `declared` reads the declaration on it."""
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
