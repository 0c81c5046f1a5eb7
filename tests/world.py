"""A small real application in memory, fresh for every test: users, orders and messages, with readers and mutations."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from mizan_core import Context, Graph, Identity, NotFound, Result, build, client, invalidate


class Profile(BaseModel):
    user_id: int
    name: str


class Shipment(BaseModel):
    order_id: int
    customer_id: int


class World:
    """Data, the functions over it, and how often each of them ran."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {5: "Ada", 7: "Bo"}
        self.orders: dict[int, list[int]] = {1: [10, 11], 2: [20]}
        self.ran: Counter[str] = Counter()
        self.functions = self._declare()

    @property
    def graph(self) -> Graph:
        return build(self.functions)

    def _declare(self) -> list[Callable[..., Any]]:
        user, orders = Context("user"), Context("orders")

        @client(context=user)
        async def user_profile(user_id: int) -> Profile:
            self.ran["user_profile"] += 1
            return Profile(user_id=user_id, name=self.names.get(user_id, ""))

        @client(context=user)
        def user_badges(user_id: int, page: int = 1) -> list[str]:
            self.ran["user_badges"] += 1
            return [f"{self.names.get(user_id, '')}-{page}"]

        @client(context=orders, cache=60, rev=2)
        async def customer_orders(customer_id: int, page: int = 1) -> list[int]:
            self.ran["customer_orders"] += 1
            return self.orders.get(customer_id, [])

        @client(context="inbox")
        async def my_messages(me: Identity) -> list[str]:
            self.ran["my_messages"] += 1
            return [f"for {me.user_id}"]

        @client(affects=user)
        async def update_profile(user_id: int, name: str) -> Profile:
            self.ran["update_profile"] += 1
            self.names[user_id] = name
            return Profile(user_id=user_id, name=name)

        @client(affects=[orders.where(customer_id=Result("customer_id")), "inbox"], auth=True)
        async def ship(order_id: int) -> Shipment:
            self.ran["ship"] += 1
            for customer_id, orders_of in self.orders.items():
                if order_id in orders_of:
                    orders_of.remove(order_id)
                    return Shipment(order_id=order_id, customer_id=customer_id)
            raise NotFound("There is no such order.")

        @client(affects=orders.by_body(), private=True)
        async def import_orders(customer_ids: list[int]) -> int:
            self.ran["import_orders"] += 1
            for customer_id in customer_ids:
                self.orders.setdefault(customer_id, []).append(100)
                invalidate(orders, customer_id=customer_id)
            return len(customer_ids)

        return [
            user_profile,
            user_badges,
            customer_orders,
            my_messages,
            update_profile,
            ship,
            import_orders,
        ]
