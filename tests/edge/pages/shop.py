"""A shop whose pages are for everyone: how often each was made, and a door that holds answers back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly, Nodes, Refetch
from mizan_asgi.edge.front import InFront
from mizan_core import Arg, Context, Graph, Me, build, build_manifest, client
from tests.edge.differential import Edge
from tests.edge.lossy import relaying
from tests.edge.nodes import Node
from tests.http.servers import listening

Product = Context("product", scopes=[("number", "currency")])
Shelf = Context("shelf")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Shop:
    """`prices`: what pages show. `made`: how often each was made. `held`: pages wait for it before they are sent."""

    def __init__(self, edge: InFront | Sequence[InFront] = HeaderOnly()) -> None:  # noqa: B008  # it is immutable
        self.prices: dict[int, int] = {}
        self.made: Counter[str] = Counter()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.held: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.error: int | None = None  # the status of pages instead of their own
        self.graph = self._build()
        self.mizan = Mizan(self.graph, edge=edge)
        self.app = Starlette(lifespan=self.mizan.lifespan)
        self.app.router.routes += [*self.mizan.routes, Mount("/api/mizan", self.mizan)]
        self.manifest = build_manifest(self.graph)
        self.url = ""

    def _build(self) -> Graph:
        @client(context=Product)
        async def price(number: int, currency: str = "eur") -> str:
            return f"{self.prices.get(number, 0)} {currency}"

        @client(context=Product, route="/product/{number}/")
        async def product_page(number: int) -> HTMLResponse:
            return self._page(f"/product/{number}/", f"product {number} for {self.prices.get(number, 0)}")

        @client(context=Shelf, route="/")
        async def shelf_page() -> HTMLResponse:
            return self._page("/", f"all for {sum(self.prices.values())}")

        @client(context="cart", route="/cart/")
        async def cart_page(me: Annotated[str, Me]) -> HTMLResponse:
            return HTMLResponse(f"cart of {me}")

        @client(affects=[Product, Shelf], route="/product/{number}/price/", methods=["POST"])
        async def set_price(number: int, value: int) -> RedirectResponse:
            self.prices[number] = value
            return RedirectResponse(f"/product/{number}/", 303)

        @client(affects=[Product.where(number=Arg("number"), currency=Arg("currency")), Shelf])
        async def set_price_in(number: int, currency: str, value: int) -> None:
            self.prices[number] = value
            del currency

        return build([price, product_page, shelf_page, cart_page, set_price, set_price_in])

    def _page(self, path: str, text: str) -> HTMLResponse:
        self.made[path] += 1
        return HTMLResponse(f"<h1>{text}</h1>", status_code=self.error or 200)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Shop"]:
        async with listening(self) as (host, port):
            self.url = f"http://{host}:{port}"
            yield self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passing(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] == "GET" and self.held is not None:
                self.reached.set()
                await self.held.wait()
            await send(message)

        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            self.asked.append((scope["raw_path"].decode(), headers))
        await self.app(scope, receive, passing)


@asynccontextmanager
async def shop_behind(edge: Edge, **options: Any) -> AsyncIterator[tuple[Shop, Node]]:
    """A shop that tells one node, which fetches purged pages again. `options`: of `Refetch`."""
    there: list[Path | str] = []
    told = asyncio.Event()
    async with (
        relaying(there, 0, told) as purging,
        relaying(there, 1) as public,
        relaying(there, 2) as origin,
    ):
        shop = Shop(Nodes(purging, refetch=Refetch(public, **{"host": "example.com", **options})))
        with edge(shop.manifest, origin) as node:
            there += [node.purging, node.public]
            async with listening(shop) as (host, port):
                there.append(f"http://{host}:{port}")
                await told.wait()  # an origin that starts tells its nodes to forget everything
                yield shop, node
