"""Helpers of the engine's tests: engines over a memory cache, a clock, two callers, and caches that fail."""

import asyncio
from collections.abc import Callable
from typing import Any

from mizan_core import (
    Engine,
    Identity,
    MemoryCache,
    build,
)

ANN, BOB = Identity("1"), Identity("2")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def engine_of(*functions: Callable[..., Any], **options: Any) -> Engine:
    options.setdefault("cache", MemoryCache())
    return Engine(build(functions), **options)


def mutation_task(caller: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
    """The task of the one mutation that runs, which outlives its caller."""
    (mutation,) = asyncio.all_tasks() - {asyncio.current_task(), caller}
    return mutation


class Elsewhere(MemoryCache):
    """A cache that is asked as if it were in another process."""


class FailingCache(MemoryCache):
    """A cache that fails where it is told to."""

    broken = False

    async def get(self, *keys: str) -> list[bytes | None]:
        self._try()
        return await super().get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        self._try()
        return await super().set(key, value, ttl, if_absent=if_absent)

    async def delete(self, *keys: str) -> int:
        self._try()
        return await super().delete(*keys)

    def _try(self) -> None:
        if self.broken:
            raise ConnectionError
