"""Each safeguard has an order of events in which a read is stale without it, and true with it.

A new safeguard gets its order in `ORDERS`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mizan_core import Conflict, Context, Engine, build, client, invalidate
from mizan_core.cache.bundle_cache import BundleCache
from mizan_core.cache.outcomes import Computed
from mizan_core.cache.slots import Slot
from mizan_core.cache.tags import PurgeScope
from mizan_core.testing.safeguards import SAFEGUARDS, without
from tests.cache.holding import purge
from tests.cache.holding_cache import HoldingCache
from tests.cache.stepping import settled

ME = b"me......"
TAG = "tag:user:whole"
SLOT = Slot("ctx:user:1", (TAG,), ME)
SCOPE = PurgeScope(TAG, TAG, ME)


class Gate:
    """Open until it is closed. A task that arrives then sets `reached` and waits for `open`."""

    def __init__(self) -> None:
        self._reached, self._opened = asyncio.Event(), asyncio.Event()
        self._opened.set()

    def close(self) -> None:
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    async def reached(self) -> None:
        await self._reached.wait()

    async def pass_through(self) -> None:
        self._reached.set()
        await self._opened.wait()


class GatedCache(HoldingCache):
    """Counts holders, and has a gate before a nonce is added."""

    def __init__(self) -> None:
        super().__init__()
        self.adding = Gate()

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if key == TAG:
            await self.adding.pass_through()
        return await super().set(key, value, ttl, if_absent=if_absent)


class Site:
    """A row behind a cache. A reader passes the gate `answering` after it has looked at the row."""

    def __init__(self) -> None:
        self.backend = GatedCache()
        self.cache = BundleCache(
            self.backend, random=lambda count: next(self._bytes)[:count], clock=lambda: 0.0, deadline=1e9, hold=1e9
        )
        self.row = b"old"
        self.answering = Gate()
        self._bytes = (number.to_bytes(16, "little") for number in range(1_000))

    async def read(self) -> bytes:
        return (await self.cache.fetch(SLOT, None, self._select)).body

    async def hold(self) -> Any:
        """What a mutation does before it runs."""
        hold = self.cache.store.hold([SCOPE])
        await hold.begin()
        return hold

    async def die(self, hold: Any) -> None:
        """The mutation's process is gone, and its hold has expired."""
        self.backend.expire(TAG, hold.holder)

    async def _select(self) -> Computed:
        row = self.row
        await self.answering.pass_through()
        return Computed(row)


async def a_reader_is_slower_than_a_purge(site: Site) -> bytes:
    site.answering.close()
    slow = asyncio.create_task(site.read())
    await site.answering.reached()
    site.row = b"new"
    await purge(site.cache, [SCOPE])
    site.answering.open()
    await slow
    return await site.read()


async def a_mutation_holds_what_a_reader_is_about_to_add(site: Site) -> bytes:
    site.backend.adding.close()
    site.answering.close()
    reader = asyncio.create_task(site.read())
    await site.backend.adding.reached()
    hold = await site.hold()
    site.backend.adding.open()
    await site.answering.reached()
    site.row = b"new"
    site.answering.open()
    await reader
    await site.die(hold)
    return await site.read()


async def a_mutation_dies_before_its_purge(site: Site) -> bytes:
    await site.read()
    hold = await site.hold()
    site.row = b"new"
    await site.die(hold)
    return await site.read()


async def the_second_of_two_mutations_dies_before_its_purge(site: Site) -> bytes:
    first, second = await site.hold(), await site.hold()
    await first.end(())
    await site.read()
    site.row = b"new"
    await site.die(second)
    return await site.read()


async def a_purge_ends_a_copy_in_this_process(site: Site) -> bytes:
    await site.read()
    site.row = b"new"
    await purge(site.cache, [SCOPE])
    return await site.read()


async def a_read_after_a_purge_meets_a_computation_from_before(site: Site) -> bytes:
    site.answering.close()
    early = asyncio.create_task(site.read())
    await site.answering.reached()
    site.row = b"new"
    await purge(site.cache, [SCOPE])
    late = asyncio.create_task(site.read())
    await settled()
    site.answering.open()
    await early
    return await late


