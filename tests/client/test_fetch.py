"""What `Client.fetch` answers, and as which caller."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from mizan_asgi import Mizan
from mizan_asgi.client import MAXIMUM_KEPT, Client
from mizan_core import Identity, build, client
from tests.client.transport import ADA, BASE, Wire, turns
from tests.http.site import KEYS, Site, token


class TestFetching:
    @pytest.mark.asyncio
    async def test_a_bundle_comes_by_its_canonical_url(self, mizan: Client, wire: Wire) -> None:
        assert await mizan.fetch("user", user_id=5, page=1) == ADA
        assert await mizan.fetch("user", {"page": 2, "user_id": 5}) != ADA
        await mizan.fetch("orders", {"tags": ["b c", "a/ä"], "customer_id": 7, "page": None})
        assert wire.sent == [
            "GET /ctx/user/?user_id=5",
            "GET /ctx/user/?page=2&user_id=5",
            "GET /ctx/orders/?customer_id=7&tags=b%20c&tags=a%2F%C3%A4",
        ]

    @pytest.mark.asyncio
    async def test_its_url_is_the_one_that_an_edge_may_keep(self, mizan: Client, wire: Wire) -> None:
        for params in ({"user_id": 5}, {"user_id": 5, "page": 1}, {"page": 2, "user_id": 5}):
            await mizan.fetch("user", params)
        assert [policy.split(",")[0] for policy in wire.policies] == ["public"] * 3

    @pytest.mark.asyncio
    async def test_defaults_may_be_texts_as_the_manifest_has_them(self, wire: Wire) -> None:
        async with Client(BASE + "/", transport=wire, defaults={"user": {"page": "1"}}) as mizan:
            await mizan.fetch("user", user_id=5, page=1)
        assert wire.sent == ["GET /ctx/user/?user_id=5"]

    @pytest.mark.asyncio
    async def test_the_same_asked_for_twice_at_once_is_sent_once(self, mizan: Client, wire: Wire, site: Site) -> None:
        first, second, other = await asyncio.gather(
            mizan.fetch("user", user_id=5), mizan.fetch("user", user_id="5"), mizan.fetch("user", user_id=7)
        )
        assert (first, second) == (ADA, ADA)
        assert other != ADA
        assert sorted(wire.sent) == ["GET /ctx/user/?user_id=5", "GET /ctx/user/?user_id=7"]
        first["user_badges"].append("mine")
        assert second == ADA, "what one receiver does to it must not show elsewhere"

    @pytest.mark.asyncio
    async def test_one_of_two_that_is_cancelled_does_not_cancel_the_other(self, mizan: Client, wire: Wire) -> None:
        gate = wire.hold()
        one, two = (
            asyncio.create_task(mizan.fetch("user", user_id=5)),
            asyncio.create_task(mizan.fetch("user", user_id=5)),
        )
        await wire.arrived.wait()
        one.cancel()
        await turns()
        gate.set()
        assert await two == ADA
        assert one.cancelled()
        assert len(wire.sent) == 1

    @pytest.mark.asyncio
    async def test_a_request_without_waiters_is_cancelled(self, mizan: Client, wire: Wire) -> None:
        wire.hold()
        one = asyncio.create_task(mizan.fetch("user", user_id=5))
        await wire.arrived.wait()
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        wire.gates = []
        assert await mizan.fetch("user", user_id=5) == ADA
        assert len(wire.sent) == 2

    @pytest.mark.asyncio
    async def test_known_bundles_are_revalidated(self, mizan: Client, wire: Wire) -> None:
        assert await mizan.fetch("user", user_id=5) == await mizan.fetch("user", user_id=5) == ADA
        assert wire.answered == [200, 304]
        await mizan.call("update_profile", user_id=5, name="Eve")
        assert (await mizan.fetch("user", user_id=5))["user_profile"]["name"] == "Eve"
        assert wire.answered == [200, 304, 200, 200]

    @pytest.mark.asyncio
    async def test_known_bundles_are_bounded(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=0)) as shown:
            await anext(shown)
            for user_id in range(1, MAXIMUM_KEPT + 10):
                await mizan.fetch("user", user_id=user_id)
            wire.answered.clear()
            for user_id in (0, 1, MAXIMUM_KEPT + 9):
                await mizan.fetch("user", user_id=user_id)
        assert wire.answered == [304, 200, 304], "the one that is shown, one forgotten, and the newest"

    @pytest.mark.asyncio
    async def test_integers_of_any_size_are_kept_exactly(self) -> None:
        huge = 2**200 + 1

        @client(context="numbers")
        async def numbers(start: int) -> list[int]:
            return [start, start + 1]

        @client
        async def double(number: int) -> int:
            return 2 * number

        async with Client(BASE, transport=httpx.ASGITransport(Mizan(build([numbers, double])))) as mizan:
            assert await mizan.fetch("numbers", start=huge) == {"numbers": [huge, huge + 1]}
            assert await mizan.call("double", number=huge) == 2 * huge


class TestTokens:
    @pytest.mark.asyncio
    async def test_a_token_is_a_text_or_a_function_that_is_asked_each_time(self, site: Site) -> None:
        transport = httpx.ASGITransport(site.mizan(mwt_keys=KEYS, clock=lambda: 1_800_000_000.0))
        asked: Counter[str] = Counter()

        def plain() -> str:
            asked["plain"] += 1
            return token("5")

        async def renewed() -> str:
            asked["renewed"] += 1
            return token("5")

        for given in (token("5"), plain, renewed):
            async with Client(BASE, transport=transport, token=given) as mizan:
                assert await mizan.fetch("inbox") == {"messages": ["for 5"]}
                assert await mizan.call("send", text="hello") == 5
        assert asked == {"plain": 2, "renewed": 2}
        async with Client(BASE, transport=transport, token=lambda: None) as mizan:
            assert await mizan.fetch("inbox") == {"messages": ["for None"]}

    @pytest.mark.asyncio
    async def test_concurrent_waiters_ask_the_token_function_once(self, site: Site) -> None:
        transport = httpx.ASGITransport(site.mizan(mwt_keys=KEYS, clock=lambda: 1_800_000_000.0))
        asked, given = Counter[str](), asyncio.Event()

        async def slow() -> str:
            asked["slow"] += 1
            await given.wait()
            return token("5")

        async with Client(BASE, transport=transport, token=slow) as mizan:
            leaving = asyncio.create_task(mizan.fetch("inbox"))
            requests = [asyncio.create_task(mizan.call("send", text="hello")) for _ in range(20)]
            await asyncio.sleep(0)
            leaving.cancel()  # the other waiters still get the token
            given.set()
            assert await asyncio.gather(*requests) == [5] * 20
            assert asked["slow"] == 1
            assert await mizan.fetch("inbox") == {"messages": ["for 5"]}
            assert asked["slow"] == 2

    @pytest.mark.asyncio
    async def test_a_function_may_call_mwt_obtain(self, site: Site) -> None:
        wire = Wire(site.mizan(mwt_keys=KEYS, authenticate=lambda _: Identity("7"), clock=lambda: 1_800_000_000.0))

        async def obtain() -> str:
            return str((await mizan.call("mwt_obtain"))["token"])

        async with Client(BASE, transport=wire, token=obtain) as mizan:
            assert await mizan.fetch("inbox") == {"messages": ["for 7"]}
            mizan.identify(token("5"))
            assert (await mizan.call("mwt_obtain"))["expires_in"] == 300, "the session is asked, not the token"
        assert wire.sent == ["POST /call/mwt_obtain/", "GET /ctx/inbox/", "POST /call/mwt_obtain/"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("ask", [lambda one: one.fetch("inbox"), lambda one: one.call("send", text="hello")])
    async def test_a_function_that_waits_for_itself_is_told(self, site: Site, ask: Callable[[Client], Any]) -> None:
        async def renewed() -> str:
            await asyncio.sleep(0)
            return str(await ask(mizan))

        async with Client(BASE, transport=Wire(site.mizan(mwt_keys=KEYS)), token=renewed) as mizan:
            with pytest.raises(RuntimeError, match="mwt_obtain"):
                await mizan.fetch("inbox")

    @pytest.mark.asyncio
    async def test_another_identity_forgets_everything(self, site: Site) -> None:
        wire = Wire(site.mizan(mwt_keys=KEYS, clock=lambda: 1_800_000_000.0))
        async with Client(BASE, transport=wire, token=token("5")) as mizan:
            shown = mizan.subscribe("inbox")
            assert await anext(shown) == {"messages": ["for 5"]}
            mizan.identify(token("7"))
            assert await anext(shown) == {"messages": ["for 7"]}
            assert wire.revalidated == [False, False], "nothing of the former one is sent along"
            gate = wire.hold()
            asking = asyncio.create_task(mizan.fetch("inbox"))
            await wire.arrived.wait()
            mizan.identify(token("9"))
            gate.set()
            assert await asking == {"messages": ["for 9"]}, "what was asked as somebody else is dropped"
