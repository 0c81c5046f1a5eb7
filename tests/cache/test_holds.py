"""Holds: renewed while a mutation runs, ended by the last holder, and never left behind."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from mizan_core import Context, Engine, MemoryCache, build, client, invalidate
from mizan_core.cache import holds as module
from mizan_core.cache.backends.backend import HELD
from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.outcomes import Computed
from mizan_core.cache.slots import Slot
from mizan_core.cache.tags import PurgeScope
from tests.cache.holding import begin, end, purge
from tests.virtual_time import run


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cache_over(backend: MemoryCache) -> BundleCache:
    numbers = iter(range(1, 100_000))
    return BundleCache(backend, random=lambda count: next(numbers).to_bytes(count, "big"), clock=lambda: 0.0)


async def one() -> Computed:
    return Computed(b"1")


ME = b"me......"

SLOT = Slot("ctx:user:1", ("tag:user:whole", "tag:user:5"), ME)


def scopes(*tags: str) -> list[PurgeScope]:
    """Scopes that are contexts of their own."""
    return [PurgeScope(tag, tag, ME) for tag in tags]


def test_a_hold_is_renewed_while_its_mutation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWALS", 30 / 0.005)

    async def story() -> None:
        clock = Clock()
        backend = MemoryCache(clock=clock)
        cache = cache_over(backend)
        hold = cache.store.hold(scopes("tag:user:5"))
        await begin(hold)
        for _ in range(5):
            clock.now += 25
            await asyncio.sleep(0.02)
        assert (await backend.get("tag:user:5"))[0] is not None
        await end(hold)
        assert await backend.get("tag:user:5") == [None]
        clock.now += 25
        await asyncio.sleep(0.02)
        assert await backend.get("tag:user:5") == [None]

    run(story)


def test_a_hold_whose_process_died_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        clock = Clock()
        backend = MemoryCache(clock=clock)
        await begin(cache_over(backend).store.hold(scopes("tag:user:5")))
        survivor = cache_over(backend)
        assert type(await survivor.fetch(SLOT, None, one)).__name__ == "Passing"
        clock.now += module.DEFAULT_HOLD_SECONDS
        assert type(await survivor.fetch(SLOT, None, one)).__name__ == "Fresh"
        assert type(await survivor.fetch(SLOT, None, one)).__name__ == "Hit"

    run(story)


class Elsewhere(MemoryCache):
    """A cache that is asked as if it were in another process."""


@pytest.mark.parametrize("kind", [MemoryCache, Elsewhere])
def test_the_last_holder_deletes_the_tag_and_earlier_renew_it(kind: type[MemoryCache]) -> None:
    async def story() -> None:
        backend = kind()
        cache = cache_over(backend)
        first, second = cache.store.hold(scopes("tag:a", "tag:b")), cache.store.hold(scopes("tag:b"))
        await begin(first)
        await begin(second)
        (before,) = await backend.get("tag:b")
        await end(first)
        free, held = await backend.get("tag:a", "tag:b")
        assert free is None
        assert held is not None
        assert held.startswith(HELD)
        assert held != before
        await end(second)
        assert await backend.get("tag:b") == [None]

    run(story)


@pytest.mark.parametrize("kind", [MemoryCache, Elsewhere])
def test_a_purge_does_not_open_a_scope_that_a_mutation_holds(kind: type[MemoryCache]) -> None:
    async def story() -> None:
        backend = kind()
        cache = cache_over(backend)
        hold = cache.store.hold(scopes("tag:a"))
        await begin(hold)
        await purge(cache, scopes("tag:a", "tag:b"))
        await purge(cache, [])
        assert (await backend.get("tag:a"))[0] is not None
        await end(hold)
        assert await backend.get("tag:a") == [None]

    run(story)


@pytest.mark.parametrize("kind", [MemoryCache, Elsewhere])
def test_a_scope_named_late_is_held_before_the_hold_ends(kind: type[MemoryCache]) -> None:
    async def story() -> None:
        backend = kind()
        hold = cache_over(backend).store.hold([])
        await begin(hold)
        hold.extend(scopes("tag:a"))
        hold.extend(scopes("tag:a", "tag:b"))
        await asyncio.sleep(0)
        assert None not in await backend.get("tag:a", "tag:b")
        hold.extend(scopes("tag:c"))
        await end(hold, scopes("tag:d"))
        assert await backend.get("tag:a", "tag:b", "tag:c", "tag:d") == [None] * 4

    run(story)


def test_a_renewal_of_one_loop_leaves_the_holds_of_another_alone() -> None:
    renewed: list[str] = []

    class Noted:
        def renew(self) -> None:
            renewed.append("renewed")

    renewals: Any = module.Renewals(0.03)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def added() -> None:
        renewals.add(Noted())

    first.run_until_complete(added())
    second.run_until_complete(added())
    first.run_until_complete(asyncio.sleep(0.03))
    assert renewed == []
    second.run_until_complete(asyncio.sleep(0.015))
    assert len(renewed) >= 2
    first.close()
    second.close()


@pytest.mark.parametrize("kind", [MemoryCache, Elsewhere])
def test_a_renewal_covers_tags_added_since(kind: type[MemoryCache]) -> None:
    async def story() -> None:
        backend = kind()
        hold = cache_over(backend).store.hold(scopes("tag:a"))
        await begin(hold)
        before = await backend.get("tag:a")
        await backend.delete("tag:a")
        hold.renew()
        await end(hold)
        assert before != [None]
        assert await backend.get("tag:a") == [None]

    run(story)


class TestFlightOfEagerReaders:
    """Requests that joined a computation without a task hear of its end too."""

    async def ready(self) -> BundleCache:
        cache = cache_over(MemoryCache())
        await cache.fetch(Slot("ctx:user:0", ("tag:user:whole",), ME), None, one, "readers")
        return cache

    def begun(self, cache: BundleCache, compute: Callable[[], Awaitable[Computed]]) -> "asyncio.Task[Any]":
        return asyncio.create_task(cache.fetch(SLOT, None, compute, "readers"))

    def test_by_its_answer(self) -> None:
        async def slow() -> Computed:
            await asyncio.sleep(0.01)
            return Computed(b"2")

        async def story() -> None:
            cache = await self.ready()
            tasks = [self.begun(cache, slow) for _ in range(3)]
            first, *others = [await task for task in tasks]
            assert (first.body, first.joined) == (b"2", False)
            assert [(one.body, one.joined) for one in others] == [(b"2", True)] * 2
            assert cache._flights == {}

        run(story)

    def test_by_its_error(self) -> None:
        async def fails() -> Computed:
            await asyncio.sleep(0.01)
            raise LookupError

        async def story() -> None:
            cache = await self.ready()
            tasks = [self.begun(cache, fails) for _ in range(3)]
            assert [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [LookupError] * 3
            assert cache._flights == {}

        run(story)

    def test_an_error_before_the_first_wait_leaves_no_flight(self) -> None:
        async def fails() -> Computed:
            raise LookupError

        async def story() -> None:
            cache = await self.ready()
            with pytest.raises(LookupError):
                await self.begun(cache, fails)
            assert cache._flights == {}

        run(story)

    def test_by_its_being_cancelled_from_within(self) -> None:
        async def gives_up() -> Computed:
            await asyncio.sleep(0.01)
            raise asyncio.CancelledError

        async def story() -> None:
            cache = await self.ready()
            tasks = [self.begun(cache, gives_up) for _ in range(2)]
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(error) for error in ended] == [asyncio.CancelledError] * 2
            assert cache._flights == {}

        run(story)

    def test_a_joined_request_is_answered_if_the_first_is_cancelled(self) -> None:
        ran: list[int] = []

        async def slow() -> Computed:
            ran.append(1)
            await asyncio.sleep(0.01)
            return Computed(b"2")

        async def story() -> None:
            cache = await self.ready()
            first, other = self.begun(cache, slow), self.begun(cache, slow)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            first.cancel()
            assert (await other).body == b"2"
            assert first.cancelled()

        run(story)
        assert ran == [1, 1]

    def test_a_flight_begun_after_a_purge_is_not_displaced(self) -> None:
        async def once(may_go_on: asyncio.Event) -> Computed:
            await may_go_on.wait()
            return Computed(b"2")

        async def story() -> None:
            cache = await self.ready()
            gates = [asyncio.Event(), asyncio.Event()]
            early = self.begun(cache, lambda: once(gates[0]))
            await asyncio.sleep(0)
            await purge(cache, [PurgeScope("tag:user:5", "tag:user:whole", ME)])
            late = self.begun(cache, lambda: once(gates[1]))
            await asyncio.sleep(0.01)
            (flight,) = cache._flights.values()
            gates[0].set()
            assert (await early).detail == "purged"
            assert [*cache._flights.values()] == [flight]
            gates[1].set()
            assert (await late).stored
            assert cache._flights == {}

        run(story)


class Interfering(MemoryCache):
    """Another process writes the tag between a look-up and the stamp that follows it."""

    def __init__(self, value: bytes | None) -> None:
        super().__init__()
        self.value = value

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if not if_absent:
            return await super().set(key, value, ttl)
        if self.value is not None:
            await super().set(key, self.value, ttl)
        return False


@pytest.mark.parametrize(
    ("value", "answer"),
    [(b"n" + ME + b"other nonce 123", "Fresh"), (HELD + b"by another", "Passing"), (None, "Passing")],
)
def test_a_lost_race_for_a_tag_reads_it_again_or_bypasses(value: bytes | None, answer: str) -> None:
    async def story() -> None:
        cache = cache_over(Interfering(value))
        assert type(await cache.fetch(SLOT, None, one)).__name__ == answer
        if answer == "Fresh":
            assert type(await cache.fetch(SLOT, None, one)).__name__ == "Hit"

    run(story)


def test_a_cancelled_mutation_leaves_no_holder_behind() -> None:
    waiting, never = asyncio.Event(), asyncio.Event()

    class Slow(MemoryCache):
        stuck = False

        async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
            if self.stuck:
                waiting.set()
                await never.wait()
            return await super().set(key, value, ttl, if_absent=if_absent)

    @client(context="page")
    async def page() -> int:
        return 1

    @client(affects="page")
    async def write() -> None:
        pass

    async def story() -> None:
        backend = Slow()
        engine = Engine(build([page, write]), cache=backend, cache_secret="s" * 32)
        backend.stuck = True
        calling = asyncio.create_task(engine.call("write", {}))
        await waiting.wait()
        (mutation,) = asyncio.all_tasks() - {asyncio.current_task(), calling}
        mutation.cancel()
        backend.stuck = False
        with pytest.raises(asyncio.CancelledError):
            await calling
        await engine.call("write", {})
        await engine.fetch("page", {})
        assert (await engine.fetch("page", {})).status == "hit"

    run(story)


def test_a_backend_may_count_holders_itself() -> None:
    class Counting(MemoryCache):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[str, Sequence[str]]] = []

        async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
            assert ttl == module.DEFAULT_HOLD_SECONDS
            self.calls.append(("hold", tags))

        async def release(self, tags: Sequence[str], holder: str) -> None:
            self.calls.append(("release", tags))

    orders = Context("orders")

    @client(context=orders)
    async def listed(customer_id: int) -> int:
        return customer_id

    @client(affects=orders)
    async def write(customer_id: int) -> None:
        invalidate(orders, customer_id=customer_id)

    async def story() -> None:
        backend = Counting()
        engine = Engine(build([listed, write]), cache=backend, cache_secret="s" * 32)
        await engine.call("write", {"customer_id": 1})
        assert [verb for verb, _ in backend.calls] == ["hold", "release"]
        assert backend.calls[0][1] == backend.calls[1][1]
        assert len(backend.calls[0][1]) == 1

    run(story)


def test_an_ended_event_loop_leaves_no_flight(caplog: pytest.LogCaptureFixture) -> None:
    never = asyncio.Event()

    class Stuck(MemoryCache):
        async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
            if not if_absent:
                await never.wait()
            return await super().set(key, value, ttl, if_absent=if_absent)

    async def forever() -> Computed:
        await never.wait()
        return Computed(b"1")

    async def story() -> None:
        reading = asyncio.create_task(cache_over(MemoryCache()).fetch(SLOT, None, forever))
        cache_over(Stuck()).store.hold([]).extend(scopes("tag:a"))
        await asyncio.sleep(0.01)
        assert not reading.done()

    run(story)
    assert caplog.records == []


@pytest.mark.parametrize(("maker", "renewed"), [(ME, True), (b"other...", False)], ids=["ours", "another version's"])
def test_a_purge_in_memory_replaces_a_nonce_of_its_own_version(maker: bytes, renewed: bool) -> None:
    async def story() -> None:
        backend = MemoryCache()
        cache = cache_over(backend)
        await backend.set("tag:user:5", b"n" + maker + b"first", 60)
        await purge(cache, scopes("tag:user:5"))
        (nonce,) = await backend.get("tag:user:5")
        assert (nonce is not None) is renewed
        assert nonce != b"n" + maker + b"first"

    run(story)


def test_a_purge_in_memory_adds_no_tag_where_there_is_none() -> None:
    async def story() -> None:
        backend = MemoryCache()
        cache = cache_over(backend)
        await purge(cache, scopes("tag:user:5"))
        assert len(backend) == 0

    run(story)
