"""What `Client.call` sends, answers and raises."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from mizan_asgi import Mizan
from mizan_asgi.client import Client
from mizan_core import CallError, File, Invalidation, InvalidInput, NotFound, Unauthorized, build, client
from tests.client.transport import ADA, BASE, Wire, never
from tests.http.site import Site


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    """A client of something in between, such as a proxy, that answers what it likes."""
    return Client(BASE, transport=httpx.MockTransport(answer))


class TestCalling:
    @pytest.mark.asyncio
    async def test_a_call_is_a_post_to_its_name_and_gives_the_result(self, mizan: Client, wire: Wire) -> None:
        assert await mizan.call("update_profile", {"user_id": 5}, name="Eve") == {"user_id": 5, "name": "Eve"}
        assert await mizan.call("echo", values=["a", "ä"]) == ["a", "ä"]
        assert wire.sent == ["POST /call/update_profile/", "POST /call/echo/"]

    @pytest.mark.asyncio
    async def test_files_are_sent_beside_the_other_arguments(self, site: Site) -> None:
        @client(affects="user")
        async def upload(user_id: int, picture: File, more: list[File], crop: dict[str, int] | None) -> list[Any]:
            return [(one.name, one.content_type, await one.read()) for one in (picture, *more)] + [crop]

        wire = Wire(Mizan(build([*site.functions, upload])))
        async with Client(BASE, transport=wire) as mizan, aclosing(mizan.subscribe("user", user_id=5)) as user:
            await anext(user)
            picture, other = File.of(b"1", name="a.png"), File.of(b"2")
            for _ in range(2):  # a file may be sent again
                sent = await mizan.call("upload", user_id=5, picture=picture, more=[picture, other], crop={"x": 1})
                assert sent == [
                    *[["a.png", "image/png", "1"]] * 2,
                    ["file", "application/octet-stream", "2"],
                    {"x": 1},
                ]
            assert not picture.file.closed
            assert await mizan.call("echo", values=[]) == []

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
    async def test_an_answer_of_another_server_is_an_error(self) -> None:
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
    async def test_after_a_lost_answer_everything_is_fetched_again(self, site: Site) -> None:
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
    async def test_a_null_narrows_where_it_is_known(self, wire: Wire) -> None:
        mizan = Client(BASE, transport=wire, defaults={"user": {"page": 1, "team_id": None}})
        async with mizan, aclosing(mizan.subscribe("user", user_id=5)) as shown:
            await anext(shown)
            for entry, sent in (({"team_id": 3}, 1), ({"team_id": None}, 2), ({"page": None}, 2)):
                mizan.invalidate(Invalidation("user", entry))
                await never(shown)
                assert len(wire.sent) == sent
