"""Proofs of staleness: found where a declaration misses a bundle, and nowhere else."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import pytest

from mizan_core import (
    Arg,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Identity,
    Me,
    MemoryCache,
    RedisCache,
    build,
    client,
)
from mizan_core.engine.observers import Observer
from mizan_core.errors import NotFound
from mizan_core.proof import StaleProof, Verify
from mizan_core.proof import verify as module
from mizan_core.protocol.invalidation import spelled
from mizan_core.testing.redis_server import RedisServer
from tests import virtual_time

Orders, Report = Context("orders"), Context("report")


class Shop:
    """Orders of customers, and a report over all of them."""

    def __init__(self, affects: Any = Orders, *, sample: float = 1.0, cache: Any = None, **options: Any) -> None:
        self.orders = {1: (7, "new"), 2: (7, "new"), 3: (8, "new")}
        self.told: list[StaleProof] = []
        self.verify = Verify(sample, self.told.append)
        functions = [*self.readers(), *self.writers(affects)]
        self.engine = Engine(
            build(functions),
            cache=MemoryCache() if cache is None else cache,
            cache_secret="s" * 32,
            verify=self.verify,
            **options,
        )

    def readers(self) -> list[Any]:
        @client(context=Orders)
        async def order_list(customer_id: int) -> list[tuple[int, str]]:
            return [(number, status) for number, (owner, status) in self.orders.items() if owner == customer_id]

        @client(context=Report)
        async def total() -> dict[str, int]:
            return {"orders": len(self.orders)}

        return [order_list, total]

    def writers(self, affects: Any) -> list[Any]:
        @client(affects=affects)
        async def set_status(number: int, customer_id: int, status: str, refuse: bool = False) -> None:
            self.orders[number] = (self.orders[number][0], status)
            if refuse:
                raise Conflict

        @client(affects=[Orders, Report])
        async def add(customer_id: int) -> None:
            self.orders[len(self.orders) + 1] = (customer_id, "new")

        return [set_status, add]

    async def fetch(self, customer_id: int = 7) -> bytes:
        return (await self.engine.fetch("orders", {"customer_id": customer_id})).body

    async def set_status(self, number: int, customer_id: int, **more: Any) -> None:
        await self.engine.call("set_status", {"number": number, "customer_id": customer_id, "status": "paid", **more})


@pytest.mark.asyncio
async def test_a_missing_declaration_is_proved_with_its_remedy(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(affects=Report)
    await shop.fetch()
    await shop.set_status(1, 7)
    (proof,) = shop.told
    assert (proof.mutation, proof.context, proof.params, proof.path) == (
        "set_status",
        "orders",
        {"customer_id": 7},
        "$.order_list[0][1]",
    )
    assert "affects='orders'" in proof.remedy
    assert shop.verify.proved == [proof]
    assert caplog.records[-1].levelno == logging.ERROR
    assert "orders(customer_id=7) was stale after set_status" in caplog.text
    assert b"paid" in await shop.fetch()  # healed


@pytest.mark.asyncio
async def test_a_declaration_that_names_another_thing_is_proved() -> None:
    shop = Shop()
    await shop.fetch(7)
    await shop.fetch(8)
    await shop.set_status(3, customer_id=7)
    (proof,) = shop.told
    assert proof.params == {"customer_id": 8}
    assert "narrowed by customer_id" in proof.remedy


@pytest.mark.asyncio
async def test_a_true_declaration_proves_nothing() -> None:
    shop = Shop()
    for _ in range(3):
        await shop.fetch(7)
        await shop.fetch(8)
        await shop.engine.fetch("report", {})
        await shop.set_status(1, 7)
        await shop.engine.call("add", {"customer_id": 8})
    assert shop.told == []
    assert shop.verify.checked > 0
    assert shop.verify.staleness == 0


@pytest.mark.asyncio
async def test_a_refusal_after_a_commit_is_proved() -> None:
    shop = Shop()
    await shop.fetch()
    with pytest.raises(Conflict):
        await shop.set_status(1, 7, refuse=True)
    (proof,) = shop.told
    assert proof.mutation == "set_status"


@pytest.mark.asyncio
async def test_a_write_outside_of_mutations_is_not_blamed_on_the_next() -> None:
    shop = Shop()
    await shop.fetch(8)
    shop.orders[3] = (8, "paid")
    await shop.set_status(1, 7)
    (proof,) = shop.told
    assert proof.mutation is None
    assert "engine.invalidate('orders')" in proof.remedy
    await shop.fetch(8)
    shop.orders[3] = (8, "sent")
    await shop.verify.check()
    assert len(shop.told) == 2


@pytest.mark.asyncio
async def test_rows_written_on_purpose_are_forgotten_on_request() -> None:
    shop = Shop()
    await shop.fetch(8)
    shop.orders[3] = (8, "paid")
    shop.verify.forget()
    await shop.set_status(1, 7)
    assert shop.told == []


@pytest.mark.asyncio
async def test_what_is_invalidated_by_hand_is_not_stale() -> None:
    shop = Shop()
    await shop.fetch(7)
    await shop.fetch(8)
    shop.orders[3] = (8, "paid")
    await shop.engine.invalidate(Orders, customer_id=8)
    await shop.verify.check()
    assert shop.told == []


@pytest.mark.asyncio
async def test_a_row_that_is_gone_is_a_difference() -> None:
    @client(context=Orders)
    async def order(number: int) -> int:
        if not rows:
            raise NotFound
        return number

    @client(affects=Report)
    async def remove() -> None:
        rows.clear()

    @client(context=Report)
    async def total() -> int:
        return len(rows)

    rows = [1]
    verify = Verify()
    engine = Engine(build([order, remove, total]), verify=verify)
    await engine.fetch("orders", {"number": 1})
    await engine.call("remove", {})
    (proof,) = verify.proved
    assert (proof.path, proof.after) == ("$", None)


@pytest.mark.asyncio
async def test_a_reader_without_an_order_is_unstable_and_no_proof(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter(range(100))

    @client(context=Orders)
    async def order(number: int) -> int:
        return next(answers)

    @client(affects=Report)
    async def other() -> None: ...

    verify = Verify()
    engine = Engine(build([order, other, *Shop().readers()[1:]]), verify=verify)
    for number in (1, 2):
        await engine.fetch("orders", {"number": number})
    await engine.call("other", {})
    await engine.fetch("orders", {"number": 1})
    assert verify.proved == []
    assert verify.unstable == {"orders": "$.order"}
    assert len([one for one in caplog.records if "computed twice" in one.message]) == 1


@pytest.mark.asyncio
async def test_an_unstable_reader_that_fails_once_is_told_as_such() -> None:
    fails = iter([False, True, False])

    @client(context=Orders)
    async def order(number: int) -> int:
        if next(fails):
            raise LookupError
        return number

    @client(affects=Report)
    async def other() -> None: ...

    verify = Verify()
    engine = Engine(build([order, other, *Shop().readers()[1:]]), verify=verify)
    await engine.fetch("orders", {"number": 1})
    await engine.call("other", {})
    assert verify.proved == []
    assert verify.unstable == {"orders": "$"}


@pytest.mark.asyncio
async def test_concurrent_mutations_are_compared_once_and_all_named() -> None:
    shop = Shop(affects=Report)
    gate = asyncio.Event()

    @client(affects=Report)
    async def slow() -> None:
        await gate.wait()

    engine = Engine(build([*shop.readers(), *shop.writers(Report), slow]), verify=shop.verify)
    await engine.fetch("orders", {"customer_id": 7})
    running = asyncio.ensure_future(engine.call("slow", {}))
    await asyncio.sleep(0)
    await engine.call("set_status", {"number": 1, "customer_id": 7, "status": "paid"})
    assert shop.told == []
    await engine.fetch("orders", {"customer_id": 8})  # beside a mutation: not remembered
    gate.set()
    await running
    (proof,) = shop.told
    assert (proof.mutation, proof.beside) == ("slow", ("set_status",))
    assert "beside set_status" in str(proof)


@pytest.mark.asyncio
async def test_answers_that_may_be_old_by_declaration_are_left_out() -> None:
    rows = [1]

    @client(context=Orders, cache=60)
    async def order() -> int:
        return len(rows)

    @client(affects=Report)
    async def add() -> None:
        rows.append(1)

    verify = Verify()
    engine = Engine(build([order, add, *Shop().readers()[1:]]), cache=MemoryCache(), verify=verify)
    await engine.fetch("orders", {})
    await engine.call("add", {})
    assert (verify.proved, verify.checked) == ([], 0)


@pytest.mark.asyncio
async def test_everybodys_bundles_are_remembered_apart() -> None:
    carts = {"5": 1, "6": 1}

    @client(context=Orders)
    async def cart(me: Identity) -> int:
        return carts[me.user_id or ""]

    @client(affects=Report)
    async def put(user: str) -> None:
        carts[user] += 1

    verify = Verify()
    engine = Engine(build([cart, put, *Shop().readers()[1:]]), cache=MemoryCache(), verify=verify)
    for user in (5, 6):
        await engine.fetch("orders", {}, identity=Identity(user))
    await engine.call("put", {"user": "6"})
    (proof,) = verify.proved
    assert (proof.before, proof.after) == (b'{"cart":1}', b'{"cart":2}')


@pytest.mark.asyncio
async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_BUNDLES", 3)
    monkeypatch.setattr(module, "MAXIMUM_PROOFS", 1)
    shop = Shop(affects=Report)
    for customer in range(10):
        await shop.fetch(customer)
    await shop.verify.check()
    assert shop.verify.checked == 3
    await shop.fetch(7)
    await shop.fetch(8)
    shop.orders = {1: (7, "paid"), 3: (8, "paid")}
    await shop.verify.check()
    assert (len(shop.told), len(shop.verify.proved)) == (2, 1)


@pytest.mark.asyncio
async def test_width_tells_needless_purges_and_how_to_narrow_them() -> None:
    shop = Shop(affects=[Orders.whole(), Report])
    for _ in range(2):
        for customer in (7, 8, 9):
            await shop.fetch(customer)
        await shop.engine.fetch("report", {})
        await shop.set_status(1, 7, status=str(shop.verify.checked))
    width, report = shop.verify.widths
    assert (width.mutation, width.context, width.purged, width.changed) == ("set_status", "orders", 6, 2)
    assert width.narrow_by == {"customer_id": "customer_id"}
    assert (report.context, report.unchanged, report.narrow_by) == ("report", 2, {})


@pytest.mark.asyncio
async def test_the_caller_tells_own_bundles_from_those_of_others() -> None:
    lines = {5: 0, 6: 0}

    @client(context="cart")
    async def cart_lines(user_id: Annotated[int, Me]) -> int:
        return lines[user_id]

    @client(affects="cart")
    async def add_wide(me: Identity) -> None:
        lines[int(me.user_id or 0)] += 1

    @client
    async def add_unsaid(me: Identity) -> None:
        lines[int(me.user_id or 0)] += 1

    verify = Verify()
    engine = Engine(build([cart_lines, add_wide, add_unsaid]), verify=verify)

    async def played(mutation: str) -> None:
        for user in lines:
            await engine.fetch("cart", {}, identity=Identity(user))
        await engine.call(mutation, {}, identity=Identity(5))

    await played("add_wide")
    (width,) = verify.widths
    assert (width.purged, width.changed, width.narrow_by) == (2, 1, {"user_id": Me})
    await played("add_unsaid")
    (proof,) = verify.proved
    assert proof.remedy.endswith("on add_unsaid, narrowed with Context('cart').where(user_id=Me)")


@pytest.mark.parametrize("sample", [0, -1, 1.5])
def test_a_share_that_is_none_is_refused(sample: float) -> None:
    with pytest.raises(DeclarationError, match="above 0 and at most 1"):
        Verify(sample)


@pytest.mark.asyncio
async def test_functions_that_begin_together_blame_nothing_outside() -> None:
    shop, gate = Shop(), asyncio.Event()

    @client(context=Orders)
    async def order(number: int) -> str:
        await asyncio.sleep(0)
        return shop.orders[number][1]

    @client(affects=Orders)
    async def pay(number: int) -> None:
        shop.orders[number] = (7, "paid")
        await gate.wait()

    verify = Verify()
    engine = Engine(build([order, pay]), cache=MemoryCache(), verify=verify)
    for number in (1, 2):
        await engine.fetch("orders", {"number": number})
    calls = [asyncio.create_task(engine.call("pay", {"number": number})) for number in (1, 2)]
    while shop.orders[2][1] != "paid":  # the first is between its write and its purge by then
        await asyncio.sleep(0)
    await verify.check()
    gate.set()
    await asyncio.gather(*calls)
    assert [str(one) for one in verify.proved] == []


@pytest.mark.asyncio
async def test_a_verify_that_comes_during_a_call_verifies_the_next() -> None:
    gate, rows = asyncio.Event(), {1: "new"}

    @client(context=Orders)
    async def order(number: int) -> str:
        return rows[number]

    @client(affects=Orders)
    async def wait(number: int) -> None:
        await gate.wait()

    @client
    async def pay(number: int) -> None:
        rows[number] = "paid"

    verify = Verify()
    engine = Engine(build([order, wait, pay]), cache=MemoryCache(), observers=[Observer()])
    running = asyncio.create_task(engine.call("wait", {"number": 2}))
    while not engine.health().running:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    verify.attach(engine)
    gate.set()
    await running
    await engine.fetch("orders", {"number": 1})
    await engine.call("pay", {"number": 1})
    assert [one.mutation for one in verify.proved] == ["pay"]


@pytest.mark.asyncio
async def test_a_purge_during_a_comparison_counts() -> None:
    rows, reading, gate = {1: "new"}, asyncio.Event(), asyncio.Event()
    gate.set()

    @client(context=Orders)
    async def order(number: int) -> str:
        reading.set()
        await gate.wait()
        return rows[number]

    verify = Verify()
    engine = Engine(build([order]), cache=MemoryCache(), verify=verify)
    await engine.fetch("orders", {"number": 1})
    gate.clear()
    reading.clear()
    rows[1] = "paid"  # by a script, which purges it next
    comparison = asyncio.create_task(verify.check())
    await reading.wait()
    await engine.invalidate("orders", number=1)
    gate.set()
    await comparison
    assert [str(one) for one in verify.proved] == []


@pytest.mark.asyncio
async def test_on_stale_may_be_async_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    told: list[StaleProof] = []

    async def tell(proof: StaleProof) -> None:
        await asyncio.sleep(0)
        told.append(proof)
        raise LookupError

    shop = Shop(affects=Report)
    shop.verify.detach()
    Verify(on_stale=tell).attach(shop.engine)
    await shop.fetch()
    await shop.set_status(1, 7)
    assert [one.mutation for one in told] == ["set_status"]
    assert b"paid" in await shop.fetch()
    assert "on_stale failed for a proof of orders" in caplog.text


class Healed(Observer):
    """Remembers purges."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.purged = self.events.append  # type: ignore[method-assign]


