"""Holds in Redis: several processes hold one tag, the last holder purges it, and a hold expires."""

import asyncio
import re
import signal
from functools import partial
from random import Random

import pytest
from redis.asyncio import Redis

from mizan_core import Engine
from mizan_core.cache.backends.backend import HELD, hold_and_claim, release_and_get
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.backends.redis_scripts import MAXIMUM_HOLDERS
from mizan_core.testing.redis_server import RedisServer, redis_server
from mizan_core.testing.safeguards import without
from tests.cache.holding_cache import HoldingCache
from tests.cache.redis.caches import SECRET, patient, run
from tests.world import World


async def holders(cache: RedisCache, tag: str) -> list[str] | None:
    """The holders of a tag; None if the tag is not there."""
    (value,) = await cache.get(tag)
    if value is None:
        return None
    assert value.startswith(HELD)
    listed, _, _ = value.removeprefix(HELD).partition(b"~")
    return [holder.partition("=")[0] for holder in listed.decode().split(",") if holder]


# As far in the future as no test runs, in milliseconds since 1970; and in the past.
_LONG_AFTER, _LONG_BEFORE = b"99999999999999", b"1"


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


@pytest.mark.parametrize("found", [None, b"nonce", HELD + b"other", []], ids=["absent", "value", "held", "list"])
def test_a_hold_that_claims_is_one_command_as_it_was_three(
    cache: RedisCache, redis: RedisServer, found: bytes | list[str] | None
) -> None:
    async def story() -> None:
        answers = []
        for whole, claims, frees in (
            ("tag:a", cache.hold_and_claim, cache.release_and_get),
            ("tag:b", partial(hold_and_claim, cache, cache), partial(release_and_get, cache, cache)),
        ):
            if isinstance(found, bytes):
                await cache.set(whole, found, 60)
            elif found is not None:
                async with Redis.from_url(redis.url) as client:
                    await client.rpush(f"test:{whole}", "another program's")  # type: ignore[misc]  # as redis-py has it
            tag = f"{whole}:5"
            await cache.set(tag, b"nabc", 60)
            claimed = await claims([tag], "me", 30, {whole: b"fresh"}, 60)
            held = await holders(cache, tag)
            freed = await frees([tag], "me", [whole])
            answers.append((claimed, held, freed, await cache.get(tag)))
        await cache.aclose()
        first, second = answers
        assert first == second
        assert first[1] == ["me"]
        assert first[0] == first[2] == [b"fresh" if found is None else found or None]
        assert first[3] == [None]

    run(story)


def test_a_hold_cancelled_before_it_was_sent_is_never_written() -> None:
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


def test_the_last_holder_of_any_process_deletes_the_tag(cache: RedisCache, redis: RedisServer) -> None:
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
def test_holding_cache_holds_as_redis_does(cache: RedisCache, missing: tuple[str, ...]) -> None:
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
def test_a_refused_holder_restores_the_tag(cache: RedisCache, held: bytes, after: bytes | None) -> None:
    async def story() -> None:
        await cache.set("tag:a", held, None)
        await cache.restore(["tag:a"], "me", 30)
        assert await cache.get("tag:a") == [after]
        await cache.aclose()

    run(story)


def test_an_older_version_leaves_nothing_to_restore(cache: RedisCache) -> None:
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


def test_beyond_the_maximum_of_holders_a_hold_only_expires(cache: RedisCache) -> None:
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


def test_each_hold_expires_at_its_own_time(cache: RedisCache) -> None:
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


def test_a_dead_holder_expires_while_other_holders_renew(cache: RedisCache) -> None:
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
