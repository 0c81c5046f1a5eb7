"""Visitors of the shop, who act at random; every answer that they get is compared with an uncached one."""

import random
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import httpx

from mizan_core import decode_header, urls_to_purge
from tests.trial.shop import Status

BASE = "/api/mizan"
USERS = ("ann", "bob", "cy", None)
ORGS = (1, 2, 3, 4)
NO_ORG = 9
ORDERS = range(1, 25)


class Edge:
    """A CDN: it keeps what is public for everyone under its URL, and purges what the header names."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.kept: dict[str, bytes] = {}
        self._manifest = manifest

    def hear(self, response: httpx.Response) -> None:
        if "s-maxage" in response.headers.get("cache-control", "") and response.status_code == 200:
            self.kept[url_of(response)] = response.content
        if header := response.headers.get("x-mizan-invalidate"):
            for pattern in urls_to_purge(self._manifest, decode_header(header)):
                only_stars = pattern.replace("?", "[?]")
                self.kept = {url: body for url, body in self.kept.items() if not fnmatchcase(url, only_stars)}


class Visits:
    """Asks `servers` one after the other in an order made of the seed. `truth` is a server that keeps nothing."""

    def __init__(self, servers: Sequence[httpx.AsyncClient], truth: httpx.AsyncClient, edge: Edge, seed: int) -> None:
        self.seen = Counter[str]()
        self._servers = servers
        self._truth = truth
        self._edge = edge
        self._random = random.Random(seed)
        self._tokens: dict[str, str] = {}

    async def make(self, count: int) -> None:
        for _ in range(count):
            await (self._write() if self._random.random() < 0.25 else self._read())

    async def _read(self) -> None:
        user, (context, params) = self._random.choice(USERS), self._some_bundle()
        path = f"{BASE}/ctx/{context}/"
        truth = await self._truth.get(path, params=params, headers=session_of(user))
        found = await self._server().get(path, params=params, headers=await self._credentials(user))
        self.seen[found.headers.get("cache-status", "refused").partition(";")[2].strip() or "refused"] += 1
        asked = f"{context} {params} for {user}"
        assert (found.status_code, found.json()) == (truth.status_code, truth.json()), asked
        self._edge.hear(found)
        kept = self._edge.kept.get(url_of(found))
        assert kept in (None, found.content), f"{asked}, at the edge"

    async def _write(self) -> None:
        user, (name, arguments) = self._random.choice(USERS), self._some_call()
        call = {"fn": name, "args": arguments}
        answer = await self._server().post(f"{BASE}/call/", json=call, headers=await self._credentials(user))
        self.seen[f"{name} {answer.status_code}"] += 1
        self._edge.hear(answer)

    def _some_bundle(self) -> tuple[str, dict[str, Any]]:
        some = self._random
        filters = some.choice(({}, {"status": some.choice(list(Status))}, {"page": some.randint(0, 2)}))
        return some.choice(
            [
                ("orders", {"org_id": some.choice(ORGS), **filters}),
                ("order", {"order_id": some.choice(ORDERS)}),
                ("orgs", some.choice([{}, {"prefix": "A"}, {"prefix": "B"}])),
                ("org", {"org_id": some.choice((*ORGS, NO_ORG))}),
                ("mine", {}),
            ]
        )

    def _some_call(self) -> tuple[str, dict[str, Any]]:
        some = self._random
        org_id, order_id = some.choice(ORGS), some.choice(ORDERS)
        return some.choice(
            [
                ("place_order", {"org_id": org_id, "total": some.randint(1, 99)}),
                ("import_orders", {"org_id": org_id, "totals": [some.randint(-2, 9) for _ in range(2)]}),
                ("set_status", {"order_id": order_id, "status": some.choice(list(Status))}),
                ("fulfil", {"order_id": order_id}),
                ("move_order", {"order_id": order_id, "to_org": some.choice((*ORGS, NO_ORG))}),
                ("rename_org", {"org_id": org_id, "name": some.choice("AB") + some.choice("0123")}),
                ("set_member", {"org_id": org_id, "user_id": some.choice(USERS[:3]), "member": some.random() < 0.7}),
            ]
        )

    async def _credentials(self, user: str | None) -> dict[str, str]:
        """A session or a token: both stand for the same person."""
        if user is None or self._random.random() < 0.5:
            return session_of(user)
        if user not in self._tokens:
            answer = await self._truth.post(f"{BASE}/call/", json={"fn": "mwt_obtain"}, headers=session_of(user))
            self._tokens[user] = answer.json()["result"]["token"]
        return {"X-Mizan-Token": self._tokens[user]}

    def _server(self) -> httpx.AsyncClient:
        return self._random.choice(self._servers)


def session_of(user: str | None) -> dict[str, str]:
    return {} if user is None else {"X-Session": user}


def url_of(response: httpx.Response) -> str:
    return response.request.url.raw_path.decode()
