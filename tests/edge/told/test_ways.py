"""Whichever way a write takes, no node of four serves data from before it once it is acknowledged."""

from collections.abc import Awaitable, Callable

import pytest

from tests.edge.nodes import Reply
from tests.edge.told.fleet import Fleet, Origin

pytestmark = pytest.mark.timeout(120)

Way = Callable[[Fleet, Origin, int], Awaitable[Reply | None]]

# The numbers are those of the things that are written.
WAYS: dict[str, tuple[int, Way]] = {
    "a call past the edge": (1, lambda _, origin, item: origin.call("write", item)),
    "a call through Varnish": (2, lambda fleet, _, item: fleet.nodes[0].call("write", item)),
    "a call through nginx": (3, lambda fleet, _, item: fleet.nodes[2].call("write", item)),
    "a webhook past the edge": (4, lambda _, origin, item: origin.ask("POST", f"/hooks/{item}/")),
    "a webhook through nginx": (5, lambda fleet, _, item: fleet.nodes[3].ask("POST", f"/hooks/{item}/")),
    "a call whose body names it": (6, lambda _, origin, item: origin.call("write_by_body", item)),
    "a call that fails after its commit": (7, lambda _, origin, item: origin.call("broken", item)),
    "changing": (8, lambda _, origin, item: origin.ask("POST", f"/host/changing/{item}")),
    "invalidate": (9, lambda _, origin, item: origin.ask("POST", f"/host/invalidated/{item}")),
    "changing that fails": (11, lambda _, origin, item: origin.ask("POST", f"/host/changing_that_fails/{item}")),
    "changing, and also": (12, lambda _, origin, item: origin.ask("POST", f"/host/changing_more/{item}")),
    "a call that runs in a thread": (13, lambda _, origin, item: origin.call("write_in_a_thread", item)),
    "a call that calls another": (14, lambda _, origin, item: origin.call("write_through_another", item)),
    "run in another process": (10, lambda fleet, _, item: fleet.run("write", item)),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
async def test_no_node_is_stale_after(way: str, fleet: Fleet, origin: Origin) -> None:
    item, write = WAYS[way]
    await fleet.kept(item, 0)
    answer = await write(fleet, origin, item)
    assert await fleet.versions(item) == [1] * 4
    assert answer is None or answer.status == (500 if "fails" in way else 200 if "call" in way else 204)
    await fleet.kept(item, 1)


@pytest.mark.asyncio
async def test_nodes_keep_what_was_not_written(fleet: Fleet, origin: Origin) -> None:
    await fleet.kept(20, 0)
    assert (await origin.call("write", 21)).status == 200
    assert [await node.shown(20) for node in fleet.nodes] == [("hit", 0)] * 4


@pytest.mark.asyncio
async def test_pages_are_told_as_bundles_are(fleet: Fleet, origin: Origin) -> None:
    async def pages() -> list[tuple[str, str]]:
        found = [await node.ask("GET", "/things/22/") for node in fleet.nodes]
        return [(one.edge, one.body) for one in found]

    await pages()
    assert await pages() == [("hit", "0")] * 4
    assert (await origin.ask("POST", "/hooks/22/")).status == 204
    assert await pages() == [("fwd=uri-miss", "1")] * 4
