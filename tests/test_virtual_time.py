"""Time that passes only when nothing is left to do."""

import asyncio
import threading
import time

from tests.virtual_time import run, stall


def test_a_timer_takes_its_time_and_no_more() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(86_400)
        assert round(loop.time() - began, 6) == 86_400

    run(story)


def test_a_timer_comes_after_all_that_is_ready() -> None:
    async def story() -> None:
        turns = 0

        async def busy() -> None:
            nonlocal turns
            for _ in range(1_000):
                await asyncio.sleep(0)
                turns += 1

        task = asyncio.create_task(busy())
        await asyncio.sleep(0.001)
        assert task.done()
        assert turns == 1_000

    run(story)


def test_a_thread_is_not_overtaken_by_a_virtual_timer() -> None:
    async def story() -> None:
        async with asyncio.timeout(60):
            assert await asyncio.to_thread(lambda: time.sleep(0.01) or "done") == "done"

    run(story)


def test_a_thread_may_wait_for_a_timer() -> None:
    async def story() -> None:
        timer = threading.Event()
        asyncio.get_running_loop().call_later(0.01, timer.set)
        await asyncio.to_thread(timer.wait)

    run(story)


def test_a_stalled_loop_is_late() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + 1
        late: asyncio.Future[float] = loop.create_future()
        loop.call_at(due, lambda: late.set_result(loop.time() - due))
        stall(3)
        assert round(await late, 6) == 2

    run(story)
