"""The host's middleware, through real edges: what a second person is served of an answer for everyone.

The table of docs/how-to/outermost.md, cell by cell. Ada asks first, Bo asks after her.
"""

import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mizan_asgi.edge import outermost
from mizan_core import build_manifest
from tests.edge.nodes import Node, Reply, folder, nginx_in, nginx_of, request, varnish_of

from .hosts import MIDDLEWARE, ORIGINS, host_of, mizan_of

ADA, BO = (
    {
        "Cookie": f"who={name}",
        "X-Forwarded-User": name,
        "Origin": origin,
        "Accept-Language": language,
        **({"Accept-Encoding": "gzip"} if name == "ada" else {}),
    }
    for name, origin, language in zip(("ada", "bo"), ORIGINS, ("fr", "en"), strict=True)
)

# The headers by which the rows make an answer personal.
PERSONAL = ("set-cookie", "x-user", "content-language", "access-control-allow-origin", "content-encoding")

ANOTHERS, KEPT, ASKED = "another's", "kept", "asked"

ROWS = list(MIDDLEWARE)
KINDS = ("bundle", "page")


class Origin:
    """All hosts of the table behind one address: which of them answers is told by the `kind` of what is asked for."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.hosts: dict[str, ASGIApp] = {}
        for number, row in enumerate(ROWS):
            for wrapped in (False, True):
                mizan = mizan_of()
                host: ASGIApp = host_of(mizan, MIDDLEWARE[row])
                self.hosts[f"{number}{'w' if wrapped else 'p'}"] = outermost(host, mizan) if wrapped else host
        self.manifest = build_manifest(mizan.graph)
        self.address = ("", 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["path"].strip("/").rpartition("/")[2]
        if kind == "feed":
            kind = scope["query_string"].decode().partition("=")[2]
        self.requests[kind] += 1
        await self.hosts[kind.partition("-")[0]](scope, receive, send)

    @contextmanager
    def serving(self) -> Iterator["Origin"]:
        config = uvicorn.Config(self, log_config=None, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = listener.getsockname()
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield self
            finally:
                server.should_exit = True
                thread.join()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)


RECIPE = """
proxy_cache_path {here}/cache keys_zone=all:1m;
server {{
    listen unix:{here}/public.sock;
    location / {{
        proxy_pass {origin};
        proxy_set_header Host $host;
        proxy_cache all;
        {directives}
    }}
}}
server {{ listen unix:{here}/purging.sock; return 404; }}
"""

# As recipes have it: to keep all answers for ten minutes.
IGNORING = "proxy_cache_valid 200 10m; proxy_ignore_headers Cache-Control Expires Set-Cookie {};"
RECIPES = {
    "plain nginx": "",
    "told to ignore": IGNORING.format(""),
    "and `Vary`": IGNORING.format("Vary"),
    "and `X-Accel-Expires`": IGNORING.format("X-Accel-Expires"),
    "and both": IGNORING.format("Vary X-Accel-Expires"),
}
EDGES = ("Varnish", "nginx", *RECIPES)


@contextmanager
def recipe(origin: str, directives: str) -> Iterator[Node]:
    with folder() as here, nginx_in(here, RECIPE.format(here=here, origin=origin, directives=directives)) as node:
        yield node


def _edge(name: str, origin: Origin) -> Any:
    if name in RECIPES:
        return recipe(origin.url, RECIPES[name])
    return {"Varnish": varnish_of, "nginx": nginx_of}[name](origin.manifest, origin.url)


def _table() -> Mapping[tuple[str, str], Sequence[str]]:
    """By row and edge: what the second person is served without `outermost`, and with it."""
    lines = (Path(__file__).parents[3] / "docs/how-to/outermost.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| middleware | Varnish"))
    found: dict[tuple[str, str], Sequence[str]] = {}
    assert [cell.strip() for cell in lines[start].strip("|").split("|")][1:] == list(EDGES)
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :]):
        row, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name, cell in zip(EDGES, cells, strict=True):
            found[row, name] = [word.strip(" *") for word in cell.split("/")]
    return found


TABLE = _table()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin().serving() as one:
        yield one


@pytest.fixture(scope="module", params=EDGES)
def edge(request: pytest.FixtureRequest, origin: Origin) -> Iterator[tuple[str, Node]]:
    with _edge(request.param, origin) as node:
        yield request.param, node


def personal(reply: Reply) -> dict[str, str]:
    return {name: reply.headers[name] for name in PERSONAL if name in reply.headers}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["host alone", "outermost"])
@pytest.mark.parametrize("row", ROWS)
async def test_cell(origin: Origin, edge: tuple[str, Node], row: str, wrapped: bool, kind: str) -> None:
    name, node = edge
    which = f"{ROWS.index(row)}{'w' if wrapped else 'p'}-{EDGES.index(name)}"
    url = f"/feed/{which}/" if kind == "page" else f"/api/mizan/ctx/feed/?kind={which}"
    first = await request(node.public, "GET", url, ADA)
    before = origin.requests[which]
    second = await request(node.public, "GET", url, BO)
    was_asked = origin.requests[which] > before
    own = await request(origin.address, "GET", url, BO)
    assert (first.status, second.status, own.status) == (200, 200, 200)
    hers = {pair for pair in personal(first).items() if pair not in personal(own).items()}
    shown = hers.intersection(personal(second).items())
    assert (ANOTHERS if shown else ASKED if was_asked else KEPT) == TABLE[row, name][wrapped]


def test_with_outermost_only_deaf_edges_serve_anothers() -> None:
    assert {row for row, _ in TABLE} == set(ROWS)
    served = {(row, edge) for (row, edge), (_, wrapped) in TABLE.items() if wrapped == ANOTHERS}
    assert {edge for row, edge in served if not row.startswith("gzip")} == {"and both"}
    assert {edge for row, edge in served if row.startswith("gzip")} == {"and `Vary`", "and both"}
    alone = {edge for (_, edge), (without, _) in TABLE.items() if without == ANOTHERS}
    assert alone == set(EDGES)
