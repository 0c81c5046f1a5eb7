"""Faults of the store and of the network to it. Each one undoes itself at its end."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...cache.backends.redis import RedisCache
from ..redis_server import RedisServer
from .proxy import Proxy

KILL = "kill"
KINDS = (KILL, "stop", "restart", "evict", "full", "forget", "delay", "cut", "half-close", "partition", "stall")

# An eviction starts with this much free memory, which the fillings exceed.
_ROOM_BYTES = 100_000
_FILLING_BYTES = 40_000
_FILLINGS = 40

# The first digits of keys: an eviction in a given Redis deletes keys by them.
_PARTS = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` causes the fault for a while and undoes it. `forgets`: holds may be lost by it."""

    kind: str
    strike: Callable[[], Awaitable[None]]
    forgets: bool = False


class Store(Protocol):
    """The Redis of a run."""

    @property
    def url(self) -> str: ...

    def faults(self, rng: random.Random) -> list[Fault]:
        """The faults that this Redis can have."""
        ...

    async def aclose(self) -> None: ...


class OwnRedis:
    """A server of the checker's own, for every kind of fault."""

    def __init__(self) -> None:
        self._server = RedisServer()

    @property
    def url(self) -> str:
        return self._server.url

    def faults(self, rng: random.Random) -> list[Fault]:
        return [
            Fault("stop", lambda: self._stop(rng.uniform(0.3, 2.5))),
            Fault("restart", lambda: self._restart(rng.uniform(0.0, 1.0)), forgets=True),
            Fault("evict", lambda: self._evict(rng.choice(("allkeys-lru", "allkeys-random")), rng), forgets=True),
            Fault("full", lambda: self._full(rng.uniform(0.5, 1.5))),
        ]

    async def aclose(self) -> None:
        self._server.stop()

    async def _stop(self, seconds: float) -> None:
        """The server stops answering, and keeps its connections."""
        self._server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._server.signal(signal.SIGCONT)

    async def _restart(self, seconds: float) -> None:
        """The server is killed, and comes back empty."""
        self._server.stop()
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(self._server.start)

    async def _evict(self, policy: str, rng: random.Random) -> None:
        """Foreign keys fill the memory, and the server evicts keys of its choice."""
        async with self._bounded(policy, _ROOM_BYTES):
            for number in range(_FILLINGS):
                await self._say("SET", f"filling:{number}", "x" * _FILLING_BYTES)
                await asyncio.sleep(rng.uniform(0.0, 0.05))
        await self._say("UNLINK", *(f"filling:{number}" for number in range(_FILLINGS)))

    async def _full(self, seconds: float) -> None:
        """The server refuses writes, and evicts nothing."""
        async with self._bounded("noeviction", 0):
            await asyncio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def _bounded(self, policy: str, room: int) -> AsyncIterator[None]:
        info = await self._say("INFO", "memory")
        used = int(info.partition("used_memory:")[2].partition("\r\n")[0])
        await self._say("CONFIG", "SET", "maxmemory-policy", policy)
        await self._say("CONFIG", "SET", "maxmemory", str(used + room))
        try:
            yield
        finally:
            await self._say("CONFIG", "SET", "maxmemory", "0")

    async def _say(self, *words: str) -> str:
        return await asyncio.to_thread(self._server.say, *words)


class GivenRedis:
    """A server that is in use: faults touch only the keys of this run."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self._cache = RedisCache(url, prefix=prefix)

    def faults(self, rng: random.Random) -> list[Fault]:
        return [
            Fault("forget", self._cache.clear, forgets=True),
            Fault("evict", lambda: self._evict(rng), forgets=True),
        ]

    async def aclose(self) -> None:
        await self._cache.clear()
        await self._cache.aclose()

    async def _evict(self, rng: random.Random) -> None:
        for part in rng.sample(_PARTS, 8):
            for kind in rng.sample(("tag:card:", "tag:board:", "ctx:card:", "ctx:board:"), 2):
                await self._cache.delete_by_prefix(kind + part)


def network_faults(proxies: Sequence[Proxy], rng: random.Random) -> Iterator[Fault]:
    """The faults of the network between workers and the store."""
    if proxies:
        yield Fault("delay", lambda: _delay(rng.choice(proxies), rng))
        yield Fault("cut", lambda: _cut(rng.choice(proxies), rng))
        yield Fault("half-close", lambda: _half_close(rng.choice(proxies), rng))
        yield Fault("partition", lambda: _stall([rng.choice(proxies)], rng.uniform(0.3, 2.5)))
        yield Fault("stall", lambda: _stall(proxies, rng.uniform(0.3, 2.5)))


async def _delay(proxy: Proxy, rng: random.Random) -> None:
    """Delays, some of them longer than the deadline."""
    usual, proxy.delay = proxy.delay, lambda: rng.uniform(0.0, 0.2)
    try:
        await asyncio.sleep(rng.uniform(0.5, 2.0))
    finally:
        proxy.delay = usual


async def _cut(proxy: Proxy, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        proxy.cut()
        await asyncio.sleep(rng.uniform(0.0, 0.3))


async def _half_close(proxy: Proxy, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        proxy.half_close(replies=rng.random() < 0.5)
        await asyncio.sleep(rng.uniform(0.0, 0.5))


async def _stall(proxies: Sequence[Proxy], seconds: float) -> None:
    for proxy in proxies:
        proxy.stall()
    try:
        await asyncio.sleep(seconds)
    finally:
        for proxy in proxies:
            proxy.resume()
