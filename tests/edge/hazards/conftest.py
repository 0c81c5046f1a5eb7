"""One node of each kind for all tests of this folder, in front of an origin that each test tells what to answer."""

from collections.abc import Iterator

import pytest

from tests.edge.differential import EDGES
from tests.edge.hazards.wire import Edge, Origin
from tests.edge.hazards.world import MANIFEST


@pytest.fixture(scope="session", params=EDGES)
def running(request: pytest.FixtureRequest) -> Iterator[Edge]:
    with Origin() as origin, EDGES[request.param](MANIFEST, origin.url) as node:
        yield Edge(request.param, node, origin)


@pytest.fixture
def edge(running: Edge) -> Edge:
    """Nothing is kept, and the origin is as it was made."""
    running.origin.reset()
    assert running.purge("*").status == 200
    return running
