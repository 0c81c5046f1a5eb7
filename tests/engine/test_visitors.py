"""Visitors, callers without a user id, share one answer of what is kept per user, unless it shows who they are."""

from typing import Any

import orjson
import pytest

from mizan_core import ANONYMOUS, Engine, Identity, MemoryCache, build, client

_ran: list[str | None] = []


@pytest.fixture(autouse=True)
def _none_ran() -> None:
    _ran.clear()


@client(context="home")
async def greeting(me: Identity) -> dict[str, Any]:
    _ran.append(me.user_id)
    return {"user": me.user_id, "org": me.claims.get("org"), "may": sorted(me.permissions or ())}


@client(affects="home")
async def repaint() -> None: ...


def engine() -> Engine:
    return Engine(build([greeting, repaint]), cache=MemoryCache())


async def shown(engine: Engine, identity: Identity) -> tuple[Any, str]:
    bundle = await engine.fetch("home", {}, identity=identity)
    return orjson.loads(bundle.body)["greeting"], bundle.status


class TestShared:
    @pytest.mark.asyncio
    async def test_all_visitors_have_one_answer_until_it_is_purged(self) -> None:
        one = engine()
        assert [(await shown(one, ANONYMOUS))[1] for _ in range(3)] == ["miss", "hit", "hit"]
        await one.call("repaint", {})
        assert [(await shown(one, ANONYMOUS))[1] for _ in range(2)] == ["miss", "hit"]

    @pytest.mark.asyncio
    async def test_no_user_gets_the_visitors_answer_or_gives_them_its_own(self) -> None:
        one = engine()
        for identity in (ANONYMOUS, Identity(""), Identity("null"), Identity(5), ANONYMOUS):
            assert (await shown(one, identity))[0]["user"] == identity.user_id
        assert _ran == [None, "", "null", "5"]

    @pytest.mark.asyncio
    async def test_visitors_with_other_claims_or_permissions_do_not_share(self) -> None:
        one = engine()
        kinds = [
            ANONYMOUS,
            *(Identity(None, claims={"org": org}) for org in (1, 2, "1")),
            Identity(None, permissions=["read"]),
        ]
        found = [await shown(one, identity) for identity in kinds]
        assert [status for _, status in found] == ["miss"] * 5
        assert [body["org"] for body, _ in found] == [None, 1, 2, "1", None]
        assert found[4][0]["may"] == ["read"]
        assert [(await shown(one, identity))[1] for identity in kinds] == ["hit"] * 5

    @pytest.mark.asyncio
    async def test_a_user_with_other_claims_is_not_shown_the_old_ones(self) -> None:
        one = engine()
        for org in (1, 2, 1):
            assert (await shown(one, Identity(5, claims={"org": org})))[0]["org"] == org
        assert len(_ran) == 2

    @pytest.mark.asyncio
    async def test_a_request_that_cannot_be_watched_is_not_shared(self) -> None:
        @client(context="cart", per="user")
        async def cart(request: dict[str, str]) -> str:
            return request["cart"]

        one = Engine(build([cart]), cache=MemoryCache())
        for name in ("a", "b"):
            assert orjson.loads((await one.fetch("cart", {}, request={"cart": name})).body) == {"cart": name}
