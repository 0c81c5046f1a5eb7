"""An application over Redis that tells nodes, for processes of their own.

`uvicorn --factory tests.edge.told.application:served` serves it; `python -m tests.edge.told.application write 1` calls
a function of it by `Engine.run`, as a worker does. Both are set up by variables of the environment: `TOLD_REDIS`, the
URL; `TOLD_PREFIX` of all keys; `TOLD_NODES`, the addresses for purges; `TOLD_ON_FAILURE`, `allow` or `refuse`.
"""

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from mizan_asgi import Mizan
from mizan_asgi.edge import Nodes
from mizan_core import Context, Graph, RedisCache, build, client, invalidate

SECRET = "what all processes of these tests share"
# Long enough that a busy machine renews it in time, and short enough to wait for.
LEASE_SECONDS = 1.5
# A node that was stopped is waited for so long. A mutation has to give up much earlier.
NODE_SECONDS = 20.0
_DEADLINE_SECONDS = 5.0

Things, Others = Context("things"), Context("others")


class Truth:
    """The versions of things, in Redis. Nothing here knows of caches."""

    def __init__(self, redis: str, prefix: str) -> None:
        self._url = redis
        self._redis = Redis.from_url(redis, decode_responses=True)
        self._prefix = prefix

    async def version(self, item: int) -> int:
        return int(await self._redis.hget(f"{self._prefix}truth", str(item)) or 0)

    async def change(self, item: int) -> int:
        return int(await self._redis.hincrby(f"{self._prefix}truth", str(item), 1))

    def change_in_a_thread(self, item: int) -> int:
        with BlockingRedis.from_url(self._url) as redis:
            return int(redis.hincrby(f"{self._prefix}truth", str(item), 1))

    async def let_through(self, item: int) -> None:
        """Say that a function has been reached, and wait until a test lets it go on."""
        await self._redis.rpush(f"{self._prefix}reached:{item}", "1")
        await self._redis.blpop([f"{self._prefix}gate:{item}"], timeout=60)

    async def reached(self, item: int) -> None:
        """For a test: wait until the function has been reached."""
        assert await self._redis.blpop([f"{self._prefix}reached:{item}"], timeout=60) is not None

    async def open(self, item: int) -> None:
        """For a test: let it go on."""
        await self._redis.rpush(f"{self._prefix}gate:{item}", "1")

    async def aclose(self) -> None:
        await self._redis.aclose()


def graph_of(truth: Truth) -> Graph:
    @client(context=Things)
    async def thing(item: int) -> int:
        return await truth.version(item)

    @client(context=Things, route="/things/{item}/")
    async def thing_page(item: int) -> HTMLResponse:
        return HTMLResponse(str(await truth.version(item)))

    @client(context=Others)
    async def other(item: int) -> int:
        return await truth.version(item)

    @client(affects=Things)
    async def write(item: int) -> int:
        return await truth.change(item)

    @client(affects=Things, route="/hooks/{item}/", methods=["POST"])
    async def hook(request: Request, item: int) -> Response:
        await truth.change(item)
        return Response(status_code=204)

    @client()
    async def write_by_body(item: int) -> None:
        invalidate(Things, item=item)
        await truth.change(item)

    @client(affects=Things)
    def write_in_a_thread(item: int) -> int:
        return truth.change_in_a_thread(item)

    @client(affects=Others)
    async def write_through_another(item: int) -> None:
        await write(item)

    @client(affects=Things)
    async def broken(item: int) -> None:
        await truth.change(item)
        raise RuntimeError("after the commit")

    @client(affects=Things)
    async def fatal(item: int) -> None:
        await truth.change(item)
        os.kill(os.getpid(), signal.SIGKILL)

    @client(affects=Things)
    async def slow(item: int) -> None:
        await truth.let_through(item)
        await truth.change(item)

    return build(
        [
            thing,
            thing_page,
            other,
            write,
            hook,
            write_by_body,
            write_in_a_thread,
            write_through_another,
            broken,
            fatal,
            slow,
        ]
    )


def settings() -> tuple[Truth, Mizan]:
    redis, prefix = os.environ["TOLD_REDIS"], os.environ["TOLD_PREFIX"]
    truth = Truth(redis, prefix)
    refuses = os.environ.get("TOLD_ON_FAILURE") == "refuse"
    mizan = Mizan(
        graph_of(truth),
        cache=RedisCache(redis, prefix=prefix, timeout=_DEADLINE_SECONDS, connect_timeout=_DEADLINE_SECONDS),
        cache_secret=SECRET,
        on_cache_failure="refuse" if refuses else "allow",
        edge=Nodes(*os.environ["TOLD_NODES"].split(), timeout=NODE_SECONDS),
        hold=LEASE_SECONDS,
        deadline=_DEADLINE_SECONDS,
        shutdown=2.0,
    )
    return truth, mizan


def served() -> Starlette:
    truth, mizan = settings()

    async def changing(item: int) -> None:
        async with mizan.engine.changing(Things.of(item=item)):
            await truth.change(item)

    async def changing_that_fails(item: int) -> None:
        async with mizan.engine.changing(Things.of(item=item)):
            await truth.change(item)
            raise RuntimeError("after the commit")

    async def changing_more(item: int) -> None:
        async with mizan.engine.changing() as change:
            await change.also(Things.of(item=item))
            await truth.change(item)

    async def invalidated(item: int) -> None:
        await truth.change(item)
        await mizan.engine.invalidate(Things, item=item)

    async def health(request: Request) -> JSONResponse:
        return JSONResponse(dataclasses.asdict(mizan.engine.health()))

    app = Starlette(lifespan=mizan.lifespan)
    app.router.routes += [
        *mizan.routes,
        Route("/health", health),
        *(
            Route(f"/host/{one.__name__}/{{item:int}}", _endpoint(one), methods=["POST"])
            for one in (changing, changing_that_fails, changing_more, invalidated)
        ),
        Mount("/api/mizan", mizan),
    ]
    return app


def _endpoint(write: Callable[[int], Coroutine[Any, Any, None]]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def endpoint(request: Request) -> Response:
        await write(request.path_params["item"])
        return Response(status_code=204)

    return endpoint


async def run(name: str, item: str) -> None:
    truth, mizan = settings()
    async with mizan.engine as engine:
        await engine.run(name, {"item": int(item)})
    await truth.aclose()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
