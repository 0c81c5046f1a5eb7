"""Concurrent misses of one bundle run its readers once; a cancelled waiter cancels no other."""

import asyncio
import gc
import threading

import pytest

from mizan_core import (
    Conflict,
    Context,
    NotFound,
    client,
)
from tests.engine.engines import engine_of
from tests.virtual_time import run


class TestSharing:
    def test_twenty_concurrent_misses_run_the_readers_once(self) -> None:
        ran = 0

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            await asyncio.sleep(0.01)
            return ran

        async def story() -> None:
            bundles = await asyncio.gather(*(engine.fetch("slow", {}) for _ in range(20)))
            assert {bundle.body for bundle in bundles} == {b'{"slow":1}'}
            assert [bundle.cache_status for bundle in bundles].count("mizan; fwd=uri-miss; stored") == 1

        engine = engine_of(slow)
        run(story)

    def test_a_cancelled_waiter_cancels_no_other(self) -> None:
        ran = 0
        begun, go_on = asyncio.Event(), asyncio.Event()

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            begun.set()
            await go_on.wait()
            return ran

        async def story() -> None:
            engine = engine_of(slow)
            first = asyncio.create_task(engine.fetch("slow", {}))
            await begun.wait()
            others = [asyncio.create_task(engine.fetch("slow", {})) for _ in range(3)]
            await asyncio.sleep(0)
            first.cancel()
            others[0].cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert [(await other).body for other in others[1:]] == [b'{"slow":1}'] * 2
            assert first.cancelled()
            assert (await engine.fetch("slow", {})).status == "hit"

        run(story)
        assert ran == 1

    def test_an_error_is_raised_in_all_waiters_and_not_kept(self) -> None:
        ran = 0

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            await asyncio.sleep(0.01)
            raise Conflict(f"failed {ran}")

        async def story() -> None:
            engine = engine_of(slow)
            ended = await asyncio.gather(*(engine.fetch("slow", {}) for _ in range(3)), return_exceptions=True)
            assert [str(error) for error in ended] == ["failed 1"] * 3
            with pytest.raises(Conflict, match="failed 2"):
                await engine.fetch("slow", {})

        run(story)

    def test_an_error_without_waiters_is_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        @client(context="slow")
        async def slow() -> int:
            begun.set()
            await go_on.wait()
            raise Conflict

        async def story() -> None:
            only = asyncio.create_task(engine_of(slow).fetch("slow", {}))
            await begun.wait()
            only.cancel()
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.sleep(0.01)
            gc.collect()

        run(story)
        assert caplog.records == []

    def test_sync_readers_of_a_bundle_share_one_trip_to_one_thread(self) -> None:
        threads: list[str] = []

        @client(context="page")
        def first() -> int:
            threads.append(threading.current_thread().name)
            return 1

        @client(context="page")
        async def second() -> int:
            threads.append(threading.current_thread().name)
            return 2

        @client(context="page")
        def third() -> int:
            threads.append(threading.current_thread().name)
            return 3

        async def story() -> None:
            bundle = await engine_of(first, second, third).fetch("page", {})
            assert bundle.body == b'{"first":1,"second":2,"third":3}'

        run(story)
        assert threads[0] == "MainThread"
        assert threads[1] == threads[2] != "MainThread"

    def test_readers_run_concurrently_only_with_concurrent(self) -> None:
        meeting = asyncio.Barrier(2)

        @client(context=Context("page", concurrent=True))
        async def first() -> int:
            await meeting.wait()
            return 1

        @client(context="page")
        async def second() -> int:
            await meeting.wait()
            return 2

        @client(context="page")
        def third() -> int:
            return 3

        async def story() -> None:
            assert (await engine_of(first, second, third).fetch("page", {})).status == "miss"

        run(story)

    def test_a_concurrent_reader_fails_with_its_own_error(self) -> None:
        @client(context=Context("page", concurrent=True))
        async def first() -> int:
            raise NotFound

        @client(context="page")
        async def second() -> int:
            await asyncio.sleep(60)
            return 2

        async def story() -> None:
            with pytest.raises(NotFound):
                await engine_of(first, second).fetch("page", {})

        run(story)
