"""How often a cache in Redis asks the server: look-ups of one turn of the loop travel together."""

import asyncio
import signal

from mizan_core import Engine
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.backends.redis_lines import Ended, Words
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import SECRET, patient, run
from tests.world import World


class Wire:
    """Counts the round trips of a cache, which are the batches that it sends."""

    def __init__(self, cache: RedisCache) -> None:
        self.trips = 0
        exchange = cache._exchange

        def counted(words: Words, ended: Ended) -> None:
            self.trips += 1
            exchange(words, ended)

        cache._exchange = counted  # type: ignore[method-assign]

    def taken(self) -> int:
        trips, self.trips = self.trips, 0
        return trips


def test_round_trips_of_a_hit_a_miss_and_a_mutation(cache: RedisCache, world: World) -> None:
    async def story() -> None:
        wire = Wire(cache)
        async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine:
            assert (await engine.fetch("user", {"user_id": 5})).status == "miss"
            assert wire.taken() == 3
            assert (await engine.fetch("user", {"user_id": 5})).status == "hit"
            assert wire.taken() == 1
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            assert wire.taken() == 2
            await engine.invalidate("user", user_id=5)
            assert wire.taken() == 1
            assert (await engine.fetch("user", {"user_id": 5})).status == "miss"

    run(story)


def test_a_purge_of_one_scope_is_two_commands_with_its_hold(cache: RedisCache, world: World) -> None:
    async def story() -> None:
        said: list[list[str]] = []
        exchange = cache._exchange

        def heard(words: Words, ended: Ended) -> None:
            said.append([str(one[0]) for one in words])
            exchange(words, ended)

        cache._exchange = heard  # type: ignore[method-assign]
        async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=10.0) as engine:
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
        assert said == [["EVAL"], ["EVAL"]]

    run(story)


def test_purging_a_whole_context_is_one_command(cache: RedisCache, world: World) -> None:
    async def story() -> None:
        said: list[list[str]] = []
        exchange = cache._exchange

        def heard(words: Words, ended: Ended) -> None:
            said.append([str(one[0]) for one in words])
            exchange(words, ended)

        cache._exchange = heard  # type: ignore[method-assign]
        async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=10.0) as engine:
            for others in (0, 3_000):
                await asyncio.gather(*(cache.set(f"ctx:user:{number}", b"x", 60) for number in range(others)))
                said.clear()
                await engine.invalidate("user")
                verbs = [verb for words in said for verb in words]
                assert verbs.count("EVAL") == 1
                assert {*verbs} <= {"EVAL", "SET", "SCAN", "UNLINK"}  # the rest is housekeeping, off the path

    run(story)


def test_look_ups_of_one_turn_of_the_loop_travel_together(cache: RedisCache, world: World) -> None:
    async def story() -> None:
        wire = Wire(cache)
        async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine:
            fetches = [engine.fetch("user", {"user_id": number}) for number in range(32)]
            assert {bundle.status for bundle in await asyncio.gather(*fetches)} == {"miss"}
            wire.taken()
            fetches = [engine.fetch("user", {"user_id": number}) for number in range(32)]
            assert {bundle.status for bundle in await asyncio.gather(*fetches)} == {"hit"}
            assert wire.taken() == 1

    run(story)


def test_a_look_up_never_joins_a_batch_that_has_been_sent(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("a", b"old", 60)
        early = asyncio.ensure_future(cache.get("a"))
        await asyncio.sleep(0)
        await cache.delete("a")
        late = cache.get("a")
        assert await late == [None]
        assert await early in ([b"old"], [None])
        await cache.aclose()

    run(story)


def test_look_ups_that_wait_for_a_connection_share_the_next_one() -> None:
    async def story(server: RedisServer) -> None:
        cache = RedisCache(server.url, max_connections=1, timeout=5.0)
        await cache.set("a", b"1", None)
        wire = Wire(cache)
        server.signal(signal.SIGSTOP)
        try:
            answers = []
            for _ in range(3):
                answers.append(cache.get("a"))
                await asyncio.sleep(0)
        finally:
            server.signal(signal.SIGCONT)
        assert [await answer for answer in answers] == [[b"1"]] * 3
        assert wire.taken() == 2
        await cache.aclose()

    with redis_server() as server:
        run(lambda: story(server))


def test_deleting_by_prefix_takes_no_connection_of_its_own(redis: RedisServer) -> None:
    async def story() -> None:
        cache = patient(redis.url, prefix="alone:", max_connections=1)
        await cache.set("a", b"1", None)
        assert await cache.delete_by_prefix("") == 1
        await cache.aclose()

    run(story)


def test_deleting_by_prefix_goes_in_steps(cache: RedisCache) -> None:
    async def story() -> None:
        await asyncio.gather(*(cache.set(f"ctx:a:{number}", b"x", 60) for number in range(2_500)))
        await cache.set("ctx:b:1", b"x", 60)
        assert await cache.delete_by_prefix("ctx:a:") == 2_500
        assert await cache.get("ctx:b:1") == [b"x"]
        await cache.aclose()

    run(story)


def test_a_ttl_of_zero_keeps_nothing(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("a", b"old", None)
        assert not await cache.set("a", b"new", 0)
        assert await cache.get("a") == [None]
        await cache.aclose()

    run(story)
