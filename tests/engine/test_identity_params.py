"""Parameters that the caller's identity fills in: what a bundle is about, whom it serves, what a mutation narrows."""

import logging
from collections.abc import Callable
from typing import Annotated, Any, Literal

import orjson
import pytest
from pydantic import BeforeValidator

from mizan_core import (
    ANONYMOUS,
    Arg,
    Claim,
    Context,
    Engine,
    Identity,
    Invalidation,
    InvalidInput,
    Me,
    MemoryCache,
    Result,
    Unauthorized,
    build,
    client,
    encode_header,
    invalidate,
)
from mizan_core.proof.explain import explain_call

Cart, Tickets, Feed, Basket = Context("cart"), Context("tickets"), Context("feed"), Context("basket")

_lines: dict[object, list[str]] = {}
_computed: list[object] = []


@pytest.fixture(autouse=True)
def _empty() -> None:
    _lines.clear()
    _computed.clear()


@client(context=Cart)
async def cart_lines(user_id: Annotated[int, Me]) -> list[str]:
    _computed.append(user_id)
    return list(_lines.get(user_id, ()))


@client(affects=Cart)
async def add_line(user_id: Annotated[int, Me], sku: str) -> str:
    _lines.setdefault(user_id, []).append(sku)
    return sku


@client(affects=Cart)
async def give(user_id: int, sku: str) -> None:
    _lines.setdefault(user_id, []).append(sku)


@client(affects=Cart.where(user_id=Arg("to_user")))
async def send_to(to_user: int, sku: str) -> None:
    _lines.setdefault(to_user, []).append(sku)


@client(affects=Cart.where(user_id=Me))
async def empty_mine(me: Identity) -> None:
    _lines.pop(int(me.user_id or 0), None)


@client(affects=Cart.where(user_id=Result("user_id")))
async def give_back(sku: str) -> dict[Literal["user_id"], int]:
    _lines.setdefault(9, []).append(sku)
    return {"user_id": 9}


@client(affects=Cart.by_body())
async def give_all(users: list[int], sku: str) -> None:
    for user in users:
        _lines.setdefault(user, []).append(sku)
        invalidate(Cart, user_id=user)


@client(context=Tickets)
async def ticket_list(org_id: Annotated[int, Claim("org")], status: str | None = None) -> dict[str, Any]:
    _computed.append((org_id, status))
    return {"org": org_id, "tickets": list(_lines.get(("org", org_id), ())), "status": status}


@client(affects=Tickets)
async def open_ticket(org_id: Annotated[int, Claim("org")], title: str) -> None:
    _lines.setdefault(("org", org_id), []).append(title)


@client(context=Basket)
async def basket(user_id: Annotated[int | None, Me]) -> list[str]:
    _computed.append(user_id)
    return list(_lines.get(user_id, ()))


@client(affects=Basket)
async def drop_in(user_id: Annotated[int | None, Me], sku: str) -> None:
    _lines.setdefault(user_id, []).append(sku)


FUNCTIONS: list[Callable[..., Any]] = [
    *(cart_lines, add_line, give, send_to, empty_mine, give_back, give_all),
    *(ticket_list, open_ticket, basket, drop_in),
]


def engine() -> Engine:
    return Engine(build(FUNCTIONS), cache=MemoryCache())


async def shown(engine: Engine, context: str, identity: Identity, **params: object) -> tuple[Any, str]:
    bundle = await engine.fetch(context, params, identity=identity)
    return orjson.loads(bundle.body), bundle.status


def body_of(answer: Any) -> Any:
    return orjson.loads(answer.body)


