"""A process that is killed between its commit and its purge leaves nothing stale behind, on a real Redis."""

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert

from mizan_core import Engine, RedisCache
from mizan_core.testing.redis_server import RedisServer

from .blog import Base, User
from .names import CACHE_SECRET, HOLD_SECONDS, PREFIX, graph_over


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_killed_process_leaves_nothing_stale(kind: str, redis: RedisServer, tmp_path: Path) -> None:
    database = str(tmp_path / "names.db")
    owner = create_engine(f"sqlite:///{database}")
    Base.metadata.create_all(owner)
    with owner.begin() as connection:
        connection.execute(insert(User).values(id=1, name="Ada", org_id=1))
    owner.dispose()
    cache = RedisCache(redis.url, prefix=PREFIX + kind, timeout=10)
    async with Engine(graph_over(database), cache=cache, cache_secret=CACHE_SECRET, hold=HOLD_SECONDS) as mizan:

        async def read() -> tuple[str, bytes]:
            bundle = await mizan.fetch("users", {"user_id": 1})
            return bundle.status, bundle.body

        assert (await read())[1] == b'{"user_name":"Ada"}'
        assert (await read())[0] == "hit"
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integrations.writes.dying", kind, redis.url, database),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"committed\n"
        assert await read() == ("bypass", b'{"user_name":"Eve"}')
        child.kill()
        await child.wait()
        assert (await read())[1] == b'{"user_name":"Eve"}'
        while (await read())[0] != "hit":
            await asyncio.sleep(0.05)
        assert await read() == ("hit", b'{"user_name":"Eve"}')
