"""The helpdesk in this process, and its members."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from examples.helpdesk.app import authenticate, hosting
from mizan_asgi import Mizan
from mizan_core import discover

MAIL_SECRET = "what the mail service signs with"
ADA, BO, CY = 1, 2, 3  # Ada and Bo are of organisation 1, Cy of 2


class Helpdesk:
    def __init__(self) -> None:
        self.mizan = Mizan(discover("examples.helpdesk"), authenticate=authenticate)
        self.app = hosting(self.mizan)

    @asynccontextmanager
    async def member(self, member_id: int | None) -> AsyncIterator["Member"]:
        """A member's browser; None is a visitor's."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://helpdesk.test") as web:
            member = Member(web)
            if member_id is not None:
                await member.sign_in(member_id)
            yield member


class Member:
    def __init__(self, web: httpx.AsyncClient) -> None:
        self.web = web

    async def sign_in(self, member_id: int) -> None:
        assert (await self.web.post("/sign-in/", data={"member_id": str(member_id)})).status_code == 303

    async def tickets(self, **params: Any) -> Any:
        return (await self.fetch("tickets", **params)).json()["ticket_list"]

    async def ticket(self, ticket_id: int) -> Any:
        return (await self.fetch("ticket", ticket_id=ticket_id)).json()

    async def fetch(self, context: str, **params: Any) -> httpx.Response:
        return await self.web.get(f"/api/mizan/ctx/{context}/", params=params)

    async def call(self, name: str, **args: Any) -> httpx.Response:
        return await self.web.post(f"/api/mizan/call/{name}/", json=args)

    async def open(self, title: str) -> int:
        answer = await self.call("open_ticket", title=title, text=f"About {title}")
        return int(answer.json()["result"]["id"])

    async def attach(self, ticket_id: int, name: str, body: bytes) -> httpx.Response:
        return await self.web.post(
            "/api/mizan/call/attach/", data={"ticket_id": str(ticket_id)}, files={"file": (name, body)}
        )

    async def mail(self, secret: str = MAIL_SECRET, **mail: Any) -> httpx.Response:
        """A report of the mail service."""
        body = json.dumps(mail).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return await self.web.post("/webhooks/mail/", content=body, headers={"x-signature": signature})


def named(answer: httpx.Response) -> set[str]:
    """What an answer names as stale, as the entries of its header."""
    line = answer.headers.get("x-mizan-invalidate", "")
    return {entry.strip() for entry in line.split(",") if entry}
