"""A process that dies between the commit of a mutation and its purge; run as `python -m tests.telling.dying`."""

import asyncio
import os
import signal
import sys

from mizan_core import Context, Engine, RedisCache, Result, build, client, invalidate
from tests.telling.edges import StubbornEdge

User, Orders = Context("user"), Context("orders", scopes=[("customer_id",)])
SECRET = "s" * 32
# Long enough that a busy machine renews it in time, and short enough to wait for.
LEASE_SECONDS = 1.5


@client(context=User)
async def profile(user_id: int) -> str:
    return f"user {user_id}"


@client(context=Orders)
async def orders(customer_id: int) -> list[int]:
    return [customer_id]


@client(affects=User)
async def rename(user_id: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@client(affects=Orders.where(customer_id=Result("id")))
async def ship(order_id: int) -> dict[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {"id": order_id}


@client()
async def note(user_id: int) -> None:
    invalidate(User, user_id=user_id)
    await asyncio.sleep(0.1)  # the hold of what a body names is written meanwhile
    os.kill(os.getpid(), signal.SIGKILL)


def engine_of(url: str, prefix: str, edge: StubbornEdge, *, refuses: bool = False, shutdown: float = 5.0) -> Engine:
    cache = RedisCache(url, prefix=prefix, timeout=5.0, connect_timeout=5.0)
    graph = build([profile, orders, rename, ship, note])
    return Engine(
        graph,
        cache=cache,
        cache_secret=SECRET,
        edges=[edge],
        on_cache_failure="refuse" if refuses else "allow",
        hold=LEASE_SECONDS,
        deadline=5.0,
        shutdown=shutdown,
    )


async def main(url: str, prefix: str, name: str, argument: str, value: str) -> None:
    await engine_of(url, prefix, StubbornEdge()).call(name, {argument: int(value)})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