class TestFilledIn:
    @pytest.mark.asyncio
    async def test_the_identity_fills_in_what_no_client_sends(self) -> None:
        one = engine()
        await one.call("add_line", {"sku": "pen"}, identity=Identity(5))
        assert await shown(one, "cart", Identity(5)) == ({"cart_lines": ["pen"]}, "miss")
        assert await shown(one, "cart", Identity(6)) == ({"cart_lines": []}, "miss")
        assert await shown(one, "cart", Identity(5)) == ({"cart_lines": ["pen"]}, "hit")

    @pytest.mark.asyncio
    async def test_a_client_that_sends_one_is_refused(self) -> None:
        one = engine()
        with pytest.raises(InvalidInput):
            await one.call("add_line", {"sku": "pen", "user_id": 6}, identity=Identity(5))
        with pytest.raises(InvalidInput):
            await one.fetch("cart", {"user_id": 6}, identity=Identity(5))
        with pytest.raises(InvalidInput):
            await one.fetch("tickets", {"org_id": 6}, identity=Identity(5, claims={"org": 1}))
        assert _lines == {}

    @pytest.mark.asyncio
    @pytest.mark.parametrize("identity", [ANONYMOUS, Identity(None, claims={"org": 1}), Identity("x")])
    async def test_a_caller_without_a_fitting_value_gets_401(self, identity: Identity) -> None:
        one = engine()
        with pytest.raises(Unauthorized):
            await one.fetch("cart", {}, identity=identity)
        with pytest.raises(Unauthorized):
            await one.call("add_line", {"sku": "pen"}, identity=identity)
        with pytest.raises(Unauthorized):
            await one.run("add_line", {"sku": "pen"}, identity=identity)
        with pytest.raises(Unauthorized):
            await one.call("cart_lines", {}, identity=identity)
        assert (_lines, _computed) == ({}, [])

    @pytest.mark.asyncio
    async def test_a_claim_that_does_not_fit_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.ERROR, "mizan"), pytest.raises(Unauthorized):
            await engine().fetch("tickets", {}, identity=Identity(5, claims={"org": "s3cret"}))
        assert "org_id is Claim('org')" in caplog.text
        assert "s3cret" not in caplog.text

    @pytest.mark.asyncio
    async def test_a_caller_without_a_user_may_have_claims(self) -> None:
        one = engine()
        acme, other = Identity(None, claims={"org": 1}), Identity(None, claims={"org": 2})
        await one.call("open_ticket", {"title": "broken"}, identity=acme)
        assert (await shown(one, "tickets", acme))[0]["ticket_list"]["tickets"] == ["broken"]
        assert (await shown(one, "tickets", other))[0]["ticket_list"]["tickets"] == []

    @pytest.mark.asyncio
    async def test_all_callers_with_one_value_share_an_answer(self) -> None:
        one = engine()
        assert (await shown(one, "tickets", Identity(5, claims={"org": 1})))[1] == "miss"
        assert (await shown(one, "tickets", Identity(6, claims={"org": 1, "more": [1]})))[1] == "hit"
        assert (await shown(one, "tickets", Identity(5, claims={"org": 2})))[1] == "miss"

    @pytest.mark.asyncio
    async def test_a_nullable_one_is_null_for_a_caller_without(self) -> None:
        one = engine()
        await one.call("drop_in", {"sku": "pen"})
        await one.call("drop_in", {"sku": "cup"}, identity=Identity(5))
        assert (await shown(one, "basket", ANONYMOUS))[0] == {"basket": ["pen"]}
        assert (await shown(one, "basket", Identity(5)))[0] == {"basket": ["cup"]}

    @pytest.mark.asyncio
    async def test_caches_beyond_the_origin_may_not_keep_it(self) -> None:
        one = engine()
        for context, identity in (("cart", Identity(5)), ("tickets", Identity(5, claims={"org": 1}))):
            assert (await one.fetch(context, {}, identity=identity)).policy == "private, no-cache"


class TestNarrowed:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("name", "args", "identity", "stale"),
        [
            ("add_line", {"sku": "x"}, Identity(5), "cart;user_id=5"),
            ("give", {"user_id": 6, "sku": "x"}, Identity(5), "cart;user_id=6"),
            ("send_to", {"to_user": 6, "sku": "x"}, Identity(5), "cart;user_id=6"),
            ("empty_mine", {}, Identity(5), "cart;user_id=5"),
            ("give_back", {"sku": "x"}, Identity(5), "cart;user_id=9"),
            ("give_all", {"users": [5, 6], "sku": "x"}, Identity(5), "cart;user_id=5, cart;user_id=6"),
            ("open_ticket", {"title": "x"}, Identity(5, claims={"org": 1}), "tickets;org_id=1"),
            ("drop_in", {"sku": "x"}, Identity(5), "basket;user_id=5"),
            ("drop_in", {"sku": "x"}, ANONYMOUS, "basket"),
        ],
    )
    async def test_the_header_names_the_values(self, name: str, args: Any, identity: Identity, stale: str) -> None:
        answer = await engine().call(name, args, identity=identity)
        assert encode_header(answer.invalidations) == stale

    @pytest.mark.asyncio
    async def test_one_cart_of_a_thousand_is_computed_again(self) -> None:
        one = engine()
        for user in range(1000):
            await shown(one, "cart", Identity(user))
        await one.call("add_line", {"sku": "pen"}, identity=Identity(500))
        found = [await shown(one, "cart", Identity(user)) for user in range(1000)]
        assert [status for _, status in found].count("hit") == 999
        assert found[500] == ({"cart_lines": ["pen"]}, "miss")

    @pytest.mark.asyncio
    async def test_null_narrows_to_callers_without_a_value(self) -> None:
        one = engine()
        for identity in (ANONYMOUS, Identity(5)):
            await shown(one, "basket", identity)
        await one.call("drop_in", {"sku": "pen"})
        assert await shown(one, "basket", ANONYMOUS) == ({"basket": ["pen"]}, "miss")
        assert (await shown(one, "basket", Identity(5)))[1] == "hit"

    @pytest.mark.asyncio
    async def test_the_engine_invalidates_one(self) -> None:
        one = engine()
        for user in (5, 6):
            await shown(one, "cart", Identity(user))
        assert await one.invalidate(Cart, user_id=5) == (Invalidation("cart", {"user_id": 5}),)
        assert [(await shown(one, "cart", Identity(user)))[1] for user in (5, 6)] == ["miss", "hit"]

    @pytest.mark.asyncio
    async def test_a_mutation_called_by_another_narrows_too(self) -> None:
        @client(affects="log")
        async def twice(user_id: Annotated[int, Me]) -> None:
            await add_line(user_id, "one")
            await add_line(user_id=user_id + 1, sku="two")

        @client(context="log")
        async def entries() -> int:
            return 1

        one = Engine(build([*FUNCTIONS, twice, entries]), cache=MemoryCache())
        answer = await one.call("twice", {}, identity=Identity(5))
        assert encode_header(answer.invalidations) == "log, cart;user_id=5, cart;user_id=6"


