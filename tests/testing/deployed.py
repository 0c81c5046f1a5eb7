"""One of two versions of a program, as a process of its own that answers lines of JSON over stdin and stdout.

python -m tests.testing.deployed old redis://... file.json
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mizan_core import Context, Engine, Invalidation, RedisCache, build, client

SECRET = "the same in both versions, 32 byte"


def commit(rows: Path, name: str) -> None:
    """Change a row, and say so."""
    found = json.loads(rows.read_text())
    rows.write_text(json.dumps({**found, name: found[name] + 1}))
    sys.stdout.write("committed\n")
    sys.stdout.flush()


def functions(version: str, rows: Path) -> list[Callable[..., Any]]:
    """The newer one reads anew (`rev`), and has a mutation that narrows by a parameter that nothing narrowed by."""
    orders, prices = Context("orders"), Context("prices")

    def read() -> dict[str, int]:
        found: dict[str, int] = json.loads(rows.read_text())
        return found

    def write(name: str) -> None:
        rows.write_text(json.dumps({**read(), name: read()[name] + 1}))

    @client(context=orders)
    async def listed(customer: int, page: int = 1) -> int:
        return read()["orders"]

    @client(context=prices, rev=1 if version == "new" else 0)
    async def price(item: int) -> int:
        return read()["prices"]

    @client(affects=orders)
    async def order(customer: int) -> None:
        write("orders")

    @client(affects=orders)
    async def turn(page: int) -> None:
        write("orders")

    @client(affects=prices)
    async def reprice(item: int) -> None:
        write("prices")

    @client(affects=orders)
    def order_and_stall(customer: int) -> None:
        commit(rows, "orders")
        time.sleep(60)

    return [listed, price, order, reprice, order_and_stall, *([turn] if version == "new" else [])]


def change(engine: Engine, rows: Path, name: str, params: dict[str, int]) -> None:
    with engine.blocking.changing(Invalidation(name, params)):
        commit(rows, name)
        time.sleep(60)


async def main(version: str, url: str, rows: Path, hold: float) -> None:
    async with Engine(
        build(functions(version, rows)), cache=RedisCache(url), cache_secret=SECRET, hold=hold, deadline=10.0
    ) as engine:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            if "read" in request:
                bundle = await engine.fetch(request["read"], request["params"])
                (value,) = json.loads(bundle.body).values()
                answer: object = [value, bundle.status]
            elif "change_in_thread" in request:
                await asyncio.to_thread(change, engine, rows, request["change_in_thread"], request["params"])
            elif "change" in request:
                async with engine.changing(Invalidation(request["change"], request["params"])):
                    commit(rows, request["change"])
                    await asyncio.sleep(60)
            else:
                await engine.call(request["call"], request["args"])
                answer = "done"
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])))
