"""Nodes that do not answer: a mutation waits for the time box once, and they are purged on their return."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from mizan_core.testing.redis_server import RedisServer
from tests.edge.nodes import Reply
from tests.edge.told.application import NODE_SECONDS
from tests.edge.told.fleet import Fleet, Node, Origin, fleet_of

pytestmark = pytest.mark.timeout(180)

# How long a mutation waits for its nodes, and what a busy machine may add to that.
BOX_SECONDS = 1.0
ROOM_SECONDS = 5.0


@pytest.fixture(scope="module")
def pair(redis: RedisServer) -> Iterator[Fleet]:
    """A node of Varnish and one of nginx."""
    with fleet_of(["varnish", "nginx"], redis.url) as fleet:
        yield fleet


async def timed(origin: Origin, item: int) -> tuple[Reply, float]:
    began = time.monotonic()
    answer = await origin.call("write", item)
    return answer, time.monotonic() - began


def stopped(node: Node) -> None:
    node.signal(signal.SIGSTOP)


def continued(node: Node) -> None:
    node.signal(signal.SIGCONT)


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "item"), [(0, 1), (1, 2)], ids=["varnish", "nginx"])
@pytest.mark.parametrize(("leave", "come_back"), [(stopped, continued), (Node.kill, Node.start)])
async def test_a_mutation_waits_for_the_box_once(
    pair: Fleet, number: int, item: int, leave: Callable[[Node], None], come_back: Callable[[Node], None]
) -> None:
    node, other = pair.nodes[number], pair.nodes[1 - number]
    with pair.origin() as origin:
        await origin.owes_nothing()
        (_, before), *_ = [await one.shown(item) for one in pair.nodes]
        await pair.kept(item, before)
        leave(node)
        try:
            answer, took = await timed(origin, item)
            assert answer.status == 200
            assert BOX_SECONDS - 0.05 < took < BOX_SECONDS + ROOM_SECONDS < NODE_SECONDS
            assert await other.shown(item) == ("fwd=uri-miss", before + 1)
            assert await other.shown(item) == ("hit", before + 1)
            answer, took = await timed(origin, item)
            assert (answer.status, took < BOX_SECONDS) == (200, True)
            assert await other.shown(item) == ("fwd=uri-miss", before + 2)
            health = await origin.health()
            assert (health["owed_to_edges"], health["failing_edges"]) == (2, [node.purging])
        finally:
            come_back(node)
        await origin.owes_nothing()
        assert await node.shown(item) == ("fwd=uri-miss", before + 2)
        assert (await origin.health())["failing_edges"] == []
        answer, took = await timed(origin, item)
        assert (answer.status, took < BOX_SECONDS) == (200, True)
        assert await pair.versions(item) == [before + 3] * 2


@pytest.mark.asyncio
async def test_refuse_answers_503_and_does_not_run(pair: Fleet) -> None:
    node, other = pair.nodes
    with pair.origin(TOLD_ON_FAILURE="refuse") as origin:
        await origin.owes_nothing()
        await pair.kept(5, 0)
        stopped(node)
        try:
            answer, took = await timed(origin, 5)
            assert answer.status == 500, "it has run: nothing was known to fail before"
            assert BOX_SECONDS - 0.05 < took < BOX_SECONDS + ROOM_SECONDS < NODE_SECONDS
            assert (await other.shown(5))[1] == 1
            answer, took = await timed(origin, 5)
            assert (answer.status, took < BOX_SECONDS) == (503, True)
            assert (await other.shown(5))[1] == 1
        finally:
            continued(node)
        await origin.owes_nothing()
        assert await pair.versions(5) == [1, 1]
        assert (await timed(origin, 5))[0].status == 200
        assert await pair.versions(5) == [2, 2]


@pytest.mark.asyncio
async def test_a_restarted_origin_tells_what_is_still_owed(pair: Fleet) -> None:
    """A node that was stopped all the time, and an origin that ended while it owed: the journal outlives it."""
    node, _ = pair.nodes
    with pair.origin() as origin:
        await origin.owes_nothing()
        await pair.kept(6, 0)
        stopped(node)
        try:
            assert (await timed(origin, 6))[0].status == 200
            origin.kill()
        finally:
            continued(node)
    with pair.origin():
        await pair.fresh(6, 1)
