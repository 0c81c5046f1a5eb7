"""An event loop in a daemon thread, begun when it is needed.

It ends when it is closed or collected. The end of the interpreter closes it; a forked process begins another.
"""

import asyncio
import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ... import forks

logger = logging.getLogger("mizan")

_all: "weakref.WeakSet[OwnLoop]" = weakref.WeakSet()


class OwnLoop:
    """`aclose` closes what was used on the loop, before it ends."""

    def __init__(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._aclose = aclose
        self._loop: asyncio.AbstractEventLoop | None = None
        self._when_collected: Any = None
        self.begin_anew()
        forks.listen(self)
        _all.add(self)

    def begin_anew(self) -> None:
        """As `forks.BeginsAnew`."""
        forks.keep(self._loop)
        if self._loop is not None:
            self._when_collected.detach()
        self._lock = threading.Lock()
        self._loop = None
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = _nothing

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop. It may have begun this moment."""
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                ended = asyncio.Event()
                self._end = partial(loop.call_soon_threadsafe, ended.set)
                self._when_collected = weakref.finalize(self, self._end)
                self._when_collected.atexit = False  # `_close_all` does more
                self._thread = threading.Thread(target=_serve, args=(loop, ended), name="mizan-blocking", daemon=True)
                self._thread.start()
            return self._loop

    def is_own(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this is the loop."""
        return loop is self._loop

    def close(self) -> None:
        """Close what was used on the loop, and end it. Does nothing where it does not run."""
        with self._lock:
            loop, thread, end = self._loop, self._thread, self._end
            self._loop, self._thread, self._end = None, None, _nothing
        if loop is None or thread is None:
            return
        self._when_collected.detach()
        try:
            asyncio.run_coroutine_threadsafe(self._aclose(), loop).result()
        except Exception:  # what cannot be closed must not keep the interpreter from ending
            logger.exception("Closing failed.")
        end()
        thread.join()


def _serve(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(ended.wait())


def _nothing() -> None:
    """There is no loop to end."""


@atexit.register
def _close_all() -> None:
    for one in list(_all):
        one.close()
