"""Memory: the overhead of an entry and of a tag, and the growth of a process under a million different requests.

Each figure is measured in a process of its own, `python -m benchmarks.memory PART ...`, which prints it as JSON.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis.asyncio
import uvloop

from mizan_core import MemoryCache, RedisCache
from mizan_core.cache.tags import TagValues
from mizan_core.protocol.keys import KeyMaker

from . import measure
from .contenders import ours
from .report import Ratio, Result
from .world import OURS, USERS, Request

MIB = 1024 * 1024
DAY_SECONDS = 86_400.0
FINGERPRINT = b"12345678"

# Filling the server is not measured, so its commands may take long.
PATIENCE_SECONDS = 60.0

# A process may grow by this factor of the cache's `max_bytes`: allocators round up, and tables grow in steps.
CEILING = 1.5
# Once the cache is full, more requests may add only this much.
PLATEAU = 1.05


def figures(url: str, *, entries: int, tags: int, requests: int) -> list[Result]:
    """All figures, from so many entries, tags and requests. `url`: of a Redis that may be emptied."""
    bytes_each = _told("entries", entries) | _told("redis", url, entries, tags)
    stream = _told("stream", requests)
    taken = stream["mebibytes"]
    half = len(taken) // 2
    full = max(taken[: half + 1])
    return [
        Result("memory-entries", "Bytes beside the body: an entry with the tag of its own scope", bytes_each, "bytes"),
        Result(
            "memory-stream",
            f"Memory under {requests:,} requests for anything, with a cache of {stream['cache']:.0f} MiB",
            {f"after {place * stream['every']:,}": value for place, value in enumerate(taken)}
            | {"highest": stream["highest"]},
            "MiB of the process",
            ratios=[
                Ratio("growth", "the cache's max_bytes", (stream["highest"] - taken[0]) / stream["cache"], CEILING),
                Ratio("second half's highest", "the first half's", max(taken[half:]) / full, PLATEAU),
            ],
        ),
    ]


def _told(part: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", part, *map(str, arguments)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told


def _resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _highest() -> int:
    """The most bytes that this process ever had. (`resource` would begin with the parent's.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


async def _entries(count: int) -> dict[str, float]:
    """An entry's overhead beside its body: in the process, and as the cache counts it against `max_bytes`."""
    cache = MemoryCache(4096 * MIB)
    app = ours.mizan(ours.with_parameters(1), cache=cache)
    length = len((await measure.ask(app, _of(0))).body)
    before, counted = _resident(), cache.used_bytes
    for user_id in range(1, count + 1):
        await measure.ask(app, _of(user_id))
    return {
        "in memory, as the process grows": (_resident() - before) / count - length,
        "in memory, as counted by max_bytes": (cache.used_bytes - counted) / count - length,
    }


async def _in_redis(url: str, entries: int, tags: int) -> dict[str, float]:
    async with redis.asyncio.Redis.from_url(url) as server:

        async def used() -> int:
            return int((await server.info("memory"))["used_memory"])

        await server.flushall()
        cache = RedisCache(url, timeout=PATIENCE_SECONDS)
        app = ours.mizan(ours.with_parameters(1), cache=cache)
        length = len((await measure.ask(app, _of(0))).body)
        before, keys = await used(), await server.dbsize()
        for first in range(1, entries + 1, USERS):
            await asyncio.gather(*(measure.ask(app, _of(user_id)) for user_id in range(first, first + USERS)))
        with_entries, stored = await used(), (await server.dbsize() - keys) // 2
        await server.flushall()
        empty = await used()
        await _tagged(cache, tags)
        with_tags = await used()
        assert await server.dbsize() == tags
        await server.flushall()
        await cache.aclose()
    each = (with_tags - empty) / tags
    return {
        "in Redis": (with_entries - before) / stored - length,
        "in Redis, one tag alone": each,
        f"in Redis, {tags:,} tags": float(with_tags - empty),
    }


async def _tagged(cache: RedisCache, count: int, at_once: int = 1_000) -> None:
    """The figures of so many tags, written as misses write them."""
    keys, values = KeyMaker(ours.SECRET), TagValues(os.urandom)
    for first in range(0, count, at_once):
        tags = (keys.tag("user", {"user_id": str(number)}) for number in range(first, first + at_once))
        await asyncio.gather(*(cache.set(tag, values.fresh(FINGERPRINT), DAY_SECONDS, if_absent=True) for tag in tags))


def _of(user_id: int) -> Request:
    return Request(OURS, b"user_id=%d" % user_id)


# Requests of strangers, different each time: an unknown user, an unknown parameter, a query that cannot be decoded, a
# value that is no number, and a kept bundle in a new spelling.
STREAM: tuple[Callable[[int], bytes], ...] = (
    lambda number: b"user_id=%d" % number,
    lambda number: b"user_id=5&unknown%d=%d" % (number, number),
    lambda number: b"user_id=%%ff%d&%%" % number + b"%zz" * (number % 50),
    lambda number: b"user_id=" + b"9x" * (number % 200) + b"%d" % number,
    lambda number: b"&" * (number % 1_000) + b"user_id=" + b"0" * (number // 1_000 % 1_000) + b"%d" % (number % 100),
)


async def _stream(count: int, samples: int = 10) -> dict[str, Any]:
    app = ours.mizan(ours.with_parameters(1))
    for user_id in range(100):
        await measure.ask(app, _of(user_id))
    taken = [_resident()]
    statuses = {200: 0, 400: 0, 422: 0}
    for number in range(count):
        answer = await measure.ask(app, Request(OURS, STREAM[number % len(STREAM)](number)))
        statuses[answer.status] += 1
        if (number + 1) % (count // samples) == 0:
            taken.append(_resident())
    assert statuses[200] >= count // len(STREAM) * 2
    return {
        "mebibytes": [one / MIB for one in taken],
        "every": count // samples,
        "highest": _highest() / MIB,
        "cache": app.engine._backend.max_bytes / MIB,
    }


def main() -> None:
    part, *arguments = sys.argv[1:]
    measured: Any
    match part:
        case "entries":
            measured = _entries(int(arguments[0]))
        case "redis":
            measured = _in_redis(arguments[0], int(arguments[1]), int(arguments[2]))
        case _:
            measured = _stream(int(arguments[0]))
    print(json.dumps(uvloop.run(measured)))


if __name__ == "__main__":
    main()
