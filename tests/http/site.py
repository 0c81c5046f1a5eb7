"""A small site that the tests of `mizan_asgi` share, and functions that send requests to it."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Mount

from mizan_asgi import Mizan
from mizan_core import Context, Graph, Identity, build, client, issue_mwt

KEYS = {"k1": "a-secret-of-the-tests-and-of-nothing-else"}
PUBLIC = "public, max-age=0, must-revalidate"
# As it is where a cache in front is known (`edge=`).
KEPT = "public, max-age=0, must-revalidate, s-maxage=31536000"
VARY = "Authorization, Cookie, X-Mizan-Token"
HOST = "http://site.test"


class Clock:
    """Seconds since 1970 that pass when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Profile(BaseModel):
    user_id: int
    name: str


class Site:
    """Data, the functions over it, and how often each of them ran."""

    def __init__(self) -> None:
        self.names = {5: "Ada", 7: "Bo"}
        self.ran: Counter[str] = Counter()
        self.functions = [*self._readers(), *self._mutations(), *self._views()]

    @property
    def graph(self) -> Graph:
        return build(self.functions)

    def mizan(self, **options: Any) -> Mizan:
        return Mizan(self.graph, **options)

    def app(self, **options: Any) -> Starlette:
        return hosting(self.mizan(**options))

    def _readers(self) -> list[Callable[..., Any]]:
        @client(context="user")
        async def user_profile(user_id: int) -> Profile:
            self.ran["user_profile"] += 1
            return Profile(user_id=user_id, name=self.names.get(user_id, ""))

        @client(context="user")
        def user_badges(user_id: int, page: int = 1) -> list[str]:
            self.ran["user_badges"] += 1
            return [f"{self.names.get(user_id, '')}-{page}"]

        @client(context="orders", cache=60)
        async def orders(customer_id: int, tags: tuple[str, ...] = ()) -> list[str]:
            self.ran["orders"] += 1
            return [f"{customer_id}:{tag}" for tag in tags]

        @client(context="inbox")
        async def messages(me: Identity) -> list[str]:
            self.ran["messages"] += 1
            return [f"for {me.user_id}"]

        @client(context="team", auth=True, per="all")
        async def team() -> list[str]:
            self.ran["team"] += 1
            return ["Ada", "Bo"]

        @client(context="report", auth=True, per="permissions")
        async def report() -> str:
            self.ran["report"] += 1
            return "secret"

        @client(context="weather", cache=False)
        async def weather() -> str:
            self.ran["weather"] += 1
            return "rain"

        return [user_profile, user_badges, orders, messages, team, report, weather]

    def _mutations(self) -> list[Callable[..., Any]]:
        user = Context("user")

        @client(affects=user)
        async def update_profile(user_id: int, name: str = "") -> Profile:
            self.ran["update_profile"] += 1
            self.names[user_id] = name
            return Profile(user_id=user_id, name=name)

        @client(affects=user)
        async def explode(user_id: int) -> None:
            self.ran["explode"] += 1
            self.names[user_id] = "half done"
            raise RuntimeError("the password is hunter2")

        @client(affects=user)
        async def misfit(user_id: int) -> Profile:
            self.ran["misfit"] += 1
            self.names[user_id] = "unserialisable"
            return {"user_id": object()}  # type: ignore[return-value]  # what a function may get wrong

        @client(affects="inbox", auth=True)
        async def send(text: str) -> int:
            self.ran["send"] += 1
            return len(text)

        @client
        async def echo(values: list[str], number: int = 0) -> list[str]:
            self.ran["echo"] += 1
            return values * number if number else values

        @client(affects=user, private=True)
        async def import_users() -> None:
            self.ran["import_users"] += 1

        @client(auth="staff")
        async def sack(user_id: int) -> None:
            self.ran["sack"] += 1

        return [update_profile, explode, misfit, send, echo, import_users, sack]

    def _views(self) -> list[Callable[..., Any]]:
        @client(context="user", route="/profile/{user_id}/")
        async def profile_page(user_id: int) -> HTMLResponse:
            self.ran["profile_page"] += 1
            return HTMLResponse(f"<h1>{self.names.get(user_id, '')}</h1>")

        @client(affects="user", route="/rename/")
        async def rename(user_id: int, name: str) -> RedirectResponse:
            self.ran["rename"] += 1
            self.names[user_id] = name
            return RedirectResponse(f"/profile/{user_id}/", 303)

        return [profile_page, rename]


def hosting(mizan: Mizan, *middleware: Middleware, at: str = "/api/mizan") -> Starlette:
    """A host with Mizan mounted and its routes beside it."""
    return Starlette(routes=[Mount(at, mizan), *mizan.routes], middleware=middleware)


def http(app: Any, **headers: str) -> httpx.AsyncClient:
    """A client in the same process; what the app raises comes out of it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST, headers=named)


async def raw(
    app: Any,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    chunks: Iterable[bytes] = (b"",),
) -> httpx.Response:
    """One request straight to the ASGI callable, for what no client sends; `path` is still encoded."""
    body = [*chunks]
    incoming = [
        {"type": "http.request", "body": one, "more_body": place < len(body)} for place, one in enumerate(body, 1)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query,
        "headers": [(b"host", b"site.test"), *headers],
        "client": ("192.0.2.1", 1234),
        "server": ("site.test", 80),
    }
    await app(scope, receive, send)
    start, *parts = sent
    assert (start["type"], {one["type"] for one in parts}) == ("http.response.start", {"http.response.body"})
    content = b"".join(one.get("body", b"") for one in parts)
    return httpx.Response(start["status"], headers=start["headers"], content=content)


def token(user_id: str, *, now: float = 1_800_000_000.0, **options: Any) -> str:
    return issue_mwt(Identity(user_id, **options), KEYS, now=now)


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What Mizan logged."""
    return [record for record in caplog.records if record.name == "mizan"]


def refusal(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, which has to be one in every respect (protocol, section 10)."""
    assert response.status_code == status, response.text
    problem: dict[str, Any] = response.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "code", "detail"}
    assert (problem["type"], problem["status"], problem["code"]) == ("about:blank", status, code)
    assert ("errors" in problem) <= (code == "invalid_input")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert ("allow" in response.headers) == (status == 405)
    return problem
