"""`engine.blocking`: an engine for code without an event loop, such as scripts, Celery tasks, notebooks and threads.

An engine is for one event loop. Where one is running that has used the engine, as in a web application whose sync
routes run in threads, calls go there. Otherwise they go to a loop in a daemon thread of the engine's own, which begins
with the first call and ends with the interpreter; a process that was forked begins another.
"""

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol, TypeVar

from ...errors import DeclarationError
from ...graph.declare import Context
from ...graph.inputs import Given
from ...graph.wrapper import current
from ...protocol.identity import ANONYMOUS, Identity
from ...protocol.invalidation import Invalidation
from ..answers import Answer, Bundle
from .changing import Affected, Change, Changing

T = TypeVar("T")


class AsyncEngine(Protocol):
    """The methods of an engine that `Blocking` waits for. `home`: the loop that has used the engine last."""

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
    block, raises `DeclarationError`.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._own = _OwnLoop(engine)

    def run(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """As `Engine.run`."""
        return self.wait_for(lambda: self._engine.run(name, args, identity=identity, request=request))

    def call(self, name: str, args: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Answer:
        """As `Engine.call`."""
        return self.wait_for(lambda: self._engine.call(name, args, identity=identity, request=request))

    def fetch(self, context: str, params: Given, *, identity: Identity = ANONYMOUS, request: object = None) -> Bundle:
        """As `Engine.fetch`."""
        return self.wait_for(lambda: self._engine.fetch(context, params, identity=identity, request=request))

    def invalidate(
        self, affected: Context | Invalidation | str | Callable[..., Any], /, **params: object
    ) -> tuple[Invalidation, ...]:
        """As `Engine.invalidate`."""
        return self.wait_for(lambda: self._engine.invalidate(affected, **params))

    @contextlib.contextmanager
    def changing(
        self, *affected: Affected, name: str = "changing", identity: Identity = ANONYMOUS
    ) -> Iterator[BlockingChange]:
        """As `Engine.changing`, by `with`."""
        loop = self._loop()
        changing = self._engine.changing(*affected, name=name, identity=identity)
        entered: Future[Change] = Future()
        left: Future[BaseException | None] = Future()
        ended = asyncio.run_coroutine_threadsafe(_held_open(changing, entered, left), loop)
        ended.add_done_callback(lambda done: _pass_on(done, entered))
        change = _result(entered)
        outer = current.set(change.call)  # mutations that the body calls join it
        raised: BaseException | None = None
        try:
            yield BlockingChange(self, change)
        except BaseException as error:
            raised = error
            raise
        finally:
            current.reset(outer)
            left.set_result(raised)
            _end(ended, raised)

    def close(self) -> None:
        """Wait, within the engine's `shutdown`, for what has begun, and end the thread; a later call begins another.

        The end of the interpreter does it too. Where the engine is at home on another loop, that is left alone.
        """
        self._own.close()

    def wait_for(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a coroutine that runs on the engine's loop."""
        loop = self._loop()
        return _result(asyncio.run_coroutine_threadsafe(work(), loop))

    def _loop(self) -> asyncio.AbstractEventLoop:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            raise DeclarationError(
                "engine.blocking was called on a running event loop, which it would block; await the engine's own "
                "method there, such as 'await engine.run(...)'."
            )
        home = self._engine.home
        return home if home is not None and home.is_running() else self._own.running()


class _OwnLoop:
    """A loop in a daemon thread, begun when it is needed. At the end of the interpreter the engine is closed on it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None
        self._thread: threading.Thread
        self._begin_anew(engine.home)
        os.register_at_fork(after_in_child=_weakly(self._begin_anew))

    def _begin_anew(self, home: asyncio.AbstractEventLoop | None = None) -> None:
        """Have no loop yet. After a fork, the loop's thread and the engine's home are the parent's."""
        self._lock, self._loop = threading.Lock(), None
        self._engine.home = home

    def running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(loop,), name="mizan-blocking", daemon=True)
                self._thread.start()
                atexit.register(_weakly(self.close))
                weakref.finalize(self, _stop, loop).atexit = False
            return self._loop

    def close(self) -> None:
        """As `Blocking.close`."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._engine.aclose(), loop).result()
            _stop(loop)
            self._thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(loop.stop)


def _weakly(method: Callable[[], None]) -> Callable[[], object]:
    """Calls a method, and keeps its object from nothing; once that has gone, does nothing, as `bool()` does."""
    reference = weakref.WeakMethod(method)
    return lambda: (reference() or bool)()  # noqa: PLW0108  # it is asked for the method when it is called


async def _held_open(changing: Changing, entered: "Future[Change]", left: "Future[BaseException | None]") -> None:
    """Enter, and leave with the error of a body that runs in a thread. In one task, whose context observers see."""
    async with changing as change:
        entered.set_result(change)
        _raise(await asyncio.wrap_future(left))


def _raise(error: BaseException | None) -> None:
    """Raise the error of a body; a cancellation for one that would end the loop, or that no coroutine may raise."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    if error is not None:
        raise asyncio.CancelledError


def _pass_on(ended: "Future[None]", entered: "Future[Change]") -> None:
    """Let a caller know that it could not be entered."""
    if not entered.done():
        error = None if ended.cancelled() else ended.exception()
        entered.set_exception(error or asyncio.CancelledError())


def _end(ended: "Future[None]", raised: BaseException | None) -> None:
    """Wait for the purge. Raises what leaving raises, but for the cancellation that stands for the body's error."""
    try:
        _result(ended)
    except BaseException as error:
        if error is raised or (raised is not None and isinstance(error, CancelledError)):
            return
        raise


def _result(future: "Future[T]") -> T:
    try:
        return future.result()
    except BaseException:
        future.cancel()  # nothing waits for it any more, as after a KeyboardInterrupt
        raise
