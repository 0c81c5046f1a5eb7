"""The workloads by name, each with its contenders, its requests, and the ratios that have to hold."""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeAlias

import redis.asyncio

from mizan_core import Identity, MemoryCache, RedisCache
from mizan_core.engine.engine import Limits

from .contenders import frameworks, ours, raw
from .measure import Contender, Limit, Workload, ask
from .world import OURS, THEIRS, USERS, Profile, Renamed, Request, body_of, json_call

Maker: TypeAlias = Callable[[str], Awaitable[list[Workload]]]

# How Mizan keeps large bodies: with copies in the process, and without.
_NEAR: tuple[tuple[str, Limits], ...] = (("near:", {}), ("far:", {"near_bytes": 0}))
# By kilobytes, the most that a hit may cost of what redis-py's GET costs.
_NEAR_LIMITS = ((1, 1.25), (100, 0.8))

# A ratio up to this counts as no growth: two measurements of the same cost always differ a little.
FLAT = 1.1

_OLDER = (b"if-none-match", b'W/"%032d"' % 0)  # of a client that has another version
_OTHER = (b"sec-fetch-mode", b"cors")  # one more header, which no contender reads
BODIES = [body_of(user_id) for user_id in range(USERS)]


def users(path: str, *headers: tuple[bytes, bytes]) -> list[Request]:
    return [Request(path, b"user_id=%d" % user_id, headers=headers) for user_id in range(USERS)]


SESSIONS = {b"session=%064d" % user_id: user_id for user_id in range(USERS)}


def signed_in(path: str) -> list[Request]:
    return [Request(path, headers=((b"cookie", session),)) for session in SESSIONS]


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
            limits=[
                Limit("mizan", "raw floor", 1.5),
                Limit("mizan", "FastAPI, cashews", 1 / 25),
                Limit("mizan in FastAPI", "raw floor in FastAPI", FLAT, beyond=("mizan", "raw floor")),
            ],
        )
    ]


async def hit_per_user(_: str) -> list[Workload]:
    users_of = {session: Identity(user_id) for session, user_id in SESSIONS.items()}
    ours_at = "/api/mizan/ctx/mine/"
    contenders = [
        Contender("raw floor, with a session", raw.HitOfASession(SESSIONS), signed_in("/ctx/mine/")),
        Contender("mizan", ours.Sessions(ours.mizan(), users_of), signed_in(ours_at)),
        Contender("mizan, with authenticate=", ours.authenticating(users_of), signed_in(ours_at)),
    ]
    limits = [Limit("mizan", "raw floor, with a session", 2.0)]
    title = "Hit from memory, kept per user"
    return [Workload("hit-per-user", title, contenders, expects=b"mizan; hit", limits=limits)]


async def not_modified(_: str) -> list[Workload]:
    """304s, beside hits for the same request without the header, and with another header in its place.

    Reading one more header is what a 304 costs beyond a hit, on the floor as well.
    """
    mizan, fastapi_cache = ours.mizan(), frameworks.fastapi_with_fastapi_cache()
    floor, mounted = raw.Hit(), ours.mounted(ours.mizan())
    contenders = [
        Contender("raw floor, a hit", floor, users(THEIRS)),
        Contender("raw floor", floor, await knowing(floor, users(THEIRS))),
        Contender("mizan, a hit for an older ETag", mizan, users(OURS, _OLDER)),
        Contender("mizan, a hit", mizan, users(OURS)),
        Contender("mizan", mizan, await knowing(mizan, users(OURS))),
        Contender("mizan, a hit with another header", mizan, users(OURS, _OTHER)),
        Contender("mizan in FastAPI", mounted, await knowing(mounted, users(OURS))),
        Contender("FastAPI, fastapi-cache2", fastapi_cache, await knowing(fastapi_cache, users(THEIRS))),
    ]
    limits = [Limit("mizan", "mizan, a hit", 1.0), Limit("mizan", "mizan, a hit for an older ETag", 1.0)]
    return [Workload("304", "304", contenders, bodies=BODIES, expects=b"mizan; hit", limits=limits)]


