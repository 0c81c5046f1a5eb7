"""An application as a newcomer writes it from the README and the how-to pages: no read differs from one of no cache."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mizan_core import CacheBackend, MemoryCache, RedisCache, build_manifest
from mizan_core.integrations.sqlalchemy import Suspicions
from mizan_core.proof import Verify
from mizan_core.testing.redis_server import RedisServer
from tests.trial.shop import Membership, Org, application
from tests.trial.visits import ORGS, Edge, Visits

SECRET = "the same in every process, 32 byte"
VISITS = 600


@asynccontextmanager
async def visits(
    database: Path, caches: Sequence[CacheBackend], seed: int, verify: Verify | None = None
) -> AsyncIterator[Visits]:
    """To as many servers as there are caches."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        plain, mizan = application(engine, cache=None)
        truth = await stack.enter_async_context(web(plain))
        servers = [
            await stack.enter_async_context(
                web(application(engine, cache=cache, cache_secret=SECRET, deadline=60.0, verify=verify)[0])
            )
            for cache in caches
        ]
        await found_orgs(engine)
        yield Visits(servers, truth, Edge(build_manifest(mizan.graph)), seed)


async def found_orgs(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(Org), [{"id": org_id, "name": f"A{org_id}"} for org_id in ORGS])
        members = [{"org_id": org_id, "user_id": user} for org_id in ORGS for user in ("ann", "bob")]
        await connection.execute(insert(Membership), members)


@asynccontextmanager
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://shop") as one:
        yield one


@pytest.mark.parametrize("seed", [1, 2])
def test_the_shop_cached_in_memory_equals_the_uncached_one(seed: int, tmp_path: Path) -> None:
    async def story() -> None:
        async with visits(tmp_path / "shop.db", [MemoryCache()], seed) as some:
            await some.make(VISITS)
        assert some.seen["hit"] > VISITS / 10
        assert {"fulfil 200", "place_order 403", "set_status 409", "fulfil 401", "import_orders 500"} <= set(some.seen)

    asyncio.run(story())


def test_nothing_of_the_shop_is_proved_stale(tmp_path: Path) -> None:
    async def story() -> None:
        verify = Verify()
        async with visits(tmp_path / "shop.db", [MemoryCache()], 4, verify) as some:
            await some.make(VISITS)
        assert [str(one) for one in verify.proved] == []
        assert verify.checked > VISITS

    asyncio.run(story())


def test_no_function_of_the_shop_is_suspected(tmp_path: Path) -> None:
    async def story() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}")
        app, mizan = application(engine, cache=None)
        async with web(app) as server:
            await found_orgs(engine)
            with Suspicions(mizan, engine) as suspicions:
                await Visits([server], server, Edge(build_manifest(mizan.graph)), 5).make(VISITS)
        await engine.dispose()
        report = suspicions.report()
        assert (report.suspects, report.opaque, report.written_outside) == ((), (), ()), report
        assert report.not_run == (), report

    asyncio.run(story())


def test_two_servers_over_redis_equal_the_uncached_one(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        caches = [RedisCache(redis.url, prefix="trial:", timeout=60.0, connect_timeout=60.0) for _ in range(2)]
        async with visits(tmp_path / "shop.db", caches, seed=3) as some:
            await some.make(VISITS)
        assert some.seen["hit"] > VISITS / 10

    asyncio.run(story())
