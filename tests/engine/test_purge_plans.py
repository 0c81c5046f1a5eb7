"""A mutation's purge plan is made once for equal arguments, and never used for different ones."""

import asyncio
import tracemalloc
from typing import Annotated
from uuid import UUID

import pytest
from pydantic import AfterValidator

from mizan_core import ANONYMOUS, Arg, Context, Engine, Graph, Identity, Me, MemoryCache, build, client
from mizan_core.engine.purge_plans import PurgePlan, PurgePlans
from mizan_core.graph.narrowing import Running, resolve
from mizan_core.protocol.bodies import call_body

USER = Context("user")
ANYTHING = bool | int | float | str | UUID | None


@client(context=USER)
async def profile(user_id: int) -> None: ...


@client(context="thing")
async def thing(key: ANYTHING) -> None: ...


@client(affects=USER)
async def rename(user_id: int, name: str) -> None: ...


@client(affects=USER.whole())
async def rename_all(name: str) -> None: ...


@client(affects=USER.where(user_id=Me))
async def rename_myself(name: str) -> None: ...


@client(affects=[USER.where(user_id=Arg("owner")), "thing"])
async def change(key: ANYTHING, owner: int) -> None: ...


GRAPH = build([profile, thing, rename, rename_all, rename_myself, change])


def purges(graph: Graph = GRAPH) -> PurgePlans:
    return Engine(graph, cache=MemoryCache())._mutations._plans


def determined(one: PurgePlans, function: str, identity: Identity = ANONYMOUS, /, **sent: object) -> PurgePlan:
    return one.determined(GRAPH.functions[function], sent, identity)


def test_equal_narrowing_values_share_a_purge_plan() -> None:
    one = purges()
    first = determined(one, "rename", user_id=5, name="Ada")
    assert determined(one, "rename", user_id=5, name="Bob") is first
    assert determined(one, "rename", user_id=6, name="Ada") is not first
    assert [entry.texts for entry in first.invalidations] == [{"user_id": "5"}]
    assert first.whole == ()
    assert determined(one, "rename_all", name="Ada").whole == ("user",)


def test_a_purge_that_depends_on_the_caller_is_the_callers_own() -> None:
    one = purges()
    ada, bob = (determined(one, "rename_myself", Identity(user_id), name="x") for user_id in (1, 2))
    assert [purge.invalidations[0].texts for purge in (ada, bob)] == [{"user_id": "1"}, {"user_id": "2"}]
    assert determined(one, "rename_myself", Identity(1), name="y") is ada


VALUES = (True, 1, 1.0, "1", "true", 0, False, -0.0, 0.0, None, "", UUID(int=1), str(UUID(int=1)))


@pytest.mark.parametrize("order", [1, -1])
def test_values_equal_in_python_do_not_share_a_purge_plan(order: int) -> None:
    one = purges()
    for owner in (1, True, "1", 2):
        for key in VALUES[::order] * 2:
            sent = {"key": key, "owner": owner}
            expected = resolve(GRAPH, GRAPH.functions["change"], sent, ANONYMOUS, Running())
            found = determined(one, "change", **sent).invalidations
            assert found == expected
            assert [repr(entry.params) for entry in found] == [repr(entry.params) for entry in expected]


def test_a_custom_validator_is_asked_each_time() -> None:
    allowed = [5]

    def check(value: int) -> int:
        if value not in allowed:
            raise ValueError
        return value

    @client(context="room")
    async def room(number: Annotated[int, AfterValidator(check)]) -> None: ...

    @client(affects="room")
    async def paint(number: Annotated[int, AfterValidator(check)]) -> None: ...

    graph = build([room, paint])
    one = purges(graph)

    def whole() -> bool:
        return one.determined(graph.functions["paint"], {"number": 5}, ANONYMOUS).invalidations[0].is_whole

    assert not whole()
    allowed.clear()
    assert whole()


def test_remembered_purge_plans_are_bounded_in_memory() -> None:
    one = purges()
    tracemalloc.start()
    for number in range(6_000):
        call_body(b"1", determined(one, "rename", user_id=number).invalidations)
    for number in range(600):
        determined(one, "change", key="x" * 100_000 + str(number), owner=number)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2.5 * 1024 * 1024


def test_equal_invalidations_are_encoded_once() -> None:
    async def story() -> None:
        async with Engine(GRAPH, cache=MemoryCache()) as engine:
            answers = [await engine.call("rename", {"user_id": 5, "name": name}) for name in ("Ada", "Bob")]
        assert answers[0].body == answers[1].body
        assert answers[0].invalidations is answers[1].invalidations

    asyncio.run(story())
