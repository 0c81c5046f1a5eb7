"""A worker process: an engine over Redis that answers requests in lines of JSON over TCP."""

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from ...cache.backends.redis import DEFAULT_TIMEOUT_SECONDS, RedisCache
from ...cache.shared.breaker import DEFAULT_DEADLINE_SECONDS
from ...engine.engine import Engine
from ...errors import Conflict, Unavailable
from ...protocol.identity import ANONYMOUS, Identity
from ..safeguards import without
from .world import Database, Pauses, World

_SECRET = "the same in every worker, 32 bytes"  # noqa: S105  # it guards nothing here

# The longest that a worker waits for running mutations at its end. A killed worker does not wait.
_SHUTDOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a worker. `deadline`: the engine's, in seconds."""

    redis: str
    prefix: str
    database: Path
    on_cache_failure: Literal["allow", "refuse"]
    hold: float
    without: tuple[str, ...]
    seed: str
    deadline: float = DEFAULT_DEADLINE_SECONDS


class Worker:
    """Answers one request per line, in the order of a connection's lines.

    `{"read": context, "params": {...}}` gives `{"body": bundle, "status": ...}`; `{"call": name, "args": {...}}` gives
    `{"ended": "acknowledged" | "refused" | "unknown"}`. A call that is `"doomed"` kills the worker before the purge.
    `"identity": [user, team]` names the caller, whose user is null for a visitor.
    Every answer has `"calm"`: whether the cache is up and no purge is owed.
    """

    def __init__(self, settings: Settings, pauses: Pauses | None = None) -> None:
        patience = max(settings.deadline, DEFAULT_TIMEOUT_SECONDS)
        self._database = Database(settings.database)
        self._world = World(self._database, pauses or Pauses(random.Random(settings.seed)))
        self.engine = Engine(
            self._world.graph(),
            cache=RedisCache(settings.redis, prefix=settings.prefix, timeout=patience, connect_timeout=patience),
            cache_secret=_SECRET,
            deadline=settings.deadline,
            on_cache_failure=settings.on_cache_failure,
            hold=settings.hold,
            shutdown=_SHUTDOWN_SECONDS,
        )

    async def serve(self, listening: Callable[[int], None]) -> None:
        """Serve until cancelled. `listening` is called with the port."""
        with contextlib.closing(self._database):  # closed last: mutations that have begun still write to it
            async with self.engine, await asyncio.start_server(self._converse, "127.0.0.1", 0) as server:
                listening(server.sockets[0].getsockname()[1])
                await server.serve_forever()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = await self._answer(json.loads(line))
                health = self.engine.health()
                answer["calm"] = health.cache == "up" and not health.owed_purges
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        identity = _identity(request.get("identity"))
        if "read" in request:
            bundle = await self.engine.fetch(request["read"], request["params"], identity=identity)
            why = bundle.cache_status.partition("detail=")[2]
            return {"body": json.loads(bundle.body), "status": f"{bundle.status} {why}".strip()}
        if request["doomed"]:
            self._world.doomed.add(request["args"]["operation"])
        return {"ended": await self._call(request["call"], request["args"], identity)}

    async def _call(self, name: str, args: dict[str, object], identity: Identity) -> str:
        try:
            await self.engine.call(name, args, identity=identity)
        except (Conflict, Unavailable):
            return "refused"
        except Exception:  # noqa: BLE001  # any error may come after the commit
            return "unknown"
        return "acknowledged"


def _identity(given: Sequence[int | None] | None) -> Identity:
    """A user, or a visitor, in the team that a claim names."""
    if given is None:
        return ANONYMOUS
    user, team = given
    return Identity(user, claims={"team": team})


def main(settings: Settings, port: Connection) -> None:  # pragma: no cover  # in a process that is killed
    """The main function of a worker process, which ends when it is killed or when its parent has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # failures of the cache are expected
    with without(*settings.without):
        asyncio.run(_main(settings, port))


async def _main(settings: Settings, port: Connection) -> None:  # pragma: no cover  # the same
    parent = multiprocessing.parent_process()
    if parent is not None:
        asyncio.get_running_loop().add_reader(parent.sentinel, os._exit, 0)
    await Worker(settings).serve(port.send)
