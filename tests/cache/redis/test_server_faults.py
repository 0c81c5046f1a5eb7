"""A Redis server that stalls, is down, full, read-only or filled with garbage: requests are answered, nothing stale."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, call

import pytest
from redis.asyncio import Redis

from mizan_core import Engine, Unavailable
from mizan_core.cache.backends.backend import HELD
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.engine.answers import Health
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import GARBAGE, SECRET, patient, run, survives_garbage
from tests.world import World


def test_a_stalled_server_is_waited_for_once(world: World) -> None:
    async def story(server: RedisServer) -> None:
        cache = RedisCache(server.url)
        async with Engine(world.graph, cache=cache, cache_secret=SECRET) as engine:
            while (await engine.fetch("user", {"user_id": 5})).status != "hit":
                await asyncio.sleep(0.05)
            looked_up = Mock(wraps=cache.get)
            cache.get = looked_up  # type: ignore[method-assign]
            server.signal(signal.SIGSTOP)
            try:
                for _ in range(20):
                    assert (await engine.fetch("user", {"user_id": 5})).status == "bypass"
            finally:
                server.signal(signal.SIGCONT)
            assert [one for one in looked_up.call_args_list if one != call("probe")] == looked_up.call_args_list[:1]
            while engine.health().cache != "up":
                await asyncio.sleep(0.05)
            assert (await engine.fetch("user", {"user_id": 5})).status == "hit"

    with redis_server() as server:
        run(lambda: story(server))


def test_a_process_started_while_the_server_is_down_recovers(world: World) -> None:
    async def story(server: RedisServer) -> None:
        server.stop()
        async with Engine(world.graph, cache=patient(server.url), cache_secret=SECRET, deadline=5.0) as engine:
            assert (await engine.fetch("user", {"user_id": 5})).cache_status.endswith("detail=cache-down")
            await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            server.start()
            while (found := await engine.fetch("user", {"user_id": 5})).status == "bypass":
                await asyncio.sleep(0.05)
            assert found.status == "miss"
            assert b"Eve" in found.body
            assert (await engine.fetch("user", {"user_id": 5})).status == "hit"

    with redis_server() as server:
        run(lambda: story(server))


def test_a_server_that_forgets_everything_is_only_a_miss(world: World) -> None:
    async def story(server: RedisServer) -> None:
        async with Engine(world.graph, cache=patient(server.url), cache_secret=SECRET, deadline=5.0) as engine:
            await engine.fetch("user", {"user_id": 5})
            server.stop()
            server.start()
            assert (await engine.fetch("user", {"user_id": 5})).body
            while engine.health().cache != "up":
                await asyncio.sleep(0.05)
            assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)][1] == "hit"

    with redis_server() as server:
        run(lambda: story(server))


def test_a_full_server_stores_nothing_and_requests_are_answered(world: World) -> None:
    async def story(server: RedisServer) -> None:
        async with Engine(world.graph, cache=patient(server.url), cache_secret=SECRET, deadline=5.0) as engine:
            bundle = await engine.fetch("user", {"user_id": 5})
            assert bundle.cache_status == "mizan; fwd=bypass; detail=not-kept"
            assert engine.health().cache == "up"

    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        run(lambda: story(server))


@pytest.mark.parametrize("refuses", [True, False])
def test_a_mutation_that_a_full_server_cannot_hold(world: World, refuses: bool) -> None:
    async def story(server: RedisServer) -> None:
        engine = Engine(
            world.graph,
            cache=patient(server.url),
            cache_secret=SECRET,
            on_cache_failure="refuse" if refuses else "allow",
            deadline=5.0,
        )
        async with engine:
            await engine.fetch("user", {"user_id": 5})
            await engine.fetch("user", {"user_id": 5})
            server.say("CONFIG", "SET", "maxmemory", "1")
            change = engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            if refuses:
                with pytest.raises(Unavailable):
                    await change
            else:
                await change
            assert world.ran["update_profile"] == (not refuses)
            assert engine.health() == Health(cache="up", owed_purges=0, running=0)
            assert (await engine.fetch("user", {"user_id": 5})).status == ("hit" if refuses else "bypass")
            server.say("CONFIG", "SET", "maxmemory", "0")
            assert (await engine.fetch("user", {"user_id": 5})).status == ("hit" if refuses else "miss")

    with redis_server("--maxmemory-policy", "noeviction") as server:
        run(lambda: story(server))


def test_a_full_server_purges_tags_without_other_holders() -> None:
    async def story(server: RedisServer) -> None:
        cache = patient(server.url)
        await cache.hold(["shared"], "other", 30)
        await cache.hold(["shared", "mine"], "me", 30)
        server.say("CONFIG", "SET", "maxmemory", "1")
        await cache.release(["shared", "mine"], "me")
        shared, mine = await cache.get("shared", "mine")
        assert shared is not None
        assert shared.startswith(HELD)
        assert mine is None
        await cache.aclose()

    with redis_server("--maxmemory-policy", "noeviction") as server:
        run(lambda: story(server))


@pytest.mark.parametrize("spoil", GARBAGE)
def test_garbage_under_any_key_is_a_miss(
    cache: RedisCache, redis: RedisServer, world: World, spoil: Callable[[Any, bytes], Any]
) -> None:
    async def story() -> None:
        async with Redis.from_url(redis.url) as client:
            await survives_garbage(cache, world, client, spoil)

    run(story)


def test_garbage_that_reads_as_held_ends_with_the_next_mutation(
    cache: RedisCache, redis: RedisServer, world: World
) -> None:
    async def story() -> None:
        async with (
            Redis.from_url(redis.url) as client,
            Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine,
        ):
            await engine.fetch("user", {"user_id": 5})
            for key in [key async for key in client.scan_iter(match="test:tag:*")]:
                await client.set(key, b"!not=9999999999999999999999,holders")
            assert (await engine.fetch("user", {"user_id": 5})).status == "bypass"
            await engine.invalidate("user")
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]

    run(story)


def test_a_replica_that_only_reads_stays_down(world: World) -> None:
    async def story(server: RedisServer) -> None:
        async with Engine(world.graph, cache=patient(server.url), cache_secret=SECRET, deadline=5.0) as engine:
            await engine.fetch("user", {"user_id": 5})
            server.say("REPLICAOF", "127.0.0.1", "1")  # where there is nothing to copy
            await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            states = set()
            for _ in range(30):
                await asyncio.sleep(0.02)
                states.add(engine.health().cache)
                assert b"Eve" in (await engine.fetch("user", {"user_id": 5})).body
            assert states == {"down"}
            server.say("REPLICAOF", "NO", "ONE")
            while engine.health() != Health("up", 0, 0):
                await asyncio.sleep(0.02)
            assert b"Eve" in (await engine.fetch("user", {"user_id": 5})).body

    with redis_server() as server:
        run(lambda: story(server))
