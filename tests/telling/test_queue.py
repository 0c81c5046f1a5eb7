"""The queue of one edge: batches, second attempts, wider scopes, and loops that end."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from mizan_core import Invalidation
from mizan_core.telling.edge import EdgeBusy
from mizan_core.telling.queue import EdgeQueue
from tests.telling.edges import StubbornEdge
from tests.virtual_time import run


def user(number: int) -> Invalidation:
    return Invalidation("user", {"user_id": str(number)})


def users(*numbers: int) -> list[Invalidation]:
    return [user(one) for one in numbers]


def queue_of(edge: StubbornEdge) -> EdgeQueue:
    return EdgeQueue(edge)


def test_a_scope_is_through_when_the_edge_has_forgotten_it() -> None:
    async def story() -> None:
        edge = StubbornEdge()
        edge.open.clear()
        queue = queue_of(edge)
        through = queue.add([user(5)])
        await asyncio.sleep(1)
        assert not through.done()
        assert len(queue) == 1
        edge.open.set()
        await through
        assert edge.heard == [["user;user_id=5"]]
        assert len(queue) == 0

    run(story)


def test_scopes_that_come_meanwhile_share_the_next_batch() -> None:
    async def story() -> None:
        edge = StubbornEdge(batch=2)
        edge.open.clear()
        queue = queue_of(edge)
        first = queue.add([user(1)])
        await asyncio.sleep(0)
        later = [queue.add([user(one)]) for one in (2, 3, 4)]
        edge.open.set()
        await asyncio.gather(first, *later)
        assert edge.heard == [["user;user_id=1"], ["user;user_id=2", "user;user_id=3"], ["user;user_id=4"]]

    run(story)


def test_a_scope_under_way_is_sent_again_for_a_later_write() -> None:
    async def story() -> None:
        edge = StubbornEdge()
        edge.open.clear()
        queue = queue_of(edge)
        first = queue.add([user(1)])
        await asyncio.sleep(0)
        second = queue.add([user(1)])
        edge.open.set()
        await asyncio.gather(first, second)
        assert edge.heard == [["user;user_id=1"]] * 2

    run(story)


def test_a_purge_that_fails_is_sent_again_until_it_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        edge = StubbornEdge(error=ConnectionError("refused"))
        queue = queue_of(edge)
        through = queue.add([user(1)])
        await asyncio.sleep(10)
        assert queue.is_failing
        assert not through.done()
        assert edge.tried > 5
        edge.error = None
        await through
        assert not queue.is_failing
        assert edge.heard == [["user;user_id=1"]]

    with caplog.at_level(logging.WARNING, "mizan"):
        run(story)
    assert [record.getMessage() for record in caplog.records] == [
        "The edge edge could not be told what is stale, and is told again: ConnectionError: refused",
        "The edge edge is told again.",
    ]


def test_an_edge_that_never_answers_is_given_up_and_asked_again() -> None:
    async def story() -> None:
        edge = StubbornEdge(timeout=2.0)
        edge.open.clear()
        queue = queue_of(edge)
        through = queue.add([user(1)])
        await asyncio.sleep(6.5)
        assert queue.is_failing
        assert edge.tried == 3
        edge.open.set()
        await through

    run(story)


def test_a_busy_edge_is_left_alone_for_as_long_as_it_says() -> None:
    async def story() -> None:
        edge = StubbornEdge(error=EdgeBusy("429", after=30.0))
        queue = queue_of(edge)
        through = queue.add([user(1)])
        await asyncio.sleep(29)
        assert edge.tried == 1
        edge.error = None
        await through
        assert asyncio.get_running_loop().time() >= 30
        assert edge.tried == 2

    run(story)


def test_too_many_scopes_of_a_context_become_the_context() -> None:
    async def story() -> None:
        edge = StubbornEdge(pending=3)
        edge.open.clear()
        queue = queue_of(edge)
        order = Invalidation("order", {"id": "7"})
        futures = [queue.add([order])]
        await asyncio.sleep(0)  # it is under way from here on
        futures += [queue.add(users(1, 2)), queue.add([order, *users(3)]), queue.add(users(4, 5))]
        assert len(queue) == 3
        edge.open.set()
        await asyncio.gather(*futures)
        assert edge.heard == [["order;id=7"], ["order;id=7", "user"]]

    run(story)


def test_whole_contexts_alone_are_never_too_many() -> None:
    async def story() -> None:
        edge = StubbornEdge(pending=1)
        queue = queue_of(edge)
        await queue.add([Invalidation("a"), Invalidation("b"), Invalidation("c")])
        assert edge.all_heard == ["a", "b", "c"]

    run(story)


def test_nothing_is_through_at_once() -> None:
    async def story() -> None:
        edge = StubbornEdge()
        queue = queue_of(edge)
        assert queue.add([]).done()
        await asyncio.sleep(1)
        assert edge.tried == 0

    run(story)


def test_a_batch_that_failed_is_widened_with_the_rest() -> None:
    async def story() -> None:
        edge = StubbornEdge(pending=2, error=ConnectionError())
        edge.open.clear()
        queue = queue_of(edge)
        futures = [queue.add(users(1, 2))]
        await asyncio.sleep(0)
        futures.append(queue.add(users(3)))
        edge.open.set()
        await asyncio.sleep(0.01)
        assert len(queue) == 1
        edge.error = None
        await asyncio.gather(*futures)
        assert edge.heard == [["user"]]

    run(story)


@pytest.fixture
def closing() -> Iterator[StubbornEdge]:
    edge = StubbornEdge()
    edge.open.clear()
    yield edge
    assert edge.closed == 1


def test_closing_waits_within_its_bound(closing: StubbornEdge) -> None:
    async def story() -> None:
        queue = queue_of(closing)
        through = queue.add([user(1)])
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await queue.aclose(3.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)
        assert len(queue) == 1
        assert not through.done()
        assert closing.heard == []

    run(story)


def test_closing_an_idle_queue_closes_its_edge(closing: StubbornEdge) -> None:
    async def story() -> None:
        await queue_of(closing).aclose(3.0)

    run(story)
