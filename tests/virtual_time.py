"""An event loop whose time passes only when nothing is left to do, and then at once.

A deadline of 50 ms runs out after exactly 50 ms however slow the machine is, and `asyncio.sleep(0.01)` returns once
everything else waits. For stories within one process, without sockets. While a function runs in a thread, time is the
machine's: the thread may be what everything waits for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 1,000 s."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1_000.0
        self._in_threads = 0
        self._wait_for_events = self._selector.select  # type: ignore[attr-defined]  # where every loop waits
        self._selector.select = self._select  # type: ignore[attr-defined]  # the same

    def time(self) -> float:
        return self._now

    def stall(self, seconds: float) -> None:
        """Let time pass in which the loop does nothing."""
        self._now += seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        self._in_threads += 1
        running = super().run_in_executor(executor, func, *args)
        running.add_done_callback(self._ended)
        return running

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Without the timeout that a `Runner` sets from Python 3.12 on: virtual time would pass it at once."""
        await super().shutdown_default_executor()

    def _ended(self, _: object) -> None:
        self._in_threads -= 1

    def _select(self, timeout: float | None) -> Any:
        """What has come in. `timeout` is None where no timer is set, and 0 where something is ready to run."""
        if timeout is None or self._in_threads:
            began = time.monotonic()
            events = self._wait_for_events(timeout)
            passed = time.monotonic() - began
            self._now += passed if timeout is None or events else max(passed, timeout)
            return events
        events = self._wait_for_events(0)
        if not events:
            self._now += timeout
        return events


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run it to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


def stall(seconds: float) -> None:
    """What `time.sleep` does to an ordinary loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.stall(seconds)
