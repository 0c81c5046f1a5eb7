"""Random applications behind real edges, compared with the truth after each write; and nodes that an origin tells."""

import asyncio
from pathlib import Path

import pytest

from mizan_asgi.edge import Nodes
from tests.edge.differential import EDGES, Count, play
from tests.edge.lossy import relaying
from tests.edge.nodes import Node
from tests.edge.origins import Origin

pytestmark = pytest.mark.timeout(180)

THING = "/api/mizan/ctx/things/?item=1"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", EDGES)
async def test_nothing_stale_is_served_of_random_applications(name: str) -> None:
    """`python -m tests.edge.differential varnish` plays 1,000 rounds."""
    count: Count = await play(name, 12, first=3, rounds_of_a_graph=4)
    assert (count.rounds, count.stale) == (12, 0)
    assert count.kept > 20, "the rounds are about nothing"
    assert count.unneeded <= max(1, count.kept // 100)


async def read(node: Node) -> tuple[str, str]:
    answer = await node.get(THING)
    assert answer.status == 200
    return answer.edge, answer.body.rpartition(":")[2].rstrip("}")


@pytest.mark.asyncio
@pytest.mark.parametrize("name", EDGES)
async def test_nodes_that_the_origin_tells_are_fresh(name: str) -> None:
    """Whichever way a write takes: through the other node, or past both."""
    there: list[Path | str] = []
    told = [asyncio.Event(), asyncio.Event()]
    async with relaying(there, 0, told[0]) as first, relaying(there, 1, told[1]) as second, relaying(there, 2) as url:
        origin = Origin(edge=Nodes(first, second))
        with EDGES[name](origin.manifest, url) as one, EDGES[name](origin.manifest, url) as two:
            there += [one.purging, two.purging]
            async with origin.serving():
                there.append(origin.url)
                for event in told:  # an origin that starts tells its nodes to forget everything
                    await event.wait()
                for version in range(0, 6, 2):
                    assert await both(one, two) == kept(version)
                    assert (await one.post("/api/mizan/call/write/", '{"item": 1}')).status == 200
                    assert await both(one, two) == kept(version + 1)
                    await origin.mizan.engine.run("write", {"item": 1})


async def both(one: Node, two: Node) -> list[tuple[str, str]]:
    """Two reads of each."""
    return [await read(node) for node in (one, one, two, two)]


def kept(version: int) -> list[tuple[str, str]]:
    return [("fwd=uri-miss", str(version)), ("hit", str(version))] * 2


@pytest.mark.asyncio
async def test_an_origin_that_has_told_its_nodes_closes_at_once() -> None:
    there: list[Path | str] = []
    told = asyncio.Event()
    async with relaying(there, 0, told) as url:
        node = Origin(edge=Nodes(url))
        with EDGES["nginx"](node.manifest, "http://127.0.0.1:9") as one:
            there.append(one.purging)
            async with asyncio.timeout(20), node.serving():  # a shutdown that waits for something takes 30 seconds
                await told.wait()
