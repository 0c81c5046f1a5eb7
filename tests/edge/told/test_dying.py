"""An origin that dies between the commit of a mutation and the telling: another process tells the nodes."""

import signal
import time

import pytest

from tests.edge.told.application import LEASE_SECONDS
from tests.edge.told.fleet import Fleet, Origin, reserved

pytestmark = pytest.mark.timeout(120)


@pytest.mark.asyncio
async def test_nodes_are_fresh_within_the_lease_and_a_second(fleet: Fleet, origin: Origin) -> None:
    """The nodes have no part in the call, so they cannot know that its outcome is unknown."""
    assert origin.address[1] == fleet.port
    with reserved() as port, fleet.origin(port) as dying:
        await fleet.kept(30, 0)
        assert (await dying.ask("GET", "/health")).status == 200
        with pytest.raises(IndexError):  # of an answer without a single line
            await dying.call("fatal", 30)
        assert dying.ended() == -signal.SIGKILL
        died = time.monotonic()
        await fleet.fresh(30, 1)
        assert time.monotonic() - died < LEASE_SECONDS + 1


@pytest.mark.asyncio
async def test_the_node_that_waits_is_fresh_at_once(fleet: Fleet, origin: Origin) -> None:
    """A call that no origin answers may have written. The other nodes hear of it when the lease has ended."""
    with reserved() as port, fleet.origin(port):
        await fleet.kept(31, 0)
        node = fleet.nodes[0]
        try:
            assert (await node.call("fatal", 31)).status == 503
            assert origin.ended() == -signal.SIGKILL
        finally:
            origin.start()
        died = time.monotonic()
        assert (await node.shown(31))[1] == 1
        await fleet.fresh(31, 1)
        assert time.monotonic() - died < LEASE_SECONDS + 1
