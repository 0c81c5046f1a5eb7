"""Readers that never end, and readers that wait for each other."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from mizan_core import Context, DeclarationError, Engine, Identity, client
from mizan_core.errors import TimedOut
from tests.engine.engines import engine_of
from tests.virtual_time import VirtualTimeLoop, run


def now() -> float:
    return asyncio.get_running_loop().time()


def stuck(**declared: Any) -> Callable[..., Any]:
    @client(context="front", **declared)
    async def front(answers: bool = False) -> str:
        if not answers:
            await asyncio.Event().wait()
        return "news"

    return front


Ask = Callable[[Engine], Awaitable[object]]

ASKING: dict[str, tuple[dict[str, Any], Ask]] = {
    "bundle": ({}, lambda engine: engine.fetch("front", {})),
    "bundle of a user": ({"per": "user"}, lambda engine: engine.fetch("front", {}, identity=Identity("1"))),
    "bundle never stored": ({"cache": False}, lambda engine: engine.fetch("front", {})),
    "call": ({}, lambda engine: engine.call("front", {})),
    "run": ({}, lambda engine: engine.run("front", {})),
    "page": ({"route": "/front/"}, lambda engine: engine.page("front", {})),
}


@pytest.mark.parametrize(("declared", "ask"), ASKING.values(), ids=ASKING)
def test_a_reader_that_never_ends_is_given_up_after_30_seconds(
    declared: dict[str, Any], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        engine, began = engine_of(stuck(**declared)), now()
        with pytest.raises(TimedOut) as raised:
            await ask(engine)
        assert now() - began == pytest.approx(30)
        assert (raised.value.status, raised.value.code) == (504, "timed_out")

    run(story)
    assert [one.levelno for one in caplog.records] == [logging.ERROR]
    assert "front did not answer within 30.0 seconds" in caplog.text


def test_joined_requests_time_out_together_the_next_anew() -> None:
    ran: list[float] = []

    @client(context="front")
    async def front() -> str:
        ran.append(now())
        if len(ran) == 1:
            await asyncio.Event().wait()
        return "news"

    async def story() -> None:
        engine = engine_of(front, reader_timeout=5)
        asked = [asyncio.create_task(engine.fetch("front", {})) for _ in range(3)]
        await asyncio.sleep(1)
        assert len(ran) == 1
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in ended] == [TimedOut] * 3
        assert (await engine.fetch("front", {})).body == b'{"front":"news"}'

    run(story)


def test_a_cancelled_caller_leaves_the_timeout_to_the_others() -> None:
    async def story() -> None:
        engine = engine_of(stuck(), reader_timeout=5)
        first, second = [asyncio.create_task(engine.fetch("front", {})) for _ in range(2)]
        await asyncio.sleep(1)
        first.cancel()
        with pytest.raises(TimedOut):
            await second
        assert first.cancelled()

    run(story)


def test_a_timeout_logs_the_function_that_runs(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="front")
    async def quick() -> str:
        return ""

    async def story() -> None:
        with pytest.raises(TimedOut):
            await engine_of(quick, stuck()).fetch("front", {})

    run(story)
    assert "front did not answer" in caplog.text
    assert "quick" not in caplog.text


def test_a_reader_in_a_thread_times_out_for_its_waiters(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    @client(context="front")
    def front(number: int) -> str:
        if number == 0:
            go_on.wait()
        return "news"

    async def story() -> None:
        engine = engine_of(front, reader_timeout=0.2)
        with pytest.raises(TimedOut):
            await engine.fetch("front", {"number": 0})
        go_on.set()
        answered = None
        while answered is None:  # a loaded machine may take longer than the limit
            with suppress(TimedOut):
                answered = await engine.fetch("front", {"number": 0})
        assert answered.body == b'{"front":"news"}'

    asyncio.run(story())
    assert "front did not answer within 0.2 seconds" in caplog.text


def test_a_reader_may_clean_up_and_may_answer_late() -> None:
    cleaned: list[float] = []

    @client(context="front")
    async def front(patient: bool) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cleaned.append(now())
            if not patient:
                raise
        return "late"

    async def story() -> None:
        engine = engine_of(front, reader_timeout=5)
        with pytest.raises(TimedOut):
            await engine.fetch("front", {"patient": False})
        assert len(cleaned) == 1
        assert (await engine.fetch("front", {"patient": True})).body == b'{"front":"late"}'
        await asyncio.sleep(0)  # no cancellation is left behind

    run(story)


def test_a_cancelled_caller_is_cancelled_and_not_timed_out() -> None:
    async def story() -> None:
        engine = engine_of(stuck(cache=False))
        asked = asyncio.create_task(engine.fetch("front", {}))
        await asyncio.sleep(1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    run(story)


def test_without_reader_timeout_a_reader_may_take_any_time() -> None:
    @client(context="front")
    async def front() -> str:
        await asyncio.sleep(1_000_000)
        return "news"

    async def story() -> None:
        assert (await engine_of(front, reader_timeout=None).fetch("front", {})).body == b'{"front":"news"}'

    run(story)


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(DeclarationError, match="reader_timeout"):
        engine_of(stuck(), reader_timeout=limit)


class CountingLoop(VirtualTimeLoop):
    timers = 0

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        CountingLoop.timers += 1
        return super().call_at(*args, **kwargs)


def test_one_timer_serves_a_thousand_computations() -> None:
    go_on = asyncio.Event()

    @client(context="front")
    async def front(number: int) -> int:
        if number:
            await go_on.wait()
        return number

    async def story() -> None:
        engine = engine_of(front)
        CountingLoop.timers = 0
        await engine.fetch("front", {"number": 0})
        assert CountingLoop.timers == 0
        asked = [asyncio.create_task(engine.fetch("front", {"number": one})) for one in range(1, 1_001)]
        while asyncio.all_tasks() - {asyncio.current_task()} - set(asked) == set():
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*asked)
        assert CountingLoop.timers == 1

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(story())


def test_each_computation_has_its_own_timeout_in_any_loop() -> None:
    engine = engine_of(stuck(cache=False), reader_timeout=10)
    ended: list[float] = []

    async def ask() -> None:
        with pytest.raises(TimedOut):
            await engine.fetch("front", {})
        ended.append(now())

    async def story() -> None:
        began = now()
        ended.clear()
        first = asyncio.create_task(ask())
        await asyncio.sleep(4)
        await ask()
        await first
        assert [one - began for one in ended] == [pytest.approx(10), pytest.approx(14)]
        await engine.fetch("front", {"answers": True})
        left = asyncio.create_task(engine.fetch("front", {}))
        await asyncio.sleep(1)
        left.cancel()

    run(story)
    run(story)


def test_a_computation_that_is_closed_closes_its_reader() -> None:
    closed: list[str] = []

    @client(context="front", cache=False)
    async def front() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("front")
        return ""

    async def story() -> None:
        work = engine_of(front).fetch("front", {})
        work.send(None)
        work.close()
        assert closed == ["front"]

    run(story)


class TestCircles:
    """`engine` is what the readers below fetch from."""

    engine: Engine

    async def fetched(self, context: str, **params: object) -> str:
        return (await self.engine.fetch(context, params)).body.decode()

    def refused(self, *names: str, context: str, **options: Any) -> None:
        async def story() -> None:
            with pytest.raises(DeclarationError, match=" and ".join(names) + " would wait for"):
                await self.fetched(context)

        run(story)

    @pytest.mark.parametrize("declared", [{}, {"cache": False}, {"per": "user"}])
    def test_a_reader_that_fetches_its_own_context_fails_at_once(self, declared: dict[str, Any]) -> None:
        @client(context="front", **declared)
        async def front() -> str:
            return await self.fetched("front")

        self.engine = engine_of(front)
        self.refused("front", context="front")

    @pytest.mark.parametrize("waits", [0, 1])
    def test_a_circle_of_two_readers_names_both(self, waits: int) -> None:
        @client(context="left")
        async def left() -> str:
            await asyncio.sleep(0) if waits else None
            return await self.fetched("right")

        @client(context="right")
        async def right() -> str:
            await asyncio.sleep(0) if waits else None
            return await self.fetched("left")

        self.engine = engine_of(left, right)
        self.refused("right", "left", context="left")

    def test_a_circle_of_more_readers_names_all(self) -> None:
        @client(context="a")
        async def first() -> str:
            return await asyncio.create_task(self.fetched("b"))

        @client(context="b")
        async def second() -> str:
            answer = await self.engine.call("third", {})
            return str(answer.result)

        @client(context="c")
        async def third() -> str:
            return await self.fetched("a")

        self.engine = engine_of(first, second, third)
        self.refused("third", "second", "first", context="a")

    def test_a_circle_through_two_requests_is_found(self) -> None:
        both = asyncio.Barrier(2)

        @client(context="left")
        async def left() -> str:
            await both.wait()
            return await self.fetched("right")

        @client(context="right")
        async def right() -> str:
            await both.wait()
            return await self.fetched("left")

        async def story() -> None:
            self.engine = engine_of(left, right)
            began = now()
            asked = [self.fetched("left"), self.fetched("right")]
            errors = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(error) for error in errors} == {DeclarationError}
            assert all("right and left" in str(error) for error in errors)
            assert now() == began

        run(story)

    def test_readers_that_wait_for_one_and_the_same_are_no_circle(self) -> None:
        go_on = asyncio.Event()

        @client(context="top")
        async def top() -> str:
            return "".join(await asyncio.gather(self.fetched("left"), self.fetched("right")))

        @client(context="left")
        async def left() -> str:
            return await self.fetched("bottom")

        @client(context="right")
        async def right() -> str:
            return await self.fetched("bottom")

        @client(context="bottom")
        async def bottom() -> str:
            await go_on.wait()
            return ""

        @client(context="other")
        async def other() -> str:
            return await self.fetched("top")

        async def story() -> None:
            self.engine = engine_of(top, left, right, bottom, other)
            asked = [asyncio.create_task(self.fetched("top"))]
            await asyncio.sleep(1)
            asked.append(asyncio.create_task(self.fetched("other")))
            await asyncio.sleep(1)
            go_on.set()
            assert all("bottom" in body for body in await asyncio.gather(*asked))

        run(story)

    def test_side_by_side_readers_are_named_together(self) -> None:
        front = Context("front", concurrent=True)

        @client(context=front)
        async def left() -> str:
            return await self.fetched("front")

        @client(context=front)
        async def right() -> str:
            return ""

        self.engine = engine_of(left, right)
        self.refused("left, right", context="front")

    def test_a_reader_may_fetch_its_own_context_for_something_else(self) -> None:
        @client(context="folder")
        async def path(folder: int) -> str:
            above = (
                await asyncio.gather(*(self.fetched("folder", folder=folder - 1) for _ in range(2))) if folder else []
            )
            return f"{len(above)}/{folder}"

        async def story() -> None:
            self.engine = engine_of(path)
            assert await self.fetched("folder", folder=5) == '{"path":"2/5"}'

        run(story)

    def test_a_task_that_outlives_its_reader_may_fetch_its_context(self) -> None:
        left: list[asyncio.Task[str]] = []

        @client(context="front")
        async def front() -> str:
            if not left:
                left.append(asyncio.create_task(later()))
            return "news"

        async def later() -> str:
            await asyncio.sleep(1)
            return await self.fetched("front")

        async def story() -> None:
            self.engine = engine_of(front)
            await self.fetched("front")
            assert await left[0] == '{"front":"news"}'

        run(story)
