"""The work that every contender does: a user's profile and last orders, and a call with two validated fields."""

from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel

USERS = 100
ORDERS = 20

# The path of the bundle: in Mizan, and in all other contenders.
OURS = "/api/mizan/ctx/user/"
THEIRS = "/ctx/user/"

# Headers that a client such as a browser's fetch sends.
HEADERS = (
    (b"host", b"localhost:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
)


class Order(BaseModel):
    """Fields in the order of their names, so that every serializer writes the same bytes."""

    order_id: int
    shipped: bool
    title: str
    total: float


class Profile(BaseModel):
    city: str
    name: str
    premium: bool
    user_id: int


class Bundle(BaseModel):
    user_orders: list[Order]
    user_profile: Profile


def orders_of(user_id: int) -> list[Order]:
    return [
        Order(order_id=user_id * 1000 + place, shipped=place % 3 > 0, title=f"Order no. {place}", total=place + 0.5)
        for place in range(ORDERS)
    ]


def profile_of(user_id: int) -> Profile:
    return Profile(city="Paris", name=f"User {user_id}", premium=user_id % 2 == 0, user_id=user_id)


def bundle_of(user_id: int) -> Bundle:
    return Bundle(user_orders=orders_of(user_id), user_profile=profile_of(user_id))


def body_of(user_id: int) -> bytes:
    """The body that every contender has to send."""
    return orjson.dumps(bundle_of(user_id).model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


class Renamed(BaseModel):
    name: str
    user_id: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a client would send it."""

    path: str
    query: bytes = b""
    method: str = "GET"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    user: Any = field(default=None)

    def scope(self) -> dict[str, Any]:
        """A scope as a server makes it for each request, of new texts and bytes, whose hashes are not computed yet."""
        raw_path = bytes(bytearray(self.path.encode()))
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": raw_path.decode(),
            "raw_path": raw_path,
            "root_path": "",
            "query_string": bytes(bytearray(self.query)),
            "headers": [(bytes(bytearray(n)), bytes(bytearray(v))) for n, v in (*HEADERS, *self.headers)],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        if self.user is not None:
            scope["user"] = self.user
        return scope


def json_call(path: str, body: object) -> Request:
    sent = orjson.dumps(body)
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(sent)))
    return Request(path, method="POST", headers=headers, body=sent)
