"""The breaker before a backend: its deadline, its probes, and settling afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mizan_core import Engine, MemoryCache, build, client
from mizan_core.cache.backends.backend import together
from mizan_core.cache.shared import breaker as module
from mizan_core.cache.shared.breaker import CacheState, CircuitBreaker
from mizan_core.errors import CacheUnavailable
from tests.virtual_time import run, stall


class Flaky(MemoryCache):
    """Fails while it is told to, and counts how often it is asked."""

    failing = False
    read_only = False
    asked = 0

    async def get(self, *keys: str) -> list[bytes | None]:
        self.asked += 1
        if self.failing:
            raise ConnectionError("gone.")
        return await super().get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        self.asked += 1
        if self.failing or self.read_only:
            raise ConnectionError("gone.")
        return await super().set(key, value, ttl, if_absent=if_absent)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PROBE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LAST_PROBE_SECONDS", 0.02)
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.03)


async def until(state: CacheState, guarded: CircuitBreaker) -> None:
    while guarded.state is not state:
        await asyncio.sleep(0.001)


class Futures(MemoryCache):
    """Answers by a future, once it is told to."""

    def get(self, *keys: str) -> Any:
        return asyncio.get_running_loop().create_future()


def test_each_operation_has_its_own_deadline() -> None:
    async def story() -> None:
        guarded = CircuitBreaker(Futures(), deadline=0.05)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def asked(after: float) -> float:
            await asyncio.sleep(after)
            guarded.state = CacheState.UP
            with pytest.raises(CacheUnavailable):
                await guarded.get("a")
            return loop.time() - began - after

        lasted = await asyncio.gather(*(asked(after) for after in (0, 0.01, 0.03)))
        assert all(0.05 <= seconds < 0.06 for seconds in lasted)
        await guarded.aclose()

    run(story)


class InTasks(MemoryCache):
    """Answers by a task, whose result cannot be set from outside."""

    def get(self, *keys: str) -> Any:
        return asyncio.ensure_future(asyncio.sleep(60))


def test_tasks_are_given_up_as_well() -> None:
    async def story() -> None:
        guarded = CircuitBreaker(InTasks(), deadline=0.01)
        for _ in range(2):
            guarded.state = CacheState.UP
            with pytest.raises(CacheUnavailable):
                await asyncio.wait_for(guarded.get("a"), 5)
        await guarded.aclose()

    run(story)


def test_the_deadlines_of_one_loop_are_not_another_ones() -> None:
    deadlines = module._Deadlines(0.01)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def added() -> asyncio.Future[None]:
        operation: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadlines.add(operation)
        return operation

    one, other = first.run_until_complete(added()), second.run_until_complete(added())
    first.run_until_complete(asyncio.sleep(0.03))
    assert not one.done()
    assert not other.done()
    second.run_until_complete(asyncio.wait([other], timeout=30))
    assert isinstance(other.exception(), TimeoutError)
    first.close()
    second.close()


def test_after_a_failure_no_request_asks_before_a_probe_succeeds() -> None:
    async def story() -> None:
        backend = Flaky()
        guarded = CircuitBreaker(backend)
        assert guarded.serves
        backend.failing = True
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        asked = backend.asked
        for operation in (guarded.get("a"), guarded.set("a", b"", 1), guarded.delete("a"), guarded.delete()):
            with pytest.raises(CacheUnavailable):
                await operation
        assert backend.asked == asked
        while backend.asked == asked:
            await asyncio.sleep(0.001)
        assert backend.asked < asked + 10
        assert guarded.state is CacheState.DOWN
        backend.failing = False
        await until(CacheState.SETTLING, guarded)
        assert not guarded.serves
        assert await guarded.set("a", b"1", None)
        await until(CacheState.UP, guarded)
        assert await guarded.get("a") == [b"1"]
        await guarded.clear()
        assert await guarded.get("a") == [None]

    run(story)


def test_a_relapse_while_it_settles_begins_again() -> None:
    async def story() -> None:
        backend = Flaky()
        guarded = CircuitBreaker(backend)
        backend.failing = True
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        backend.failing = False
        await until(CacheState.SETTLING, guarded)
        backend.failing = True
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        await asyncio.sleep(0.05)
        assert guarded.state is CacheState.DOWN
        backend.failing = False
        await until(CacheState.UP, guarded)

    run(story)


def test_closing_while_it_is_down_stops_the_probes() -> None:
    async def story() -> None:
        backend = Flaky()
        guarded = CircuitBreaker(backend)
        await guarded.aclose()
        backend.failing = True
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        await guarded.aclose()
        asked = backend.asked
        await asyncio.sleep(0.05)
        assert backend.asked == asked
        assert guarded.state is CacheState.UP

    run(story)


def test_a_breaker_is_not_down_in_the_next_event_loop() -> None:
    backend = Flaky()
    guarded = CircuitBreaker(backend)

    async def fails() -> None:
        backend.failing = True
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        assert guarded.state is CacheState.DOWN

    async def succeeds() -> None:
        backend.failing = False
        assert await guarded.get("a") == [None]
        await guarded.aclose()

    run(fails)
    run(succeeds)


def test_an_error_raised_before_any_awaitable_opens_the_breaker() -> None:
    class Hasty(MemoryCache):
        def get(self, *keys: str) -> Any:
            raise ConnectionError

    async def story() -> None:
        guarded = CircuitBreaker(Hasty())
        with pytest.raises(CacheUnavailable):
            await guarded.get("a")
        assert guarded.state is CacheState.DOWN
        await guarded.aclose()

    run(story)


def test_two_failures_at_once_are_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        backend = Flaky()
        guarded = CircuitBreaker(backend)
        backend.failing = True
        both = [guarded.get("a"), guarded.get("b")]
        for one in both:
            with pytest.raises(CacheUnavailable):
                await one
        await guarded.aclose()

    run(story)
    assert caplog.messages == ["The cache is down: it failed: gone. Bundles are computed until it is back."]


def test_the_first_error_of_a_batch_releases_the_others() -> None:
    async def fails() -> None:
        raise ConnectionError

    async def story() -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(ConnectionError):
            await together(fails(), MemoryCache().get("never awaited"), waiting)
        assert not waiting.done()

    run(story)


def test_a_page_may_not_be_kept_if_the_cache_fails_meanwhile() -> None:
    backend = Flaky()

    @client(context="page", route="/data/")
    async def data() -> int:
        backend.failing = True
        return 1

    async def story() -> None:
        async with Engine(build([data]), cache=backend, cache_secret="s" * 32) as engine:
            assert not (await engine.page("data", {})).keepable

    run(story)


async def by_coroutine() -> bool:
    raise CacheUnavailable("Full.")


def by_task() -> "asyncio.Task[bool]":
    return asyncio.create_task(by_coroutine())


def by_future() -> "asyncio.Future[bool]":
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    answer.set_exception(CacheUnavailable("Full."))
    return answer


@pytest.mark.parametrize("refused", [by_coroutine, by_task, by_future])
def test_a_backend_that_refuses_one_operation_is_not_down(refused: Callable[[], Awaitable[bool]]) -> None:
    class Full(MemoryCache):
        def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> Any:
            return refused()

    async def story() -> None:
        guarded = CircuitBreaker(Full())
        with pytest.raises(CacheUnavailable, match="Full"):
            await guarded.set("a", b"", None)
        assert guarded.state is CacheState.UP

    run(story)


def test_a_store_that_takes_no_writes_stays_down() -> None:
    async def story() -> None:
        backend = Flaky()
        guarded = CircuitBreaker(backend)
        backend.read_only = True
        with pytest.raises(CacheUnavailable):
            await guarded.set("a", b"1", 60)
        states = set()
        for _ in range(10):
            await asyncio.sleep(0.01)
            states.add(guarded.state)
        assert states == {CacheState.DOWN}
        backend.read_only = False
        await until(CacheState.UP, guarded)

    run(story)


class Slow(MemoryCache):
    """Answers by a future or a coroutine when it is told to."""

    def __init__(self, *, by_future: bool) -> None:
        super().__init__()
        self.by_future = by_future
        self.answer: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()

    def get(self, *keys: str) -> Any:
        return self.answer if self.by_future else asyncio.wait_for(self.answer, None)


@pytest.mark.parametrize("by_future", [True, False])
def test_a_stalled_loop_is_not_a_cache_that_is_down(by_future: bool) -> None:
    async def story() -> None:
        backend = Slow(by_future=by_future)
        guarded = CircuitBreaker(backend, deadline=0.25)
        asking = asyncio.ensure_future(guarded.get("a"))
        await asyncio.sleep(0)
        for _ in range(3):
            stall(0.3)  # longer than the deadline, with the loop stopped
            await asyncio.sleep(0)
        backend.answer.set_result([b"1"])
        assert await asking == [b"1"]
        assert guarded.state is CacheState.UP

    run(story)


@pytest.mark.parametrize("by_future", [True, False])
def test_an_answer_read_after_the_deadline_has_passed_counts(by_future: bool) -> None:
    """The loop was stalled until just before the deadline, and reads the answer in the turn in which that passes."""

    async def story() -> None:
        backend = Slow(by_future=by_future)
        guarded = CircuitBreaker(backend, deadline=0.25)
        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(guarded.get("a"))
        await asyncio.sleep(0)
        loop.call_at(loop.time() + 0.25, backend.answer.set_result, [b"1"])
        assert await asking == [b"1"]

    run(story)
