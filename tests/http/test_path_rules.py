"""Bundles that the host forbids by path are not sent along with a call's answer (protocol, section 14)."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from pydantic import AfterValidator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.servers import lifespan
from tests.http.site import hosting, http, refusal

FORBIDDEN = "/api/mizan/ctx/admin/"
TOUCH = "/api/mizan/call/touch/"

ran: list[str] = []


@client(context="admin")
async def admin(number: int = 0) -> int:
    ran.append("admin")
    return number


@client(context="news", cache=False)
async def news(request, page: int = 1) -> str:
    ran.append("news")
    return f"{request.method} {request.url.path}?{request.url.query}"


@client(affects=["admin", "news"])
async def touch() -> None: ...


def mizan() -> Mizan:
    ran.clear()
    return Mizan(build([admin, news, touch]))


async def sent_along(app: Any, mounted: str = "admin, news?page=2", at: str = TOUCH) -> dict[str, Any]:
    async with http(app, x_mizan_mounted=mounted) as web:
        answer = await web.post(at, json={})
    assert answer.status_code == 200
    return {one["context"]: one["data"] for one in answer.json()["refreshed"]}


class Rule:
    """A middleware in plain ASGI that forbids a path, in one way or another."""

    def __init__(self, app: Any, *, how: str) -> None:
        self.app = app
        self.how = how

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_forbidden = scope["type"] == "http" and scope["path"] == FORBIDDEN and scope["method"] == "GET"
        if not is_forbidden:
            await self.app(scope, receive, send)
        elif self.how == "raises":
            raise RuntimeError("No.")
        elif self.how == "leads elsewhere":
            await self.app(scope | {"path": "/api/mizan/ctx/news/", "raw_path": None}, receive, send)
        elif self.how == "changes the answer":
            await self.app(scope, receive, lambda message: send({**message, "status": 403}))
        else:
            await PlainTextResponse("No.", int(self.how))(scope, receive, send)


async def no_admin(request: Any, call_next: Any) -> Any:
    if request.url.path == FORBIDDEN:
        return PlainTextResponse("No.", 403)
    return await call_next(request)


async def forbidden(request: Any) -> PlainTextResponse:
    return PlainTextResponse("No.", 403)


def before_the_mount() -> Starlette:
    return Starlette(routes=[Route(FORBIDDEN, forbidden), Mount("/api/mizan", mizan())])


HOSTS: dict[str, Callable[[], Any]] = {
    **{
        f"middleware: {how}": lambda how=how: hosting(mizan(), Middleware(Rule, how=how))
        for how in ("403", "404", "200", "204", "307", "raises", "leads elsewhere", "changes the answer")
    },
    "middleware of Starlette's": lambda: hosting(mizan(), Middleware(BaseHTTPMiddleware, dispatch=no_admin)),
    "a route before the mount": before_the_mount,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
async def test_bundles_that_the_host_forbids_are_not_sent_along(host: Callable[[], Any]) -> None:
    assert await sent_along(host()) == {"news": {"news": "GET /api/mizan/ctx/news/?page=2"}}
    assert ran == ["news"]


@pytest.mark.asyncio
async def test_an_allowed_bundle_is_computed_once_then_cached() -> None:
    app = hosting(mizan(), Middleware(Rule, how="403"), at="/m")
    for _ in range(2):
        assert await sent_along(app, "admin, admin?number=2", "/m/call/touch") == {"admin": {"admin": 2}}
    assert ran == ["admin"] * 4
    async with http(app) as web:
        assert (await web.get("/m/ctx/admin/?number=2")).headers["cache-status"] == "mizan; hit"


@pytest.mark.asyncio
async def test_the_lifespans_application_is_asked_with_its_middleware() -> None:
    ours = mizan()
    outer, inner = FastAPI(lifespan=ours.lifespan), FastAPI()
    outer.add_middleware(Rule, how="403")
    inner.mount("/mizan", ours)
    outer.mount("/api", inner)
    async with lifespan(outer):
        assert sorted(await sent_along(outer)) == ["news"]


@pytest.mark.asyncio
async def test_without_a_known_host_nothing_is_sent_along() -> None:
    outer, inner = FastAPI(), FastAPI()
    inner.mount("/mizan", mizan())
    outer.mount("/api", inner)
    assert await sent_along(outer) == {}


@pytest.mark.asyncio
async def test_without_a_host_no_path_rule_is_asked() -> None:
    assert sorted(await sent_along(mizan())) == ["admin", "news"]


@pytest.mark.asyncio
async def test_path_rules_are_asked_with_state_and_root_path() -> None:
    app = hosting(mizan(), Middleware(Rule, how="403"))

    async def served(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        changed = {"state": {"started": True}, "root_path": "/proxy", "path": f"/proxy{path}"}
        await app(scope | changed | {"raw_path": f"/proxy{path}".encode()}, receive, send)

    assert sorted(await sent_along(served)) == ["admin", "news"], "the rule is about another path here"


@pytest.mark.asyncio
async def test_context_variables_of_the_question_stay_out_of_the_call() -> None:
    current: ContextVar[str] = ContextVar("current", default="")
    seen: list[str] = []

    async def remember(scope: Any, receive: Any, send: Any) -> None:
        current.set(scope["path"])
        if scope["path"] != TOUCH:
            await receive()
            listening = asyncio.create_task(receive())
            await app(scope, receive, send)
            assert not listening.done(), "the client is still there"
            listening.cancel()
        else:
            await app(scope, receive, send)
            seen.append(current.get())

    app = hosting(ours := mizan())
    async with ours.lifespan(remember):
        assert sorted(await sent_along(remember)) == ["admin", "news"]
    assert seen == [TOUCH]


@pytest.mark.asyncio
async def test_without_refresh_the_header_is_not_read() -> None:
    app = hosting(Mizan(build([admin, news, touch]), refresh=False))
    async with http(app, x_mizan_mounted="?, admin") as web:
        assert (await web.post(TOUCH, json={})).json() == {"invalidate": ["admin", "news"], "result": None}


@pytest.mark.asyncio
async def test_of_a_refused_call_nothing_of_the_header_is_read() -> None:
    looked_at: list[int] = []

    @client(context="noted")
    async def noted(number: Annotated[int, AfterValidator(lambda one: looked_at.append(one) or one)]) -> int:
        return number

    @client(affects="noted", auth=True)
    async def change() -> None: ...

    @client
    async def nothing() -> None: ...

    app = hosting(Mizan(build([noted, change, nothing])))
    async with http(app, x_mizan_mounted=",".join(f"noted?number={number}" for number in range(200))) as web:
        refusal(await web.post("/api/mizan/call/change/", json={}), 401, "unauthorized")
        refusal(await web.post("/api/mizan/call/", json={"fn": "change"}), 401, "unauthorized")
        assert (await web.post("/api/mizan/call/nothing/", json={})).json() == {"refreshed": [], "result": None}
    assert looked_at == []


@pytest.mark.asyncio
async def test_a_blocking_reader_does_not_delay_the_answer() -> None:
    gate = threading.Event()

    @client(context="slow")
    def slow() -> int:
        gate.wait()
        return 1

    @client(affects="slow")
    async def change() -> None: ...

    try:
        app = hosting(Mizan(build([slow, change])))
        assert await sent_along(app, "slow", "/api/mizan/call/change/") == {}
    finally:
        gate.set()
