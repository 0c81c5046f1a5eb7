"""Caches in front that the application knows nothing of, and that nobody tells."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mizan_asgi.edge import HeaderOnly
from tests.edge.nodes import Node, plain_nginx, plain_varnish
from tests.edge.origins import Origin

PLAIN = pytest.mark.parametrize("plain", [plain_varnish, plain_nginx])
URLS = ("/api/mizan/ctx/things/?item=1", "/things/1/")


async def seen(origin: Origin, plain: Callable[[str], AbstractContextManager[Node]]) -> list[str]:
    """What a cache in front shows after each of three writes that it does not hear of."""
    bodies = []
    async with origin.serving(), origin.mizan.engine:
        with plain(origin.url) as node:
            for url in URLS:
                await node.get(url)
            for _ in range(3):
                await origin.change_past_edges(1)
                bodies += [(await node.get(url)).body for url in URLS]
    return bodies


@PLAIN
@pytest.mark.asyncio
async def test_a_cache_that_nobody_tells_serves_nothing_old(
    plain: Callable[[str], AbstractContextManager[Node]],
) -> None:
    bodies = await seen(Origin(edge=()), plain)
    assert bodies == ['{"thing":1}', "1", '{"thing":2}', "2", '{"thing":3}', "3"]


@PLAIN
@pytest.mark.asyncio
async def test_it_would_if_it_were_said_to_be_told(plain: Callable[[str], AbstractContextManager[Node]]) -> None:
    assert await seen(Origin(edge=HeaderOnly()), plain) == ['{"thing":0}', "0"] * 3