async def hit_redis(url: str) -> list[Workload]:
    pool = raw.redis_py(url)
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
            Contender("Litestar's cache", frameworks.litestar(raw.redis_py(url)), users("/ctx/user")),
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
            limits=[Limit("mizan", "redis-py, one key", limit)],
        )
        for concurrency, limit in ((1, 1.25), (32, 0.5))
    ]


KILOBYTES = (1, 10, 100, 1_000)
LARGE = 8  # texts of each size


async def large_bodies(url: str) -> list[Workload]:
    """Hits of larger and larger bodies: with a copy in the process, without one, and fetched by redis-py."""
    pool = raw.redis_py(url)
    await pool.flushall()
    texts = ours.with_texts(KILOBYTES, LARGE)
    with_copies, without = (ours.mizan(texts, cache=RedisCache(url, prefix=name), **limits) for name, limits in _NEAR)
    contenders = []
    for place, size in enumerate(KILOBYTES):
        ids = range(place * LARGE, (place + 1) * LARGE)
        for number in ids:
            await pool.set(b"raw:user:%d" % number, raw.packed(ours.text_body(size)))
        requests = [
            [Request(path, b"user_id=%d" % number) for number in ids] for path in (THEIRS, "/api/mizan/ctx/text/")
        ]
        contenders += [
            Contender(f"redis-py, one key, {size:,} kB", raw.FromRedis(pool.get), requests[0]),
            Contender(f"mizan, near_bytes=0, {size:,} kB", without, requests[1]),
            Contender(f"mizan, {size:,} kB", with_copies, requests[1]),
        ]
    return [
        Workload(
            "bodies",
            "Hit from Redis, with larger and larger bodies",
            contenders,
            batch=80,
            expects=b"mizan; hit",
            limits=[
                Limit("mizan, 1,000 kB", "mizan, 1 kB", FLAT),
                *(Limit(f"mizan, {size} kB", f"redis-py, one key, {size} kB", most) for size, most in _NEAR_LIMITS),
            ],
        )
    ]


async def miss(_: str) -> list[Workload]:
    """Misses after a purge of the user."""
    purged = ours.mizan()

    async def purge() -> None:
        for user_id in range(USERS):
            await purged.engine.invalidate("user", user_id=user_id)

    contenders = [
        Contender("raw ASGI", raw.Miss(), users(THEIRS)),
        Contender("mizan", purged, users(OURS), before=purge),
        Contender("FastAPI", frameworks.fastapi(), users(THEIRS)),
    ]
    return [
        Workload(
            "miss",
            "Miss with two readers, after a purge",
            contenders,
            bodies=BODIES,
            batch=USERS,
            expects=b"mizan; fwd=stale; stored",
            limits=[Limit("mizan", "raw ASGI", 1.3)],
        )
    ]


def _unseen(path: str) -> Contender:
    """Requests for users who were never asked for."""
    requests: list[Request] = []
    numbers = itertools.count(1_000_000)

    async def others() -> None:
        requests[:] = [Request(path, b"user_id=%d" % next(numbers)) for _ in range(USERS)]

    return Contender("mizan", ours.mizan(), requests, before=others)


async def miss_new(_: str) -> list[Workload]:
    """Misses of users who were never asked for: of the bundle of the other workloads, and of a small one."""
    floor, limits = "raw ASGI, no cache", [Limit("mizan", "raw ASGI, no cache", 1.6)]
    large = [Contender(floor, raw.Uncached(), users(THEIRS)), _unseen(OURS)]
    small = [Contender(floor, _card(), users(THEIRS)), _unseen("/api/mizan/ctx/card/")]
    workloads = [
        Workload("miss-new", "Miss with two readers, at first sight", large, batch=USERS, limits=limits),
        Workload("miss-new-small", "Miss of two small models, at first sight", small, batch=USERS),
    ]
    for one in workloads:
        one.expects = b"mizan; fwd=uri-miss; stored"
    return workloads


