"""A deployment to be asked: an application over uvicorn, with or without caches in front of it, and its doctor."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount

from mizan_asgi import Mizan
from mizan_asgi.doctor.deployment import examined
from mizan_asgi.doctor.edges import InFrontOf
from mizan_asgi.doctor.examination import Examination
from mizan_asgi.doctor.findings import Report, lines_of
from mizan_asgi.doctor.people import read_people
from mizan_core import Graph, Identity, Me, build, build_manifest, client, issue_mwt
from tests.edge import nodes
from tests.http.servers import listening

KEYS = {"k": b"a-secret-of-32-bytes-for-the-test"}


def token_of(user: int) -> str:
    return issue_mwt(Identity(user), KEYS, ttl=600, audience="mizan", now=NOW)


NOW = 1_800_000_000.0


class Site:
    """News and users for everyone; inboxes, drafts and greetings that differ between people."""

    def __init__(
        self, *, edge: Any = (), middleware: Sequence[Middleware] = (), functions: Sequence[Any] = (), **options: Any
    ) -> None:
        self.called: list[str] = []
        self.graph = self._graph(functions)
        self.mizan = Mizan(self.graph, edge=edge, mwt_keys=KEYS, clock=lambda: NOW, **options)
        self.app: Any = Starlette(lifespan=self.mizan.lifespan, middleware=middleware)
        self.app.router.routes += [*self.mizan.routes, Mount(self.mizan.base_url, self.mizan)]

    def _graph(self, functions: Sequence[Any]) -> Graph:
        @client(context="news")
        async def headlines() -> list[str]:
            return ["Rain", "x" * 2000]

        @client(context="user")
        async def profile(user_id: int) -> str:
            return f"user {user_id}"

        @client(context="user", route="/users/{user_id}/")
        async def page(user_id: int) -> HTMLResponse:
            return HTMLResponse(f"user {user_id}")

        @client(context="inbox", auth=True)
        async def inbox(me: Annotated[int, Me]) -> list[str]:
            return [f"to {me}"]

        @client(context="drafts", auth=True, cache=False)
        async def drafts(me: Identity) -> list[str]:
            return [f"of {me.user_id}"]

        @client(context="greeting", per="user")
        async def greeting(me: Identity) -> str:
            return f"hello {me.user_id}"

        @client(affects="news")
        async def write() -> None:
            self.called.append("write")

        return build([headlines, profile, page, inbox, drafts, greeting, write, *functions])

    def examination(self, url: str, **options: Any) -> Examination:
        told = InFrontOf(has_edge=bool(self.mizan.in_front), nodes=True)
        people = options.pop("people", [token_of(7), token_of(8)])
        return Examination(
            url=url,
            graph=self.mizan.graph,
            base_url=self.mizan.base_url,
            front=options.pop("told", told),
            people=read_people(people),
            given=options.pop("given", [("user_id", "5")]),
            signs_tokens=True,
            **options,
        )


@dataclass(frozen=True, slots=True)
class Examined:
    """A report, with the findings by code."""

    report: Report
    by_code: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, list[str]] = {}
        for one in self.report.findings:
            found.setdefault(one.wrong.code, []).append(one.url)
        object.__setattr__(self, "by_code", found)

    @property
    def codes(self) -> set[str]:
        return set(self.by_code)

    @property
    def text(self) -> str:
        return "\n".join(lines_of(self.report))


Front = Callable[[Site, str], AbstractContextManager[nodes.Node]]


@asynccontextmanager
async def deployed(site: Site, front: Front | None = None) -> AsyncIterator[str]:
    """The URL of the deployment, with this cache in front."""
    async with listening(site.app) as (host, port):
        origin = f"http://{host}:{port}"
        if front is None:
            yield origin
            return
        with front(site, origin) as node:
            async with relayed(node.public) as url:
                yield url


@asynccontextmanager
async def relayed(path: Path) -> AsyncIterator[str]:
    """The URL of a port whose connections are passed on to a socket in a folder."""

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(_copied(reader, to_writer), _copied(to_reader, writer))

    server = await asyncio.start_server(passed_on, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def doctored(site: Site, front: Front | None = None, **options: Any) -> Examined:
    async with deployed(site, front) as url:
        return Examined(await examined(site.examination(url, **options)))


def varnish_by_mizan(site: Site, origin: str) -> AbstractContextManager[nodes.Node]:
    return nodes.varnish_of(build_manifest(site.mizan.graph), origin, host=None)


def nginx_by_mizan(site: Site, origin: str) -> AbstractContextManager[nodes.Node]:
    return nodes.nginx_of(build_manifest(site.mizan.graph), origin, host=None)


def stock_varnish(site: Site, origin: str) -> AbstractContextManager[nodes.Node]:  # as every Front
    host, _, port = origin.removeprefix("http://").partition(":")
    return nodes.varnish(f'vcl 4.1;\nbackend default {{ .host = "{host}"; .port = "{port}"; }}\n')


def nginx(settings: str, *, host: str = "Host $http_host") -> Front:
    """A stock nginx with these settings in its location. `$origin` in them is the application's address."""

    @contextmanager
    def running(site: Site, origin: str) -> Iterator[nodes.Node]:  # as every Front
        with nodes.folder() as here:
            text = (
                f"proxy_cache_path {here / 'cache'} keys_zone=kept:1m;\n"
                f"server {{ listen unix:{here / 'public.sock'};\n"
                f"location / {{ proxy_pass {origin}; proxy_set_header {host};\n{settings}\n}} }}\n"
                f"server {{ listen unix:{here / 'purging.sock'}; return 405; }}\n"
            )
            with nodes.nginx_in(here, text) as node:
                yield node

    return running


# The recipe that is found most often for a site whose answers are "not cached by nginx".
IGNORING = "proxy_cache kept; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control Set-Cookie"
