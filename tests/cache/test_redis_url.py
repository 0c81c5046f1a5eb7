"""Redis URLs: the schemes of Valkey and of sentinels, and options that would corrupt stored values."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mizan_core import DeclarationError, Engine
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.backends.redis_url import RedisUrl
from mizan_core.testing.redis_server import RedisServer, free_port, redis_binary, redis_server
from tests.world import World

SECRET = "s" * 32


class Sentinel:
    """A real sentinel, which says where "shop" is."""

    def __init__(self, folder: Path, *more: str, password: str = "") -> None:
        self.port = free_port()
        self.password = password
        settings = folder / "sentinel.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", "sentinel resolve-hostnames yes", *more]
        settings.write_text("\n".join(lines) + "\n")
        command = [redis_binary(), str(settings), "--sentinel"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def say(self, *words: str) -> str:
        """Send one command; the reply as it came over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as one:
            for command in (["AUTH", self.password], words) if self.password else (words,):
                parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in command)
                one.sendall(f"*{len(command)}\r\n{parts}".encode())
                reply = one.recv(1_000_000).decode()
            return reply

    def wait(self, *words: str, until: str) -> None:
        """Ask until it answers so."""
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            try:
                if until in self.say(*words):
                    return
            except OSError:
                assert self.process.poll() is None
            time.sleep(0.02)
        raise AssertionError(f"{words} was not answered with {until}.")

    def watch(self, server: RedisServer, *settings: str) -> None:
        """From now on, "shop" is there."""
        self.wait("PING", until="PONG")
        self.say("SENTINEL", "REMOVE", "shop")
        assert "+OK" in self.say("SENTINEL", "MONITOR", "shop", "127.0.0.1", str(server.port), "1")
        if settings:
            assert "+OK" in self.say("SENTINEL", "SET", "shop", *settings)
        self.wait("SENTINEL", "MASTER", "shop", until="role-reported\r\n$6\r\nmaster")


@contextmanager
def sentinel(folder: Path, *more: str, password: str = "") -> Iterator[Sentinel]:
    one = Sentinel(folder, *more, password=password)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def engine_at(world: World, url: str) -> Engine:
    cache = RedisCache(url, prefix="test:", timeout=5.0, connect_timeout=5.0)
    return Engine(world.graph, cache=cache, cache_secret=SECRET, deadline=5.0)


