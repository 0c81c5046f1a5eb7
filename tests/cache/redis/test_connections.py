"""Connections to Redis: URLs, TLS, access lists, timeouts, and event loops that end."""

import asyncio
import gc
import signal
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from redis.exceptions import RedisError

from mizan_core import DeclarationError, Engine, build, client
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.backends.redis_lines import GivingUp
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests import virtual_time
from tests.cache.redis.caches import SECRET, patient, run
from tests.world import World

T = TypeVar("T")


async def in_the_end(operation: Callable[[], Awaitable[T]]) -> T:
    """What comes of it, once it does not fail."""
    while True:
        with suppress(RedisError, OSError):
            return await operation()


async def _set_and_get(cache: RedisCache, number: int) -> None:
    await cache.set("a", b"%d" % number, 60)
    assert await cache.get("a") == [b"%d" % number]
    await cache.aclose()


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


def test_closing_an_unopened_cache_is_no_error(redis: RedisServer) -> None:
    asyncio.run(RedisCache(redis.url).aclose())


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_connection_that_timed_out_is_replaced(is_connected: bool) -> None:
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


def test_a_cancelled_get_disturbs_no_other_get(cache: RedisCache) -> None:
    async def story() -> None:
        await cache.set("a", b"1", 60)
        gone, stays = asyncio.ensure_future(cache.get("a")), cache.get("a")
        gone.cancel()
        assert await stays == [b"1"]
        await cache.aclose()

    run(story)


def test_an_ended_event_loops_connections_are_not_reused(cache: RedisCache) -> None:
    for number in range(2):
        asyncio.run(_set_and_get(cache, number))


def test_closing_in_another_event_loop_is_no_error(redis: RedisServer) -> None:
    cache = patient(redis.url)

    async def asks() -> None:
        assert await cache.get("a") == [None]

    run(asks)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # of connections left open
        run(cache.aclose)
        gc.collect()


def test_an_interrupted_event_loop_blocks_nothing_later(cache: RedisCache) -> None:
    async def interrupted() -> None:
        cache.get("a")
        raise KeyboardInterrupt

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(interrupted())
    loop.close()
    asyncio.run(asyncio.wait_for(_set_and_get(cache, 1), timeout=5))


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", ""])
def test_a_url_that_is_not_redis_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError, match="URL"):
        RedisCache(url)


@pytest.mark.parametrize("url", ["redis://localhost:7000/3", "unix:///run/redis.sock", "http://localhost"])
def test_a_url_that_no_cluster_has_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError, match="URL"):
        RedisCache(url, cluster=True)


def test_the_url_gives_tls_and_a_user_of_the_access_list(world: World) -> None:
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


def test_a_reply_in_the_socket_is_read_after_a_stall(redis: RedisServer) -> None:
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


def test_the_timeout_has_a_grace_after_a_stalled_loop() -> None:
    ended: list[float] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        GivingUp(0.1, lambda: ended.append(round(loop.time() - began, 3)))
        await asyncio.sleep(0.11)
        virtual_time.stall(3.0)  # within the grace, which begins again
        await asyncio.sleep(1.0)

    virtual_time.run(story)
    assert ended == [3.16]


def test_a_cache_in_redis_that_begins_anew_has_new_connections(redis: RedisServer) -> None:
    async def story() -> None:
        cache = RedisCache(redis.url, prefix="forks:")
        await cache.set("a", b"1", 60)
        parents = cache._client
        cache.begin_anew()
        assert await cache.get("a") == [b"1"]
        assert cache._client is not parents
        await cache.aclose()
        await parents.aclose()

    run(story)
