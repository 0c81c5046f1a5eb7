"""What the inspector records of an engine: when, how much, and of what never."""

import asyncio
from typing import Any

import pytest

from mizan_asgi.inspector import recorder as module
from mizan_asgi.inspector.recorder import Recorder
from mizan_core import CallError, Identity, InvalidInput, Me, MemoryCache, RedisCache, build, client
from mizan_core.engine.engine import Engine
from mizan_core.testing.redis_server import RedisServer
from tests import virtual_time

from .shop import Shop


def recorded(recorder: Recorder, kind: str, after: int = 0) -> list[dict[str, Any]]:
    return [one for one in recorder.changes(after)["records"] if one["kind"] == kind]


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def asked_for(engine: Engine, **options: Any) -> Recorder:
    recorder = Recorder(engine, options.get("verify"))
    recorder.changes(0)
    return recorder


@pytest.mark.asyncio
async def test_a_call_is_recorded_with_scopes_tags_and_times(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    answer = await engine.call("touch", {"customer_id": 5}, identity=Identity("9"))
    (call,) = recorded(recorder, "call")
    assert (call["function"], call["outcome"], call["caller"], call["error"]) == ("touch", "returned", "9", None)
    assert [one["text"] for one in call["scopes"]] == ["orders;customer_id=5", "customer;customer_id=5"]
    assert [one["tag"] for one in call["scopes"]] == list(map(engine.tag_of, answer.invalidations))
    assert len({one["tag"] for one in call["scopes"]}) == 2
    assert call["seconds"] >= call["purge"] > 0
    assert call["seconds"] >= call["held"] > 0


@pytest.mark.asyncio
async def test_a_running_call_is_shown_until_it_ends(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    running = asyncio.ensure_future(engine.call("wait", {"customer_id": 5}))
    while not recorded(recorder, "call"):
        await asyncio.sleep(0)
    (before,) = recorded(recorder, "call")
    assert (before["outcome"], before["scopes"]) == ("running", [])
    after = recorder.changes(0)["change"]
    assert recorded(recorder, "call", after) == []
    shop.gate.set()
    await running
    (ended,) = recorded(recorder, "call", after)
    assert (ended["number"], ended["outcome"]) == (before["number"], "returned")


@pytest.mark.asyncio
async def test_a_call_that_began_unobserved_is_not_recorded(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = Recorder(engine, None)
    running = asyncio.ensure_future(engine.call("wait", {"customer_id": 5}))
    await shop.begun.wait()
    recorder.changes(0)
    shop.gate.set()
    await running
    assert recorded(recorder, "call") == []


@pytest.mark.asyncio
async def test_a_call_that_began_under_another_observer_is_recorded(shop: Shop) -> None:
    """The engine tells of its end, since it told somebody of its beginning."""
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = Recorder(engine, shop.verify)
    running = asyncio.ensure_future(engine.call("wait", {"customer_id": 5}))
    await shop.begun.wait()
    recorder.changes(0)
    shop.gate.set()
    await running
    (call,) = recorded(recorder, "call")
    assert (call["function"], call["outcome"]) == ("wait", "returned")


@pytest.mark.asyncio
async def test_errors_are_told_by_class_and_code_alone(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    with pytest.raises(RuntimeError):
        await engine.call("explode", {"customer_id": 5})
    await engine.call("ship", {"order_id": 1})
    with pytest.raises(CallError):
        await engine.call("ship", {"order_id": 1})
    with pytest.raises(CallError):
        await engine.fetch("orders", {"customer_id": 1})
    ends = [(one["outcome"], one["error"]) for one in recorded(recorder, "call")]
    assert ends == [("unknown", "RuntimeError"), ("returned", None), ("refused", "Conflict, 409 conflict")]
    (failed,) = recorded(recorder, "failed")
    assert (failed["bundle"], failed["error"]) == ("orders?customer_id=1", "NotFound, 404 not_found")
    found = recorder.changes(0)
    assert found["functions"]["ship"]["outcomes"] == {"returned": 1, "refused": 1}
    assert found["contexts"]["orders"]["failed"] == 1
    assert "hunter2" not in str(found)


@pytest.mark.asyncio
async def test_arguments_and_results_are_never_recorded(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    await engine.call("sign_in", {"name": "Ada Lovelace", "password": "correct-horse"})
    await engine.call("ship", {"order_id": 1, "note": "for her birthday"})
    found = str(recorder.changes(0))
    assert "sign_in" in found
    assert [one for one in ("Ada", "correct-horse", "birthday", "a-token") if one in found] == []


@pytest.mark.asyncio
async def test_the_first_fetches_after_a_purge_are_its_refetches(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    await engine.fetch("orders", {"customer_id": 5})
    await engine.call("touch", {"customer_id": 5})
    for identity in (Identity("1"), Identity("1"), Identity("2")):
        await engine.fetch("orders", {"customer_id": 5}, identity=identity)
    await engine.fetch("orders", {"customer_id": 6})
    (call,) = recorded(recorder, "call")
    followed = [(one["bundle"], one["status"], one["caller"]) for one in call["following"]]
    assert followed == [("orders?customer_id=5", "miss", "1"), ("orders?customer_id=5", "hit", "2")]
    assert (call["followed"], recorder.changes(0)["functions"]["touch"]["followed"]) == (2, 2)
    others = [(one["bundle"], one["status"], one["caller"]) for one in recorded(recorder, "fetch")]
    assert others == [
        ("orders?customer_id=5", "miss", None),
        ("orders?customer_id=5", "hit", "1"),
        ("orders?customer_id=6", "miss", None),
    ]


@pytest.mark.asyncio
async def test_a_fetch_that_began_before_the_purge_is_no_refetch(shop: Shop) -> None:
    begun = asyncio.Event()

    @client(context="orders")
    async def slow(customer_id: int) -> None:
        begun.set()
        await shop.gate.wait()

    engine = Engine(build([*shop.functions, slow]), cache=MemoryCache())
    recorder = await asked_for(engine)
    fetching = asyncio.ensure_future(engine.fetch("orders", {"customer_id": 5}))
    await begun.wait()
    await engine.call("touch", {"customer_id": 5})
    shop.gate.set()
    await fetching
    (call,) = recorded(recorder, "call")
    assert (call["followed"], len(recorded(recorder, "fetch"))) == (0, 1)


def test_a_fetch_that_comes_late_is_no_refetch(shop: Shop) -> None:
    async def story() -> None:
        engine = shop.engine(cache=MemoryCache())
        recorder = await asked_for(engine)
        await engine.call("touch", {"customer_id": 5})
        await asyncio.sleep(module.FOLLOWING_SECONDS + 1)
        await engine.fetch("orders", {"customer_id": 5})
        (call,) = recorded(recorder, "call")
        assert (call["followed"], len(recorded(recorder, "fetch"))) == (0, 1)
        await engine.aclose()

    virtual_time.run(story)


@pytest.mark.asyncio
async def test_rates_tell_why_a_bundle_was_no_hit(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    both = [engine.fetch("catalogue", {}) for _ in range(2)]
    await asyncio.gather(*both)
    await engine.fetch("catalogue", {})
    await engine.fetch("cart", {})
    found = recorder.changes(0)["contexts"]
    assert found["catalogue"]["hits"] + sum(found["catalogue"]["misses"].values()) == 3
    assert found["catalogue"]["misses"]["uri-miss"] == 1
    assert found["catalogue"]["largest"] == len(b'{"products":["tea"]}')
    assert found["cart"]["misses"] == {"uri-miss": 1}
    assert found["cart"]["seconds"] > 0


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ("fwd=uri-miss; stored", "uri-miss"),
        ("fwd=uri-miss; stored; collapsed", "uri-miss, collapsed"),
        ("fwd=stale; stored", "stale"),
        ("fwd=bypass; detail=held", "held"),
        ("hit", "hit"),
    ],
)
def test_a_reason_is_read_from_cache_status(detail: str, reason: str) -> None:
    assert module._reason(detail) == reason


@pytest.mark.asyncio
async def test_a_purge_by_the_engine_is_recorded(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    await engine.invalidate("orders", customer_id=5)
    await engine.fetch("orders", {"customer_id": 5})
    (purge,) = recorded(recorder, "purge")
    assert [one["text"] for one in purge["scopes"]] == ["orders;customer_id=5"]
    assert [one["status"] for one in purge["following"]] == ["miss"]


@pytest.mark.asyncio
async def test_a_purge_says_where_it_comes_from(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    await engine.invalidate("orders", customer_id=5)
    await engine.fetch("customer", {"customer_id": 6})
    await engine.call("ship", {"order_id": 1})
    script, healing = recorded(recorder, "purge")
    assert script["cause"].startswith("at inspector/test_recorder.py:")
    assert (healing["cause"], healing["proved"]) == ("proved stale after ship", True)
    assert [one["text"] for one in healing["scopes"]] == ["customer;customer_id=6"]


@pytest.mark.asyncio
async def test_a_request_that_is_refused_is_recorded(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    with pytest.raises(InvalidInput):
        await engine.call("touch", {"customer_id": "secret"})
    with pytest.raises(InvalidInput):
        await engine.fetch("orders", {}, identity=Identity(5))
    call, fetch = recorded(recorder, "refused")
    assert (call["name"], call["is_call"], call["caller"]) == ("touch", True, None)
    assert (fetch["name"], fetch["is_call"], fetch["caller"]) == ("orders", False, "5")
    assert {call["error"], fetch["error"]} == {"InvalidInput, 422 invalid_input"}
    changes = recorder.changes(0)
    assert changes["functions"]["touch"]["outcomes"] == {"refused": 1}
    assert changes["contexts"]["orders"]["failed"] == 1


@pytest.mark.asyncio
async def test_a_proof_is_recorded_with_its_call(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    await engine.fetch("customer", {"customer_id": 6})
    await engine.call("ship", {"order_id": 1})
    (proof,), (call,) = recorded(recorder, "proof"), recorded(recorder, "call")
    assert (proof["bundle"], proof["mutation"], proof["call"]) == ("customer?customer_id=6", "ship", call["number"])
    assert proof["path"] == "$.open_orders"
    assert "was stale after ship" in call["proofs"][0]
    assert recorder.changes(0)["verify"]["proved"] == 1


@pytest.mark.asyncio
async def test_a_write_outside_of_a_call_blames_no_call(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    await engine.fetch("customer", {"customer_id": 6})
    del shop.orders[1]
    await engine.call("touch", {"customer_id": 7})
    (proof,), (call,) = recorded(recorder, "proof"), recorded(recorder, "call")
    assert (proof["mutation"], proof["call"], call["proofs"]) == (None, None, [])


@pytest.mark.asyncio
async def test_a_proof_found_during_a_call_blames_no_other(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    other = shop.engine(cache=MemoryCache(), verify=shop.verify)
    await other.fetch("customer", {"customer_id": 6})
    running = asyncio.ensure_future(engine.call("wait", {"customer_id": 7}))
    while not recorded(recorder, "call"):
        await asyncio.sleep(0)
    del shop.orders[1]
    await other.call("touch", {"customer_id": 7})
    shop.gate.set()
    await running
    (proof,), (call,) = recorded(recorder, "proof"), recorded(recorder, "call")
    assert (proof["mutation"], proof["call"], call["proofs"]) == (None, None, [])


@pytest.mark.asyncio
async def test_earlier_proofs_are_shown_and_a_list_may_be_cleared(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    await engine.fetch("customer", {"customer_id": 6})
    await engine.call("ship", {"order_id": 1})
    recorder = await asked_for(engine, verify=shop.verify)
    assert len(recorded(recorder, "proof")) == 1
    shop.verify.proved.clear()
    await engine.fetch("customer", {"customer_id": 6})
    recorder.changes(0)
    await engine.call("ship", {"order_id": 4})
    assert len(recorded(recorder, "proof")) == 2


@pytest.mark.asyncio
async def test_width_is_told_where_it_is_measured(shop: Shop) -> None:
    engine = shop.engine(cache=MemoryCache(), verify=shop.verify)
    recorder = await asked_for(engine, verify=shop.verify)
    await engine.fetch("orders", {"customer_id": 6})
    await engine.call("touch", {"customer_id": 6})
    found = recorder.changes(0)["verify"]
    width = {"mutation": "touch", "context": "orders", "purged": 1, "changed": 0, "narrow_by": {}}
    assert (found["widths"], found["sample"], found["unstable"]) == ([width], 1.0, {})
    assert (await asked_for(shop.engine(cache=MemoryCache()))).changes(0)["verify"] is None
    shop.verify.widths[0].narrow_by = {"customer_id": "id", "user_id": Me}
    assert recorder.changes(0)["verify"]["widths"][0]["narrow_by"] == {"customer_id": "id", "user_id": "Me"}


def test_it_stops_and_forgets_when_no_page_asks_for_a_while(shop: Shop) -> None:
    async def story() -> None:
        engine = shop.engine(cache=MemoryCache())
        recorder = Recorder(engine, None)
        await engine.fetch("catalogue", {})
        assert not recorder.is_observing
        assert recorder.changes(0)["records"] == []
        await engine.fetch("catalogue", {})
        await asyncio.sleep(module.IDLE_SECONDS - 1)
        assert len(recorder.changes(0)["records"]) == 1
        await asyncio.sleep(module.IDLE_SECONDS - 1)
        assert recorder.is_observing
        await asyncio.sleep(2)
        assert not recorder.is_observing
        await engine.fetch("catalogue", {})
        found = recorder.changes(0)
        assert (found["records"], found["contexts"]) == ([], {})
        await engine.aclose()

    virtual_time.run(story)


def test_an_engine_that_nobody_inspects_has_no_observer(shop: Shop) -> None:
    async def story() -> None:
        engine = shop.engine(cache=MemoryCache())
        unobserved = engine.answer
        recorder = Recorder(engine, None)
        assert engine.answer == unobserved
        recorder.changes(0)
        assert engine.answer != unobserved
        await asyncio.sleep(module.IDLE_SECONDS + 1)
        assert engine.answer == unobserved
        await engine.aclose()

    virtual_time.run(story)


@pytest.mark.asyncio
async def test_what_is_recorded_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_RECORDS", 12)
    monkeypatch.setattr(module, "MAXIMUM_FOLLOWING", 3)
    monkeypatch.setattr(module, "MAXIMUM_SCOPES", 1)
    engine = shop.engine(cache=MemoryCache())
    recorder = await asked_for(engine)
    await engine.call("touch", {"customer_id": 5})
    for number in range(20):
        await engine.fetch("orders", {"customer_id": 5}, identity=Identity(str(number)))
    (call,) = recorded(recorder, "call")
    assert (len(call["following"]), call["followed"]) == (3, 12)
    assert (len(call["scopes"]), call["more_scopes"]) == (1, 1)
    for number in range(100):
        await engine.fetch("catalogue", {"page": number})
    assert len(recorder.changes(0)["records"]) == 12
    assert len(module._cut("x" * 1000)) == module.MAXIMUM_TEXT


@pytest.mark.asyncio
async def test_what_a_body_reads_itself_is_no_refetch(shop: Shop) -> None:
    @client(affects="orders")
    async def reads(customer_id: int) -> None:
        await engine.fetch("orders", {"customer_id": customer_id})

    engine = Engine(build([*shop.functions, reads]), cache=MemoryCache())
    recorder = await asked_for(engine)
    for _ in range(2):
        await engine.call("reads", {"customer_id": 5})
    assert [one["followed"] for one in recorded(recorder, "call")] == [0, 0]
    assert [one["inside"] for one in recorded(recorder, "fetch")] == [True, True]


@pytest.mark.asyncio
async def test_each_worker_over_redis_tells_of_its_own(shop: Shop, redis: RedisServer) -> None:
    engines = [shop.engine(cache=RedisCache(redis.url, prefix="inspected:")) for _ in range(2)]
    one, other = [await asked_for(engine) for engine in engines]
    await engines[0].fetch("orders", {"customer_id": 5})
    await engines[1].fetch("orders", {"customer_id": 5})
    await engines[0].call("touch", {"customer_id": 5})
    await engines[1].fetch("orders", {"customer_id": 5})
    assert one.worker != other.worker
    assert [found["status"] for found in recorded(one, "fetch")] == ["miss"]
    assert [found["status"] for found in recorded(other, "fetch")] == ["hit", "miss"]
    assert (len(recorded(one, "call")), recorded(other, "call")) == (1, [])
    assert one.changes(0)["cache"] == {"state": "up", "owed": 0, "shared": True}
    for engine in engines:
        await engine.aclose()


@pytest.mark.asyncio
async def test_a_cache_that_goes_down_is_recorded(shop: Shop, redis: RedisServer) -> None:
    engine = shop.engine(cache=RedisCache("redis://127.0.0.1:1"), shutdown=0.1)
    recorder = await asked_for(engine)
    await engine.call("touch", {"customer_id": 5})
    assert ("down", 1) in [(one["state"], one["owed"]) for one in recorded(recorder, "cache")]
    assert recorder.changes(0)["cache"]["state"] == "down"
    await engine.aclose()
