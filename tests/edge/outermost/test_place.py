"""Where `outermost` may stand: around the whole application that serves its Mizan, and inside of nothing."""

import asyncio
import inspect
import sysconfig
import warnings
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mizan_asgi.edge import outermost
from mizan_core import DeclarationError
from tests.http.servers import listening

from .hosts import BUNDLE, SECRET, Changing, host_of, mizan_of


def wrapped() -> Any:
    mizan = mizan_of()
    return outermost(host_of(mizan), mizan)


async def status(app: Any, url: str = BUNDLE) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://site.test") as browser:
        return (await browser.get(url)).status_code


async def started(app: Any) -> Message:
    """What a server is told when it starts the application."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    asked: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {}, "state": {}}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    first = await told.get()
    await asked.put({"type": "lifespan.shutdown"})
    await asyncio.wait([running])
    running.exception()
    return first


def passing_on(app: Any) -> Any:
    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return dispatch


def by_hand(app: Any) -> Any:
    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            await send(message)

        await app(scope, receive, sending)

    return around


def by_hand_under_the_same_name(app: Any) -> Any:
    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        first = send

        async def _sending(message: Message) -> None:
            await first(message)

        send = _sending
        await app(scope, receive, send)

    return around


async def passed_on(request: Any, call_next: Any) -> Any:
    return await call_next(request)


ENCLOSING: dict[str, Callable[[Any], Any]] = {
    "mounted in Starlette": lambda app: Starlette(routes=[Mount("/", app)]),
    "mounted in FastAPI": lambda app: FastAPI(routes=[Mount("/", app)]),
    "a Host of Starlette": lambda app: Starlette(routes=[Host("site.test", app)]),
    "a bare Router": lambda app: Router([Mount("/", app)]),
    "a session": lambda app: SessionMiddleware(app, SECRET),
    "CORS": lambda app: CORSMiddleware(app, allow_origins=["https://ada.example"]),
    "gzip": lambda app: GZipMiddleware(app),
    "BaseHTTPMiddleware": lambda app: BaseHTTPMiddleware(app, passed_on),
    "another outermost": lambda app: outermost(passing_on(app), app.mizan),
    "another outermost, through middleware": lambda app: outermost(
        Starlette(middleware=[Middleware(Inside, app)]), app.mizan
    ),
}


OWN: dict[str, Callable[[Any], Any]] = {
    "a class": lambda app: Changing(app, lambda connection, message: message),
    "a function": by_hand,
    "a function that reuses the name": by_hand_under_the_same_name,
    "two": lambda app: by_hand(by_hand(app)),
}


class Inside:
    """Middleware that calls something else than what it wraps."""

    def __init__(self, app: Any, other: Any) -> None:
        self.app = app
        self.other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.other(scope, receive, send)


@pytest.mark.asyncio
@pytest.mark.parametrize("outside", ENCLOSING)
async def test_inside_of_something_else_it_refuses(outside: str) -> None:
    mizan = mizan_of()
    app = outermost(host_of(mizan), mizan)
    app.mizan = mizan  # type: ignore[attr-defined]
    around = ENCLOSING[outside](app)
    for _ in range(2):
        with pytest.raises(DeclarationError, match=r"outermost\(\.\.\.\) is inside of .*run outermost\(app, mizan\)"):
            await status(around)


@pytest.mark.asyncio
@pytest.mark.parametrize("outside", OWN)
async def test_inside_of_code_of_the_hosts_own_it_warns(outside: str, caplog: pytest.LogCaptureFixture) -> None:
    app = OWN[outside](wrapped())
    for _ in range(2):
        assert await status(app) == 200
    (line,) = [record.getMessage() for record in caplog.records]
    assert "is inside of" in line
    assert "of tests.edge.outermost." in line
    assert "may stay around it" in line


@pytest.mark.asyncio
async def test_inside_of_a_packages_middleware_it_refuses() -> None:
    source = inspect.getsource(by_hand)
    names: dict[str, Any] = {"__name__": "a_package.tracing", "Any": Any, "Scope": Scope, "Receive": Receive}
    names |= {"Send": Send, "Message": Message}
    exec(compile(source, f"{sysconfig.get_path('purelib')}/a_package/tracing.py", "exec"), names)
    with pytest.raises(DeclarationError, match=r"is inside of .*around of a_package\.tracing"):
        await status(names["by_hand"](wrapped()))


@pytest.mark.asyncio
async def test_middleware_around_code_of_the_hosts_own_is_refused() -> None:
    for own in OWN.values():
        with pytest.raises(DeclarationError, match=r"is inside of .*starlette"):
            await status(CORSMiddleware(own(wrapped()), allow_origins=["https://ada.example"]))


@pytest.mark.asyncio
@pytest.mark.parametrize("outside", ["a session", "CORS", "gzip", "BaseHTTPMiddleware"])
async def test_inside_of_middleware_it_does_not_start(outside: str) -> None:
    first = await started(ENCLOSING[outside](wrapped()))
    assert first["type"] == "lifespan.startup.failed"
    assert "is inside of" in first["message"]


@pytest.mark.asyncio
async def test_as_middleware_of_a_host_it_does_not_start() -> None:
    mizan = mizan_of()
    first = await started(host_of(mizan, [Middleware(outermost, mizan=mizan)]))
    assert first["type"] == "lifespan.startup.failed"
    assert "is inside of an application that put 'app'" in first["message"]


def test_outermost_of_outermost_is_refused() -> None:
    mizan = mizan_of()
    with pytest.raises(DeclarationError, match="Use one of them"):
        outermost(outermost(host_of(mizan), mizan), mizan)


@pytest.mark.asyncio
async def test_a_dispatcher_that_passes_its_send_on_is_harmless() -> None:
    assert await status(passing_on(wrapped())) == 200


@pytest.mark.asyncio
async def test_uvicorn_may_run_it() -> None:
    async with listening(wrapped()) as (host, port), httpx.AsyncClient() as browser:
        assert (await browser.get(f"http://{host}:{port}{BUNDLE}")).status_code == 200


def test_the_test_client_may_run_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants a successor of httpx
        from starlette.testclient import TestClient

    with TestClient(wrapped()) as browser:
        assert browser.get(BUNDLE).status_code == 200
    assert TestClient(wrapped()).get(BUNDLE).status_code == 200


@pytest.mark.asyncio
async def test_a_host_of_another_mizan_does_not_start() -> None:
    first = await started(outermost(host_of(mizan_of()), mizan_of()))
    assert first["type"] == "lifespan.startup.failed"
    assert "neither mounts this Mizan" in first["message"]


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["another", "nothing", "FastAPI", "alone", "through middleware"])
async def test_a_host_without_this_mizan_is_refused(kind: str) -> None:
    others: dict[str, Any] = {
        "another": host_of(mizan_of()),
        "nothing": Starlette(routes=[Route("/", PlainTextResponse("own"))]),
        "FastAPI": FastAPI(),
        "alone": mizan_of(),
        "through middleware": GZipMiddleware(Starlette()),
    }
    with pytest.raises(DeclarationError, match="neither mounts this Mizan"):
        await status(outermost(others[kind], mizan_of()))


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["routes", "below a mount", "middleware", "alone", "router default", "unknown"])
async def test_this_mizan_is_found_where_it_is(kind: str) -> None:
    mizan = mizan_of()
    found: dict[str, tuple[Any, str]] = {
        "routes": (Starlette(routes=[*mizan.routes]), "/feed/a/"),
        "below a mount": (Starlette(routes=[Mount("/x", Starlette(routes=[Mount("/api/mizan", mizan)]))]), "/x"),
        "middleware": (GZipMiddleware(host_of(mizan)), ""),
        "alone": (mizan, ""),
        "router default": (Router(default=mizan), ""),
        "unknown": (lambda scope, receive, send: mizan(scope, receive, send), ""),
    }
    app, before = found[kind]
    url = before if kind == "routes" else before + BUNDLE
    assert await status(outermost(app, mizan), url) == 200


@pytest.mark.asyncio
async def test_a_host_that_only_responds_is_known_by_its_lifespan() -> None:
    mizan = mizan_of(edge=())

    async def responded(request: Any) -> Any:
        return await mizan.respond(request, "feed", kind="a")

    app = outermost(Starlette(routes=[Route("/feed", responded)], lifespan=mizan.lifespan), mizan)
    async with listening(app) as (host, port), httpx.AsyncClient() as browser:
        assert (await browser.get(f"http://{host}:{port}/feed")).status_code == 200


@pytest.mark.asyncio
async def test_the_lifespan_and_its_state_pass_through() -> None:
    assert (await started(wrapped()))["type"] == "lifespan.startup.complete"


@pytest.mark.asyncio
async def test_a_failing_start_of_the_host_is_told() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    assert await started(outermost(failing, mizan_of())) == {
        "type": "lifespan.startup.failed",
        "message": "no database",
    }


@pytest.mark.asyncio
async def test_websockets_pass_through() -> None:
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    mizan = mizan_of()
    host = host_of(mizan)
    host.router.routes.append(WebSocketRoute("/echo", echo))
    coming = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "heard"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await outermost(host, mizan)({"type": "websocket", "path": "/echo", "headers": []}, receive, send)
    assert [one.get("text") for one in sent] == [None, "heard"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (lambda mizan: outermost(None, mizan), "no ASGI application"),  # type: ignore[arg-type]
        (lambda mizan: outermost(mizan, host_of(mizan)), "no Mizan"),  # type: ignore[arg-type]
        (lambda mizan: outermost(mizan, mizan, allow="x-user"), r"allow=\['x-user'\]"),
        (lambda mizan: outermost(mizan, mizan, allow=["Set-Cookie"]), "'set-cookie'"),
        (lambda mizan: outermost(mizan, mizan, allow=["Vary"]), "'vary'"),
        (lambda mizan: outermost(mizan, mizan, allow=["CDN-Cache-Control"]), "'cdn-cache-control'"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: Any, complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        arguments(mizan_of())
