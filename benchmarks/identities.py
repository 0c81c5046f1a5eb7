"""`python -m benchmarks.identities`: what it costs to know who asks, in one hit of a bundle that is kept per user.

The contenders take turns, fifty requests each. Each is the same application with another `authenticate`: a dictionary,
an account that Mizan keeps, and one query of SQLite by SQLAlchemy. All three with a cache in memory and one in Redis.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_asgi.accounts import by_account
from mizan_asgi.http.identity import Authenticate
from mizan_core import Account, Identity, RedisCache, build, client
from mizan_core.testing.redis_server import redis_server

ROUNDS, REQUESTS = 41, 50
SECRET = "a secret of the benchmarks, 32 bytes"

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/ctx/desk/",
    "raw_path": b"/ctx/desk/",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"host", b"localhost"), (b"x-user", b"5")],
}

App = Callable[[Any, Any, Any], Awaitable[None]]


@client(context="account", private=True)
async def account(user_id: int) -> Account:
    return Account(permissions=["write"])


@client(context="desk", per="user")
async def desk(me: Identity) -> str | None:
    return me.user_id


def user_of(request: Request) -> str | None:
    return request.headers.get("x-user")


@asynccontextmanager
async def contenders(redis_url: str, folder: Path) -> AsyncIterator[dict[str, App]]:
    database = create_async_engine(f"sqlite+aiosqlite:///{folder / 'users.db'}")
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id INTEGER PRIMARY KEY, permission TEXT)"))
        await connection.execute(text("INSERT INTO users VALUES (5, 'write')"))
    identities = {"5": Identity("5", permissions=["write"])}

    def by_dictionary(request: Request) -> Identity | None:
        return identities.get(user_of(request) or "")

    async def by_query(request: Request) -> Identity | None:
        async with database.connect() as connection:
            rows = await connection.execute(
                text("SELECT id, permission FROM users WHERE id = :id"), {"id": int(user_of(request) or 0)}
            )
            found = rows.one_or_none()
        return None if found is None else Identity(found.id, permissions=[found.permission])

    graph = build([account, desk])
    redis = RedisCache(redis_url)
    ways: dict[str, Callable[[], Authenticate]] = {
        "a dictionary": lambda: by_dictionary,
        "a kept account": lambda: by_account(account, user_of),
        "a query of SQLite": lambda: by_query,
    }
    in_memory = {f"{name}, the cache in memory": Mizan(graph, authenticate=way()) for name, way in ways.items()}
    in_redis = {
        f"{name}, the cache in Redis": Mizan(graph, authenticate=way(), cache=redis, cache_secret=SECRET)
        for name, way in ways.items()
    }
    yield {**in_memory, **in_redis}
    await redis.aclose()
    await database.dispose()


async def seconds_of(app: App) -> float:
    """The seconds of one request, on average over `REQUESTS`."""
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 200))

    began = time.perf_counter()
    for _ in range(REQUESTS):
        await app(SCOPE.copy(), receive, send)
    took = time.perf_counter() - began
    if set(statuses) != {200}:
        raise RuntimeError(f"A request was answered with {set(statuses)}.")
    return took / REQUESTS


async def main() -> None:
    with redis_server() as server, TemporaryDirectory() as folder:
        async with contenders(server.url, Path(folder)) as apps:
            found: dict[str, list[float]] = {name: [] for name in apps}
            for name, app in apps.items():  # warm up: the first request stores the bundle and the account
                await seconds_of(app)
                found[name].clear()
            for _ in range(ROUNDS):
                for name, app in apps.items():
                    found[name].append(await seconds_of(app))
    for name, each in found.items():
        print(f"{name:>38}: {statistics.median(each) * 1e6:8.1f} µs")


if __name__ == "__main__":
    asyncio.run(main())
