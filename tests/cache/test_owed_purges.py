"""Owed purges: bounded in memory and in work, and none blocks another."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from mizan_core.cache.shared import owed_purges as module
from mizan_core.cache.shared.owed_purges import OwedPurges
from mizan_core.errors import CacheUnavailable


class Store:
    """Takes no release while it is down, and none of a tag that is broken."""

    def __init__(self) -> None:
        self.is_down = True
        self.broken: set[str] = set()
        self.asked = 0
        self.released: list[str] = []

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None: ...

    async def release(self, tags: Sequence[str], holder: str) -> None:
        self.asked += 1
        if self.is_down or self.broken.intersection(tags):
            raise CacheUnavailable
        self.released += tags


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)


def owe(debts: OwedPurges, number: int) -> "asyncio.Future[None]":
    return debts.owe(f"holder-{number}", (f"tag:{number}", "whole"), ("whole",))


def test_eight_thousand_owed_purges_are_one_attempt_each() -> None:
    async def story() -> None:
        store = Store()
        debts = OwedPurges(store)
        through = [owe(debts, number) for number in range(8_000)]
        await asyncio.sleep(0)
        assert store.asked <= module.BATCH  # of 8,000, in the first round
        store.is_down, store.asked = False, 0
        await asyncio.wait(through)
        assert store.asked == 8_000
        assert len(debts) == 0

    run(story)


def test_a_purge_that_never_gets_through_blocks_no_other() -> None:
    async def story() -> None:
        store = Store()
        debts = OwedPurges(store)
        store.is_down, store.broken = False, {"tag:0"}
        first, *others = [owe(debts, number) for number in range(3 * module.BATCH)]
        await asyncio.wait(others)
        assert not first.done()
        assert debts.touches(["tag:0"])
        store.broken.clear()
        await first

    run(story)


def test_beyond_the_bound_whole_contexts_are_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_OWED", 10)

    async def story() -> None:
        store = Store()
        debts = OwedPurges(store)
        through = [owe(debts, number) for number in range(1_000)]
        assert len(debts) == 11
        assert debts.touches(["tag:5"])
        assert debts.touches(["tag:999", "whole"])  # as every bundle of this context has it
        assert len({id(one) for one in through}) == 11
        store.is_down = False
        await asyncio.wait(through)
        assert set(store.released) == {*(f"tag:{number}" for number in range(10)), "whole"}

    run(story)


def test_a_purge_owed_during_a_retry_stays_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_OWED", 0)
    going = asyncio.Event()

    class Waiting(Store):
        async def release(self, tags: Sequence[str], holder: str) -> None:
            await going.wait()
            self.released += tags

    async def story() -> None:
        store = Waiting()
        debts = OwedPurges(store)
        through = debts.owe("one", ("tag:1",), ("whole:1",))
        await asyncio.sleep(0)
        assert debts.owe("two", ("tag:2",), ("whole:2",)) is through
        going.set()
        await through
        assert "whole:2" in store.released

    run(story)


def test_a_purge_that_got_through_is_trusted_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_PURGE_SECONDS", 0.02)

    async def story() -> None:
        store = Store()
        debts = OwedPurges(store)
        store.is_down = False
        await owe(debts, 1)
        assert debts.touches(["tag:1"])
        await asyncio.sleep(0.05)
        assert not debts.touches(["tag:1"])
        await owe(debts, 2)
        assert not debts.touches(["tag:1"])
        assert list(debts._settling) == ["tag:2", "whole"]

    run(story)
