"""An origin whose answers can be held back on their way, changed, and looked at."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_asgi.edge.front import InFront
from mizan_core import Context, Graph, Me, build, build_manifest, client, encode_header, invalidate
from tests.http.servers import listening

Headers = list[tuple[bytes, bytes]]
HEARS = HeaderOnly()


class Origin:
    """Things with versions: a bundle, a page and a private bundle of each, and ways to write one."""

    def __init__(self, *, rev: int = 0, edge: InFront | Sequence[InFront] = HEARS) -> None:
        self.versions: dict[int, int] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.held: asyncio.Event | None = None  # answers to GET wait for it before they are sent
        self.awaited: asyncio.Event | None = None  # a POST waits for it before anything happens
        self.reached = asyncio.Event()
        self.change: Callable[[Scope, int, Headers], tuple[int, Headers]] = lambda _scope, status, headers: (
            status,
            headers,
        )
        self.graph = self._graph(rev)
        self.mizan = Mizan(self.graph, edge=edge)
        self.app = Starlette(lifespan=self.mizan.lifespan)
        self.app.router.routes += [
            *self.mizan.routes,
            Route("/host/{rest:path}", echo),
            Mount("/api/mizan", self.mizan),
        ]
        self.manifest = build_manifest(self.graph)
        self.url = ""

    def _graph(self, rev: int) -> Graph:
        things = Context("things", scopes=[("kind",)])

        @client(context=things, rev=rev)
        async def thing(item: int, kind: str = "a") -> int:
            return self.versions.get(item, 0) + 1000 * rev

        @client(context=things, route="/things/{item}/")
        async def thing_page(item: int) -> HTMLResponse:
            return HTMLResponse(str(self.versions.get(item, 0)))

        @client(context="mine")
        async def mine(item: int, me: Annotated[str, Me]) -> str:
            return f"{me} {self.versions.get(item, 0)}"

        @client(context="others")
        async def other() -> int:
            return self.versions.get(0, 0)

        @client(affects=things, route="/things/{item}/", methods=["POST"])
        async def write(item: int) -> int:
            return self.write(item)

        @client(affects=things.by_body())
        async def write_many(entries: list[int]) -> None:
            for entry in entries:
                self.write(entry)
                invalidate(things, item=entry)

        @client(affects="others")
        async def write_other(item: int = 0) -> int:
            return self.write(item)

        @client
        async def nothing() -> int:
            return 1

        return build([thing, thing_page, mine, other, write, write_many, write_other, nothing])

    def write(self, item: int) -> int:
        """Past Mizan and past every edge."""
        self.versions[item] = self.versions.get(item, 0) + 1
        return self.versions[item]

    async def change_past_edges(self, item: int) -> str:
        """Writes, purges here, and gives what edges have to be told."""
        self.write(item)
        return encode_header(await self.mizan.engine.invalidate("things", item=item))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Origin"]:
        async with listening(self) as (host, port):
            self.url = f"http://{host}:{port}"
            yield self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            target = scope["raw_path"].decode() + (
                "?" + scope["query_string"].decode() if scope["query_string"] else ""
            )
            self.requests.append((scope["method"], target, headers))
            send = self._sending(scope, send)
            if self.awaited is not None and scope["method"] == "POST":
                self.reached.set()
                await self.awaited.wait()
        await self.app(scope, receive, send)

    def _sending(self, scope: Scope, send: Send) -> Send:
        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                status, headers = self.change(scope, message["status"], list(message["headers"]))
                message = {**message, "status": status, "headers": headers}
                if self.held is not None and scope["method"] == "GET":
                    self.reached.set()
                    await self.held.wait()
            await send(message)

        return changed


async def echo(request: Request) -> PlainTextResponse:
    """A host's own page, which shows who asks."""
    return PlainTextResponse(f"{request.headers.get('cookie')} {request.headers.get('authorization')}")
