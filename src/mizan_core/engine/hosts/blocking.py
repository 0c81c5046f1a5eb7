"""`engine.blocking`: an engine for code without an event loop, such as scripts, Celery tasks, notebooks and threads.

An engine is for one event loop. Where the loop that it is at home on is running, as in a web application whose sync
routes run in threads, calls go there. Otherwise they go to a loop in a daemon thread of the engine's own (`own_loop`).
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, Protocol, TypeVar

from ...errors import DeclarationError, Unavailable
from ...graph.declare import Context
from ...graph.inputs import Given
from ...protocol.identity import ANONYMOUS, Identity
from ...protocol.invalidation import Invalidation
from ..answers import Answer, Bundle
from .changing import Affected, Change, Changing
from .entry import Entry
from .own_loop import OwnLoop

T = TypeVar("T")

# How often a waiting thread looks whether the loop still runs, and how long it may stand still, as between two runs.
_LOOK_SECONDS = 0.5
_STANDSTILL_SECONDS = 5.0

_MISSING = object()


class AsyncEngine(Protocol):
    """The methods of an engine that `Blocking` waits for. `home`: the event loop that it is used on."""

    home: asyncio.AbstractEventLoop | None

    async def run(self, name: str, args: Given, *, identity: Identity, request: object) -> Answer: ...
    async def call(self, name: str, args: Given, *, identity: Identity, request: object) -> Answer: ...
    async def fetch(self, context: str, params: Given, *, identity: Identity, request: object) -> Bundle: ...
    async def invalidate(
        self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object
    ) -> tuple[Invalidation, ...]: ...
    async def aclose(self) -> None: ...
    def changing(self, *affected: Affected, name: str, identity: Identity) -> Changing: ...


class BlockingChange:
    """As `Change`, for code without an event loop."""

    __slots__ = ("_blocking", "_change")

    def __init__(self, blocking: "Blocking", change: Change) -> None:
        self._blocking = blocking
        self._change = change

    def also(self, *affected: Affected) -> None:
        """Hold and purge more, from when this returns. Raises as `Change.also` does."""

        async def held() -> None:
            await self._change.also(*affected)

        self._blocking.wait_for(held)

    @property
    def invalidations(self) -> tuple[Invalidation, ...]:
        """As `Change.invalidations`."""
        return self._change.invalidations

    @property
    def header(self) -> str:
        """As `Change.header`."""
        return self._change.header


class Blocking:
    """The methods of an engine that wait for their results, from any number of threads.

    Arguments, results and errors are those of the engine's own. A call from within a running event loop, which it would
    block, raises `DeclarationError`. Context variables of the caller are seen as by a call of the engine's own.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._own = OwnLoop(engine.aclose)

    def run(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """As `Engine.run`."""
        return self.wait_for(lambda: self._engine.run(name, args, identity=identity, request=request), "run")

    def call(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """As `Engine.call`."""
        return self.wait_for(lambda: self._engine.call(name, args, identity=identity, request=request), "call")

    def fetch(self, context: str, params: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Bundle:
        """As `Engine.fetch`."""
        return self.wait_for(lambda: self._engine.fetch(context, params, identity=identity, request=request), "fetch")

    def invalidate(
        self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object
    ) -> tuple[Invalidation, ...]:
        """As `Engine.invalidate`."""
        return self.wait_for(lambda: self._engine.invalidate(affected, **params), "invalidate")

    @contextlib.contextmanager
    def changing(
        self, *affected: Affected, name: str = "changing", identity: Identity = ANONYMOUS
    ) -> Iterator[BlockingChange]:
        """As `Engine.changing`, by `with`."""
        loop = self._loop("changing")
        entry = Entry(self._engine.changing(*affected, name=name, identity=identity))
        adopted: Sequence[tuple[contextvars.ContextVar[Any], contextvars.Token[Any]]] = ()
        raised: BaseException | None = None
        try:
            change = _result(_submit(entry.enter, loop), loop)
            adopted = _adopt(entry.context)  # mutations that the body calls join it, its spans are children
            yield BlockingChange(self, change)
        except BaseException as error:
            raised = error
            raise
        finally:
            _give_back(adopted)
            self._leave(entry, loop, raised)

    def close(self) -> None:
        """Wait, within the engine's bounds, for mutations and purges under way, and end the thread of its own.

        Where there is no such thread, nothing is closed. A later call begins another.
        """
        self._own.close()

    def wait_for(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        method: str = "...",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> T:
        """The result of a coroutine that runs on the engine's loop, or on `loop`. Raises `Unavailable` if that ends."""
        loop = loop or self._loop(method)
        future = _submit(work, loop)
        try:
            return _result(future, loop)
        except BaseException:
            future.cancel()  # nothing waits for it any more, as after a KeyboardInterrupt
            raise

    def _leave(self, entry: "Entry", loop: asyncio.AbstractEventLoop, raised: BaseException | None) -> None:
        """Purge. Where the loop has ended meanwhile, as in a shutdown, on another one."""
        if not loop.is_closed():
            _result(_submit(lambda: entry.leave(raised), loop), loop)
            return
        for one in () if entry.change is None else entry.change.invalidations:
            self.invalidate(one)

    def owns(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is the loop in the thread of its own."""
        return self._own.is_own(loop)

    def _loop(self, method: str) -> asyncio.AbstractEventLoop:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise DeclarationError(
                f"engine.blocking.{method} was called on a running event loop, which it would block; await the "
                f"engine's own method there: '{_ASYNC_FORMS.get(method, 'await engine.run(...)')}'."
            )
        home = self._engine.home
        if home is not None and home.is_running():
            return home
        self._engine.home = loop = self._own.running()
        return loop


_ASYNC_FORMS = {
    **{method: f"await engine.{method}(...)" for method in ("run", "call", "fetch", "invalidate")},
    "changing": "async with engine.changing(...)",
}


def _adopt(context: contextvars.Context) -> list[tuple[contextvars.ContextVar[Any], contextvars.Token[Any]]]:
    """Set the variables of this thread that have another value in the context; what gives them back."""
    here = contextvars.copy_context()
    return [(one, one.set(value)) for one, value in context.items() if here.get(one, _MISSING) is not value]


def _give_back(adopted: Sequence[tuple[contextvars.ContextVar[Any], contextvars.Token[Any]]]) -> None:
    for variable, token in reversed(adopted):
        with contextlib.suppress(ValueError):  # left in another context, as by a generator of the host's
            variable.reset(token)


def _submit(work: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> "Future[T]":
    """Begin a coroutine on a loop that runs in another thread."""
    coroutine = work()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError as error:
        coroutine.close()
        raise _ended() from error


def _result(future: "Future[T]", loop: asyncio.AbstractEventLoop) -> T:
    """The result. Raises `Unavailable` where the loop ends before."""
    stood_still = 0.0
    while not wait([future], timeout=_LOOK_SECONDS).done:
        stood_still = 0.0 if loop.is_running() else stood_still + _LOOK_SECONDS
        if loop.is_closed() or stood_still >= _STANDSTILL_SECONDS:
            raise _ended()
    if future.cancelled():
        raise _ended()
    return future.result()


def _ended() -> Unavailable:
    return Unavailable("The event loop of the engine has ended.")