async def uncached(_: str) -> list[Workload]:
    contenders = [
        Contender("raw ASGI, no cache", _card(), users(THEIRS)),
        Contender("mizan", ours.mizan(), users("/api/mizan/ctx/uncached/")),
    ]
    return [
        Workload(
            "uncached",
            "Bundle of two small models with cache=False",
            contenders,
            expects=b"mizan; fwd=bypass",
            limits=[Limit("mizan", "raw ASGI, no cache", 1.6)],
        )
    ]


def _card() -> raw.Uncached:
    return raw.Uncached((raw.user_profile, Profile), (raw.user_name, Renamed))


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
            limits=[Limit("mizan", "raw ASGI", 2.0)],
        )
    ]


async def mutation(url: str) -> list[Workload]:
    bodies = [
        b'{"invalidate":[{"context":"user","params":{"user_id":%d}}],"result":{"name":"Ada","user_id":%d}}'
        % (user_id, user_id)
        for user_id in range(USERS)
    ]
    pool = raw.redis_py(url)
    return [
        Workload(
            "mutation",
            "Mutation that purges one scope, in memory",
            [
                Contender("raw ASGI", raw.Call(raw.Memory().purge), _calls("rename")),
                Contender("mizan", ours.mizan(), _calls("rename_and_purge")),
            ],
            bodies=bodies,
            limits=[Limit("mizan", "raw ASGI", 4.0)],
        ),
        Workload(
            "mutation-redis",
            "Mutation that purges one scope, in Redis",
            [
                Contender(
                    "raw ASGI, redis-py",
                    raw.Call(lambda user_id: pool.delete(b"raw:user:%d" % user_id)),
                    _calls("rename"),
                ),
                Contender("mizan", ours.mizan(cache=RedisCache(url)), _calls("rename_and_purge")),
            ],
            bodies=bodies,
            batch=100,
            limits=[Limit("mizan", "raw ASGI, redis-py", 2.2)],
        ),
    ]


SIZES = (0, 10_000, 100_000, 1_000_000)


async def whole_purge(url: str) -> list[Workload]:
    """Mutations that purge a whole context, beside other keys."""
    in_memory = [ours.mizan(cache=await _filled(size)) for size in SIZES]
    in_redis = [ours.mizan(cache=RedisCache(_database(url, number))) for number in range(len(SIZES))]
    for app in in_redis:
        app.engine._store._reclaiming._due["user"] = math.inf  # it never begins
    for number, size in enumerate(SIZES):
        await _fill_redis(_database(url, number), size)
    return [
        Workload(
            "whole-purge",
            "Purge of a whole context beside other keys, in memory",
            [_purging(app, size) for app, size in zip(in_memory, SIZES, strict=True)],
            batch=100,
            limits=_flat([_beside(size) for size in SIZES[1:]]),
        ),
        Workload(
            "whole-purge-redis",
            "Purge of a whole context beside other keys, in Redis, without the housekeeping after it",
            [_purging(app, size) for app, size in zip(in_redis, SIZES, strict=True)],
            batch=50,
            waits=True,
            limits=_flat([_beside(size) for size in SIZES[1:]]),
        ),
    ]


def _beside(size: int) -> str:
    return f"mizan, {size:,} other keys"


def _purging(app: Any, size: int) -> Contender:
    async def before() -> None:
        await _settled(app)
        await ask(app, users(OURS)[0])

    requests = [json_call("/api/mizan/call/", {"fn": "rename_all", "args": {}})]
    return Contender(_beside(size), app, requests, before=before)


async def _settled(app: Any) -> None:
    """Wait until no housekeeping is under way."""
    while app.engine.health().running:
        await app.engine._mutations.aclose(60)


def _flat(names: list[str], at_most: float = FLAT) -> list[Limit]:
    return [Limit(names[-1], names[0], at_most)]


async def _filled(count: int) -> MemoryCache:
    """A cache with so many entries of another context."""
    cache = ours.cache_for(count)
    for number in range(count):
        await cache.set(f"ctx:other:{number:064x}", b"x" * 100, 86_400.0)
    return cache


def _database(url: str, number: int) -> str:
    return f"{url.rpartition('/')[0]}/{number}"


