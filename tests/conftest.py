"""One example world that the tests share: users with profiles, orders with pages, an inbox, and the mutations on them."""

import pytest

from tests.world import World


@pytest.fixture
def world() -> World:
    return World()
