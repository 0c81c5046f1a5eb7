"""Nodes of Varnish and nginx that can be stopped, killed and started again, and origins in processes of their own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mizan_core import build_manifest
from mizan_core.edge import nginx_text, varnish_text
from tests.edge.nodes import Reply, nginx_command, request, varnish_command
from tests.edge.told.application import Truth, graph_of
from tests.http.servers import ROOT

_START_SECONDS = 50.0
# What is waited for takes a fraction of this, unless it never happens.
_PATIENCE_SECONDS = 30.0


@contextmanager
def reserved() -> Iterator[int]:
    """A port that the system gives to nobody else. It is bound without a listener, so that servers may take it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def thing(item: int) -> str:
    return f"/api/mizan/ctx/things/?item={item}"


class Server:
    """A process and those that it starts."""

    def __init__(self, command: Sequence[str], port: int, log: Path, environment: dict[str, str]) -> None:
        self.address = "127.0.0.1", port
        self._command = command
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        until = time.monotonic() + _START_SECONDS
        while not _listens(self.address):
            if self._process.poll() is not None or time.monotonic() > until:
                pytest.fail(self._log.read_text())
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def ended(self) -> int:
        """The exit status."""
        assert self._process is not None
        return self._process.wait(timeout=30)

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        if self._process is not None and not self.has_ended:
            self.signal(signal.SIGKILL)
            self.ended()

    async def ask(self, method: str, url: str, body: str = "") -> Reply:
        return await request(self.address, method, url, {"Content-Type": "application/json"}, body)

    async def call(self, name: str, item: int) -> Reply:
        return await self.ask("POST", f"/api/mizan/call/{name}/", f'{{"item": {item}}}')


class Node(Server):
    """`purging`: its address for purges. `http2`: an address at which it speaks HTTP/2."""

    def __init__(self, command: Sequence[str], ports: Sequence[int], log: Path, environment: dict[str, str]) -> None:
        public, purging, http2 = ports
        super().__init__(command, public, log, environment)
        self.purging = f"http://127.0.0.1:{purging}"
        self.http2 = "127.0.0.1", http2

    async def shown(self, item: int) -> tuple[str, int]:
        """Whether the edge had it, and its version."""
        answer = await self.ask("GET", thing(item))
        assert answer.status == 200, answer
        return answer.edge, int(answer.body.rpartition(":")[2].rstrip("}"))


class Origin(Server):
    async def health(self) -> dict[str, Any]:
        answer = httpx.Response(200, text=(await self.ask("GET", "/health")).body)
        found: dict[str, Any] = answer.json()
        return found

    async def owes_nothing(self) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (await self.health())["owed_to_edges"]:
                await asyncio.sleep(0.02)


@dataclass
class Fleet:
    """Nodes in front of one origin. `port`: where they look for it."""

    nodes: Sequence[Node]
    port: int
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def origin(self, port: int | None = None, **environment: str) -> Iterator[Origin]:
        """An origin that listens at this port, or where the nodes look for it."""
        with ExitStack() as stack:
            at = port if port is not None else self.port
            command = [sys.executable, "-m", "uvicorn", "--factory", "tests.edge.told.application:served"]
            command += ["--port", str(at), "--log-level", "warning"]
            origin = Origin(command, at, self.folder / f"origin-{at}.log", self.environment | environment)
            stack.callback(origin.kill)
            origin.start()
            yield origin

    @asynccontextmanager
    async def truth(self) -> AsyncIterator[Truth]:
        truth = Truth(self.environment["TOLD_REDIS"], self.environment["TOLD_PREFIX"])
        try:
            yield truth
        finally:
            await truth.aclose()

    async def run(self, name: str, item: int) -> None:
        """`Engine.run` in another process."""
        command = [sys.executable, "-m", "tests.edge.told.application", name, str(item)]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=self.environment)
        assert await process.wait() == 0

    async def kept(self, item: int, version: int) -> None:
        """Have every node keep a thing, in this version."""
        for node in self.nodes:
            assert (await node.shown(item))[1] == version
            assert await node.shown(item) == ("hit", version)

    async def versions(self, item: int) -> list[int]:
        """The versions that the nodes serve at this moment."""
        return [version for _, version in await asyncio.gather(*(node.shown(item) for node in self.nodes))]

    async def fresh(self, item: int, version: int) -> None:
        """Wait until every node serves this version."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await self.versions(item) != [version] * len(self.nodes):
                await asyncio.sleep(0.02)


@contextmanager
def fleet_of(kinds: Sequence[str], redis: str) -> Iterator[Fleet]:
    """Running nodes of these kinds, before an origin that is not there yet."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="mizan-told-"))
        folder, prefix = Path(name), f"{Path(name).name}:"
        port = stack.enter_context(reserved())
        manifest = build_manifest(graph_of(Truth(redis, prefix)))
        origin = f"http://127.0.0.1:{port}"
        nodes = [node_of(kind, manifest, origin, folder / str(number), stack) for number, kind in enumerate(kinds)]
        for node in nodes:
            node.start()
        environment = {
            "TOLD_REDIS": redis,
            "TOLD_PREFIX": prefix,
            "TOLD_NODES": " ".join(node.purging for node in nodes),
        }
        yield Fleet(nodes, port, os.environ | environment, folder)


def node_of(
    kind: str, manifest: dict[str, Any], origin: str, here: Path, stack: ExitStack, *, without: str = ""
) -> Node:
    """A node that listens at ports of its own, and has not been started. It is killed when the stack is closed.

    `without`: `generation` leaves the generations out of the keys, so that nothing is ever forgotten; with
    `generation-purged-once` each purge deletes what is kept at that moment instead.
    """
    here.mkdir()
    ports = [stack.enter_context(reserved()) for _ in range(3)]
    public, purging, http2 = (f"127.0.0.1:{port}" for port in ports)
    if kind == "varnish":
        ports[2] = ports[0]
        text = _WITHOUT[kind](varnish_text(manifest, origin=origin, host="example.com"), without, here)
        command = varnish_command(here, text, public, purging, "-p", "feature=+http2")
    else:
        kept = str(here / "cache")
        text = nginx_text(
            manifest, origin=origin, host="example.com", listen=public, purge_listen=purging, cache_path=kept
        )
        # Before 1.25 an address without TLS speaks either HTTP/1 or HTTP/2, so this is one more.
        text = text.replace(f"listen {public};", f"listen {public};\n    listen {http2} http2;")
        command = nginx_command(here, _WITHOUT[kind](text, without, here))
    node = Node(command, ports, here / "log", dict(os.environ))
    stack.callback(node.kill)
    return node


def _varnish_without(text: str, without: str, here: Path) -> str:
    if without:
        for line in [line for line in text.splitlines() if "hash_data(var.global_get(" in line]:
            text = text.replace(line, "")
    if without == "generation-purged-once":
        for name in ("mizan_advance", "mizan_everything"):
            text = text.replace(f"sub {name} {{", f'sub {name} {{\n    std.ban("obj.status == 200");')
    return text


def _nginx_without(text: str, without: str, here: Path) -> str:
    if without:
        text = text.replace('key[#key + 1] = generations:get(bucket(tag)) or ""', "")
        text = text.replace('local key = { generations:get("*") }', 'local key = { generations:get("start") }')
    if without == "generation-purged-once":
        deletes = f'os.execute("find {here / "cache"} -type f -delete")'
        text = text.replace("local function purge(header)", f"local function purge(header)\n  {deletes}")
    return text


_WITHOUT = {"varnish": _varnish_without, "nginx": _nginx_without}


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(address) == 0
