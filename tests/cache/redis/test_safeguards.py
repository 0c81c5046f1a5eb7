"""Without the safeguards of holds, a Redis is sent what it would be sent without them, one command by one."""

import pytest

from mizan_core import Context, Engine, RedisCache, build, client
from mizan_core.testing.redis_server import RedisServer
from mizan_core.testing.safeguards import without

Orders = Context("orders")


@client(context=Orders)
async def order_list(customer_id: int) -> int:
    return customer_id


_served: list[str] = []
_engines: list[Engine] = []


@client(affects=Orders)
async def touch(customer_id: int) -> None:
    _served.extend([(await _engines[0].fetch("orders", {"customer_id": customer_id})).status for _ in range(2)])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("safeguards", "served"),
    [((), ["bypass", "bypass"]), (("holds",), ["hit", "hit"]), (("last-holder",), ["bypass", "bypass"])],
)
async def test_a_hold_is_written_unless_it_is_taken_away(
    safeguards: tuple[str, ...], served: list[str], redis: RedisServer
) -> None:
    prefix = f"safeguards-{len(safeguards)}-{served[0]}:"
    _served.clear()
    with without(*safeguards):
        async with Engine(
            build([order_list, touch]), cache=RedisCache(redis.url, prefix=prefix), cache_secret="s" * 32
        ) as engine:
            _engines[:] = [engine]
            await engine.fetch("orders", {"customer_id": 5})
            await engine.call("touch", {"customer_id": 5})
            assert _served == served
            assert (await engine.fetch("orders", {"customer_id": 5})).status == "miss"