@pytest.mark.asyncio
async def test_only_the_bundle_that_was_stale_is_healed() -> None:
    rows: dict[int, str | None] = {1: "a", 2: None}

    @client(context=Orders)
    async def order_list(assignee: str | None = None, page: int = 1) -> list[int]:
        return [number for number, one in rows.items() if one == assignee]

    @client(affects=Orders.where(assignee=Arg("assignee")))
    async def assign(number: int, assignee: str) -> None:
        rows[number] = assignee

    seen = Healed()
    engine = Engine(build([order_list, assign]), cache=MemoryCache(), verify=Verify(), observers=[seen])
    for params in ({}, {"assignee": "a"}, {"assignee": "b"}):
        await engine.fetch("orders", params)
    await engine.call("assign", {"number": 2, "assignee": "a"})
    (purged,) = seen.events
    assert [spelled(one) for one in purged.invalidations] == ["orders;assignee=null;page=1"]
    assert purged.proof.params == {}
    assert (await engine.fetch("orders", {"assignee": "b"})).status == "hit"


@pytest.mark.asyncio
async def test_proofs_that_are_not_kept_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_PROOFS", 1)
    shop = Shop(affects=Report)
    await shop.fetch(7)
    await shop.set_status(1, 7)
    await shop.fetch(7)
    shop.orders[1] = (7, "sent")
    await shop.verify.check()
    assert (len(shop.verify.proved), shop.verify.stale) == (1, 2)
    assert shop.verify.staleness == 2 / shop.verify.checked


