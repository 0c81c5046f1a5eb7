"""`python -m tests.proof.sampling_cost`: the steps of hits with sampling and without, as JSON (`tests/costs.py`)."""

import asyncio
import json

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


if __name__ == "__main__":
    verify = Verify(SAMPLE)
    found = {"unverified": steps_of_hits(None), "sampled": steps_of_hits(verify), "checked": verify.checked}
    print(json.dumps(found))
