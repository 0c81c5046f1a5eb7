"""Guards, permissions, context variables and limits, as clients meet them over HTTP."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_core import Context, Identity, build, client
from tests.http.site import KEYS, Clock, hosting, http, refusal, token

Tickets = Context("tickets")
MEMBERS = {("ada", 7)}

current_user: ContextVar[str] = ContextVar("current_user", default="nobody")


def by_header(request: Request) -> Identity | None:
    user = request.headers.get("x-user")
    return None if user is None else Identity(user)


class Naming:
    """Middleware that sets a context variable for each request, as many applications have it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = [value.decode() for name, value in scope["headers"] if name == b"x-user"]
        around = current_user.set(names[0])
        try:
            await self.app(scope, receive, send)
        finally:
            current_user.reset(around)


class TestGuardsWithArguments:
    def app(self) -> Any:
        self.members = set(MEMBERS)

        async def member(me: Identity, org_id: int) -> bool:
            return (me.user_id, org_id) in self.members

        @client(context=Tickets, auth=member, per="all")
        async def ticket_list(org_id: int, status: str = "open") -> list[str]:
            return [status]

        @client(affects=Tickets, auth=member)
        async def close(org_id: int) -> str:
            return "closed"

        @client(context="pages", auth=member, route="/org/{org_id}/")
        async def page(org_id: int) -> str:
            return "page"

        return hosting(Mizan(build([ticket_list, close, page]), authenticate=by_header))

    @pytest.mark.asyncio
    async def test_a_removed_member_is_refused_a_cached_bundle(self) -> None:
        async with http(self.app()) as web:
            url = "/api/mizan/ctx/tickets/?org_id=7"
            seen = [await web.get(url, headers={"x-user": "ada"}) for _ in range(2)]
            assert ["hit" in answer.headers["cache-status"] for answer in seen] == [False, True]
            assert seen[0].headers["cache-control"] == "private, no-cache"
            refusal(await web.get(url, headers={"x-user": "bo"}), 403, "forbidden")
            refusal(await web.get(url), 401, "unauthorized")
            self.members.clear()
            refusal(await web.get(url, headers={"x-user": "ada"}), 403, "forbidden")
            assert (await web.head(url, headers={"x-user": "ada"})).status_code == 403

    @pytest.mark.asyncio
    async def test_calls_forms_and_pages_are_asked_as_well(self) -> None:
        async with http(self.app(), x_user="ada") as web:
            for org_id, status in ((7, 200), (8, 403)):
                answers = [
                    await web.post("/api/mizan/call/", json={"fn": "close", "args": {"org_id": org_id}}),
                    await web.post("/api/mizan/call/close/", data={"org_id": str(org_id)}),
                    await web.post("/api/mizan/call/close/", json={"org_id": org_id}),
                    await web.get(f"/org/{org_id}/"),
                ]
                assert {answer.status_code for answer in answers} == {status}
                assert all("x-mizan-invalidate" not in answer.headers for answer in answers if status == 403)
            refusal(await web.post("/api/mizan/call/close/", data={"org_id": "x"}), 422, "invalid_input")

    @pytest.mark.asyncio
    async def test_guards_are_asked_for_refreshed_bundles(self) -> None:
        async with http(self.app(), x_user="ada") as web:
            call = {"fn": "close", "args": {"org_id": 7}}
            shown = {"x-mizan-mounted": "tickets?org_id=7"}
            answer = await web.post("/api/mizan/call/", json=call, headers=shown)
            assert [one["data"] for one in answer.json()["refreshed"]] == [{"ticket_list": ["open"]}]


@pytest.mark.asyncio
@pytest.mark.parametrize("declared", [{}, {"per": "user"}])
@pytest.mark.parametrize("carried", [False, True])
async def test_no_user_of_a_context_variable_is_served_to_another(declared: dict[str, Any], carried: bool) -> None:
    @client(context="front", **declared)
    def front() -> str:
        return current_user.get()

    carry = [current_user] if carried else []
    app = Naming(hosting(Mizan(build([front]), authenticate=lambda _: Identity("one"), carry=carry)))
    async with http(app) as web:
        shown = [
            (await web.get("/api/mizan/ctx/front/", headers={"x-user": user})).json()["front"] for user in ("ada", "bo")
        ]
        alone = await web.post("/api/mizan/call/front/", headers={"x-user": "bo"})
    assert shown == (["ada", "ada"] if carried else ["nobody", "nobody"])
    assert alone.json() == {"result": "bo"}


@pytest.mark.asyncio
async def test_permissions_of_a_token_are_those_of_the_session() -> None:
    @client(context="front", per="permissions")
    async def front(me: Identity) -> list[str]:
        return sorted(me.permissions or ())

    @client
    async def mine(request: Request) -> list[str]:
        return sorted(request.user.permissions)

    known = Identity("ada", permissions={"ship"})
    mizan = Mizan(
        build([front, mine]),
        mwt_keys=KEYS,
        clock=Clock(),
        authenticate=lambda _: known,
        permissions=lambda _: {"ship"},
    )
    sent = {"x-mizan-token": token("ada", permissions={"ship"})}
    async with http(hosting(mizan)) as web:
        answers = [await web.get("/api/mizan/ctx/front/", headers=headers) for headers in (sent, {})]
        asked = await web.post("/api/mizan/call/mine/", headers=sent)
    assert [answer.json() for answer in answers] == [{"front": ["ship"]}] * 2
    assert "hit" in answers[1].headers["cache-status"]
    assert asked.json() == {"result": ["ship"]}


@pytest.mark.asyncio
async def test_a_reader_that_takes_too_long_is_told_of_with_its_code() -> None:
    @client(context="front")
    async def front() -> str:
        await asyncio.Event().wait()
        return "news"

    async with http(hosting(Mizan(build([front]), reader_timeout=0.01))) as web:
        for url in ("/api/mizan/ctx/front/",):
            answer = await web.get(url)
            refusal(answer, 504, "timed_out")
            assert answer.headers["cache-control"] == "no-store"
        refusal(await web.post("/api/mizan/call/front/"), 504, "timed_out")


@pytest.mark.asyncio
async def test_readers_that_ask_each_other_over_http_are_named(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="left")
    async def left() -> str:
        async with http(app) as web:
            return (await web.get("/api/mizan/ctx/right/")).text

    @client(context="right")
    async def right() -> str:
        async with http(app) as web:
            answer = await web.get("/api/mizan/ctx/left/")
            return f"{answer.status_code}"

    app = Starlette(routes=[Mount("/api/mizan", Mizan(build([left, right])))])
    async with http(app) as web:
        answer = await web.get("/api/mizan/ctx/left/")
    assert "500" in answer.text
    assert "right and left would wait for each other" in caplog.text
