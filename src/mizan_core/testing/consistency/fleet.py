"""The worker processes: started, killed and started again."""

import asyncio
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from urllib.parse import urlsplit, urlunsplit

from . import worker
from .history import Incarnation
from .proxy import Proxy
from .worker import Settings

_DEFAULT_REDIS_PORT = 6379

# Processes are forked from one that has imported everything and has no threads, so a restart is cheap.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([worker.__name__])


class WorkerProcess:
    """A worker that is started again whenever it dies. `died` is called with each incarnation that has died."""

    def __init__(self, number: int, settings: Settings, died: Callable[[Incarnation], None]) -> None:
        self.number = number
        self.port: int | None = None
        self._settings = settings
        self._died = died
        self._generation = 0
        self._process: BaseProcess | None = None
        self._life: asyncio.Task[None] | None = None

    @property
    def incarnation(self) -> Incarnation:
        return self.number, self._generation

    async def start(self) -> None:
        """Start the worker, wait until it listens, and keep it alive from then on."""
        await self._begin()
        if self.port is None:
            raise RuntimeError(f"Worker {self.number} did not start.")
        self._life = asyncio.create_task(self._keep_alive())

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()

    async def aclose(self) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        self.kill()
        await self._gone()

    async def _keep_alive(self) -> None:
        while True:
            await self._gone()
            self.port = None
            self._died(self.incarnation)
            self._generation += 1
            await self._begin()

    async def _begin(self) -> None:
        seed = f"{self._settings.seed}/{self.number}/{self._generation}"
        here, there = _processes.Pipe(duplex=False)
        process = _processes.Process(target=worker.main, args=(replace(self._settings, seed=seed), there), daemon=True)
        process.start()
        self._process = process
        there.close()
        self.port = await asyncio.to_thread(_port_from, here)

    async def _gone(self) -> None:
        if self._process is None:
            return
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._process.close()
        self._process = None


def _port_from(pipe: Connection) -> int | None:
    """The port on which a worker listens; None if it was killed before it sent the port."""
    with pipe:
        try:
            port: int = pipe.recv()
        except EOFError:
            return None
        return port


def proxied(url: str, proxy: Proxy) -> str:
    """The same Redis, reached through the proxy."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{proxy.port}"))


def target_of(url: str) -> tuple[str, int]:
    """The host and port that a `redis://` URL names."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or _DEFAULT_REDIS_PORT
