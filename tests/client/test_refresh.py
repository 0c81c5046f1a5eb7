"""Bundles that come with the answer of a call, and when they are newer than what is known."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx
import pytest

from mizan_asgi.client import Client
from tests.client.transport import BASE, Wire, never, turns
from tests.http.site import Site


class TestRefreshing:
    """Bundles that a call made stale come with its answer, and are used unless newer data may be known."""

    @pytest.mark.asyncio
    async def test_a_call_names_subscribed_bundles_in_x_mizan_mounted(self, mizan: Client, wire: Wire) -> None:
        await mizan.fetch("user", user_id=7)
        await mizan.call("echo", values=[])
        async with aclosing(mizan.subscribe("user", user_id=5, page=1)), aclosing(mizan.subscribe("weather")):
            await mizan.call("echo", values=[])
            async with aclosing(mizan.subscribe("orders", customer_id=7, tags=["a b", "c"])):
                await mizan.call("echo", values=[])
        await mizan.call("echo", values=[])
        assert wire.mounted == [
            None,
            "user?user_id=5, weather",
            "user?user_id=5, weather, orders?customer_id=7&tags=a%20b&tags=c",
            None,
        ]

    @pytest.mark.asyncio
    async def test_the_mounted_header_is_bounded(self, mizan: Client, wire: Wire) -> None:
        shown = [mizan.subscribe("user", user_id=10**100 + number) for number in range(100)]
        await mizan.call("echo", values=[])
        (line,) = wire.mounted
        assert line is not None
        assert 3900 < len(line) <= 4096
        for one in shown:
            await one.aclose()

    @pytest.mark.asyncio
    async def test_a_refreshed_bundle_is_shown_and_later_revalidated(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(shown))["user_profile"]["name"] == "Eve"
            await mizan.fetch("user", user_id=5)
        assert wire.sent == ["GET /ctx/user/?user_id=5", "POST /call/update_profile/", "GET /ctx/user/?user_id=5"]
        assert wire.answered[-1] == 304

    @pytest.mark.asyncio
    async def test_refreshed_bundles_are_matched_by_canonical_texts(self, wire: Wire) -> None:
        async with Client(BASE, transport=wire) as mizan, aclosing(mizan.subscribe("user", user_id="5", page=1)) as one:
            await anext(one)
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(one))["user_profile"]["name"] == "Eve"
        assert wire.sent == ["GET /ctx/user/?page=1&user_id=5", "POST /call/update_profile/"]

    @pytest.mark.asyncio
    async def test_a_stale_bundle_without_refresh_is_fetched(self, mizan: Client, wire: Wire) -> None:
        async with AsyncExitStack() as stack:
            shown = [
                await stack.enter_async_context(aclosing(mizan.subscribe("user", user_id=5, page=n)))
                for n in range(1, 19)
            ]
            for one in shown:
                await anext(one)
            wire.sent.clear()
            await mizan.call("update_profile", user_id=5, name="Eve")
            for one in shown:
                assert (await anext(one))["user_profile"]["name"] == "Eve"
        assert wire.sent == ["POST /call/update_profile/", *(f"GET /ctx/user/?page={n}&user_id=5" for n in (17, 18))]

    @pytest.mark.asyncio
    async def test_a_fetch_answered_before_the_call_is_not_replaced(
        self, mizan: Client, wire: Wire, site: Site
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            wire.way = asyncio.Event()
            asking = asyncio.create_task(mizan.fetch("user", user_id=5))
            await turns()
            release = wire.hold_calls()
            calling = asyncio.create_task(mizan.call("update_profile", user_id=5, name="Eve"))
            await wire.arrived.wait()
            site.names[5] = "newer"
            wire.way.set()
            assert (await asking)["user_profile"]["name"] == "newer"
            release.set()
            await calling
            assert (await anext(shown))["user_profile"]["name"] == "newer"
            assert await never(shown)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("event", ["invalidated", "asked for", "answered", "somebody else"])
    async def test_a_bundle_changed_since_the_call_was_sent_is_fetched(
        self, mizan: Client, wire: Wire, site: Site, event: str
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            release = wire.hold_calls()
            calling = asyncio.create_task(mizan.call("update_profile", user_id=5, name="Eve"))
            await wire.arrived.wait()
            site.names[5] = "newer"  # by another client, after the call's answer was made
            if event == "invalidated":
                mizan.invalidate("user")
            elif event == "somebody else":
                mizan.identify(None)
            elif event == "answered":
                await mizan.fetch("user", user_id=5)
            gate = wire.hold()
            if event == "asked for":
                asking = asyncio.create_task(mizan.fetch("user", user_id=5))
                await wire.arrived.wait()
            release.set()
            await calling
            gate.set()
            if event == "asked for":
                assert (await asking)["user_profile"]["name"] == "newer"
            assert (await anext(shown))["user_profile"]["name"] == "newer"

    @pytest.mark.asyncio
    async def test_of_two_concurrent_calls_the_later_answer_is_not_used(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            release = wire.hold_calls()
            first = asyncio.create_task(mizan.call("update_profile", user_id=5, name="Eve"))
            await wire.arrived.wait()
            wire.call_gate = None
            await mizan.call("update_profile", user_id=5, name="Eva")
            release.set()
            await first
            assert (await anext(shown))["user_profile"]["name"] == "Eva"
            assert await never(shown)

    @pytest.mark.asyncio
    async def test_an_unreadable_refresh_is_fetched(self, site: Site) -> None:
        inner = httpx.ASGITransport(site.mizan(cache=None))
        garbage: list[Any] = [
            *("user", {"user": {}}, ["user"], [{"context": "user", "params": [], "data": {}}]),
            *([{"context": "user", "params": {"user_id": 5}, "data": "x"}], [{"context": "user"}]),
        ]

        class Garbling(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET":
                    return await inner.handle_async_request(request)
                return httpx.Response(200, json={"result": None, "invalidate": ["user"], "refreshed": garbage.pop()})

        async with Client(BASE, transport=Garbling()) as mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            while garbage:
                site.names[5] += "!"
                await mizan.call("update_profile")
                assert (await anext(shown))["user_profile"]["name"] == site.names[5]
