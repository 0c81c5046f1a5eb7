"""A client whose transport is a Mizan app of the same process."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mizan_asgi.client import Client
from tests.client.transport import BASE, Wire
from tests.http.site import Site

DEFAULTS = {"user": {"page": 1}}


@pytest.fixture
def wire(site: Site) -> Wire:
    return Wire(site.mizan(cache=None))


@pytest_asyncio.fixture
async def mizan(wire: Wire) -> AsyncIterator[Client]:
    async with Client(BASE, transport=wire, defaults=DEFAULTS) as one:
        yield one
