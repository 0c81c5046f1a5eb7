"""The client in Python, against Mizan in the same process and against a server on a socket."""

import asyncio
import importlib
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio

from mizan_asgi import Mizan
from mizan_asgi.client import MAXIMUM_KEPT, Client, Subscription
from mizan_core import CallError, Identity, Invalidation, InvalidInput, NotFound, Unauthorized, build, client
from tests.http.servers import listening, uvicorn_process
from tests.http.site import KEYS, Site, token

BASE = "http://site.test/api/mizan"
DEFAULTS = {"user": {"page": 1}}
ADA = {"user_badges": ["Ada-1"], "user_profile": {"name": "Ada", "user_id": 5}}


class Wire(httpx.AsyncBaseTransport):
    """The way to an app in this process. It writes down what was sent and answered, and holds answers back."""

    def __init__(self, app: Any) -> None:
        self.inner = httpx.ASGITransport(app)
        self.sent: list[str] = []
        self.answered: list[int] = []
        self.policies: list[str] = []
        self.revalidated: list[bool] = []
        self.mounted: list[str | None] = []
        self.gates: list[asyncio.Event] = []
        self.way: asyncio.Event | None = None
        self.call_gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(f"{request.method} {request.url.raw_path.decode().removeprefix('/api/mizan')}")
        self.revalidated.append("if-none-match" in request.headers)
        gates = list(self.gates)
        if request.method == "GET" and self.way is not None:
            await self.way.wait()
        call_gate = self.call_gate
        response = await self.inner.handle_async_request(request)
        await response.aread()
        self.answered.append(response.status_code)
        self.policies.append(response.headers["cache-control"])
        self.arrived.set()
        if request.method == "GET":
            for gate in gates:
                await gate.wait()
        else:
            self.mounted.append(request.headers.get("x-mizan-mounted"))
            if call_gate is not None:
                await call_gate.wait()
        return response

    def hold(self) -> asyncio.Event:
        """Answers to GET that are asked for from now on wait for this."""
        gate = asyncio.Event()
        self.gates = [gate]
        self.arrived.clear()
        return gate

    def hold_calls(self) -> asyncio.Event:
        """Answers to calls that are made from now on wait for this."""
        self.call_gate = asyncio.Event()
        self.arrived.clear()
        return self.call_gate


@pytest.fixture
def wire(site: Site) -> Wire:
    return Wire(site.mizan(cache=None))


@pytest_asyncio.fixture
async def mizan(wire: Wire) -> AsyncIterator[Client]:
    async with Client(BASE, transport=wire, defaults=DEFAULTS) as one:
        yield one


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    """A client of something in between, such as a proxy, that answers what it likes."""
    return Client(BASE, transport=httpx.MockTransport(answer))


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
    async def test_a_request_that_nobody_waits_for_any_more_is_ended(self, mizan: Client, wire: Wire) -> None:
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
    async def test_what_is_known_is_revalidated(self, mizan: Client, wire: Wire) -> None:
        assert await mizan.fetch("user", user_id=5) == await mizan.fetch("user", user_id=5) == ADA
        assert wire.answered == [200, 304]
        await mizan.call("update_profile", user_id=5, name="Eve")
        assert (await mizan.fetch("user", user_id=5))["user_profile"]["name"] == "Eve"
        assert wire.answered == [200, 304, 200, 200]

    @pytest.mark.asyncio
    async def test_what_is_known_is_bounded(self, mizan: Client, wire: Wire) -> None:
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


