"""Subscriptions: which bundles are shown after a call, and how often they are fetched."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import httpx
import pytest

from mizan_asgi import Mizan
from mizan_asgi.client import Client
from mizan_core import CallError, Invalidation, NotFound, Unauthorized, build, client
from tests.client.transport import ADA, BASE, Wire, never, turns
from tests.http.site import KEYS, Site, token


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


class TestSubscribing:
    @pytest.mark.asyncio
    async def test_a_subscription_shows_the_changes_of_calls(self, mizan: Client, wire: Wire) -> None:
        seen: list[Any] = []

        async def show(user_id: int, page: int) -> None:
            async for bundle in mizan.subscribe("user", {"user_id": user_id}, page=page):
                seen.append((user_id, page, bundle["user_profile"]["name"]))  # noqa: PERF401  # it never ends

        async with asyncio.TaskGroup() as showing:
            tasks = [showing.create_task(show(*which)) for which in ((5, 1), (5, 1), (5, 2), (7, 1))]
            await until(lambda: len(seen) == 4)
            assert sorted(wire.sent) == [
                "GET /ctx/user/?page=2&user_id=5",
                "GET /ctx/user/?user_id=5",
                "GET /ctx/user/?user_id=7",
            ], "two that show the same fetch it once"
            wire.sent.clear()
            seen.clear()
            await mizan.call("update_profile", user_id=5, name="Eve")
            await until(lambda: len(seen) == 3)
            assert sorted(seen) == [(5, 1, "Eve"), (5, 1, "Eve"), (5, 2, "Eve")]
            assert wire.sent == ["POST /call/update_profile/"], "user 7 is left alone, and the others came along"
            for task in tasks:
                task.cancel()
        wire.sent.clear()
        mizan.invalidate("user")
        await turns(200)
        assert wire.sent == [], "nobody shows it any more"

    @pytest.mark.asyncio
    async def test_an_answer_that_a_call_overtook_is_never_shown(self, mizan: Client, wire: Wire) -> None:
        gate = wire.hold()
        shown = mizan.subscribe("user", user_id=5)
        first, fetched = asyncio.create_task(anext(shown)), asyncio.create_task(mizan.fetch("user", user_id=5))
        await wire.arrived.wait()
        wire.gates = []
        await mizan.call("update_profile", user_id=5, name="Eve")
        assert [(await one)["user_profile"]["name"] for one in (first, fetched)] == ["Eve", "Eve"]
        assert wire.sent == ["GET /ctx/user/?user_id=5", "POST /call/update_profile/"]
        assert not gate.is_set(), "nobody waits for the old answer"

    @pytest.mark.asyncio
    async def test_an_answer_overtaken_on_its_last_step_is_not_shown(
        self, mizan: Client, wire: Wire, site: Site
    ) -> None:
        shown = mizan.subscribe("user", user_id=5)
        step, fetched = asyncio.create_task(anext(shown)), asyncio.create_task(mizan.fetch("user", user_id=5))
        await asyncio.sleep(0)
        request = mizan._bundle("user", {"user_id": 5}).request
        assert request is not None

        def change(_: object) -> None:
            site.names[5] = "Eve"
            mizan.invalidate("user")

        request.add_done_callback(change)
        assert [(await one)["user_profile"]["name"] for one in (step, fetched)] == ["Eve", "Eve"]
        assert len(wire.sent) == 2

    @pytest.mark.asyncio
    async def test_an_answer_that_was_overtaken_is_not_even_known(self, mizan: Client, wire: Wire) -> None:
        gate = wire.hold()
        first, second = mizan.subscribe("user", user_id=5), mizan.subscribe("user", user_id=5)
        steps = [asyncio.create_task(anext(first))]
        await wire.arrived.wait()
        request = mizan._bundle("user", {"user_id": 5}).request
        assert request is not None
        wire.gates = []
        await mizan.call("update_profile", user_id=5, name="Eve")
        request.add_done_callback(lambda _: steps.append(asyncio.create_task(anext(second))))
        gate.set()
        await until(lambda: len(steps) == 2)
        assert [(await step)["user_profile"]["name"] for step in steps] == ["Eve", "Eve"]

    @pytest.mark.asyncio
    async def test_an_error_that_was_overtaken_is_not_raised(self, wire: Wire, site: Site) -> None:
        missing = {6}

        @client(context="thing")
        async def thing(thing_id: int) -> int:
            if thing_id in missing:
                raise NotFound
            return thing_id

        @client(affects="thing")
        async def make(thing_id: int) -> None:
            missing.discard(thing_id)

        wire = Wire(Mizan(build([thing, make])))
        async with Client(BASE, transport=wire) as mizan:
            gate = wire.hold()
            asking = asyncio.create_task(mizan.fetch("thing", thing_id=6))
            await wire.arrived.wait()
            wire.gates = []
            await mizan.call("make", thing_id=6)
            gate.set()
            assert await asking == {"thing": 6}
        assert wire.answered == [404, 200, 200]

    @pytest.mark.asyncio
    async def test_a_failed_calls_header_makes_bundles_stale(self, mizan: Client) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            with pytest.raises(CallError) as failed:
                await mizan.call("explode", user_id=5)
            assert (failed.value.status, failed.value.code) == (500, "internal_error")
            assert (await anext(shown))["user_profile"]["name"] == "half done"

    @pytest.mark.asyncio
    async def test_an_unreadable_header_makes_everything_stale(self, site: Site) -> None:
        inner = httpx.ASGITransport(site.mizan(cache=None))
        told: list[httpx.Response] = [
            httpx.Response(500, headers={"x-mizan-invalidate": "user;;"}),
            httpx.Response(200, json={"result": None, "invalidate": "user"}),
            httpx.Response(200, json={"result": None, "invalidate": [{"params": {}}]}),
            httpx.Response(200, json={"result": None, "invalidate": [{"context": "user", "params": []}]}),
        ]

        class Garbling(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                return told.pop() if request.method == "POST" else await inner.handle_async_request(request)

        async with Client(BASE, transport=Garbling()) as mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            while told:
                site.names[5] += "!"
                with suppress(CallError):
                    await mizan.call("update_profile")
                assert (await anext(shown))["user_profile"]["name"] == site.names[5]

    @pytest.mark.asyncio
    async def test_a_burst_becomes_one_fetch(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            waiting = asyncio.create_task(anext(shown))
            await turns()
            wire.sent.clear()
            for _ in range(5):
                mizan.invalidate(Invalidation("user", {"user_id": 5}), "user", "orders")
            await turns(200)
            assert len(wire.sent) == 1
            waiting.cancel()

    @pytest.mark.asyncio
    async def test_the_same_data_is_not_shown_again(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            mizan.invalidate("user")
            assert await never(shown)
            assert wire.answered == [200, 304]

    @pytest.mark.asyncio
    async def test_a_later_subscription_begins_with_the_known_bundle(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            async with aclosing(mizan.subscribe("user", user_id=5)) as again:
                assert await anext(again) == ADA
        assert len(wire.sent) == 1

    @pytest.mark.asyncio
    async def test_a_subscription_after_none_fetches_anew(self, mizan: Client, wire: Wire, site: Site) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
        assert len(wire.sent) == 2

    @pytest.mark.asyncio
    async def test_a_fetch_with_new_data_is_shown_by_subscriptions(self, mizan: Client, wire: Wire, site: Site) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            site.names[5] = "Zoe"
            await mizan.fetch("user", user_id=5)
            assert (await anext(shown))["user_profile"]["name"] == "Zoe"

    @pytest.mark.asyncio
    async def test_an_error_is_raised_and_the_next_step_tries_again(self, mizan: Client, site: Site) -> None:
        transport = httpx.ASGITransport(site.mizan(mwt_keys=KEYS, clock=lambda: 1_800_000_000.0))
        async with Client(BASE, transport=transport) as mizan:
            shown = mizan.subscribe("team")
            with pytest.raises(Unauthorized):
                await anext(shown)
            mizan.identify(token("5"))
            assert await anext(shown) == {"team": ["Ada", "Bo"]}

    @pytest.mark.asyncio
    async def test_leaving_the_loop_ends_it(self, mizan: Client, wire: Wire) -> None:
        async for _ in mizan.subscribe("user", user_id=5):
            break
        assert mizan._bundle("user", {"user_id": 5}).idle
        await mizan.call("update_profile", user_id=5, name="Eve")
        await turns()
        assert wire.sent == ["GET /ctx/user/?user_id=5", "POST /call/update_profile/"]

    @pytest.mark.asyncio
    async def test_ending_a_subscription_ends_its_pending_step(self, mizan: Client, wire: Wire) -> None:
        wire.hold()
        for after in (0, 1):
            shown = mizan.subscribe("user", user_id=5)
            if after:
                wire.gates = []
                await anext(shown)
            step = asyncio.create_task(anext(shown))
            await turns(200)
            await shown.aclose()
            await shown.aclose()
            with pytest.raises(StopAsyncIteration):
                await step
            with pytest.raises(StopAsyncIteration):
                await anext(shown)
        assert mizan._bundle("user", {"user_id": 5}).idle

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("entry", "stale"),
        [
            (Invalidation("user"), True),
            (Invalidation("user", {"user_id": "5"}), True),
            (Invalidation("user", {"user_id": 5, "page": 1}), True),
            (Invalidation("user", {"user_id": 5}, "user_profile"), True),
            (Invalidation("user", {"team_id": 3}), True),
            (Invalidation("user", {"user_id": 5, "page": 2}), False),
            (Invalidation("user", {"user_id": 7}), False),
            (Invalidation("user", {"user_id": 5, "team_id": None}), True),
            (Invalidation("user", {"user_id": 5, "page": None}), False),
            (Invalidation("users"), False),
        ],
    )
    async def test_a_bundle_is_stale_unless_canonical_texts_differ(
        self, mizan: Client, wire: Wire, entry: Invalidation, stale: bool
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            mizan.invalidate(entry)
            await never(shown)
        assert len(wire.sent) == 1 + stale
