"""The example's Worker in workerd, in front of an origin."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mizan_core.edge import worker_text
from tests.edge.nodes import Reply
from tests.node import package_file, run_node

EXAMPLE = Path(__file__).parents[3] / "examples" / "edge_worker"
SECRET = "secret"


@dataclass(frozen=True)
class Worker:
    url: str

    client: httpx.AsyncClient = field(repr=False)

    async def ask(self, method: str, target: str, body: str = "", **headers: str) -> Reply:
        """An underscore in a header's name is a hyphen."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.client.request(method, self.url + target, content=body or None, headers=sent)
        return Reply(reply.status_code, {name.lower(): value for name, value in reply.headers.items()}, reply.text)

    async def get(self, target: str, **headers: str) -> Reply:
        return await self.ask("GET", target, **headers)

    async def post(self, target: str, body: str = "{}", **headers: str) -> Reply:
        return await self.ask("POST", target, body, **{"Content-Type": "application/json", **headers})

    async def purge(self, entries: str, secret: str = SECRET) -> Reply:
        return await self.ask("PURGE", "/", X_Mizan_Invalidate=entries, Authorization=f"Bearer {secret}")

    async def kept(self, target: str) -> Reply:
        """Until it is a hit: the Worker stores an answer after it has sent it."""
        while (reply := await self.get(target)).edge != "hit":
            assert reply.edge == "fwd=uri-miss"
            await asyncio.sleep(0.01)
        return reply


@asynccontextmanager
async def worker_of(
    manifest: Mapping[str, Any], origin: str, folder: Path, *, refetch: int = 0
) -> AsyncIterator[Worker]:
    run_node("--version")  # a reason to skip
    package_file("miniflare/package.json")
    for name in ("worker.js", "edge.js"):
        shutil.copy(EXAMPLE / name, folder / name)
    (folder / "tables.js").write_text(worker_text(manifest))
    process = await asyncio.create_subprocess_exec(
        *("node", str(Path(__file__).with_name("serve.mjs")), str(folder), origin),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "REFETCH": str(refetch)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(timeout=50, trust_env=False) as client:
            yield Worker(address, client)
    finally:
        process.stdin.close()
        await process.stdout.read()
        await process.wait()