class TestCalling:
    @pytest.mark.asyncio
    async def test_a_call_is_a_post_to_its_name_and_gives_the_result(self, mizan: Client, wire: Wire) -> None:
        assert await mizan.call("update_profile", {"user_id": 5}, name="Eve") == {"user_id": 5, "name": "Eve"}
        assert await mizan.call("echo", values=["a", "ä"]) == ["a", "ä"]
        assert wire.sent == ["POST /call/update_profile/", "POST /call/echo/"]

    @pytest.mark.asyncio
    async def test_a_refusal_is_the_error_that_the_server_told_of(self, mizan: Client) -> None:
        with pytest.raises(InvalidInput) as refused:
            await mizan.call("update_profile", user_id="x")
        assert (refused.value.status, refused.value.code) == (422, "invalid_input")
        assert [one["loc"] for one in refused.value.errors] == [["args", "user_id"]]
        with pytest.raises(NotFound, match="no function of this name"):
            await mizan.call("nothing")
        with pytest.raises(Unauthorized):
            await mizan.fetch("team")

    @pytest.mark.asyncio
    async def test_an_answer_of_somebody_else_is_an_error_too(self) -> None:
        for status, body in ((502, b"<h1>Bad gateway</h1>"), (302, b""), (200, b"<h1>Sign in</h1>"), (200, b"[]")):
            async with answering(lambda _, status=status, body=body: httpx.Response(status, content=body)) as mizan:
                for asking in (mizan.fetch("user", user_id=5), mizan.call("echo")):
                    with pytest.raises(CallError, match=f"answered {status}") as failed:
                        await asking
                    assert (failed.value.code, failed.value.status) == ("http_error", 502)

    @pytest.mark.asyncio
    async def test_a_code_of_ones_own_comes_through(self) -> None:
        @client
        async def refuse() -> None:
            raise CallError("Too early.", status=425, code="too_early")

        async with Client(BASE, transport=httpx.ASGITransport(Mizan(build([refuse])))) as mizan:
            with pytest.raises(CallError, match="Too early") as refused:
                await mizan.call("refuse")
        assert (refused.value.status, refused.value.code) == (425, "too_early")

    @pytest.mark.asyncio
    async def test_a_caller_that_is_cancelled_leaves_the_call_going_on(self, mizan: Client, site: Site) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            assert await anext(shown) == ADA
            calling = asyncio.create_task(mizan.call("update_profile", user_id=5, name="Eve"))
            await asyncio.sleep(0)
            calling.cancel()
            assert (await anext(shown))["user_profile"]["name"] == "Eve"
        assert calling.cancelled()

    @pytest.mark.asyncio
    async def test_after_an_answer_that_was_lost_everything_is_fetched_again(self, site: Site) -> None:
        inner = httpx.ASGITransport(site.mizan(cache=None))
        lost: type[httpx.TransportError] = httpx.ReadTimeout

        class Losing(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "POST":
                    if lost is not httpx.ConnectError:
                        await inner.handle_async_request(request)
                    raise lost("gone", request=request)
                return await inner.handle_async_request(request)

        async with Client(BASE, transport=Losing()) as mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            assert await anext(shown) == ADA
            with pytest.raises(httpx.ReadTimeout):
                await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(shown))["user_profile"]["name"] == "Eve"
            lost = httpx.ConnectError
            site.ran.clear()
            with pytest.raises(httpx.ConnectError):
                await mizan.call("update_profile", user_id=5, name="Ada")
            assert await never(shown)
        assert not site.ran

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("status", "stale"), [(502, True), (200, True), (302, True), (404, False)])
    async def test_after_an_answer_of_a_proxy_everything_is_fetched_again(
        self, site: Site, status: int, stale: bool
    ) -> None:
        inner = httpx.ASGITransport(site.mizan(cache=None))

        class Proxy(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                answer = await inner.handle_async_request(request)
                return answer if request.method == "GET" else httpx.Response(status, text="<h1>Bad gateway</h1>")

        async with Client(BASE, transport=Proxy()) as mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            assert await anext(shown) == ADA
            with pytest.raises(CallError) as failed:
                await mizan.call("update_profile", user_id=5, name="Eve")
            assert failed.value.code == "http_error"
            if stale:
                assert (await anext(shown))["user_profile"]["name"] == "Eve"
            else:
                await never(shown)

    @pytest.mark.asyncio
    async def test_a_null_sets_apart_bundles_where_it_is_known(self, wire: Wire) -> None:
        mizan = Client(BASE, transport=wire, defaults={"user": {"page": 1, "team_id": None}})
        async with mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            for entry, sent in (({"team_id": 3}, 1), ({"team_id": None}, 2), ({"page": None}, 2)):
                mizan.invalidate(Invalidation("user", entry))
                await never(shown)
                assert len(wire.sent) == sent


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
    async def test_a_function_is_asked_once_by_all_who_wait_for_it(self, site: Site) -> None:
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
            leaving.cancel()  # which does not take the token from the others
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


class TestSubscribing:
    @pytest.mark.asyncio
    async def test_who_shows_a_bundle_sees_what_calls_made_of_it(self, mizan: Client, wire: Wire) -> None:
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
    async def test_an_answer_that_is_overtaken_on_its_last_step_is_not_shown_either(
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
    async def test_a_failure_makes_stale_what_its_header_names(self, mizan: Client) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            with pytest.raises(CallError) as failed:
                await mizan.call("explode", user_id=5)
            assert (failed.value.status, failed.value.code) == (500, "internal_error")
            assert (await anext(shown))["user_profile"]["name"] == "half done"

    @pytest.mark.asyncio
    async def test_what_names_nothing_that_can_be_read_makes_everything_stale(self, site: Site) -> None:
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
    async def test_a_later_subscription_begins_with_what_is_known(self, mizan: Client, wire: Wire) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            async with aclosing(mizan.subscribe("user", user_id=5)) as again:
                assert await anext(again) == ADA
        assert len(wire.sent) == 1

    @pytest.mark.asyncio
    async def test_once_nobody_has_subscribed_the_next_who_does_gets_it_anew(
        self, mizan: Client, wire: Wire, site: Site
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
        assert len(wire.sent) == 2

    @pytest.mark.asyncio
    async def test_a_fetch_that_brings_something_new_is_seen_by_who_shows_it(
        self, mizan: Client, wire: Wire, site: Site
    ) -> None:
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
    async def test_ending_it_ends_the_step_that_somebody_waits_for(self, mizan: Client, wire: Wire) -> None:
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
    async def test_stale_is_what_canonical_texts_do_not_set_apart(
        self, mizan: Client, wire: Wire, entry: Invalidation, stale: bool
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            mizan.invalidate(entry)
            await never(shown)
        assert len(wire.sent) == 1 + stale


class TestRefreshing:
    """What a call made stale comes with its answer, and is taken only where nobody can know anything newer."""

    @pytest.mark.asyncio
    async def test_a_call_names_what_is_subscribed_to_and_nothing_else(self, mizan: Client, wire: Wire) -> None:
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
    async def test_it_names_no_more_than_a_header_has_room_for(self, mizan: Client, wire: Wire) -> None:
        shown = [mizan.subscribe("user", user_id=10**100 + number) for number in range(100)]
        await mizan.call("echo", values=[])
        (line,) = wire.mounted
        assert line is not None
        assert 3900 < len(line) <= 4096
        for one in shown:
            await one.aclose()

    @pytest.mark.asyncio
    async def test_what_came_along_is_shown_without_asking_and_later_revalidated(
        self, mizan: Client, wire: Wire
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(shown))["user_profile"]["name"] == "Eve"
            await mizan.fetch("user", user_id=5)
        assert wire.sent == ["GET /ctx/user/?user_id=5", "POST /call/update_profile/", "GET /ctx/user/?user_id=5"]
        assert wire.answered[-1] == 304

    @pytest.mark.asyncio
    async def test_it_is_recognised_by_canonical_texts_whatever_the_client_knows_of_defaults(self, wire: Wire) -> None:
        async with Client(BASE, transport=wire) as mizan, aclosing(mizan.subscribe("user", user_id="5", page=1)) as one:
            await anext(one)
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(one))["user_profile"]["name"] == "Eve"
        assert wire.sent == ["GET /ctx/user/?page=1&user_id=5", "POST /call/update_profile/"]

    @pytest.mark.asyncio
    async def test_what_did_not_come_along_is_fetched(self, mizan: Client, wire: Wire) -> None:
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
    async def test_what_was_asked_for_before_the_call_and_answered_before_it_is_not_replaced_either(
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
    async def test_what_something_else_became_of_since_the_call_was_sent_is_fetched(
        self, mizan: Client, wire: Wire, site: Site, event: str
    ) -> None:
        async with aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            release = wire.hold_calls()
            calling = asyncio.create_task(mizan.call("update_profile", user_id=5, name="Eve"))
            await wire.arrived.wait()
            site.names[5] = "newer"  # by somebody else, after the call's answer was made
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
    async def test_of_two_calls_at_once_the_one_answered_later_is_not_believed(self, mizan: Client, wire: Wire) -> None:
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
    async def test_what_cannot_be_read_is_fetched(self, site: Site) -> None:
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


class TestClosing:
    @pytest.mark.asyncio
    async def test_closing_ends_everything(self, wire: Wire) -> None:
        before = asyncio.all_tasks()
        mizan = Client(BASE, transport=wire)
        shown = mizan.subscribe("user", user_id=5)
        await anext(shown)
        wire.hold()
        step, asking = asyncio.create_task(anext(shown)), asyncio.create_task(mizan.fetch("user", user_id=7))
        again = asyncio.create_task(mizan.fetch("user", user_id=5))
        calling = asyncio.create_task(mizan.call("update_profile", user_id=9, name="Eve"))
        await asyncio.sleep(0)
        await mizan.aclose()
        with pytest.raises(StopAsyncIteration):
            await step
        for one in (asking, again, calling):
            with pytest.raises(RuntimeError, match="closed"):
                await one
        assert asyncio.all_tasks() <= before


class TestSockets:
    @pytest.mark.asyncio
    async def test_it_works_over_a_socket(self, site: Site) -> None:
        async with listening(site.mizan()) as (host, port), Client(f"http://{host}:{port}/api/mizan") as mizan:
            shown = mizan.subscribe("user", user_id=5)
            assert await anext(shown) == ADA
            await mizan.call("update_profile", user_id=5, name="Eve")
            assert (await anext(shown))["user_profile"]["name"] == "Eve"

    @pytest.mark.asyncio
    async def test_where_nobody_listens_it_says_so(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}/api/mizan") as mizan:
            for asking in (mizan.fetch("user", user_id=5), mizan.call("echo"), anext(mizan.subscribe("user"))):
                with pytest.raises(httpx.ConnectError):
                    await asking

    @pytest.mark.asyncio
    async def test_a_server_of_its_own_process_that_goes_away_is_an_error_of_httpx(self) -> None:
        with uvicorn_process("tests.http.served:host") as served:
            async with Client(f"{served.url}/api/mizan", timeout=50) as mizan:
                assert await mizan.fetch("user", user_id=5) == ADA
                with pytest.raises(CallError) as failed:
                    await mizan.call("explode", user_id=5)
                assert failed.value.status == 500
                assert (await mizan.fetch("user", user_id=5))["user_profile"]["name"] == "half done"
                served.process.terminate()
                await asyncio.to_thread(served.process.wait, 50)
                with pytest.raises(httpx.TransportError):
                    await mizan.fetch("user", user_id=5)


class TestImporting:
    def test_without_httpx_the_package_works_and_the_client_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = "import sys; sys.modules['httpx'] = None; import mizan_asgi; print(mizan_asgi.Mizan.__name__)"
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["Mizan"]
        monkeypatch.setitem(sys.modules, "httpx", None)
        monkeypatch.delitem(sys.modules, "mizan_asgi.client")
        with pytest.raises(ImportError, match=r"pip install 'mizan-asgi\[client\]'"):
            importlib.import_module("mizan_asgi.client")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def never(shown: Subscription) -> bool:
    """Whether nothing more is shown, as far as that can be seen in a while."""
    step = asyncio.create_task(anext(shown))
    await asyncio.wait({step}, timeout=0.1)
    step.cancel()
    return not step.done() or step.cancelled()