def test_sentinels_tell_the_server_and_its_successor(world: World, tmp_path: Path) -> None:
    async def story(knows: Sentinel, first: RedisServer, second: RedisServer) -> None:
        url = f"redis+sentinel://127.0.0.1:{free_port()},localhost:{knows.port}/shop/1"
        async with engine_at(world, url) as engine:
            assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]
            await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert b"Eve" in (await engine.fetch("user", {"user_id": 5})).body
            assert engine.health().cache == "up"
        assert "db1:keys=" in first.say("INFO", "keyspace")
        knows.watch(second)
        async with engine_at(world, url) as engine:
            assert [(await engine.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]
        assert "db1:keys=" in second.say("INFO", "keyspace")

    with sentinel(tmp_path) as knows, redis_server() as first, redis_server() as second:
        knows.watch(first)
        asyncio.run(story(knows, first, second))


def test_server_and_sentinels_have_separate_passwords(world: World, tmp_path: Path) -> None:
    async def story(port: int) -> None:
        url = f"valkey+sentinel://:of%40server@127.0.0.1:{port}/shop"
        async with engine_at(world, f"{url}?sentinel_password=of%3Asentinels") as one:
            assert [(await one.fetch("user", {"user_id": 5})).status for _ in range(2)] == ["miss", "hit"]
        for wrong in (url, f"{url}?sentinel_password=x", url.replace("of%40server", "x")):
            async with engine_at(world, wrong) as one:
                assert (await one.fetch("user", {"user_id": 5})).cache_status.endswith("detail=cache-down")

    secret = "of:sentinels"
    with (
        sentinel(tmp_path, f"requirepass {secret}", password=secret) as knows,
        redis_server() as server,
    ):
        server.say("CONFIG", "SET", "requirepass", "of@server")
        knows.watch(server, "auth-pass", "of@server")
        asyncio.run(story(knows.port))


READ = {
    "valkey://localhost:7000/3": "redis://localhost:7000/3",
    "valkeys://ada:x@localhost": "rediss://ada:x@localhost",
    "Valkey://localhost": "redis://localhost",
    "unix:///run/valkey.sock?db=2": "unix:///run/valkey.sock?db=2",
    "redis://localhost?protocol=3&client_name=shop": "redis://localhost?protocol=3&client_name=shop",
}


@pytest.mark.parametrize(("url", "read"), READ.items(), ids=READ)
def test_a_valkey_is_named_by_its_own_schemes(url: str, read: str) -> None:
    assert RedisUrl.read(url, cluster=False).url == read
    RedisCache(url)


def test_a_url_of_sentinels_is_taken_apart() -> None:
    one = RedisUrl.read(
        "rediss+sentinel://ada:p%40ss@one,[::1]:7000,two:26380/shop%201/2?sentinel_username=bo&ssl_cert_reqs=none",
        cluster=False,
    )
    assert one.sentinels == (("one", 26379), ("::1", 7000), ("two", 26380))
    assert (one.service, one.sentinel_options) == ("shop 1", {"username": "bo"})
    assert one.url == "rediss://ada:p%40ss@mymaster/2?ssl_cert_reqs=none"
    bare = RedisUrl.read("redis+sentinel://one", cluster=False)
    assert (bare.service, bare.url) == ("mymaster", "redis://mymaster/0?")


def test_tls_is_spoken_with_the_server_and_with_its_sentinels() -> None:
    cache = RedisCache("rediss+sentinel://one/shop?ssl_cert_reqs=none")

    async def story() -> None:
        pool = cache._connected().connection_pool
        assert pool.connection_kwargs["ssl_cert_reqs"] == "none"
        sentinel = pool.sentinel_manager.sentinels[0].connection_pool
        assert sentinel.make_connection().__class__.__name__ == "SSLConnection"
        assert pool.make_connection().__class__.__name__ == "SentinelManagedSSLConnection"
        await cache.aclose()

    asyncio.run(story())


REFUSED = {
    "redis://localhost?decode_responses=True": "bytes",
    "redis://localhost?decode_responses=false": "bytes",
    "redis://localhost/0?socket_timeout=9": r"RedisCache\(timeout=",
    "redis://localhost/0?max_connections=1": r"RedisCache\(max_connections=",
    "redis://localhost?retry_on_timeout=yes": "sent twice",
    "valkey+sentinel://localhost/shop?retry_on_timeout=yes": "sent twice",
    "redis://localhost?made_up=": "'made_up' in its URL: it takes client_name, db",
    "redis://localhost:port": "URL",
    "http+sentinel://localhost": "URL",
    "unix+sentinel://localhost": "URL",
    "redis+cluster://localhost": "URL",
    "redis+sentinel://": "a sentinel is like host:26379",
    "redis+sentinel://one,,two": "a sentinel is like host:26379",
    "redis+sentinel://one:port": "a sentinel is like host:26379",
    "redis+sentinel://one/shop/main": "a database is a number",
}


@pytest.mark.parametrize(("url", "named"), REFUSED.items(), ids=REFUSED)
def test_a_url_option_that_would_corrupt_entries_is_refused(url: str, named: str) -> None:
    with pytest.raises(DeclarationError, match=named) as refused:
        RedisCache(url.replace("://", "://ada:secret@"))
    assert "secret" not in str(refused.value)


def test_a_cluster_has_no_sentinels() -> None:
    with pytest.raises(DeclarationError, match="not both"):
        RedisCache("redis+sentinel://localhost/shop", cluster=True)
    RedisCache("valkey://localhost", cluster=True)
