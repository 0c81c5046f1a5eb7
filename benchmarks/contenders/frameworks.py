"""The alternatives: frameworks, each with a cache that is commonly used with it."""

from typing import Any

import orjson
from fastapi import FastAPI
from litestar import Litestar, get
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..world import USERS, Bundle, Renamed, body_of, bundle_of

PATH = "/ctx/user/"


def starlette_with_a_dict() -> Any:
    bodies = {user_id: body_of(user_id) for user_id in range(USERS)}

    async def user(request: Request) -> Response:
        return Response(bodies[int(request.query_params["user_id"])], media_type="application/json")

    return Starlette(routes=[Route(PATH, user)])


def fastapi() -> Any:
    app = FastAPI(openapi_url=None)

    @app.get(PATH)
    async def user(user_id: int) -> Bundle:
        return bundle_of(user_id)

    class Called(BaseModel):
        user_id: int
        name: str

    class Call(BaseModel):
        fn: str
        args: Called

    class Answer(BaseModel):
        result: Renamed

    @app.post("/call/")
    async def call(call: Call) -> Answer:
        return Answer(result=Renamed(user_id=call.args.user_id, name=call.args.name))

    return app


def fastapi_with_fastapi_cache(redis: Any = None) -> Any:
    from fastapi_cache import FastAPICache  # one cache for the process: the one set up last
    from fastapi_cache.backends.inmemory import InMemoryBackend
    from fastapi_cache.backends.redis import RedisBackend
    from fastapi_cache.decorator import cache

    FastAPICache.reset()
    FastAPICache.init(RedisBackend(redis) if redis is not None else InMemoryBackend(), prefix="fastapi-cache")
    app = FastAPI(openapi_url=None)

    @app.get(PATH)
    @cache(expire=3600)
    async def user(user_id: int) -> Bundle:
        return bundle_of(user_id)

    return app


async def fastapi_with_cashews(url: str = "mem://?size=100000") -> Any:
    from cashews import Cache  # only if this contender is measured

    cache = Cache()
    cache.setup(url)
    await cache.init()
    app = FastAPI(openapi_url=None)

    @cache(ttl="1h", key="user:{user_id}")
    async def cached(user_id: int) -> Bundle:
        return bundle_of(user_id)

    @app.get(PATH)
    async def user(user_id: int) -> Bundle:
        return await cached(user_id)

    return app


def fastapi_with_aiocache() -> Any:
    from aiocache import cached  # only if this contender is measured

    app = FastAPI(openapi_url=None)

    @cached(ttl=3600, key_builder=lambda _, user_id: f"user:{user_id}")
    async def kept(user_id: int) -> Bundle:
        return bundle_of(user_id)

    @app.get(PATH)
    async def user(user_id: int) -> Bundle:
        return await kept(user_id)

    return app


def litestar(redis: Any = None) -> Any:
    from litestar.config.response_cache import ResponseCacheConfig  # only if this contender is measured
    from litestar.stores.redis import RedisStore

    @get("/ctx/user", cache=3600, media_type="application/json", sync_to_thread=False)
    def user(user_id: int) -> bytes:
        return orjson.dumps(bundle_of(user_id).model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    if redis is None:
        return Litestar([user], openapi_config=None)
    return Litestar(
        [user],
        openapi_config=None,
        response_cache_config=ResponseCacheConfig(store="redis"),
        stores={"redis": RedisStore(redis)},
    )
