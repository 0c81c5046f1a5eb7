"""What sampling costs a hit in production, counted in steps (`tests/costs.py`), which no busy machine changes."""

import asyncio
import sys

import pytest

from mizan_asgi import Mizan
from mizan_core import build, client
from mizan_core.proof import Verify
from tests import virtual_time
from tests.costs import Asked, Steps

SAMPLE = 0.001
HITS = 6_000
A_SECOND = 1_000


@client(context="rows")
async def row(number: int) -> str:
    return "one"


def steps_of_hits(verify: Verify | None) -> int:
    """The steps that hits over ASGI take, along with all that happens between them."""
    steps = Steps()

    async def story() -> None:
        mizan = Mizan(build([row]), verify=verify)
        asked = Asked("/ctx/rows/", b"number=1")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        await asked.of(mizan)
        for number in range(2 * HITS):
            if number == HITS:  # by now it is known how often hits come
                steps.__enter__()
            await asked.of(mizan)
            loop.stall(1 / A_SECOND)
            await asyncio.sleep(0)
        steps.__exit__()

    virtual_time.run(story)
    return steps.instructions + steps.calls


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer, such as coverage, is running")
def test_sampling_costs_less_than_a_fiftieth_of_a_hit() -> None:
    verify = Verify(SAMPLE)
    unverified, sampled = steps_of_hits(None), steps_of_hits(verify)
    assert HITS * SAMPLE <= verify.checked <= 4 * HITS * SAMPLE
    assert 0 < sampled - unverified < 0.02 * unverified
