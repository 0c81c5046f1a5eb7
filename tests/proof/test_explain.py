"""Why a call would purge what it would purge, and whether a bundle is kept: told without running a function."""

import asyncio
from typing import Any

import pytest

from mizan_core import (
    Arg,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Graph,
    Identity,
    Invalidation,
    InvalidInput,
    Me,
    MemoryCache,
    RedisCache,
    Result,
    build,
    client,
    invalidate,
)
from mizan_core.engine.answers import TagState
from mizan_core.proof.explain import LastPurges, When, explain_bundle, explain_call
from mizan_core.testing.redis_server import RedisServer

Orders = Context("orders")


def ran() -> None:
    raise AssertionError("An explanation runs no function.")


@client(context=Orders, cache=60)
async def orders(customer_id: int, tag: str | None = None) -> list[int]:
    return [customer_id]


@client(context="mine")
async def mine(me: Identity) -> str:
    return str(me.user_id)


@client(context="page", route="/page/", private=True)
async def page() -> str:
    return ""


@client(affects=Orders)
async def rename(customer_id: int | None = None) -> None:
    ran()


@client(affects=Orders.where(customer_id=Arg("buyer")))
async def buy(buyer: int | None = None) -> None:
    ran()


@client(affects=Orders.where(customer_id=Arg("buyers")))
async def buy_all(buyers: list[int]) -> None:
    ran()


@client(affects=[Orders.where(customer_id=Result("customer_id")), Orders.by_body()])
async def ship(order_id: int) -> dict[str, int]:
    invalidate(Orders, customer_id=order_id)
    return {"customer_id": order_id}


@client(affects=Orders.where(tag=Me))
async def tag_mine() -> None:
    ran()


@client
async def look() -> int:
    return 1


@client(affects=Orders)
async def write(customer_id: int, refuse: bool = False) -> None:
    if refuse:
        raise Conflict


def graph_of() -> Graph:
    return build([orders, mine, page, rename, buy, buy_all, ship, tag_mine, look, write])


def test_what_arguments_determine_is_known_before() -> None:
    explained = explain_call(graph_of(), "rename", {"customer_id": "7"})
    (one,) = explained.affects
    assert (one.when, one.stale, one.widened) == (When.BEFORE, (Invalidation("orders", {"customer_id": 7}),), ())
    assert explained.stale == explained.at_worst == one.stale
    assert (explained.is_determined, explained.header) == (True, "orders;customer_id=7")


def test_what_result_and_body_decide_is_not_known() -> None:
    explained = explain_call(graph_of(), "ship", {"order_id": 3})
    assert [(one.when, one.stale) for one in explained.affects] == [(When.RESULT, ()), (When.BODY, ())]
    assert (explained.stale, explained.at_worst) == ((), (Invalidation("orders"),))
    assert (explained.names_stale, explained.is_determined, explained.header) == (True, False, "")


@pytest.mark.parametrize(
    ("name", "sent", "parameter", "why"),
    [
        ("rename", {}, "customer_id", "the argument customer_id is null or left out"),
        ("buy", {"buyer": None}, "customer_id", "null or left out, which leaves the whole context"),
        ("buy_all", {"buyers": []}, "customer_id", "is an empty list"),
        ("buy_all", {"buyers": list(range(65))}, "customer_id", "more than 64 members"),
        ("tag_mine", {}, "tag", "the caller is anonymous, which leaves the whole context"),
    ],
)
def test_a_call_that_is_wider_than_declared_says_why(
    name: str, sent: dict[str, object], parameter: str, why: str
) -> None:
    explained = explain_call(graph_of(), name, sent)
    ((told, reason),) = explained.affects[0].widened
    assert (told, explained.stale) == (parameter, (Invalidation("orders"),))
    assert why in reason


def test_the_callers_id_narrows_where_it_is_given() -> None:
    explained = explain_call(graph_of(), "tag_mine", {}, identity=Identity("5"))
    assert explained.affects[0].widened == ()
    assert explained.header == "orders;tag=5"


def test_a_function_that_affects_nothing_has_no_header() -> None:
    explained = explain_call(graph_of(), "look", {})
    assert (explained.affects, explained.stale, explained.header, explained.is_determined) == ((), (), "", True)


def test_a_misspelt_function_is_refused_with_the_nearest() -> None:
    with pytest.raises(DeclarationError, match="no function 'renam'; did you mean 'rename'"):
        explain_call(graph_of(), "renam", {})
    with pytest.raises(DeclarationError, match=r"no function 'xyz'\."):
        explain_call(graph_of(), "xyz", {})


