"""Dependencies that take a parameter of the function by its name, as those of an endpoint take its path parameters."""

import uuid
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import Field

from mizan_asgi import Mizan
from mizan_core import Context, DeclarationError, Identity, Me, build, client

Orders = Context("orders")
TITLES = {5: "A lamp", 6: "A chair"}


class Size(StrEnum):
    SMALL = "small"


def valid_order(order_id: int) -> str:
    if order_id not in TITLES:
        raise HTTPException(404, "There is no such order.")
    return TITLES[order_id]


def paginate(limit: int = 10) -> int:
    return limit


Order = Annotated[str, Depends(valid_order)]


@client(context=Orders)
async def order_title(order: Order, order_id: int) -> str:
    return order


@client(affects=Orders)
async def rename(order: Order, order_id: int, title: str) -> str:
    return f"{order} → {title}"


def serving(*functions: Any, app: FastAPI | None = None) -> Mizan:
    return Mizan(build(functions), fastapi=app or FastAPI())


def asking(mizan: Mizan) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test")


@pytest.mark.asyncio
class TestArguments:
    async def test_a_kept_answer_has_them_in_its_key(self) -> None:
        async with asking(serving(order_title)) as web:
            for status in ("fwd=", "hit"):
                for order_id, title in TITLES.items():
                    answer = await web.get("/ctx/orders/", params={"order_id": order_id})
                    assert answer.json() == {"order_title": title}
                    assert status in answer.headers["cache-status"]
            answer = await web.get("/ctx/orders/", params={"order_id": 7})
            assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such order.")

    async def test_the_url_of_a_call_does_not_count(self) -> None:
        async with asking(serving(order_title, rename)) as web:
            answer = await web.post("/call/rename/?order_id=6&title=X", json={"order_id": 5, "title": "A candle"})
            assert answer.json()["result"] == "A lamp → A candle"
            assert answer.headers["x-mizan-invalidate"] == "orders;order_id=5"

    async def test_what_fits_the_dependency_only_is_invalid_input(self) -> None:
        def even(order_id: Annotated[int, Field(multiple_of=2)]) -> int:
            return order_id

        @client
        async def half(number: Annotated[int, Depends(even)], order_id: int) -> int:
            return number // 2

        async with asking(serving(half)) as web:
            assert (await web.post("/call/half/", json={"order_id": 6})).json()["result"] == 3
            answer = await web.post("/call/half/", json={"order_id": 5})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["args", "order_id"])

    async def test_a_default_of_the_function_counts_as_sent(self) -> None:
        @client(context="list")
        async def listed(taken: Annotated[int, Depends(paginate)], limit: int = 20) -> int:
            return taken

        engine = serving(listed).engine
        assert (await engine.fetch("list", {})).body == b'{"listed":20}'
        assert (await engine.fetch("list", {"limit": 20})).status == "hit"
        assert (await engine.fetch("list", {"limit": 5})).body == b'{"listed":5}'

    async def test_null_leaves_the_dependency_its_default(self) -> None:
        @client(context="list")
        async def listed(taken: Annotated[int, Depends(paginate)], limit: int | None = None) -> int:
            return taken

        assert (await serving(listed).engine.fetch("list", {})).body == b'{"listed":10}'

    async def test_an_alias_of_the_dependency_is_the_name(self) -> None:
        def most(count: Annotated[int, Query(alias="limit")]) -> int:
            return count

        @client
        async def listed(taken: Annotated[int, Depends(most)], limit: int) -> int:
            return taken

        assert (await serving(listed).engine.call("listed", {"limit": 3})).result == 3

    async def test_the_identity_fills_them_in(self) -> None:
        def account(user_id: int) -> str:
            return f"of {user_id}"

        @client(context="cart")
        async def cart(account: Annotated[str, Depends(account)], user_id: Annotated[int, Me]) -> str:
            return account

        engine = serving(cart).engine
        for user in ("5", "6"):
            assert (await engine.fetch("cart", {}, identity=Identity(user))).body == f'{{"cart":"of {user}"}}'.encode()

    async def test_readers_of_a_bundle_share_them(self) -> None:
        beside = Context("beside", concurrent=True)
        for context in (Orders, beside):

            @client(context=context)
            async def title(order: Order, order_id: int) -> str:
                return order

            @client(context=context)
            def length(order_id: int, order: Order) -> int:
                return len(order)

            found = await serving(title, length).engine.fetch(context.name, {"order_id": 6})
            assert found.body == b'{"length":7,"title":"A chair"}'

    async def test_an_override_has_them_too(self) -> None:
        app = FastAPI()
        app.dependency_overrides[valid_order] = lambda limit=4, order_id=0: f"{order_id} {limit}"
        one = serving(order_title, rename, app=app)
        with pytest.raises(DeclarationError, match="reads the query parameter 'limit'"):
            await one.engine.fetch("orders", {"order_id": 5})
        app.dependency_overrides[valid_order] = paginate
        app.dependency_overrides[paginate] = lambda order_id: f"order {order_id}"
        app.dependency_overrides[valid_order] = app.dependency_overrides[paginate]
        assert (await one.engine.run("rename", {"order_id": 5, "title": "X"})).result == "order 5 → X"

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (bool, True),
            (float, 0.5),
            (Decimal, Decimal("1.20")),
            (date, date(2026, 11, 29)),
            (uuid.UUID, uuid.UUID(int=5)),
            (Size, Size.SMALL),
            (list[int], [3, 1]),
            (Annotated[list[Size], Query()], [Size.SMALL]),
            (str, "a&b=ü"),
        ],
    )
    async def test_every_type_arrives_as_it_is(self, annotation: Any, value: Any) -> None:
        def taking(value: Any) -> Any:
            seen.append(value)

        seen: list[Any] = []
        taking.__annotations__["value"] = Annotated[list[int], Query()] if annotation == list[int] else annotation

        async def take(it: Annotated[None, Depends(taking)], value: Any) -> None: ...

        take.__annotations__["value"] = annotation
        await serving(client(take)).engine.call("take", {"value": value})
        assert seen == [value]
