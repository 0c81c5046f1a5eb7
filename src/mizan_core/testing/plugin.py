"""The fixture for pytest. It needs pytest alone; tests that await are run by pytest-asyncio or any other plugin."""

from collections.abc import Iterator

import pytest

from ..proof import Verify


def verifying() -> Iterator[Verify]:
    """A `Verify` that fails the test if a bundle was stale: `Engine(graph, verify=mizan_verify)`.

    For an application that is there already: `mizan_verify.attach(mizan.engine)`.
    """
    verify = Verify()
    yield verify
    verify.detach()
    if verify.proved:
        pytest.fail("\n".join(map(str, verify.proved)), pytrace=False)


mizan_verify = pytest.fixture(name="mizan_verify")(verifying)
