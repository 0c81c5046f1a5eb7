"""A shop whose `ship` forgets a context, behind an inspector."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import httpx
from pydantic import BaseModel, SecretStr

from mizan_asgi import Mizan
from mizan_core import Conflict, Context, Identity, NotFound, Result, build, client
from mizan_core.engine.engine import Engine
from mizan_core.proof import Verify

Orders, Customer, Catalogue, Cart = Context("orders"), Context("customer"), Context("catalogue"), Context("cart")


class Order(BaseModel):
    order_id: int
    customer_id: int
    status: str = "open"


class Shop:
    """Orders of customers 5 to 7. `gate`: what a call of `wait` waits for, once it has `begun`."""

    def __init__(self) -> None:
        self.orders = {number: Order(order_id=number, customer_id=number % 3 + 5) for number in range(1, 10)}
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self.verify = Verify()
        self.functions: list[Callable[..., Any]] = [*self._readers(), *self._others()]

    def engine(self, **options: Any) -> Engine:
        return Engine(build(self.functions), cache_secret="s" * 32, **options)

    def mizan(self, **options: Any) -> Mizan:
        return Mizan(build(self.functions), **({"inspector": True, "verify": self.verify} | options))

    def _readers(self) -> list[Callable[..., Any]]:
        @client(context=Orders)
        async def customer_orders(customer_id: int, status: Literal["open", "shipped"] | None = None) -> list[Order]:
            """The orders of a customer."""
            mine = [one for one in self.orders.values() if one.customer_id == customer_id]
            if not mine:
                raise NotFound("There is no such customer.")
            return [one for one in mine if status in (None, one.status)]

        @client(context=Customer)
        async def open_orders(customer_id: int) -> int:
            mine = [one for one in self.orders.values() if one.customer_id == customer_id]
            return sum(one.status == "open" for one in mine)

        @client(context=Catalogue, cache=60)
        async def products(page: int = 1) -> list[str]:
            return ["tea"]

        @client(context=Cart)
        async def cart_lines(me: Identity) -> list[str]:
            return [f"for {me.user_id}"]

        return [customer_orders, open_orders, products, cart_lines]

    def _others(self) -> list[Callable[..., Any]]:
        @client(affects=Orders.where(customer_id=Result("customer_id")))
        async def ship(order_id: int, note: str = "", fast: bool = False) -> Order:
            """Ship an order. It forgets that the customer's number of open orders changes."""
            order = self.orders[order_id]
            if order.status == "shipped":
                raise Conflict("It is shipped already.")
            self.orders[order_id] = order = order.model_copy(update={"status": "shipped"})
            return order

        @client(affects=[Orders, Customer])
        async def touch(customer_id: int) -> None:
            pass

        @client(affects=Catalogue)
        async def restock(skus: list[str]) -> int:
            return len(skus)

        @client(affects=Orders)
        async def wait(customer_id: int) -> None:
            self.begun.set()
            await self.gate.wait()

        @client(affects=Orders)
        async def explode(customer_id: int) -> None:
            raise RuntimeError("the password is hunter2")

        @client
        async def sign_in(name: str, password: SecretStr) -> str:
            return "a-token-that-nobody-else-may-see"

        return [ship, touch, restock, wait, explode, sign_in]


def browse(app: Any, address: str = "127.0.0.1", origin: str = "http://localhost", **headers: str) -> httpx.AsyncClient:
    """A client at this address."""
    transport = httpx.ASGITransport(app, client=(address, 1234))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.AsyncClient(transport=transport, base_url=f"{origin}/api/mizan", headers=named)
