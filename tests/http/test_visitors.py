"""What is kept per user is one answer for all visitors, watched: a reader that looks at the request is not shared."""

import asyncio
import logging
from typing import Any

import pytest
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_core import NotFound, build, client
from tests.http.site import hosting, http

LOOKS = {
    "cookies": lambda request: request.cookies.get("cart", "none"),
    "headers": lambda request: request.headers.get("cookie", "none"),
    "session": lambda request: str(request.scope.get("session")),
    "user": lambda request: str(request.user.is_authenticated),
    "address": lambda request: str(request.client),
    "query": lambda request: str(request.query_params),
}


class TestWatched:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
    async def test_a_look_at_the_request_makes_it_that_requests_alone(
        self, look: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        @client(context="cart", per="user")
        async def cart(request: Request) -> str:
            return str(look(request))

        with caplog.at_level(logging.ERROR, "mizan"):
            async with http(hosting(Mizan(build([cart])))) as web:
                answers = [
                    await web.get("/api/mizan/ctx/cart/", headers={"cookie": f"cart={name}"}) for name in ("a", "b")
                ]
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
        assert {answer.headers["cache-status"] for answer in answers} == {"mizan; fwd=bypass; detail=personal"}
        assert caplog.records == []

    @pytest.mark.asyncio
    async def test_a_failure_after_a_look_is_not_logged_as_a_leak(self, caplog: pytest.LogCaptureFixture) -> None:
        @client(context="cart", per="user")
        async def cart(request: Request) -> str:
            raise NotFound(f"There is no cart {request.cookies['cart']}.")

        async with http(hosting(Mizan(build([cart])))) as web:
            answers = [await web.get("/api/mizan/ctx/cart/", headers={"cookie": f"cart={name}"}) for name in ("a", "b")]
        assert [answer.json()["detail"] for answer in answers] == ["There is no cart a.", "There is no cart b."]
        assert caplog.records == []

    @pytest.mark.asyncio
    async def test_visitors_at_once_are_each_shown_their_own(self) -> None:
        @client(context="cart", per="user")
        async def cart(request: Request) -> str:
            await asyncio.sleep(0)
            return request.cookies.get("cart", "none")

        async with http(hosting(Mizan(build([cart])))) as web:
            get = [web.get("/api/mizan/ctx/cart/", headers={"cookie": f"cart={number}"}) for number in range(20)]
            answers = await asyncio.gather(*get)
        assert [answer.json()["cart"] for answer in answers] == [str(number) for number in range(20)]
