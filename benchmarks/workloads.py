"""The workloads by name: who takes part, on what, and which ratios have to hold."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import redis.asyncio

from mizan_core import Identity, RedisCache

from .contenders import frameworks, ours, raw
from .measure import Contender, Workload, ask
from .world import USERS, Request, body_of, json_call

OURS = "/api/mizan/ctx/user/"
THEIRS = "/ctx/user/"
BODIES = [body_of(user_id) for user_id in range(USERS)]


def users(path: str) -> list[Request]:
    return [Request(path, b"user_id=%d" % user_id) for user_id in range(USERS)]


def signed_in(path: str) -> list[Request]:
    return [Request(path, user=Identity(user_id)) for user_id in range(USERS)]


async def knowing(app: Any, requests: list[Request]) -> list[Request]:
    """The same requests from clients that have the answer."""
    asked = []
    for request in requests:
        await ask(app, request)
        etag = dict((await ask(app, request)).headers)[b"etag"]
        asked.append(replace(request, headers=((b"if-none-match", etag),)))
    return asked


async def hit(_: str) -> list[Workload]:
    contenders = [
        Contender("raw floor", raw.Hit(), users(THEIRS)),
        Contender("mizan", ours.mizan(), users(OURS)),
        Contender("mizan in FastAPI", ours.mounted(ours.mizan()), users(OURS)),
        Contender("raw floor in FastAPI", ours.mounted(raw.Hit(OURS)), users(OURS)),
        Contender("Starlette, a dict", frameworks.starlette_with_a_dict(), users(THEIRS)),
        Contender("Litestar's cache", frameworks.litestar(), users("/ctx/user")),
        Contender("FastAPI, aiocache", frameworks.fastapi_with_aiocache(), users(THEIRS)),
        Contender("FastAPI, cashews", await frameworks.fastapi_with_cashews(), users(THEIRS)),
        Contender("FastAPI, fastapi-cache2", frameworks.fastapi_with_fastapi_cache(), users(THEIRS)),
    ]
    return [
        Workload(
            "hit",
            "Hit from memory",
            contenders,
            bodies=BODIES,
            expects=b"mizan; hit",
            limits=[("mizan", "raw floor", 1.5), ("mizan", "FastAPI, cashews", 1 / 25)],
        )
    ]


async def hit_per_user(_: str) -> list[Workload]:
    contenders = [
        Contender("raw floor", raw.Hit(), users(THEIRS)),
        Contender("mizan", ours.mizan(), signed_in("/api/mizan/ctx/mine/")),
    ]
    return [Workload("hit-per-user", "Hit from memory, kept per user", contenders, expects=b"mizan; hit")]


async def not_modified(_: str) -> list[Workload]:
    made: list[tuple[str, Any, str]] = [
        ("raw floor", raw.Hit(), THEIRS),
        ("mizan", ours.mizan(), OURS),
        ("mizan in FastAPI", ours.mounted(ours.mizan()), OURS),
        ("FastAPI, fastapi-cache2", frameworks.fastapi_with_fastapi_cache(), THEIRS),
    ]
    contenders = [Contender(name, app, await knowing(app, users(path))) for name, app, path in made]
    contenders.append(Contender("mizan, a hit", ours.mizan(), users(OURS)))
    limits = [("mizan", "mizan, a hit", 1.0)]
    return [Workload("304", "304", contenders, bodies=BODIES, expects=b"mizan; hit", limits=limits)]


async def hit_redis(url: str) -> list[Workload]:
    pool = redis.asyncio.Redis.from_url(url)
    await pool.flushall()
    for user_id in range(USERS):
        await pool.set(b"raw:user:%d" % user_id, raw.packed(body_of(user_id)))
    mizan = ours.mizan(cache=RedisCache(url))
    host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
    _, bare = await asyncio.get_running_loop().create_connection(raw.Hiredis, host, int(port))

    def contenders() -> list[Contender]:
        return [
            Contender("bare hiredis protocol", raw.FromRedis(bare.get), users(THEIRS)),
            Contender("redis-py, one key", raw.FromRedis(pool.get), users(THEIRS)),
            Contender("mizan", mizan, users(OURS)),
            Contender("Litestar's cache", frameworks.litestar(redis.asyncio.Redis.from_url(url)), users("/ctx/user")),
            Contender("FastAPI, cashews", cashews, users(THEIRS)),
            Contender("FastAPI, fastapi-cache2", frameworks.fastapi_with_fastapi_cache(pool), users(THEIRS)),
        ]

    cashews = await frameworks.fastapi_with_cashews(url)
    return [
        Workload(
            f"hit-redis-{concurrency}",
            f"Hit from Redis, {concurrency} at once",
            contenders(),
            bodies=BODIES,
            concurrency=concurrency,
            batch=320,
            expects=b"mizan; hit",
            limits=[("mizan", "redis-py, one key", limit)],
        )
        for concurrency, limit in ((1, 1.25), (32, 0.5))
    ]


async def miss(_: str) -> list[Workload]:
    """After a purge of the user, and at the first sight of a user whom nobody has asked for."""
    purged, mizan = ours.mizan(), ours.mizan()
    number = 1_000_000

    async def purge() -> None:
        for user_id in range(USERS):
            await purged.engine.invalidate("user", user_id=user_id)

    unseen: list[Request] = []

    async def others() -> None:
        nonlocal number
        unseen[:] = [Request(OURS, b"user_id=%d" % (number + place)) for place in range(USERS)]
        number += USERS

    await others()
    return [
        Workload(
            "miss",
            "Miss with two readers, after a purge",
            [
                Contender("raw ASGI", raw.Miss(), users(THEIRS)),
                Contender("mizan", purged, users(OURS), before=purge),
                Contender("FastAPI", frameworks.fastapi(), users(THEIRS)),
            ],
            bodies=BODIES,
            batch=USERS,
            expects=b"mizan; fwd=uri-miss; stored",
            limits=[("mizan", "raw ASGI", 1.3)],
        ),
        Workload(
            "miss-new",
            "Miss with two readers, at first sight",
            [
                Contender("raw ASGI", raw.Miss(), users(THEIRS)),
                Contender("mizan", mizan, unseen, before=others),
            ],
            batch=USERS,
            expects=b"mizan; fwd=uri-miss; stored",
        ),
    ]


def _calls(fn: str, path: str = "/api/mizan/call/") -> list[Request]:
    return [json_call(path, {"fn": fn, "args": {"user_id": user_id, "name": "Ada"}}) for user_id in range(USERS)]


async def call(_: str) -> list[Workload]:
    return [
        Workload(
            "call",
            "Call that affects nothing",
            [
                Contender("raw ASGI", raw.Call(), _calls("rename")),
                Contender("mizan", ours.mizan(), _calls("rename")),
                Contender("FastAPI", frameworks.fastapi(), _calls("rename", "/call/")),
            ],
            bodies=[b'{"result":{"name":"Ada","user_id":%d}}' % user_id for user_id in range(USERS)],
            limits=[("mizan", "raw ASGI", 2.0)],
        )
    ]


async def mutation(url: str) -> list[Workload]:
    bodies = [
        b'{"invalidate":[{"context":"user","params":{"user_id":%d}}],"result":{"name":"Ada","user_id":%d}}'
        % (user_id, user_id)
        for user_id in range(USERS)
    ]
    floor = Contender("raw ASGI", raw.Call(purges=True), _calls("rename"))
    return [
        Workload(
            "mutation",
            "Mutation that purges one scope, in memory",
            [floor, Contender("mizan", ours.mizan(), _calls("rename_and_purge"))],
            bodies=bodies,
            limits=[("mizan", "raw ASGI", 4.0)],
        ),
        Workload(
            "mutation-redis",
            "Mutation that purges one scope, in Redis",
            [floor, Contender("mizan", ours.mizan(cache=RedisCache(url)), _calls("rename_and_purge"))],
            bodies=bodies,
            batch=100,
        ),
    ]


async def whole_purge(_: str, sizes: tuple[int, ...] = (0, 10_000, 100_000, 1_000_000)) -> list[Workload]:
    contenders = []
    for size in sizes:
        app = ours.mizan(cache=ours.cache_for(size))
        await _fill(app, size)

        async def before(app: Any = app) -> None:
            for request in users(OURS)[:1]:
                await ask(app, request)

        contenders.append(Contender(f"mizan, {size:,} other keys", app, _all(), before=before))
    return [Workload("whole-purge", "Purge of a whole context beside other keys", contenders, batch=100)]


def _all() -> list[Request]:
    return [json_call("/api/mizan/call/", {"fn": "rename_all", "args": {}})]


async def _fill(app: Any, count: int) -> None:
    """Entries of another context, as many as are asked for."""
    backend = app.engine._backend  # the quick way to a million entries
    for number in range(count):
        await backend.set(f"ctx:other:{number:064x}", b"x" * 100, 86_400.0)


async def growth(_: str, entries: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)) -> list[Workload]:
    """The cost of a hit as something grows: the graph, the parameters, the tags, the cache."""
    contexts = [
        Contender(f"mizan, {count} contexts", ours.mizan(ours.with_contexts(count)), users(OURS))
        for count in (10, 100, 1_000)
    ]
    parameters = [
        Contender(f"mizan, {count} parameters", ours.mizan(ours.with_parameters(count)), _with_parameters(count))
        for count in (1, 4, 16, 32)
    ]
    tags = [
        Contender(f"mizan, {count} tags", ours.mizan(ours.with_tags(count)), _with_parameters(max(count - 1, 1)))
        for count in (1, 2, 4, 8, 16)
    ]
    filled = []
    for count in entries:
        app = ours.mizan(cache=ours.cache_for(count))
        await _fill(app, count)
        filled.append(Contender(f"mizan, {count:,} entries", app, users(OURS)))
    made = {"contexts": contexts, "parameters": parameters, "tags": tags, "entries": filled}
    return [
        Workload(f"growth-{what}", f"Hit from memory, growing {what}", contenders, expects=b"mizan; hit")
        for what, contenders in made.items()
    ]


def _with_parameters(count: int) -> list[Request]:
    names = sorted(["user_id", *(f"p{number}" for number in range(1, count))])
    return [
        Request(OURS, "&".join(f"{name}={user_id if name == 'user_id' else 7}" for name in names).encode())
        for user_id in range(USERS)
    ]


MAKERS: dict[str, Callable[[str], Awaitable[list[Workload]]]] = {
    "hit": hit,
    "hit-per-user": hit_per_user,
    "304": not_modified,
    "hit-redis": hit_redis,
    "miss": miss,
    "call": call,
    "mutation": mutation,
    "whole-purge": whole_purge,
    "growth": growth,
}