async def _fill_redis(url: str, count: int, at_once: int = 50_000) -> None:
    """Fill a Redis likewise, by a script in the server."""
    script = """
        for number = ARGV[1], ARGV[2] do
          redis.call('SET', string.format('mizan:ctx:other:%064x', number), string.rep('x', 100), 'EX', 86400)
        end
    """
    async with redis.asyncio.Redis.from_url(url) as server:
        await server.flushdb()
        for begin in range(0, count, at_once):
            await server.eval(script, 0, begin, min(begin + at_once, count) - 1)


def growing(what: str, title: str, make: Callable[[int], Awaitable[Contender]], *counts: int, flat: bool) -> Maker:
    """The cost of a hit as something grows; `flat`: it must not."""

    async def made(_: str) -> list[Workload]:
        contenders = [await make(count) for count in counts]
        limits = _flat([one.name for one in contenders]) if flat else []
        title_of = f"Hit from memory, with more and more {title}"
        return [Workload(f"growth-{what}", title_of, contenders, expects=b"mizan; hit", limits=limits)]

    return made


async def _with_contexts(count: int) -> Contender:
    return Contender(f"mizan, {count:,} contexts", ours.mizan(ours.with_contexts(count)), users(OURS))


async def _with_functions(count: int) -> Contender:
    """So many functions: half of them readers of the requested context, half mutations that affect it."""
    return Contender(f"mizan, {count} functions", ours.mizan(ours.with_functions(count // 2)), users(OURS))


async def _with_parameters(count: int) -> Contender:
    return Contender(f"mizan, {count} parameters", ours.mizan(ours.with_parameters(count)), _parameters(count))


async def _with_tags(count: int) -> Contender:
    return Contender(f"mizan, {count} tags", ours.mizan(ours.with_tags(count)), _parameters(max(count - 1, 1)))


async def _with_entries(count: int) -> Contender:
    return Contender(f"mizan, {count:,} entries", ours.mizan(cache=await _filled(count)), users(OURS))


async def _with_values(count: int) -> Contender:
    """Each user was requested with so many values of `p1`."""
    app = ours.mizan(ours.with_parameters(2), cache=ours.cache_for(count * USERS))
    for user_id in range(USERS):
        for value in range(count):
            await ask(app, Request(OURS, b"p1=%d&user_id=%d" % (value, user_id)))
    requests = [Request(OURS, b"p1=0&user_id=%d" % user_id) for user_id in range(USERS)]
    return Contender(f"mizan, {count:,} values", app, requests)


def _parameters(count: int) -> list[Request]:
    names = sorted(["user_id", *(f"p{number}" for number in range(1, count))])
    return [
        Request(OURS, "&".join(f"{name}={user_id if name == 'user_id' else 7}" for name in names).encode())
        for user_id in range(USERS)
    ]


MAKERS: dict[str, Maker] = {
    "hit": hit,
    "hit-per-user": hit_per_user,
    "304": not_modified,
    "hit-redis": hit_redis,
    "bodies": large_bodies,
    "miss": miss,
    "miss-new": miss_new,
    "uncached": uncached,
    "call": call,
    "mutation": mutation,
    "whole-purge": whole_purge,
    "growth-contexts": growing("contexts", "contexts", _with_contexts, 10, 100, 1_000, flat=True),
    "growth-functions": growing("functions", "functions", _with_functions, 2, 20, 200, flat=True),
    "growth-entries": growing("entries", "entries", _with_entries, 1_000, 10_000, 100_000, 1_000_000, flat=True),
    "growth-values": growing("values", "values of another parameter", _with_values, 1, 30, 1_000, flat=True),
    "growth-parameters": growing("parameters", "parameters", _with_parameters, 1, 2, 4, 8, 16, 32, flat=False),
    "growth-tags": growing("tags", "tags", _with_tags, 1, 2, 4, 8, 16, flat=False),
}


def maker_of(workload: str) -> Maker:
    """The function that makes the workload of this name."""
    names = [name for name in MAKERS if workload == name or workload.startswith(f"{name}-")]
    return MAKERS[max(names, key=len)]
