"""Some seconds of the consistency checker through real edges; `make edge-consistency` runs ten minutes of each."""

from collections import Counter

import pytest

from tests.edge.differential import EDGES
from tests.edge.told.consistency import Check

pytestmark = pytest.mark.timeout(180)

# What is asked: the first node, the second one, and an origin past both.
FIRST, SECOND, ORIGIN = range(3)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", EDGES)
async def test_reads_are_stale_only_without_generations_in_the_keys(kind: str) -> None:
    """Of two nodes that are told alike, the second one leaves the generations out of its keys."""
    judgement = await Check(kind, without=("", "generation"), kills=False).run(4.0)
    hits = Counter(read.worker[0] for read in judgement.history.reads if read.status == "hit")
    assert hits[FIRST] > 10
    assert len(judgement.history.mutations) > 10
    assert {(one.read.worker[0], one.read.status) for one in judgement.found} == {(SECOND, "hit")}, judgement
