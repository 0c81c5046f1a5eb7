"""Async tests run under anyio's plugin, on asyncio alone: the engine is made for it."""

import pytest

from .site import Site


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def site() -> Site:
    return Site()
