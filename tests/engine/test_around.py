"""What observers enter around a run: where it is asked for and entered, and that its errors reach no request."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from mizan_core import Conflict, Context, Engine, MemoryCache, build, client
from mizan_core.engine.engine import Via
from mizan_core.engine.observers import Called, Calling, Computing, Observer
from mizan_core.errors import NotFound

Rows, Pairs = Context("rows"), Context("pairs")

asking: ContextVar[str] = ContextVar("asking", default="")
within: ContextVar[str] = ContextVar("within", default="")


class Watch(Observer):
    """Notes who asked, and sets `within` around every run."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def around(self, event: Calling | Computing) -> Any:
        return self._around(event, asking.get())

    @contextlib.contextmanager
    def _around(self, event: Calling | Computing, asked_by: str) -> Iterator[None]:
        name = event.function if isinstance(event, Calling) else event.context
        token = within.set(name)
        self.notes.append((name, asked_by, asking.get()))
        try:
            yield
        except BaseException as error:
            self.notes.append(type(error))
            raise
        finally:
            within.reset(token)
            self.notes.append("left")

    def called(self, event: Called) -> None:
        self.notes.append(("called", within.get()))


class World:
    """Functions that answer with what is around them."""

    def __init__(self, *observers: Observer, **options: Any) -> None:
        self.watch = Watch()
        functions = [self.row, self.rest, self.own, self.look, self.write, self.refuse]
        self.engine = Engine(build(functions), observers=[self.watch, *observers], cache=MemoryCache(), **options)

    @staticmethod
    @client(context=Rows, route="/row/")
    async def row(number: int = 1) -> str:
        await asyncio.sleep(0)
        if number > 1:
            raise NotFound
        return f"{asking.get()}|{within.get()}"

    @staticmethod
    @client(context=Rows)
    def rest() -> str:
        return f"{asking.get()}|{within.get()}"

    @staticmethod
    @client(context=Pairs, cache=False)
    async def own() -> str:
        return f"{asking.get()}|{within.get()}"

    @staticmethod
    @client
    def look() -> str:
        return f"{asking.get()}|{within.get()}"

    @staticmethod
    @client(affects=Rows)
    async def write() -> str:
        await asyncio.sleep(0)
        return f"{asking.get()}|{within.get()}"

    @staticmethod
    @client(affects=Rows)
    async def refuse() -> None:
        raise Conflict


@pytest.mark.asyncio
async def test_a_shared_run_sees_what_is_entered_and_no_asker() -> None:
    world = World()
    asking.set("me")
    bundle = await world.engine.fetch("rows", {})
    assert bundle.body == b'{"rest":"|rows","row":"|rows"}'
    assert world.watch.notes == [("rows", "me", ""), "left"]
    assert (await world.engine.fetch("rows", {})).status == "hit"
    assert len(world.watch.notes) == 2


@pytest.mark.asyncio
async def test_an_unshared_run_sees_its_asker_too() -> None:
    world = World()
    asking.set("me")
    assert (await world.engine.fetch("pairs", {})).body == b'{"own":"me|pairs"}'
    assert (await world.engine.call("row", {})).result == "me|rows"
    assert world.watch.notes == [("pairs", "me", "me"), "left", ("rows", "me", "me"), "left"]


@pytest.mark.asyncio
async def test_a_page_is_computed_within_as_well() -> None:
    world = World()
    function, _ = await world.engine.admit("row", via=Via.ROUTE)
    page = await world.engine.page_admitted(function, {})
    assert page.result == b'"|rows"'


@pytest.mark.parametrize("name", ["look", "write"])
@pytest.mark.asyncio
async def test_a_call_runs_and_is_told_within(name: str) -> None:
    world = World()
    asking.set("me")
    assert (await world.engine.call(name, {})).result == f"me|{name}"
    assert world.watch.notes == [(name, "me", "me"), ("called", name), "left"]


@pytest.mark.asyncio
async def test_a_readers_error_passes_through() -> None:
    world = World()
    with pytest.raises(NotFound):
        await world.engine.fetch("rows", {"number": 2})
    assert world.watch.notes == [("rows", "", ""), NotFound, "left"]


@pytest.mark.asyncio
async def test_a_refused_call_is_told_within() -> None:
    world = World()
    with pytest.raises(Conflict):
        await world.engine.call("refuse", {})
    assert world.watch.notes[1:] == [("called", "refuse"), "left"]


class Failing(Observer):
    """Fails at one place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def around(self, event: object) -> Any:
        if self.place == "around":
            raise LookupError
        return None if self.place == "none" else self

    def __enter__(self) -> None:
        if self.place == "enter":
            raise LookupError

    def __exit__(self, *raised: object) -> None:
        if self.place == "exit":
            raise LookupError
        assert self.place != "enter", "left what was not entered"


@pytest.mark.parametrize("place", ["around", "enter", "exit", "none"])
@pytest.mark.asyncio
async def test_an_error_around_a_run_is_logged_alone(place: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World(Failing(place))
    assert (await world.engine.fetch("rows", {})).body == b'{"rest":"|rows","row":"|rows"}'
    assert (await world.engine.call("write", {})).result == "|write"
    assert world.watch.notes.count("left") == 2
    failed = [record.getMessage() for record in caplog.records]
    assert len(failed) == (0 if place == "none" else 2)
    assert all(message in ("Failing failed around Computing.", "Failing failed around Calling.") for message in failed)


@pytest.mark.asyncio
async def test_observers_that_enter_nothing_surround_no_run() -> None:
    world = World(Observer())
    world.engine.unobserve(world.watch)
    assert (await world.engine.fetch("rows", {})).body == b'{"rest":"|","row":"|"}'
    assert world.watch.notes == []
