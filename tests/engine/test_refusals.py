"""A mutation that was refused changed nothing, and what it held is as good as before."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import wraps
from typing import Any

import pytest
from starlette.responses import Response

from mizan_core import (
    Conflict,
    Context,
    Engine,
    Forbidden,
    MemoryCache,
    RedisCache,
    Unavailable,
    build,
    client,
    invalidate,
)
from mizan_core.cache.backends.backend import HELD, CacheBackend
from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.held_tags import ABSENT, HeldTag
from mizan_core.cache.store import Hold
from mizan_core.cache.tags import PurgeScope
from mizan_core.engine.answers import ended_of
from mizan_core.testing.redis_server import RedisServer
from tests.cache.holding import begin, purge
from tests.cache.holding_cache import HoldingCache

SECRET = "s" * 32
ORDERS = Context("orders")

SCOPE = PurgeScope("tag:user:5", "tag:user:whole", b"me......")
NONCE, THEIRS = b"nme......what is random", b"ntheirs..what is random"


class Shop:
    """A row, a reader, and mutations that wait, and then end as they are told."""

    def __init__(self, cache: CacheBackend) -> None:
        self.row = 0
        self.waits = True
        self.errors: dict[str, Exception] = {}
        self.may_end = asyncio.Event()
        self.running = 0
        self.engine = Engine(build(self._functions()), cache=cache, cache_secret=SECRET, deadline=1e9)

    def _functions(self) -> list[Callable[..., Any]]:
        @client(context=ORDERS)
        async def order_list(customer_id: int) -> int:
            return self.row

        @client(affects=ORDERS)
        async def change(customer_id: int, how: str) -> None:
            await self._ends(how)

        @client(affects=ORDERS.whole())
        async def change_all(how: str) -> None:
            await self._ends(how)

        @client(affects=ORDERS, private=True, route="/webhook/", methods=["POST"])
        async def webhook(request: object, customer_id: int, status: int) -> Response:
            await asyncio.sleep(0)
            return Response(status_code=status)

        return [order_list, change, change_all, webhook]

    async def _ends(self, how: str) -> None:
        self.running += 1
        if self.waits:
            await self.may_end.wait()
        if how == "writes":
            self.row += 1
        if how == "names":
            self.row += 1
            invalidate("orders", customer_id=8)
        if how in self.errors:
            raise self.errors[how]
        if how != "writes":
            raise Conflict(how)

    async def begin(self, how: str, name: str = "change") -> "asyncio.Task[Any]":
        before = self.running
        args = {"how": how} if name == "change_all" else {"how": how, "customer_id": 7}
        task = asyncio.ensure_future(self.engine.call(name, args))
        while self.running == before:
            await asyncio.sleep(0)
        return task

    async def end(self, *tasks: "asyncio.Task[Any]") -> None:
        self.may_end.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def warm(self) -> None:
        await self.engine.fetch("orders", {"customer_id": 7})
        assert await self.status() == "hit"

    async def status(self) -> str:
        return (await self.engine.fetch("orders", {"customer_id": 7})).status


def cache_over(backend: CacheBackend) -> BundleCache:
    numbers = iter(range(1, 100_000))
    return BundleCache(backend, random=lambda count: next(numbers).to_bytes(count, "big"), clock=lambda: 0.0)


Story = Callable[[Shop], Awaitable[None]]


@pytest.fixture(params=["memory", "holding", "redis"])
def run(request: pytest.FixtureRequest) -> Callable[[Story], None]:
    def ran(story: Story) -> None:
        async def told() -> None:
            cache: CacheBackend = MemoryCache() if request.param == "memory" else HoldingCache()
            if request.param == "redis":
                server: RedisServer = request.getfixturevalue("redis")
                cache = RedisCache(server.url, prefix=f"{request.node.name}:", timeout=1e9)
            shop = Shop(cache)
            async with shop.engine:
                await shop.warm()
                await story(shop)
                await cache.clear()

        asyncio.run(told())

    return ran


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("name", ["change", "change_all"])
def test_a_refused_mutation_leaves_cached_bundles(run: Callable[[Story], None], waits: bool, name: str) -> None:
    async def story(shop: Shop) -> None:
        shop.waits = waits
        task = await shop.begin("refused", name)
        if waits:
            assert await shop.status() == "bypass"
        await shop.end(task)
        assert await shop.status() == "hit"

    run(story)


def test_many_concurrent_refusals_leave_cached_bundles(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        tasks = [await shop.begin("refused", name) for name in ("change", "change_all", "change", "change")]
        await shop.end(*tasks)
        assert await shop.status() == "hit"

    run(story)


@pytest.mark.parametrize("error", [Unavailable(), ValueError(), asyncio.CancelledError()], ids=repr)
def test_a_mutation_that_failed_otherwise_purges(run: Callable[[Story], None], error: Exception) -> None:
    async def story(shop: Shop) -> None:
        shop.errors["fails"] = error
        await shop.end(await shop.begin("fails"))
        assert await shop.status() == "miss"

    run(story)


def test_a_mutation_that_writes_beside_a_refused_one_purges(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        tasks = [await shop.begin(how) for how in ("refused", "writes", "refused")]
        await shop.end(*tasks)
        assert await shop.status() == "miss"

    run(story)


def test_a_purge_while_the_refused_mutation_ran_stands(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        task = await shop.begin("refused")
        shop.row += 1
        await shop.engine.invalidate("orders", customer_id=7)
        await shop.end(task)
        assert await shop.status() == "miss"

    run(story)


def test_a_refused_mutation_that_named_a_scope_purges_all_held(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        await shop.end(await shop.begin("names"))
        assert await shop.status() == "miss"

    run(story)


@pytest.mark.parametrize(("status", "then"), [(403, "hit"), (200, "miss"), (503, "miss")])
def test_a_view_that_refuses_by_status_leaves_cached_bundles(
    run: Callable[[Story], None], status: int, then: str
) -> None:
    async def story(shop: Shop) -> None:
        await shop.engine.run("webhook", {"customer_id": 7, "status": status})
        assert await shop.status() == then

    run(story)


def test_a_tag_that_was_absent_is_absent_again(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        await shop.engine.invalidate("orders", customer_id=7)
        await shop.end(await shop.begin("refused"))
        assert await shop.status() == "miss"
        assert await shop.status() == "hit"

    run(story)


def test_a_refusal_is_told_without_invalidations(run: Callable[[Story], None]) -> None:
    async def story(shop: Shop) -> None:
        shop.errors["forbidden"] = Forbidden("not yours")
        shop.waits = False
        failure = await ended_of(shop.engine.begin("change", {"customer_id": 7, "how": "forbidden"}))
        assert failure.invalidations == ()
        assert await shop.status() == "hit"

    run(story)


def told(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(story)
    def test(*args: Any, **options: Any) -> None:
        asyncio.run(story(*args, **options))

    return test


class TestRestoredTag:
    """The value that a tag gets back, in the memory of one process."""

    def memory(self) -> MemoryCache:
        self.now = 0.0
        return MemoryCache(clock=lambda: self.now)

    async def held(self, cache: BundleCache) -> Hold:
        hold = cache.store.hold([SCOPE])
        await begin(hold)
        return hold

    @told
    async def test_a_tag_gets_back_its_value(self) -> None:
        memory = self.memory()
        cache = cache_over(memory)
        await memory.set(SCOPE.tag, NONCE, 60)
        hold = await self.held(cache)
        assert await memory.get(SCOPE.tag) != [NONCE]
        await hold.restore()
        assert await memory.get(SCOPE.tag) == [NONCE]

    @told
    async def test_a_tag_gets_nothing_back_after_a_hold_expired(self) -> None:
        memory = self.memory()
        cache = cache_over(memory)
        await memory.set(SCOPE.tag, NONCE, 60)
        await self.held(cache)
        self.now = 20.0
        refused = await self.held(cache)
        self.now = 31.0
        await refused.restore()
        assert await memory.get(SCOPE.tag) == [None]

    @told
    async def test_a_tag_evicted_while_held_gets_nothing_back(self) -> None:
        memory = self.memory()
        cache = cache_over(memory)
        await memory.set(SCOPE.tag, NONCE, 60)
        refused = await self.held(cache)
        await memory.delete(SCOPE.tag)
        await refused.restore()
        assert await memory.get(SCOPE.tag) == [None]

    @told
    async def test_a_tag_held_by_another_engine_gets_nothing_back(self) -> None:
        memory = self.memory()
        one, other = cache_over(memory), cache_over(memory)
        await memory.set(SCOPE.tag, NONCE, 60)
        first, second = await self.held(one), await self.held(other)
        await second.restore()
        await first.restore()
        assert await memory.get(SCOPE.tag) == [None]

    @told
    async def test_a_purge_after_its_hold_expired_stands(self) -> None:
        memory = self.memory()
        cache = cache_over(memory)
        refused = await self.held(cache)
        self.now = 31.0
        await purge(cache, [SCOPE])
        await memory.set(SCOPE.tag, NONCE, 60)
        await refused.restore()
        assert await memory.get(SCOPE.tag) == [NONCE]

    @pytest.mark.parametrize("kind", [MemoryCache, HoldingCache])
    @told
    async def test_another_versions_whole_context_gets_back_its_nonce(self, kind: type[MemoryCache]) -> None:
        backend = kind()
        cache = cache_over(backend)
        await backend.set(SCOPE.whole, THEIRS, 60)
        hold = await self.held(cache)
        assert await backend.get(SCOPE.whole) != [THEIRS]
        await hold.restore()
        assert await backend.get(SCOPE.tag, SCOPE.whole) == [None, THEIRS]

    @told
    async def test_a_hold_whose_end_fails_expires(self) -> None:
        class Failing(HoldingCache):
            async def restore(self, tags: Sequence[str], holder: str, ttl: float) -> None:
                raise ConnectionError

        backend = Failing()
        cache = cache_over(backend)
        hold = await self.held(cache)
        await hold.restore()
        assert backend.holders(SCOPE.tag)
        assert cache.store.owed == 0
        await cache.store.aclose(0)

    @told
    async def test_a_mutation_that_held_nothing_leaves_tags_unchanged(self) -> None:
        backend = HoldingCache()
        await backend.set(SCOPE.tag, NONCE, 60)
        cache = cache_over(backend)
        await cache.store.hold([]).restore()
        assert await backend.get(SCOPE.tag) == [NONCE]

    @pytest.mark.parametrize("verbs", [2, 5], ids=["holds without restoring", "five verbs"])
    @told
    async def test_a_backend_that_restores_nothing_purges(self, verbs: int) -> None:
        backend = OnlyHolding() if verbs == 2 else FiveVerbs()
        cache = cache_over(backend)
        await backend.set(SCOPE.tag, NONCE, 60)
        await (await self.held(cache)).restore()
        assert await backend.get(SCOPE.tag) == [None]


class FiveVerbs(MemoryCache):
    """A cache that is asked as if it were in another process."""


class OnlyHolding(MemoryCache):
    """Counts holders, and knows no restoring."""

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        for tag in tags:
            await self.set(tag, HELD, ttl)

    async def release(self, tags: Sequence[str], holder: str) -> None:
        await self.delete(*tags)


def test_a_thousand_holders_of_one_tag_are_not_scanned() -> None:
    held, looked_at = HeldTag(ABSENT), 0

    class Counted(dict[str, float]):
        def items(self) -> Any:
            nonlocal looked_at
            looked_at += len(self)
            return super().items()

    held.holders = Counted()
    for number in range(1_000):
        held.hold(str(number), 30.0 + number, now=float(number) / 100)
    for number in range(1_000):
        held.restore(str(number), now=10.0)
    assert looked_at == 0
    assert held.before == ABSENT