def test_arguments_are_validated_as_those_of_a_call() -> None:
    with pytest.raises(InvalidInput) as refused:
        explain_call(graph_of(), "write", {"customer_id": "x", "more": 1})
    assert [one["loc"] for one in refused.value.errors] == [["args", "customer_id"], ["args", "more"]]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_a_bundle_is_kept_and_then_stale(kind: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer | None = request.getfixturevalue("redis") if kind == "redis" else None
    cache: Any = MemoryCache() if server is None else RedisCache(server.url, prefix="explain:")
    clock = Clock()
    async with Engine(graph_of(), cache=cache, cache_secret="s" * 32, clock=clock) as engine:
        purges = LastPurges(clock)
        engine.observe(purges)

        async def entry() -> Any:
            explained = await explain_bundle(engine, "orders", {"customer_id": "07"}, purges=purges)
            assert (explained.texts, explained.query) == ({"customer_id": "7"}, "customer_id=7")
            return explained

        before = await entry()
        assert (before.entry.is_kept, before.entry.size, before.last_purge) == (False, None, None)
        assert {tag.state for tag in before.entry.tags} == {TagState.ABSENT}  # it added none
        bundle = await engine.fetch("orders", {"customer_id": 7})
        kept = (await entry()).entry
        assert (kept.is_kept, kept.size) == (True, len(bundle.body))
        assert (kept.since, kept.expires) == (clock.now, clock.now + 60)
        clock.now += 1
        await engine.call("write", {"customer_id": 7})
        stale = await entry()
        assert (stale.entry.is_kept, stale.entry.size) == (False, len(bundle.body))
        assert [tag.shape for tag in stale.entry.tags if tag.has_changed] == [("customer_id",)]
        assert (stale.last_purge.by, stale.last_purge.at) == ("write", clock.now)
        seven, eight = await engine.tags_of(purge_of(7, 8))
        assert [seven.invalidation, eight.invalidation] == purge_of(7, 8)
        in_place = TagState.SET if kind == "memory" else TagState.ABSENT  # memory puts a fresh value in its place
        assert (seven.state, eight.state) == (in_place, TagState.ABSENT)
        await engine.fetch("orders", {"customer_id": 7})
        whole, seven = await engine.tags_of([Invalidation("orders"), *purge_of(7)])
        assert (whole.state, seven.state) == (TagState.SET, TagState.SET)
        assert (await entry()).entry.is_kept


def purge_of(*numbers: int) -> list[Invalidation]:
    return [Invalidation("orders", {"customer_id": number}) for number in numbers]


@pytest.mark.asyncio
async def test_the_tag_of_a_scope_is_held_while_its_mutation_runs() -> None:
    states: list[TagState] = []

    @client(affects=Orders)
    async def slow(customer_id: int) -> None:
        await asyncio.sleep(0)
        states.extend(one.state for one in await engine.tags_of(purge_of(7)))

    engine = Engine(build([orders, slow]), cache=MemoryCache())
    await engine.fetch("orders", {"customer_id": 7})
    await engine.call("slow", {"customer_id": 7})
    assert states == [TagState.HELD]


@pytest.mark.asyncio
async def test_a_bundle_for_each_user_is_one_for_all_visitors() -> None:
    engine = Engine(graph_of(), cache=MemoryCache())
    await engine.fetch("mine", {}, identity=Identity("5"))
    await engine.fetch("mine", {})
    for user, kept in (("5", True), ("6", False), (None, True)):
        entry = (await explain_bundle(engine, "mine", {}, identity=Identity(user))).entry
        assert entry is not None
        assert entry.is_kept is kept


@pytest.mark.asyncio
async def test_a_bundle_that_is_not_there_is_refused() -> None:
    engine = Engine(graph_of(), cache=MemoryCache())
    with pytest.raises(DeclarationError, match="no context 'order' that has a bundle; did you mean 'orders'"):
        await explain_bundle(engine, "order", {})
    with pytest.raises(DeclarationError, match="no context 'page' that has a bundle"):
        await explain_bundle(engine, "page", {})
    with pytest.raises(InvalidInput):
        await explain_bundle(engine, "orders", {})


@pytest.mark.asyncio
async def test_the_last_purge_is_the_latest_that_touches_the_bundle() -> None:
    engine, purges = Engine(graph_of(), cache=MemoryCache()), LastPurges(Clock())
    engine.observe(purges)
    await engine.call("write", {"customer_id": 7})
    with pytest.raises(Conflict):
        await engine.call("write", {"customer_id": 7, "refuse": True})
    await engine.invalidate("orders", customer_id=8)
    seven, eight = (purges.last("orders", {"customer_id": number, "tag": None}) for number in ("7", "8"))
    assert seven is not None
    assert eight is not None
    assert (seven.by, eight.by) == ("write", None)
    assert purges.last("orders", {"customer_id": "9", "tag": None}) is None
