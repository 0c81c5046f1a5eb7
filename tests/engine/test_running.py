"""`running`: which functions are running where this is called."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import ANONYMOUS, Context, Engine, Identity, MemoryCache, build, client
from mizan_core.engine.answers import ended_of
from mizan_core.engine.engine import Via
from mizan_core.engine.observers import Observer, running

Rows, Pairs = Context("rows"), Context("pairs", concurrent=True)


class World:
    """Functions that note what is running inside of them."""

    def __init__(self, *, observed: bool = True) -> None:
        self.seen: dict[str, tuple[str, ...]] = {}
        self.both = asyncio.Barrier(2)
        self.engine = Engine(build([*self.readers(), *self.others()]), cache=MemoryCache())
        if observed:
            self.engine.observe(Observer())

    def note(self, place: str) -> int:
        self.seen[place] = running()
        return 1

    def readers(self) -> list[Callable[..., Any]]:
        @client(context=Rows)
        async def first() -> int:
            await asyncio.sleep(0)
            return self.note("first")

        @client(context=Rows)
        async def second() -> int:
            return await asyncio.to_thread(self.note, "second")

        @client(context=Rows)
        def third() -> int:
            return self.note("third")

        @client(context=Pairs)
        async def left() -> int:
            await self.both.wait()
            return self.note("left")

        @client(context=Pairs)
        async def right() -> int:
            await self.both.wait()
            await self.engine.fetch("rows", {})
            await self.engine.fetch("mine", {})
            return self.note("right")

        @client(context="mine")
        async def mine(me: Identity) -> int:
            return self.note("mine")  # kept for nobody, so it runs in a copy of the context that asks

        return [first, second, third, left, right, mine]

    def others(self) -> list[Callable[..., Any]]:
        def guard(who: Identity) -> bool:
            self.note("guard")
            return True

        @client(affects=Rows)
        async def inner() -> None:
            self.note("inner")

        @client(affects=Pairs, auth=guard)
        async def outer() -> None:
            self.note("before")
            await inner()
            await self.engine.run("plain", {})
            await self.engine.fetch("rows", {})
            await asyncio.create_task(self.later("task"))
            self.note("after")

        @client
        def plain() -> None:
            self.note("plain")

        @client(route="/look/", methods=["GET"])
        async def look() -> int:
            return self.note("look")

        return [inner, outer, plain, look]

    async def later(self, place: str) -> None:
        self.note(place)


@pytest.mark.asyncio
async def test_a_reader_is_named_on_the_loop_and_in_threads() -> None:
    world = World(observed=False)
    await world.engine.fetch("rows", {})
    assert world.seen == {name: (name,) for name in ("first", "second", "third")}
    assert running() == ()


@pytest.mark.asyncio
async def test_concurrent_readers_are_told_apart() -> None:
    world = World()
    await world.engine.fetch("pairs", {})
    assert world.seen == {name: (name,) for name in ("left", "right", "first", "second", "third", "mine")}


@pytest.mark.asyncio
async def test_a_called_function_is_named_behind_its_callers() -> None:
    world = World()
    await world.engine.call("outer", {}, identity=ANONYMOUS)
    assert world.seen == {
        "guard": (),
        **dict.fromkeys(("before", "task", "after"), ("outer",)),
        **{name: ("outer", name) for name in ("inner", "plain")},
        **{name: (name,) for name in ("first", "second", "third")},
    }


@pytest.mark.asyncio
async def test_a_get_route_is_named() -> None:
    world = World()
    function, _ = await world.engine.admit("look", via=Via.ROUTE)
    await ended_of(await world.engine.call_admitted(function, {}, may_change=False))
    assert world.seen == {"look": ("look",)}


@pytest.mark.asyncio
async def test_an_unobserved_engine_names_no_called_function() -> None:
    world = World(observed=False)
    await world.engine.call("plain", {})
    assert world.seen == {"plain": ()}


@pytest.mark.asyncio
async def test_nothing_is_named_before_a_function_begins() -> None:
    world = World(observed=False)

    class Early(Observer):
        async def before_running(self, event: object) -> None:
            world.note("early")

    world.engine.observe(Early())
    await world.engine.call("inner", {})
    assert world.seen == {"early": (), "inner": ("inner",)}
