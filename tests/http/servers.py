"""Real servers on free ports of the loopback interface."""

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uvicorn

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Served:
    """A uvicorn process that listens at `url`; `log` is what it goes on to say."""

    process: subprocess.Popen[str]
    url: str
    log: IO[str]

    def says(self, text: str) -> str:
        """The next line of the log that has this text."""
        return next(line for line in self.log if text in line)


@contextmanager
def uvicorn_process(target: str, *options: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "uvicorn", target, "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            started = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
            yield Served(process, next(found[0] for found in started if found), process.stderr)
        finally:
            process.terminate()
            process.communicate(timeout=50)


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[tuple[str, int]]:
    """uvicorn in this event loop. Its socket listens at once, so a test need not wait for it to start."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # asyncio sets this for sockets that it makes itself; without it each answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """What a server does before the first request and after the last."""
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    outgoing: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, incoming.get, outgoing.put)
    )
    await incoming.put({"type": "lifespan.startup"})
    assert (await outgoing.get())["type"] == "lifespan.startup.complete"
    yield
    await incoming.put({"type": "lifespan.shutdown"})
    assert (await outgoing.get())["type"] == "lifespan.shutdown.complete"
    await running
