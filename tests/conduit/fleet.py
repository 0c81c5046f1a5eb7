"""Conduit as its users have it: two web workers, a job worker, and a script, with Redis and PostgreSQL.

Beside them serves a third web worker, on the same database and without a cache: what it answers is true.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from mizan_core.testing.postgres_server import PostgresServer
from mizan_core.testing.redis_server import free_port, redis_server

from .world import driven

ROOT = Path(__file__).parents[2]
PASSWORD = "of the administrators in tests"
_START_SECONDS = 60.0


@dataclass
class Part:
    """A process of the fleet. `web`: a client of it, if it serves."""

    process: subprocess.Popen[bytes]
    web: httpx.AsyncClient


@dataclass
class Fleet:
    """`workers`: the two with the cache; `plain`: the one without. `order`: the file that has the first one killed."""

    url: str
    redis: str
    environment: dict[str, str]
    workers: list[Part]
    plain: Part
    order: Path

    async def redact(self, old: str, new: str) -> None:
        """Run the script to its end."""
        process = await asyncio.create_subprocess_exec(*_command("redact", old, new), cwd=ROOT, env=self.environment)
        assert await process.wait() == 0


def _command(part: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.conduit.served", part, *arguments]


@contextmanager
def _started(environment: dict[str, str], part: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(_command(part, *arguments), cwd=ROOT, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


async def _ready(part: Part) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            assert (await part.web.get("/tags")).status_code == 200
        except httpx.TransportError:
            assert part.process.poll() is None, "It did not start."
            assert time.monotonic() < until, "It does not answer."
            await asyncio.sleep(0.05)
        else:
            return


@asynccontextmanager
async def sailing(
    postgres: PostgresServer, folder: Path, *, without: tuple[str, ...] = (), hold: float = 30.0
) -> AsyncIterator[Fleet]:
    """A fleet over a new database and a Redis of its own. `without`: safeguards that its processes lack."""
    with ExitStack() as stack:
        url = driven(stack.enter_context(postgres.database()))
        redis = stack.enter_context(redis_server()).url
        order = folder / "die"
        environment = os.environ | {
            "CONDUIT_DATABASE_URL": url,
            "CONDUIT_ADMIN_PASSWORD": PASSWORD,
            "CONDUIT_WITHOUT": ",".join(without),
            "CONDUIT_HOLD": str(hold),
            "MIZAN_CACHE_REDIS_URL": redis,
            "MIZAN_CACHE_SECRET": "what all workers of Conduit share in tests",
        }
        parts = []
        async with AsyncExitStack() as clients:
            for own in ({"CONDUIT_DIE": str(order)}, {}, {"CONDUIT_CACHE": "off"}):
                port = free_port()
                process = stack.enter_context(_started(environment | own, "web", str(port)))
                web = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api", timeout=60)
                parts.append(Part(process, await clients.enter_async_context(web)))
            for part in parts:
                await _ready(part)
            stack.enter_context(_started(environment, "worker"))
            yield Fleet(url, redis, environment, parts[:2], parts[2], order)
