"""Copies of entries in each process, two engines over one real Redis: a hit moves no body, and is as true as before."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import Bundle, Conflict, Context, DeclarationError, Engine, build, client
from mizan_core.cache.backends.redis import RedisCache
from mizan_core.cache.shared import near
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.protocol.identity import ANONYMOUS
from mizan_core.testing.redis_server import RedisServer, redis_server
from tests.cache.redis.caches import SECRET, patient, run

PAGE = Context("page")


class Site:
    """A page, two processes that serve it, and what each of them reads of a Redis."""

    def __init__(self, url: str, **limits: Any) -> None:
        self.now = 0.0
        self.titles: dict[int, str] = {}
        self.running, self.may_end = asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self.caches = [patient(url, prefix="test:") for _ in range(2)]
        self.read: list[list[int]] = [[], []]  # by process: the bytes of every look-up
        for cache, sizes in zip(self.caches, self.read, strict=True):
            _measured(cache, sizes)
        graph = build(self._functions())
        self.engines = [
            Engine(graph, cache=cache, cache_secret=SECRET, deadline=5.0, clock=lambda: self.now, **limits)
            for cache in self.caches
        ]

    async def get(self, process: int, page_id: int = 1) -> Bundle:
        return await self.engines[process].fetch("page", {"page_id": page_id})

    async def warm(self) -> None:
        """Both processes have a copy."""
        assert (await self.get(0)).status == "miss"
        assert (await self.get(1)).status == "hit"
        self.forget_what_was_read()

    async def title(self, process: int) -> tuple[str, str]:
        bundle = await self.get(process)
        return bundle.status, json.loads(bundle.body)["page"]

    def asked(self, page_id: int = 1) -> BundleRequest:
        engine = self.engines[0]
        return engine.query(engine.plan("page"), {"page_id": page_id}, ANONYMOUS)

    @property
    def key(self) -> str:
        slot = self.asked().slot
        assert slot is not None
        return slot.key

    @property
    def tags(self) -> tuple[str, ...]:
        slot = self.asked().slot
        assert slot is not None
        return slot.tags

    def forget_what_was_read(self) -> None:
        for sizes in self.read:
            sizes.clear()

    def _functions(self) -> list[Callable[..., Any]]:
        @client(context=PAGE, cache=3_600)
        async def page(page_id: int) -> str:
            return self.titles.get(page_id, "old").ljust(1_000)

        @client(affects=PAGE)
        async def retitle(page_id: int, title: str) -> None:
            self.running.set()
            await self.may_end.wait()
            if not title:
                raise Conflict("A page has a title.")
            self.titles[page_id] = title

        return [page, retitle]


def _measured(cache: RedisCache, sizes: list[int]) -> None:
    get = cache.get

    async def measured(*keys: str) -> list[bytes | None]:
        values = await get(*keys)
        sizes.append(sum(len(value or b"") for value in values))
        return values

    cache.get = measured  # type: ignore[assignment, method-assign]


def on_site(redis: RedisServer, story: Callable[[Site], Any], **limits: Any) -> None:
    async def told() -> None:
        site = Site(redis.url, **limits)
        async with site.engines[0], site.engines[1]:
            await site.caches[0].clear()
            try:
                await story(site)
            finally:
                await site.caches[0].clear()

    run(told)


def test_a_hit_reads_the_tags_and_no_body(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        for process in (0, 1):
            assert await site.title(process) == ("hit", "old".ljust(1_000))
        assert all(len(sizes) == 1 and sizes[0] < 100 for sizes in site.read)

    on_site(redis, story)


def test_near_bytes_of_0_reads_the_body_with_every_hit(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        assert (await site.get(0)).status == "hit"
        assert site.read[0][0] > 1_000

    on_site(redis, story, near_bytes=0)


def test_a_purge_by_another_process_ends_a_copy(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        await site.engines[0].call("retitle", {"page_id": 1, "title": "new"})
        assert await site.title(1) == ("miss", "new".ljust(1_000))
        assert await site.title(1) == ("hit", "new".ljust(1_000))

    on_site(redis, story)


def test_a_body_that_another_process_stored_anew_is_read_once(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        await site.engines[0].call("retitle", {"page_id": 1, "title": "new"})
        assert (await site.get(0)).status == "miss"
        site.forget_what_was_read()
        for _ in range(2):
            assert await site.title(1) == ("hit", "new".ljust(1_000))
        tags, entry, tags_again = site.read[1]
        assert tags == tags_again < 100 < 1_000 < entry

    on_site(redis, story)


def test_a_miss_after_a_purge_takes_no_round_trip_more(redis: RedisServer) -> None:
    async def look_ups(near_bytes: int) -> int:
        site = Site(redis.url, near_bytes=near_bytes)
        async with site.engines[0], site.engines[1]:
            await site.caches[0].clear()
            await site.warm()
            await site.engines[0].invalidate("page", page_id=1)
            assert (await site.get(1)).status == "miss"
            return len(site.read[1])

    async def story() -> None:
        assert await look_ups(1_000_000) == await look_ups(0)

    run(story)


@pytest.mark.parametrize("place", [0, 1])
def test_a_tag_that_redis_evicted_ends_a_copy(redis: RedisServer, place: int) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.titles[1] = "new"
        await site.caches[0].delete(site.tags[place])
        assert await site.title(1) == ("miss", "new".ljust(1_000))

    on_site(redis, story)


def test_a_cleared_cache_ends_every_copy(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.titles[1] = "new"
        await site.caches[0].clear()
        for status in ("miss", "hit"):
            assert await site.title(1) == (status, "new".ljust(1_000))
        assert await site.title(0) == ("hit", "new".ljust(1_000))

    on_site(redis, story)


def test_a_server_that_came_back_empty_ends_every_copy() -> None:
    async def story(server: RedisServer) -> None:
        site = Site(server.url)
        async with site.engines[0], site.engines[1]:
            await site.warm()
            site.titles[1] = "new"
            server.stop()
            assert (await site.get(1)).cache_status.endswith("detail=cache-down")
            server.start()
            while (found := await site.get(1)).status == "bypass":
                await asyncio.sleep(0.05)
            assert found.status == "miss"
            assert json.loads(found.body)["page"] == "new".ljust(1_000)

    with redis_server() as server:
        run(lambda: story(server))


def test_while_redis_is_down_no_copy_is_served() -> None:
    async def story(server: RedisServer) -> None:
        site = Site(server.url)
        async with site.engines[0], site.engines[1]:
            await site.warm()
            server.stop()
            site.titles[1] = "new"
            for process in (0, 1):
                assert await site.title(process) == ("bypass", "new".ljust(1_000))

    with redis_server() as server:
        run(lambda: story(server))


def test_while_a_mutation_holds_a_page_no_copy_is_served(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.may_end.clear()
        call = asyncio.create_task(site.engines[0].call("retitle", {"page_id": 1, "title": "new"}))
        await site.running.wait()
        assert (await site.get(1)).cache_status == "mizan; fwd=bypass; detail=held"
        site.may_end.set()
        await call
        assert await site.title(1) == ("miss", "new".ljust(1_000))

    on_site(redis, story)


def test_after_a_refused_mutation_a_copy_is_served_again(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.may_end.clear()
        call = asyncio.create_task(site.engines[0].call("retitle", {"page_id": 1, "title": ""}))
        await site.running.wait()
        assert (await site.get(1)).status == "bypass"
        site.may_end.set()
        with pytest.raises(Conflict):
            await call
        site.forget_what_was_read()
        assert (await site.get(1)).status == "hit"
        (tags,) = site.read[1]
        assert tags < 100

    on_site(redis, story)


def test_a_copy_expires_with_its_entry(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.now = 3_600.0
        site.titles[1] = "new"
        assert await site.title(1) == ("miss", "new".ljust(1_000))

    on_site(redis, story)


def test_a_copy_outlives_an_entry_that_redis_evicted_by_a_minute(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        await site.caches[0].delete(site.key)
        site.now = near.READ_AGAIN_SECONDS - 0.1
        assert (await site.get(1)).status == "hit"
        inspected = await site.engines[1].inspect(site.asked())
        assert inspected is not None
        assert (inspected.is_kept, inspected.is_near) == (True, True)
        assert await site.engines[1].is_stored(site.asked(), (await site.get(1)).body)
        site.now = near.READ_AGAIN_SECONDS
        assert (await site.get(1)).cache_status == "mizan; fwd=uri-miss; stored"

    on_site(redis, story)


def test_bodies_that_two_processes_stored_become_one_in_a_minute(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        await site.caches[0].delete(site.key)
        site.titles[1] = "unseen"  # a change that no mutation told of
        site.now = near.READ_AGAIN_SECONDS
        assert await site.title(0) == ("miss", "unseen".ljust(1_000))
        assert await site.title(1) == ("hit", "unseen".ljust(1_000))

    on_site(redis, story)


def test_one_look_up_a_minute_reads_a_body_again(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        await site.warm()
        site.now = near.READ_AGAIN_SECONDS
        bundles = await asyncio.gather(*(site.get(1) for _ in range(20)))
        assert {bundle.status for bundle in bundles} == {"hit"}
        assert sum(size > 1_000 for size in site.read[1]) == 1

    on_site(redis, story)


def test_inspect_says_whether_a_process_has_a_copy(redis: RedisServer) -> None:
    async def story(site: Site) -> None:
        assert (await site.get(0)).status == "miss"
        found = [await engine.inspect(site.asked()) for engine in site.engines]
        assert [(one.is_kept, one.is_near, one.size) for one in found if one] == [
            (True, True, 1_011),
            (True, False, 1_011),
        ]
        await site.engines[1].invalidate("page", page_id=1)
        found = [await engine.inspect(site.asked()) for engine in site.engines]
        assert [(one.is_kept, one.is_near) for one in found if one] == [(False, False), (False, False)]

    on_site(redis, story)


@pytest.mark.parametrize("near_bytes", [-1, float("inf"), float("nan")])
def test_near_bytes_is_a_number_from_0(near_bytes: Any) -> None:
    with pytest.raises(DeclarationError, match="near_bytes"):
        Engine(build([]), near_bytes=near_bytes)
