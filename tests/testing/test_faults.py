"""Each fault has its effect and undoes it. Workers that were killed come back."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from mizan_core import RedisCache
from mizan_core.testing.consistency.faults import GivenRedis, OwnRedis, network_faults
from mizan_core.testing.consistency.fleet import WorkerProcess, proxied, target_of
from mizan_core.testing.consistency.proxy import Proxy
from mizan_core.testing.consistency.traffic import Client, Unsent
from mizan_core.testing.redis_server import RedisServer
from tests.testing.fleet import run, settings


class Quick(random.Random):
    """The shortest of everything."""

    def uniform(self, a: float, b: float) -> float:
        return min(a + 0.1, b)


@pytest.mark.parametrize(("kind", "kept"), [("stop", True), ("restart", False), ("evict", False), ("full", True)])
def test_a_fault_of_the_store_ends_and_flushed_keys_are_gone(kind: str, kept: bool) -> None:
    async def story() -> None:
        store = OwnRedis()
        cache = RedisCache(store.url, timeout=10)
        (fault,) = (one for one in store.faults(Quick(0)) if one.kind == kind)
        keys = [str(number) for number in range(20)]
        for key in keys:
            await cache.set(key, b"x" * 4_000, None)
        if kind == "full":
            striking = asyncio.create_task(fault.strike())
            while await cache.set("another", b"x", None):
                await asyncio.sleep(0.01)
            await striking
        else:
            await fault.strike()
        await cache.aclose()
        assert (None not in await cache.get(*keys)) is kept
        assert fault.forgets is not kept
        assert await cache.set("another", b"x", None)
        await cache.aclose()
        await store.aclose()

    run(story)


def test_of_a_given_store_only_the_runs_own_keys_are_forgotten(redis: RedisServer) -> None:
    async def story() -> None:
        cache, other = RedisCache(redis.url, prefix="run:"), RedisCache(redis.url, prefix="other:")
        store = GivenRedis(redis.url, "run:")
        forget, evict = store.faults(random.Random(0))
        keys = [f"tag:{context}:{digit}" for context in ("card", "board") for digit in "0123456789abcdef"]
        for key in keys:
            await cache.set(key, b"1", None)
            await other.set(key, b"1", None)
        await evict.strike()
        assert 0 < (await cache.get(*keys)).count(None) < len(keys)
        await forget.strike()
        assert (await cache.get(*keys)).count(None) == len(keys)
        assert None not in await other.get(*keys)
        await other.clear()
        for one in (store, cache, other):
            await one.aclose()

    run(story)


class Recorded(Proxy):
    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1, lambda: 0.0)
        self.done: list[str] = []

    def stall(self) -> None:
        self.done.append("stall")

    def resume(self) -> None:
        self.done.append("resume")

    def cut(self) -> None:
        self.done.append("cut")

    def half_close(self, *, replies: bool) -> None:
        self.done.append("half-close")


@pytest.mark.parametrize(
    ("kind", "done"),
    [
        ("delay", [set(), set()]),
        ("cut", [{"cut"}, set()]),
        ("half-close", [{"half-close"}, set()]),
        ("partition", [{"stall", "resume"}, set()]),
        ("stall", [{"stall", "resume"}, {"stall", "resume"}]),
    ],
)
def test_a_fault_of_the_network_is_one_workers_or_everybodys(kind: str, done: list[set[str]]) -> None:
    async def story() -> None:
        proxies = [Recorded(), Recorded()]
        delays = [proxy.delay for proxy in proxies]
        (fault,) = (one for one in network_faults(proxies, Quick(0)) if one.kind == kind)
        striking = asyncio.create_task(fault.strike())
        await asyncio.sleep(0)
        slow = [proxy.delay() for proxy in proxies if proxy.delay not in delays]
        assert len(slow) == (kind == "delay")
        await striking
        assert sorted((set(proxy.done) for proxy in proxies), key=len, reverse=True) == done
        assert [proxy.delay for proxy in proxies] == delays

    run(story)


def test_without_proxies_nothing_happens_to_the_network() -> None:
    assert list(network_faults([], random.Random(0))) == []


def test_a_worker_that_is_killed_is_started_again(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        died = asyncio.Event()
        worker = WorkerProcess(3, settings(redis.url, tmp_path), lambda incarnation: died.set())
        worker.kill()
        await worker.start()
        client = Client()
        request = {"read": "board", "params": {"team": 1}}
        assert (await client.ask(worker, request))["status"] == "miss"
        assert (await client.ask(worker, request))["status"] == "hit"
        worker.kill()
        await died.wait()
        with pytest.raises(Unsent):
            await client.ask(worker, request)
        while worker.incarnation != (3, 1) or worker.port is None:
            await asyncio.sleep(0.01)
        assert (await client.ask(worker, request))["status"] == "hit"
        worker.port = 1
        with pytest.raises(Unsent):
            await Client().ask(worker, request)
        client.close()
        await worker.aclose()

    run(story)


def test_a_worker_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    asyncio.run(WorkerProcess(0, settings("redis://nowhere", tmp_path), lambda incarnation: None).aclose())


def test_a_worker_that_does_not_start_is_an_error(redis: RedisServer, tmp_path: Path) -> None:
    async def story() -> None:
        unusable = replace(settings(redis.url, tmp_path), redis="http://nowhere")
        worker = WorkerProcess(0, unusable, lambda incarnation: None)
        with pytest.raises(RuntimeError, match="Worker 0 did not start"):
            await worker.start()
        await worker.aclose()

    run(story)


def test_the_url_behind_a_proxy_keeps_everything_but_the_address() -> None:
    proxy = Proxy("localhost", 1, lambda: 0.0)
    proxy.port = 7
    assert proxied("redis://user:pass@example.com:6380/3?x=1", proxy) == "redis://user:pass@127.0.0.1:7/3?x=1"
    assert proxied("redis://example.com", proxy) == "redis://127.0.0.1:7"
    assert target_of("redis://user:pass@example.com:6380/3") == ("example.com", 6380)
    assert target_of("redis:///0") == ("127.0.0.1", 6379)