async def a_read_of_a_held_scope_meets_a_computation_from_before(site: Site) -> bytes:
    first, _ = await site.hold(), await site.hold()
    site.answering.close()
    early = asyncio.create_task(site.read())
    await site.answering.reached()
    site.row = b"new"
    await first.end(())
    late = asyncio.create_task(site.read())
    await settled()
    site.answering.open()
    await early
    return await late


async def a_mutation_is_refused_beside_one_that_died(site: Site) -> bytes:
    await site.read()
    dying, refused = await site.hold(), await site.hold()
    site.row = b"new"
    await site.die(dying)
    await refused.restore()
    return await site.read()


async def a_purge_meets_what_a_mutation_holds_that_is_refused(site: Site) -> bytes:
    await site.read()
    refused = await site.hold()
    site.row = b"new"
    await purge(site.cache, [SCOPE])
    await refused.restore()
    return await site.read()


async def a_mutation_is_refused_after_another_wrote(site: Site) -> bytes:
    await site.read()
    writing, refused = await site.hold(), await site.hold()
    site.row = b"new"
    await writing.end(())
    await refused.restore()
    return await site.read()


async def a_mutation_is_refused_before_another_dies(site: Site) -> bytes:
    await site.read()
    dying, refused = await site.hold(), await site.hold()
    await refused.restore()
    site.row = b"new"
    await site.die(dying)
    return await site.read()


async def a_mutation_names_one_context_writes_another_and_is_refused(site: Site) -> bytes:
    rows, other = Context("rows"), Context("other")

    @client(context=rows)
    async def row() -> str:
        return site.row.decode()

    @client(context=other)
    async def others() -> int:
        return 0

    @client(affects=[rows, other.by_body()])
    async def write() -> None:
        site.row = b"new"
        invalidate(other)
        raise Conflict("Too late.")

    async with Engine(build([row, others, write]), cache=HoldingCache(), cache_secret="s" * 32) as engine:
        await engine.fetch("rows", {})
        with pytest.raises(Conflict):
            await engine.call("write", {})
        body: dict[str, str] = json.loads((await engine.fetch("rows", {})).body)
    return body["row"].encode()


# What each safeguard is for: the last read of an order, which has to see the new row.
ORDERS: dict[str, Callable[[Site], Awaitable[bytes]]] = {
    "stamps": a_reader_is_slower_than_a_purge,
    "add-if-absent": a_mutation_holds_what_a_reader_is_about_to_add,
    "holds": a_mutation_dies_before_its_purge,
    "last-holder": the_second_of_two_mutations_dies_before_its_purge,
    "copies-by-stamps": a_purge_ends_a_copy_in_this_process,
    "joining-by-stamps": a_read_after_a_purge_meets_a_computation_from_before,
    "joining-the-next": a_read_of_a_held_scope_meets_a_computation_from_before,
    "expired-may-have-written": a_mutation_is_refused_beside_one_that_died,
    "purged-while-held": a_purge_meets_what_a_mutation_holds_that_is_refused,
    "all-refused": a_mutation_is_refused_after_another_wrote,
    "last-restores": a_mutation_is_refused_before_another_dies,
    "refused-named-nothing": a_mutation_names_one_context_writes_another_and_is_refused,
}


def last_read(safeguard: str) -> bytes:
    async def run() -> bytes:
        return await ORDERS[safeguard](Site())

    return asyncio.run(run())


def test_every_safeguard_has_an_order_that_needs_it() -> None:
    assert ORDERS.keys() == SAFEGUARDS.keys()


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_without_a_safeguard_its_order_ends_with_a_stale_read(safeguard: str) -> None:
    with without(safeguard):
        assert last_read(safeguard) == b"old"


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_with_all_safeguards_no_order_ends_with_a_stale_read(safeguard: str) -> None:
    assert last_read(safeguard) == b"new"


def test_every_safeguard_is_back_when_the_block_ends() -> None:
    for name, replaced in SAFEGUARDS.items():
        before = [getattr(one.owner, one.attribute) for one in replaced]
        with without(name):
            assert all(getattr(one.owner, one.attribute) is one.instead for one in replaced)
        assert before == [getattr(one.owner, one.attribute) for one in replaced]
