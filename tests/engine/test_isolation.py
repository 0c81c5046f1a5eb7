"""Context variables that a host set for one request are unseen by readers of shared answers (protocol, section 8)."""

import asyncio
import re
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from mizan_core import Context, DeclarationError, Engine, Identity, client
from tests.engine.engines import engine_of
from tests.virtual_time import run

current_user: ContextVar[str] = ContextVar("current_user", default="nobody")
trace: ContextVar[str] = ContextVar("trace")


def seen_by(*, sync: bool = False, **declared: Any) -> Callable[..., Any]:
    if sync:

        @client(context="front", **declared)
        def front() -> str:
            return current_user.get()

        return front

    @client(context="front", **declared)
    async def front_async() -> str:
        before = current_user.get()
        await asyncio.sleep(0)
        return f"{before}" if before == current_user.get() else "changed"

    return front_async


async def asked_as(engine: Engine, user: str) -> str:
    current_user.set(user)
    bundle = await engine.fetch("front", {}, identity=Identity("1"))
    return bundle.body.decode()


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    "declared",
    [{}, {"cache": 5}, {"per": "permissions"}, {"per": "user"}, {"auth": True}, {"auth": True, "per": "all"}],
)
def test_a_stored_answer_sees_no_request_context_variables(sync: bool, declared: dict[str, Any]) -> None:
    async def story() -> None:
        engine = engine_of(seen_by(sync=sync, **declared))
        assert "nobody" in await asked_as(engine, "Ada")
        assert "nobody" in await asked_as(engine, "Bo")

    run(story)


def test_concurrent_readers_see_no_request_context_variables() -> None:
    front = Context("front", concurrent=True)

    @client(context=front)
    def in_a_thread() -> str:
        return current_user.get()

    @client(context=front)
    async def on_the_loop() -> str:
        return current_user.get()

    async def story() -> None:
        assert (await asked_as(engine_of(in_a_thread, on_the_loop), "Ada")).count("nobody") == 2

    run(story)


def test_a_page_that_is_kept_sees_no_request_context_variables() -> None:
    @client(context="front", route="/front/")
    async def front() -> str:
        return current_user.get()

    @client(context="mine", route="/mine/", per="user")
    async def mine() -> str:
        return current_user.get()

    @client(context="now", route="/now/", cache=False)
    async def now() -> str:
        return current_user.get()

    async def story() -> None:
        engine = engine_of(front, mine, now)
        current_user.set("Ada")
        assert (await engine.page("front", {})).result == b'"nobody"'
        assert (await engine.page("mine", {}, identity=Identity("1"))).result == b'"nobody"'
        assert (await engine.page("now", {})).result == b'"Ada"'

    run(story)


@pytest.mark.parametrize("sync", [False, True])
def test_an_answer_for_one_request_sees_its_context_variables(sync: bool) -> None:
    async def story() -> None:
        engine = engine_of(front := seen_by(sync=sync, cache=False))
        assert [await asked_as(engine, user) for user in ("Ada", "Bo")] == [
            f'{{"{front.__name__}":"{user}"}}' for user in ("Ada", "Bo")
        ]
        assert (await engine.call(front.__name__, {})).result == "Bo"

    run(story)


@pytest.mark.parametrize("sync", [False, True])
def test_a_carried_variable_is_seen(sync: bool) -> None:
    async def story() -> None:
        engine = engine_of(seen_by(sync=sync), carry=[trace, current_user])
        assert "Ada" in await asked_as(engine, "Ada")
        assert "Ada" in await asked_as(engine, "Bo")  # a hit: what is carried has to be the same for all

    run(story)


@pytest.mark.parametrize("waits", [0, 1])
def test_a_missing_variable_is_an_error_with_its_remedy(waits: int) -> None:
    @client(context="front")
    async def front() -> str:
        for _ in range(waits):
            await asyncio.sleep(0)
        return trace.get()

    async def story() -> None:
        trace.set("t-1")
        engine = engine_of(front)
        with pytest.raises(LookupError) as raised:
            await engine.fetch("front", {})
        told = "".join(traceback.format_exception(raised.value))
        assert re.search(r"front answers more requests than one.*carry=", told)
        assert (await engine.call("front", {})).result == "t-1"

    run(story)


def test_an_ordinary_lookup_error_is_left_as_it_is() -> None:
    @client(context="front")
    async def front() -> str:
        raise KeyError("tag")

    async def story() -> None:
        with pytest.raises(KeyError) as raised:
            await engine_of(front).fetch("front", {})
        assert not hasattr(raised.value, "__notes__")

    run(story)


def test_a_variable_set_by_a_reader_is_seen_by_its_tasks_only() -> None:
    @client(context="front")
    async def front() -> str:
        current_user.set("reader")
        await asyncio.sleep(0)
        return await asyncio.create_task(later())

    async def later() -> str:
        return current_user.get()

    async def story() -> None:
        assert await asked_as(engine_of(front), "Ada") == '{"front":"reader"}'
        assert current_user.get() == "Ada"

    run(story)


@pytest.mark.parametrize("carry", ["trace", trace, [trace, "trace"], None, 5])
def test_carry_refuses_values_that_are_no_variables(carry: Any) -> None:
    with pytest.raises(DeclarationError, match="carry="):
        engine_of(seen_by(), carry=carry)


@dataclass
class Visit:
    """A request with a session that ends with it."""

    closed: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.mark.parametrize("joining", [1, 3])
def test_a_joined_request_survives_the_first_ones_session(joining: int) -> None:
    ran: list[Visit] = []
    go_on = asyncio.Event()

    @client(context="front", per="user")
    async def front(request: Visit) -> str:
        ran.append(request)
        await go_on.wait()
        if request.closed.is_set():
            raise RuntimeError("The session is closed.")
        return "news"

    async def story() -> None:
        engine = engine_of(front)
        visits = [Visit() for _ in range(1 + joining)]
        first, *others = [
            asyncio.create_task(engine.fetch("front", {}, identity=Identity("1"), request=visit)) for visit in visits
        ]
        await asyncio.sleep(1)
        first.cancel()
        visits[0].closed.set()
        await asyncio.sleep(1)
        go_on.set()
        assert {(await other).body for other in others} == {b'{"front":"news"}'}
        assert len(ran) == 2

    run(story)


def test_a_shared_turn_survives_its_requests_session() -> None:
    ran: list[Visit] = []
    gates = [asyncio.Event() for _ in range(3)]
    done = asyncio.Event()

    @client(context="front", per="user")
    async def front(request: Visit) -> str:
        ran.append(request)
        await gates[len(ran) - 1].wait()
        if request.closed.is_set():
            raise RuntimeError("The session is closed.")
        return "news"

    @client(affects="front")
    async def change() -> None:
        await done.wait()

    async def story() -> None:
        engine = engine_of(front, change)
        changing = asyncio.create_task(engine.call("change", {}))
        visits = [Visit() for _ in range(3)]
        asked = []
        for visit in visits:
            await asyncio.sleep(1)
            asked.append(asyncio.create_task(engine.fetch("front", {}, identity=Identity("1"), request=visit)))
        await asyncio.sleep(1)
        gates[0].set()  # what the first request asked for; the other two share the next computation
        await asked[0]
        await asyncio.sleep(1)
        asked[1].cancel()
        visits[1].closed.set()
        await asyncio.sleep(1)
        gates[1].set()
        gates[2].set()
        assert (await asked[2]).body == b'{"front":"news"}'
        assert ran == visits
        done.set()
        await changing

    run(story)
