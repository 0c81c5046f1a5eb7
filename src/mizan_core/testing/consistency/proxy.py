"""A TCP proxy between one worker and Redis that can delay, stall, cut and half-close connections."""

import asyncio
import contextlib
from collections.abc import Callable

_CHUNK_BYTES = 65_536


class Proxy:
    """Forwards bytes to `host:port` and back, in order, each chunk after `delay()` seconds, and none while stalled."""

    def __init__(self, host: str, port: int, delay: Callable[[], float]) -> None:
        self._target = host, port
        self.delay = delay
        self.port = 0
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._pipes: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    def stall(self) -> None:
        """Forward nothing until `resume`, neither of open connections nor of new ones."""
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Abort every connection, in the middle of a command or a reply."""
        for worker, redis in self._pipes:
            worker.transport.abort()
            redis.transport.abort()

    def half_close(self, *, replies: bool) -> None:
        """Close one direction of every connection, that of the replies or that of the commands."""
        for worker, redis in self._pipes:
            with contextlib.suppress(OSError):
                (worker if replies else redis).write_eof()

    def _connected(self, commands: asyncio.StreamReader, worker: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(commands, worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: worker.transport.abort())  # also if the task was cancelled before it began

    async def _connect(self, commands: asyncio.StreamReader, worker: asyncio.StreamWriter) -> None:
        try:
            replies, redis = await asyncio.open_connection(*self._target)
        except OSError:
            await _aborted(worker)
            return
        pipe = worker, redis
        self._pipes.add(pipe)
        try:
            await asyncio.gather(self._pass_on(commands, redis), self._pass_on(replies, worker))
        finally:
            self._pipes.discard(pipe)
            await _aborted(worker, redis)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: this direction was closed
            while chunk := await source.read(_CHUNK_BYTES):
                await asyncio.sleep(self.delay())
                await self._passing.wait()
                target.write(chunk)
                await target.drain()
            target.write_eof()


async def _aborted(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
