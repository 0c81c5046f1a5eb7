"""A Redis cluster: keys in different slots, garbage, few connections, and its access list."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster

from mizan_core import Engine
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import GARBAGE, SECRET, patient, run, survives_garbage
from tests.world import World


def _nodes(number: int) -> tuple[str, str]:
    return "--cluster-config-file", f"/tmp/mizan-test-nodes-{time.time_ns()}-{number}.conf"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Three nodes that share the slots."""
    with (
        redis_server("--cluster-enabled", "yes", *_nodes(1)) as one,
        redis_server("--cluster-enabled", "yes", *_nodes(2)) as two,
        redis_server("--cluster-enabled", "yes", *_nodes(3)) as three,
    ):
        nodes = [one, two, three]
        for place, node in enumerate(nodes):
            first, last = place * 5462, min(16383, place * 5462 + 5461)
            node.say("CLUSTER", "ADDSLOTS", *(str(slot) for slot in range(first, last + 1)))
            node.say("CONFIG", "SET", "cluster-require-full-coverage", "no")
        for node in nodes[1:]:
            one.say("CLUSTER", "MEET", "127.0.0.1", str(node.port))
        for node in nodes:
            while "cluster_state:ok" not in (info := node.say("CLUSTER", "INFO")) or "known_nodes:3" not in info:
                time.sleep(0.05)
        yield one.url.removesuffix("/0")


def test_one_look_ups_keys_are_in_different_slots_of_a_cluster(cluster: str, world: World) -> None:
    async def story() -> None:
        engines = [
            Engine(world.graph, cache=patient(cluster, cluster=True), cache_secret=SECRET, deadline=5.0)
            for _ in range(2)
        ]
        async with engines[0] as one, engines[1] as other:
            for user_id in range(10):
                await one.fetch("user", {"user_id": user_id})
                assert (await other.fetch("user", {"user_id": user_id})).status == "hit"
            await other.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert b"Eve" in (await one.fetch("user", {"user_id": 5})).body
            assert (await one.fetch("user", {"user_id": 6})).status == "hit"
            await one.invalidate("user")
            assert (await other.fetch("user", {"user_id": 6})).status == "miss"

    run(story)


@pytest.mark.parametrize("spoil", GARBAGE)
def test_garbage_in_a_cluster_is_a_miss(cluster: str, world: World, spoil: Callable[[Any, bytes], Any]) -> None:
    async def story() -> None:
        cache = patient(cluster, prefix="test:", cluster=True)
        async with RedisCluster.from_url(cluster) as client:
            await survives_garbage(cache, world, client, spoil)
        await cache.clear()
        await cache.aclose()

    run(story)


def test_a_cluster_serves_more_commands_than_it_has_connections(cluster: str) -> None:
    async def story() -> None:
        cache = patient(cluster, prefix="many:", cluster=True, max_connections=2)
        assert all(await asyncio.gather(*(cache.set(f"ctx:{number}", b"1", 60) for number in range(250))))
        found = await asyncio.gather(*(cache.get(f"ctx:{number}", "tag") for number in range(50)))
        assert found == [[b"1", None]] * 50
        assert await cache.delete_by_prefix("ctx:") == 250
        await cache.aclose()

    run(story)


def test_a_clusters_access_list_needs_two_more_commands(world: World) -> None:
    async def story(server: RedisServer) -> None:
        server.say("CLUSTER", "ADDSLOTS", *map(str, range(16_384)))
        rights = ("+get", "+set", "+unlink", "+del", "+eval", "+scan", "+time", "+cluster", "+command")
        server.say("ACL", "SETUSER", "mizan", "on", ">sesame", "~app:*", *rights)
        while "cluster_state:ok" not in server.say("CLUSTER", "INFO"):
            await asyncio.sleep(0.05)
        url = f"redis://mizan:sesame@127.0.0.1:{server.port}"
        cache = patient(url, prefix="app:", cluster=True)
        async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine:
            assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]
            await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert (await engine.fetch("user", {"user_id": 5})).status == "miss"
            assert await cache.delete_by_prefix("") > 0
            assert engine.health().cache == "up"

    with redis_server("--cluster-enabled", "yes", *_nodes(4)) as server:
        run(lambda: story(server))