class TestSampling:
    """In production: a share of the hits, computed again in the background."""

    def shop(self, **options: Any) -> Shop:
        return Shop(affects=Report, sample=0.5, **options)

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        virtual_time.run(story)

    def test_a_stale_hit_is_proved_and_healed(self) -> None:
        async def story() -> None:
            shop = self.shop()
            await shop.fetch()
            shop.orders[1] = (7, "paid")
            await shop.fetch()
            await asyncio.sleep(0.01)
            (proof,) = shop.told
            assert (proof.mutation, proof.path) == (None, "$.order_list[0][1]")
            assert b"paid" in await shop.fetch()
            assert shop.verify.staleness == 1

        self.run(story)

    def test_the_share_of_hits_is_about_the_sample(self) -> None:
        async def story() -> None:
            shop = self.shop()
            await shop.fetch()
            for _ in range(400):
                await asyncio.sleep(1)
                await shop.fetch()
            assert 150 <= shop.verify.checked <= 250
            assert shop.told == []

        self.run(story)

    def test_between_two_looks_hits_are_not_observed(self) -> None:
        async def story() -> None:
            shop = self.shop()
            await shop.fetch()
            await shop.fetch()
            assert "answer" not in vars(shop.engine)
            await asyncio.sleep(10)
            assert "answer" in vars(shop.engine)

        self.run(story)

    def test_what_was_purged_since_is_no_proof(self) -> None:
        async def story() -> None:
            answers = iter([1, 2, 3, 4, 4])

            @client(context=Orders)
            async def order(number: int) -> int:
                await asyncio.sleep(5)
                return next(answers)

            verify = Verify(0.5)
            engine = Engine(build([order]), cache=MemoryCache(), verify=verify)
            for computations in (1, 2):
                await engine.fetch("orders", {"number": 1})
                await engine.fetch("orders", {"number": 1})
                await asyncio.sleep(5 * computations - 1)
                await engine.invalidate(Orders)
                await asyncio.sleep(100)
            assert (verify.proved, verify.unstable) == ([], {})

        self.run(story)

    def test_a_reader_that_fails_or_differs_from_itself_is_no_proof(self) -> None:
        async def story() -> None:
            answers = iter([1, 2, 3, LookupError(), 4])

            @client(context=Orders)
            async def order(number: int) -> int:
                answer = next(answers)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            verify = Verify(0.5)
            engine = Engine(build([order]), cache=MemoryCache(), verify=verify)
            for _ in range(3):
                await engine.fetch("orders", {"number": 1})
                await asyncio.sleep(100)
            assert verify.proved == []
            assert verify.unstable == {"orders": "$.order"}

        self.run(story)

    def test_it_can_be_detached_between_two_looks(self) -> None:
        async def story() -> None:
            shop = self.shop()
            await shop.fetch()
            await shop.fetch()
            shop.verify.detach()
            await asyncio.sleep(100)
            assert "answer" not in vars(shop.engine)

        self.run(story)

    def test_answers_that_may_be_old_by_declaration_are_left_out(self) -> None:
        async def story() -> None:
            @client(context=Orders, cache=60)
            async def order() -> int:
                return 1

            verify = Verify(0.5)
            engine = Engine(build([order]), cache=MemoryCache(), verify=verify)
            await engine.fetch("orders", {})
            await engine.fetch("orders", {})
            await asyncio.sleep(0.01)
            assert verify.checked == 0

        self.run(story)


