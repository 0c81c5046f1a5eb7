"""Opens and closes a resource of any kind that a factory makes: context managers and generators, async or sync."""

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any, TypeAlias

# Runs a function in a thread.
InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


@asynccontextmanager
async def opened(factory: Callable[[], Any], in_thread: InThread) -> AsyncIterator[Any]:
    """The resource while it is open. Sync context managers are entered and left in threads.

    An error or a cancellation is thrown into the context manager, which may raise another one, and cannot hide it.
    """
    made: Any = factory()
    if inspect.isasyncgen(made):
        made = _of_async_generator(made)
    elif inspect.isgenerator(made):
        made = _of_generator(made)
    kind = type(made)
    if hasattr(kind, "__aenter__"):
        thrown: BaseException | None = None
        async with made as value:
            try:
                yield value
            except BaseException as error:
                thrown = error
                raise
        if thrown is not None:
            raise thrown
    elif hasattr(kind, "__enter__"):
        value = await _entered(made, in_thread)
        try:
            yield value
        except BaseException:
            await _left(made, in_thread)
            raise
        await _left(made, in_thread)
    else:
        yield await made if inspect.isawaitable(made) else made


def _of_async_generator(generator: AsyncGenerator[Any, Any]) -> AbstractAsyncContextManager[Any]:
    return contextlib.asynccontextmanager(lambda: generator)()


def _of_generator(generator: Generator[Any, Any, Any]) -> AbstractContextManager[Any]:
    return contextlib.contextmanager(lambda: generator)()


async def _entered(made: Any, in_thread: InThread) -> Any:
    """The value that entering gives. If this is cancelled, what a thread has entered is left again."""
    entering = asyncio.ensure_future(in_thread(made.__enter__))
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait([entering])
        if not entering.cancelled() and entering.exception() is None:
            await _left(made, in_thread)
        raise


async def _left(made: Any, in_thread: InThread) -> None:
    """Leave a sync context manager in a thread, with the error that is being handled, if there is one."""
    raised = sys.exc_info()
    await in_thread(lambda: made.__exit__(*raised))
