"""A mutation that calls another one, over HTTP: header, JSON and refreshed bundles say what both made stale."""

from typing import Any

import pytest

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.site import hosting, http


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["function", "engine"])
async def test_an_answer_lists_an_inner_mutations_invalidations(way: str) -> None:
    tickets = {5: "open"}

    @client(context="tickets")
    async def ticket(ticket_id: int) -> str:
        return tickets[ticket_id]

    @client(context="org")
    async def org(org_id: int) -> int:
        return org_id

    @client(affects="tickets")
    async def close(ticket_id: int) -> None:
        tickets[ticket_id] = "closed"

    @client(affects="org")
    async def close_all(org_id: int) -> None:
        await (close(5) if way == "function" else mizan.engine.run("close", {"ticket_id": 5}))

    mizan = Mizan(build([ticket, org, close, close_all]))
    async with http(hosting(mizan)) as web:
        url = "/api/mizan/ctx/tickets/?ticket_id=5"
        assert (await web.get(url)).json() == {"ticket": "open"}
        mounted = {"x-mizan-mounted": "tickets?ticket_id=5, org?org_id=2"}
        answer = await web.post("/api/mizan/call/close_all/", json={"org_id": 1}, headers=mounted)
        assert answer.headers["x-mizan-invalidate"] == "org;org_id=1, tickets;ticket_id=5"
        told: dict[str, Any] = answer.json()
        stale = {"context": "tickets", "params": {"ticket_id": 5}}
        assert told["invalidate"] == [{"context": "org", "params": {"org_id": 1}}, stale]
        assert told["refreshed"] == [{**stale, "data": {"ticket": "closed"}}]
        assert (await web.get(url)).json() == {"ticket": "closed"}