@pytest.mark.asyncio
async def test_it_works_over_redis(redis: RedisServer) -> None:
    async with Shop(affects=Report, cache=RedisCache(redis.url, prefix="verify")).engine as engine:
        shop = engine  # the engine is closed at the end
        await shop.fetch("orders", {"customer_id": 7})
        await shop.call("set_status", {"number": 1, "customer_id": 7, "status": "paid"})
        assert b"paid" in (await shop.fetch("orders", {"customer_id": 7})).body


@pytest.mark.asyncio
async def test_the_remedy_for_an_argument_of_another_name() -> None:
    rows = {7: 1, 8: 1}

    @client(context=Orders)
    async def total(customer_id: int) -> int:
        return rows[customer_id]

    @client(affects=Orders.where(customer_id=Arg("from_customer")))
    async def move(from_customer: int, to_customer: int) -> None:
        rows[from_customer] -= 1
        rows[to_customer] += 1

    verify = Verify()
    engine = Engine(build([total, move]), cache=MemoryCache(), verify=verify)
    await engine.fetch("orders", {"customer_id": 8})
    await engine.call("move", {"from_customer": 7, "to_customer": 8})
    (proof,) = verify.proved
    assert "Context('orders').where(customer_id=Arg('to_customer'))" in proof.remedy


