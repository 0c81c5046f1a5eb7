"""Helpers of the Python client's tests: a transport that records requests and can hold answers back."""

import asyncio
from typing import Any

import httpx

from mizan_asgi.client import Subscription

BASE = "http://site.test/api/mizan"


ADA = {"user_badges": ["Ada-1"], "user_profile": {"name": "Ada", "user_id": 5}}


class Wire(httpx.AsyncBaseTransport):
    """The way to an app in this process. It writes down what was sent and answered, and holds answers back."""

    def __init__(self, app: Any) -> None:
        self.inner = httpx.ASGITransport(app)
        self.sent: list[str] = []
        self.answered: list[int] = []
        self.policies: list[str] = []
        self.revalidated: list[bool] = []
        self.mounted: list[str | None] = []
        self.gates: list[asyncio.Event] = []
        self.way: asyncio.Event | None = None
        self.call_gate: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(f"{request.method} {request.url.raw_path.decode().removeprefix('/api/mizan')}")
        self.revalidated.append("if-none-match" in request.headers)
        gates = list(self.gates)
        if request.method == "GET" and self.way is not None:
            await self.way.wait()
        call_gate = self.call_gate
        response = await self.inner.handle_async_request(request)
        await response.aread()
        self.answered.append(response.status_code)
        self.policies.append(response.headers["cache-control"])
        self.arrived.set()
        if request.method == "GET":
            for gate in gates:
                await gate.wait()
        else:
            self.mounted.append(request.headers.get("x-mizan-mounted"))
            if call_gate is not None:
                await call_gate.wait()
        return response

    def hold(self) -> asyncio.Event:
        """Answers to GET that are asked for from now on wait for this."""
        gate = asyncio.Event()
        self.gates = [gate]
        self.arrived.clear()
        return gate

    def hold_calls(self) -> asyncio.Event:
        """Answers to calls that are made from now on wait for this."""
        self.call_gate = asyncio.Event()
        self.arrived.clear()
        return self.call_gate


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def never(shown: Subscription) -> bool:
    """Whether nothing more is shown, as far as that can be seen in a while."""
    step = asyncio.create_task(anext(shown))
    await asyncio.wait({step}, timeout=0.1)
    step.cancel()
    return not step.done() or step.cancelled()
