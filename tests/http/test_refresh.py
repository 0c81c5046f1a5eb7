"""A call that says what its page shows is answered with what it made stale of that (protocol, section 14)."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware

from mizan_asgi import Mizan
from mizan_core import Identity, build, client
from tests.http.site import KEYS, Clock, Site, hosting, http, logged, raw, refusal, token

CALL = "/api/mizan/call/update_profile/"
ARGS = {"user_id": 5, "name": "Eve"}
STALE = [{"context": "user", "params": {"user_id": 5}}]
RESULT = {"user_id": 5, "name": "Eve"}


async def called(app: Any, mounted: str | None, path: str = CALL, args: Any = ARGS, **headers: str) -> httpx.Response:
    if mounted is not None:
        headers["x_mizan_mounted"] = mounted
    async with http(app, **headers) as web:
        return await web.post(path, json=args)


class TestMountedHeader:
    @pytest.mark.asyncio
    async def test_without_the_mounted_header_nothing_is_refreshed(self, site: Site) -> None:
        answer = await called(site.app(), None)
        assert answer.content == (
            b'{"invalidate":[{"context":"user","params":{"user_id":5}}],"result":{"name":"Eve","user_id":5}}'
        )
        assert site.ran == {"update_profile": 1}

    @pytest.mark.asyncio
    async def test_an_empty_mounted_header_answers_an_empty_list(self, site: Site) -> None:
        answer = await called(site.app(), "")
        assert answer.json() == {"invalidate": STALE, "refreshed": [], "result": RESULT}
        assert site.ran == {"update_profile": 1}

    @pytest.mark.asyncio
    async def test_stale_mounted_bundles_come_along(self, site: Site) -> None:
        app = site.app()
        async with http(app) as web:
            for query in ("user_id=5", "page=2&user_id=5", "user_id=7"):
                await web.get(f"/api/mizan/ctx/user/?{query}")
            answer = await called(app, "user?page=2&user_id=5, inbox, user?user_id=7, user?user_id=5")
            assert answer.json() == {
                "invalidate": STALE,
                "refreshed": [
                    {
                        "context": "user",
                        "params": {"page": 2, "user_id": 5},
                        "data": {"user_badges": ["Eve-2"], "user_profile": RESULT},
                    },
                    {
                        "context": "user",
                        "params": {"user_id": 5},
                        "data": {"user_badges": ["Eve-1"], "user_profile": RESULT},
                    },
                ],
                "result": RESULT,
            }
            fetched = await web.get("/api/mizan/ctx/user/?page=2&user_id=5")
            assert fetched.headers["cache-status"] == "mizan; hit", "it went through the cache"
            assert b'"data":' + fetched.content in answer.content, "the very bytes"
        assert answer.headers["x-mizan-invalidate"] == "user;user_id=5"
        assert int(answer.headers["content-length"]) == len(answer.content)

    @pytest.mark.asyncio
    async def test_fresh_mounted_bundles_do_not_come_along(self, site: Site) -> None:
        answer = await called(site.app(), "user?user_id=7, inbox, orders?customer_id=5")
        assert answer.json() == {"invalidate": STALE, "refreshed": [], "result": RESULT}
        assert site.ran == {"update_profile": 1}


class TestRefreshingAnswers:
    @pytest.mark.asyncio
    async def test_a_call_by_the_body_is_answered_alike(self, site: Site) -> None:
        args = {"fn": "update_profile", "args": ARGS}
        answer = await called(site.app(), "user?user_id=5", "/api/mizan/call/", args)
        assert [one["params"] for one in answer.json()["refreshed"]] == [{"user_id": 5}]

    @pytest.mark.asyncio
    async def test_a_call_that_affects_nothing_refreshes_nothing(self, site: Site) -> None:
        for path, args in (("echo/", {"values": []}), ("user_badges/", {"user_id": 5})):
            answer = await called(site.app(), "user?user_id=5", f"/api/mizan/call/{path}", args)
            assert answer.json().keys() == {"refreshed", "result"}
            assert answer.json()["refreshed"] == []

    @pytest.mark.asyncio
    async def test_a_call_that_failed_has_only_its_problem(self, site: Site) -> None:
        answer = await called(site.app(), "user?user_id=5", "/api/mizan/call/explode/", {"user_id": 5})
        assert "refreshed" not in refusal(answer, 500, "internal_error")
        answer = await called(site.app(), "user?user_id=5", CALL, {"user_id": "x"})
        assert "refreshed" not in refusal(answer, 422, "invalid_input")
        assert site.ran == {"explode": 1}

    @pytest.mark.asyncio
    async def test_the_order_is_mutation_purge_readers(self, site: Site) -> None:
        """A reader that is asked before the purge would find the old entry."""
        app = site.app()
        for name in ("Eve", "Eva"):
            answer = await called(app, "user?user_id=5", args={"user_id": 5, "name": name})
            (sent,) = answer.json()["refreshed"]
            assert sent["data"]["user_profile"]["name"] == name


class TestRefusals:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("line", [b"user?user_id", b"user?user_id=%ff", b"\xc3\xa4", b"a," * 2049])
    async def test_an_invalid_mounted_header_is_refused_before_the_call(self, site: Site, line: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"x-mizan-mounted", line)]
        answer = await raw(site.app(), "POST", CALL, headers=headers, chunks=[b'{"user_id":5}'])
        refusal(answer, 400, "bad_request")
        assert not site.ran

    @pytest.mark.asyncio
    async def test_a_header_that_comes_twice_is_refused(self, site: Site) -> None:
        headers = [(b"content-type", b"application/json"), *[(b"x-mizan-mounted", b"inbox")] * 2]
        refusal(await raw(site.app(), "POST", CALL, headers=headers, chunks=[b'{"user_id":5}']), 400, "bad_request")
        assert not site.ran


class TestCaller:
    @pytest.mark.asyncio
    async def test_guards_decide_which_bundles_are_refreshed(self) -> None:
        @client(context="team", auth="staff")
        async def secrets() -> str:
            return "secret"

        @client(context="open")
        async def public() -> str:
            return "open"

        @client(affects=["team", "open"])
        async def touch() -> None: ...

        app = hosting(Mizan(build([secrets, public, touch]), mwt_keys=KEYS, clock=Clock()))
        for who, seen in ((None, {"open"}), (token("1"), {"open"}), (token("1", staff=True), {"team", "open"})):
            headers = {} if who is None else {"x_mizan_token": who}
            answer = await called(app, "team, open", "/api/mizan/call/touch/", {}, **headers)
            assert {one["context"] for one in answer.json()["refreshed"]} == seen

    @pytest.mark.asyncio
    async def test_a_refresh_identifies_the_caller_anew(self) -> None:
        @client(context="inbox")
        async def messages(me: Identity) -> str:
            return f"for {me.user_id}"

        @client(context="team", auth=True)
        async def team(me: Identity) -> str:
            return f"of {me.user_id}"

        @client(affects=["inbox", "team"])
        async def become(request, user_id: str | None) -> None:
            request.session["user_id"] = user_id

        def authenticate(request: Any) -> Identity | None:
            user_id = request.session.get("user_id")
            return None if user_id is None else Identity(user_id)

        mizan = Mizan(build([messages, team, become]), authenticate=authenticate)
        app = hosting(mizan, Middleware(SessionMiddleware, secret_key="a key of the tests"))
        async with http(app, x_mizan_mounted="inbox, team") as web:
            for user_id in ("ada", "bo", None):
                answer = await web.post("/api/mizan/call/become/", json={"user_id": user_id})
                sent = {one["context"]: one["data"] for one in answer.json()["refreshed"]}
                expected = {"inbox": {"messages": f"for {user_id}"}}
                if user_id is not None:
                    expected["team"] = {"team": f"of {user_id}"}
                assert sent == expected

    @pytest.mark.asyncio
    async def test_a_refreshed_shared_reader_of_the_identity_is_noticed(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        @client(context="page")
        async def nosy(request) -> str:
            return str(request.headers.get("cookie"))

        @client(affects="page")
        async def touch() -> None: ...

        app = hosting(Mizan(build([nosy, touch])))
        answer = await called(app, "page", "/api/mizan/call/touch/", {}, cookie="who=ada")
        assert answer.json()["refreshed"][0]["data"] == {"nosy": "who=ada"}
        assert "looked at who asks" in logged(caplog)[0].message
        async with http(app) as web:
            assert (await web.get("/api/mizan/ctx/page/")).json() == {"nosy": "None"}, "nothing of it was kept"


class TestRequest:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("at", ["/api/mizan", "/elsewhere/api", ""])
    async def test_refreshed_readers_see_the_request_of_their_bundle(self, at: str) -> None:
        seen: list[Any] = []

        @client(context="page", cache=False)
        async def look(request, number: int, more: int = 2) -> int:
            parts = (request.method, str(request.url), request.scope["raw_path"], await request.body())
            seen.append((*parts, sorted(request.headers.items())))
            return number

        @client(affects="page")
        async def touch() -> None: ...

        mizan = Mizan(build([look, touch]))
        app, base = (hosting(mizan, at=at), at) if at else (mizan, mizan.base_url)
        async with http(app, cookie="a=b") as web:
            await web.post(f"{base}/call/touch/", json={}, headers={"x-mizan-mounted": "page?more=2&number=07"})
            await web.get(f"{base}/ctx/page/?number=7")
        assert seen[0] == seen[1]

    @pytest.mark.asyncio
    async def test_a_slow_refresh_delays_no_purge_and_no_reader(self) -> None:
        started, gate = asyncio.Event(), asyncio.Event()
        state = {"value": 1, "slow": True}

        @client(context="page")
        async def value() -> int:
            seen = state["value"]
            if state["slow"]:
                started.set()
                await gate.wait()
            return seen

        @client(affects="page")
        async def change() -> None:
            state["value"] += 1

        app = hosting(Mizan(build([value, change])))
        calling = asyncio.create_task(called(app, "page", "/api/mizan/call/change/", {}))
        await started.wait()
        state["slow"] = False
        await called(app, None, "/api/mizan/call/change/", {})
        async with http(app) as web:
            assert (await web.get("/api/mizan/ctx/page/")).json() == {"value": 3}
            gate.set()
            await calling
            assert (await web.get("/api/mizan/ctx/page/")).json() == {"value": 3}

    @pytest.mark.asyncio
    async def test_a_cancelled_request_cancels_only_the_refresh(self) -> None:
        began: list[str] = []
        state = {"value": 1}
        running, reading, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @client(context="page")
        async def value() -> int:
            began.append("value")
            reading.set()
            await gate.wait()
            return state["value"]

        @client(context="other")
        async def other() -> int:
            began.append("other")
            return state["value"]

        @client(affects=["page", "other"])
        async def change() -> None:
            running.set()
            await gate.wait()
            state["value"] += 1

        mizan = Mizan(build([value, other, change]))
        app = hosting(mizan)
        calling = asyncio.create_task(called(app, "page, other", "/api/mizan/call/change/", {}))
        await running.wait()
        calling.cancel()
        await asyncio.wait({calling})
        gate.set()
        while mizan.engine.health().running:
            await asyncio.sleep(0)
        assert (state["value"], began) == (2, [])
        gate.clear()
        running.clear()
        calling = asyncio.create_task(called(app, "page, other", "/api/mizan/call/change/", {}))
        await running.wait()
        gate.set()
        await asyncio.sleep(0)
        gate.clear()
        await reading.wait()
        calling.cancel()
        await asyncio.wait({calling})
        assert calling.cancelled()
        assert (state["value"], began) == (3, ["value"])
        gate.set()
        async with http(app) as web:
            assert (await web.get("/api/mizan/ctx/page/")).json() == {"value": 3}
