"""Of twelve planted mistakes proof finds each, suspicion five; in a true shop proof finds none."""

import random

import pytest

from mizan_core import Arg, Context, Engine, Identity, MemoryCache, build, client
from mizan_core.integrations.sqlalchemy import Suspicions
from mizan_core.proof import Verify

from .mistakes import Shop

NAMES = list(Shop().mistakes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_a_planted_mistake_is_proved(name: str) -> None:
    shop = Shop()
    mistake = shop.mistakes[name]
    verify = Verify()
    engine = shop.engine(verify=verify)
    for context, params in mistake.fetched:
        await engine.fetch(context, params, identity=mistake.identity)
    if mistake.outside is not None:
        await mistake.outside(shop)
        await verify.check()
    else:
        assert mistake.mutation is not None
        await engine.call(mistake.mutation.__name__, mistake.arguments, identity=mistake.identity)
    assert [(one.mutation, one.context) for one in verify.proved] == [
        (None if mistake.mutation is None else mistake.mutation.__name__, mistake.stale)
    ]
    assert verify.unstable == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_a_context_that_is_not_named_is_suspected(name: str) -> None:
    shop = Shop()
    mistake = shop.mistakes[name]
    engine = shop.engine()
    with Suspicions(engine, shop.database) as suspicions:
        for context, params in mistake.fetched:
            await engine.fetch(context, params, identity=mistake.identity)
        if mistake.outside is not None:
            await mistake.outside(shop)
        else:
            assert mistake.mutation is not None
            await engine.call(mistake.mutation.__name__, mistake.arguments, identity=mistake.identity)
    report = suspicions.report()
    suspected = any(one.context == mistake.stale for one in report.suspects)
    assert suspected == (name in {"forgotten context", "joined table", "embedded name", "check in a body", "cascade"})
    assert bool(report.written_outside) == (name == "write outside")


def test_the_shop_has_twelve_mistakes() -> None:
    assert len(NAMES) == 12


@pytest.mark.asyncio
async def test_a_true_shop_proves_nothing_in_ten_thousand_operations() -> None:
    rows = {number: (number % 5, "new") for number in range(20)}

    @client(context="orders")
    async def order_list(customer_id: int, status: str | None = None) -> list[int]:
        return [one for one, (owner, now) in rows.items() if owner == customer_id and status in (None, now)]

    @client(context="order")
    async def order(number: int) -> tuple[int, str]:
        return rows[number]

    @client(context="report")
    async def paid() -> int:
        return sum(status == "paid" for _, status in rows.values())

    @client(context="mine")
    async def mine(me: Identity) -> list[int]:
        return [one for one, (owner, _) in rows.items() if str(owner) == me.user_id]

    @client(affects=["orders", "order", "report"])
    async def set_status(number: int, customer_id: int, status: str) -> None:
        if rows[number][0] == customer_id:
            rows[number] = (customer_id, status)

    @client(
        affects=[
            Context("orders").where(customer_id=Arg("from_customer")),
            Context("orders").where(customer_id=Arg("to_customer")),
            "order",
            "mine",
        ]
    )
    async def move(number: int, from_customer: int, to_customer: int) -> None:
        if rows[number][0] == from_customer:
            rows[number] = (to_customer, rows[number][1])

    verify = Verify()
    engine = Engine(build([order_list, order, paid, mine, set_status, move]), cache=MemoryCache(), verify=verify)
    chance = random.Random(7)
    for _ in range(10_000):
        number, customer, other = chance.randrange(20), chance.randrange(5), chance.randrange(5)
        match chance.randrange(10):
            case 0:
                arguments: dict[str, object] = {"number": number, "customer_id": customer}
                await engine.call("set_status", {**arguments, "status": chance.choice(["new", "paid"])})
            case 1:
                await engine.call("move", {"number": number, "from_customer": customer, "to_customer": other})
            case 2:
                await engine.fetch("report", {})
            case 3:
                await engine.fetch("mine", {}, identity=Identity(customer))
            case 4 | 5 | 6:
                await engine.fetch("order", {"number": number})
            case _:
                filters = {} if chance.random() < 0.5 else {"status": "paid"}
                await engine.fetch("orders", {"customer_id": customer, **filters})
    assert verify.proved == []
    assert verify.checked > 10_000