@pytest.mark.asyncio
async def test_an_answer_that_shows_its_caller_is_computed_for_it() -> None:
    names = {"5": "ada"}

    @client(context=Orders, per="permissions")
    async def hello(me: Identity) -> str:
        return names[me.user_id or ""]

    @client(affects=Report)
    async def rename() -> None:
        names["5"] = "grace"

    @client(affects=Report)
    async def leave() -> None:
        names.clear()

    for mutation, after in ((rename, b'{"hello":"grace"}'), (leave, None)):
        names["5"] = "ada"
        verify = Verify()
        engine = Engine(build([hello, mutation, *Shop().readers()[1:]]), cache=MemoryCache(), verify=verify)
        await engine.fetch("orders", {}, identity=Identity(5))
        await engine.call(mutation.__name__, {})
        assert [one.after for one in verify.proved] == [after]


@pytest.mark.parametrize(("affects", "proofs"), [(Orders, 0), (Report, 1)])
@pytest.mark.asyncio
async def test_another_process_that_purged_is_not_blamed(affects: Any, proofs: int, redis: RedisServer) -> None:
    rows = {7: "new"}

    @client(context=Orders)
    async def order(customer_id: int) -> str:
        return rows[customer_id]

    @client(context="never", cache=False)
    async def uncached() -> str:
        return rows[7]

    @client(context=Report)
    async def total() -> int:
        return 1

    @client(affects=affects)
    async def write(customer_id: int) -> None:
        rows[customer_id] = "paid"

    @client(affects=Report)
    async def other() -> None: ...

    graph = build([order, uncached, total, write, other])
    verify = Verify()
    mine, theirs = (
        Engine(graph, cache=RedisCache(redis.url, prefix=f"two-{proofs}"), cache_secret="s" * 32, verify=one)
        for one in (verify, None)
    )
    async with mine, theirs:
        await mine.fetch("orders", {"customer_id": 7})
        await mine.fetch("never", {})
        await theirs.call("write", {"customer_id": 7})
        await mine.call("other", {})
        assert [(one.mutation, one.context) for one in verify.proved] == [(None, "orders")] * proofs


@pytest.mark.asyncio
async def test_a_check_during_a_call_is_left_to_its_end() -> None:
    shop = Shop()
    began, on = asyncio.Event(), asyncio.Event()

    @client
    async def wait() -> None:
        began.set()
        await on.wait()

    engine = Engine(build([*shop.readers(), wait]), cache=MemoryCache(), verify=shop.verify)
    await engine.fetch("report", {})
    waiting = asyncio.create_task(engine.call("wait", {}))
    await began.wait()
    shop.orders[4] = (8, "new")
    await shop.verify.check()
    assert shop.told == []
    on.set()
    await waiting
    assert [proof.context for proof in shop.told] == ["report"]