class TestPlainFunctions:
    @pytest.mark.asyncio
    async def test_what_its_body_names_is_told_as_ones_own(self) -> None:
        @client
        async def give_by_hand(user_id: Annotated[int, Me], to: int) -> None:
            invalidate(Cart, user_id=user_id)
            invalidate(Cart, user_id=to)

        @client
        async def give_nothing(user_id: Annotated[int, Me]) -> None:
            await give_all([], "x")

        one = Engine(build([*FUNCTIONS, give_by_hand, give_nothing]), cache=MemoryCache())
        answer = await one.call("give_by_hand", {"to": 6}, identity=Identity(5))
        assert encode_header(answer.invalidations) == "cart;user_id=5, cart;user_id=6"
        assert body_of(answer)["invalidate"] == ["cart"]
        assert encode_header((await one.call("give_nothing", {}, identity=Identity(5))).invalidations) == "cart"


class TestDefaults:
    @pytest.mark.asyncio
    async def test_a_caller_without_a_value_gets_the_default(self) -> None:
        @client(context="shelf")
        async def shelf(user_id: Annotated[int, Me] = 0) -> int:
            return user_id

        @client(affects="shelf")
        async def stock(user_id: Annotated[int, Me] = 0) -> None: ...

        @client(affects=Context("shelf").where(user_id=Me))
        async def restock() -> None: ...

        one = Engine(build([shelf, stock, restock]), cache=MemoryCache())
        for identity, value in ((ANONYMOUS, 0), (Identity(5), 5)):
            assert (await shown(one, "shelf", identity))[0] == {"shelf": value}
        answer = await one.call("stock", {})
        assert encode_header(answer.invalidations) == "shelf;user_id=0"
        assert body_of(answer)["invalidate"] == ["shelf"]
        assert [(await shown(one, "shelf", identity))[1] for identity in (ANONYMOUS, Identity(5))] == ["miss", "hit"]
        assert encode_header((await one.call("restock", {})).invalidations) == "shelf"
        assert (await shown(one, "shelf", ANONYMOUS))[1] == "miss"

    @pytest.mark.asyncio
    async def test_a_validator_that_fails_otherwise_is_401_too(self, caplog: pytest.LogCaptureFixture) -> None:
        def fails(value: object) -> object:
            raise KeyError(value)

        @client(context="odd")
        async def odd(org: Annotated[str, BeforeValidator(fails), Claim("org")]) -> str:
            return org

        with pytest.raises(Unauthorized):
            await Engine(build([odd])).fetch("odd", {}, identity=Identity(5, claims={"org": "s3cret"}))
        assert "KeyError" in caplog.text
        assert "s3cret" not in caplog.text

    def test_an_explanation_narrows_to_callers_without_a_value(self) -> None:
        explained = explain_call(build(FUNCTIONS), "drop_in", {"sku": "x"})
        assert [(one.stale, one.widened) for one in explained.affects] == [
            ((Invalidation("basket", {}, None, frozenset({"user_id"})),), ())
        ]

    @pytest.mark.asyncio
    async def test_what_a_call_in_python_leaves_out_is_not_nobody(self) -> None:
        @client(affects=Basket.where(user_id=Arg("whose")))
        async def fill(whose: Annotated[int | None, Me] = None) -> None:
            pass

        @client(affects=Feed)
        async def fill_some() -> None:
            await fill()
            await fill(None)

        @client(context=Feed)
        async def feed() -> int:
            return 1

        answer = await Engine(build([basket, fill, fill_some, feed])).call("fill_some", {})
        assert answer.invalidations == (Invalidation("feed"), Invalidation("basket"))


class TestTold:
    @pytest.mark.asyncio
    async def test_the_body_names_the_callers_own_without_the_value(self) -> None:
        answer = await engine().call("add_line", {"sku": "x"}, identity=Identity(5))
        assert body_of(answer)["invalidate"] == ["cart"]

    @pytest.mark.asyncio
    async def test_the_body_leaves_out_what_concerns_others(self) -> None:
        one = engine()
        assert "invalidate" not in body_of(await one.call("give", {"user_id": 6, "sku": "x"}, identity=Identity(5)))
        assert "invalidate" not in body_of(await one.call("give", {"user_id": 6, "sku": "x"}))
        mixed = await one.call("give_all", {"users": [5, 6, 7], "sku": "x"}, identity=Identity(6))
        assert body_of(mixed)["invalidate"] == ["cart"]

    @pytest.mark.asyncio
    async def test_a_caller_without_a_value_is_told_its_own(self) -> None:
        answer = await engine().call("drop_in", {"sku": "x"})
        assert body_of(answer)["invalidate"] == ["basket"]
