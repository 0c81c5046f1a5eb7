"""The consistency checker through real edges: `python -m tests.edge.told.consistency varnish --seconds 600`.

Two nodes, each before an origin process of its own on a way that delays answers and cuts connections, and a third
origin that is asked past them. Clients read and change through all three. Origins are killed between commit and purge,
nodes are stopped for a while. No read may be older than what was acknowledged before it began, nor than what a process
left behind that died more than its lease and a second before. `--without` leaves a safeguard out of the programs of the
nodes; then reads are stale.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mizan_core import build_manifest
from mizan_core.testing.consistency.history import Breach, History, Incarnation, Violation, violations
from mizan_core.testing.consistency.proxy import Proxy
from mizan_core.testing.consistency.traffic import Door, Traffic, Unanswered
from mizan_core.testing.consistency.world import Database, Pauses, World
from mizan_core.testing.redis_server import redis_server
from tests.edge.nodes import Reply, request
from tests.edge.told.checked import LEASE_SECONDS
from tests.edge.told.fleet import Server, node_of, reserved

WITHOUT = ("generation", "generation-purged-once")

# What an edge promises. It may show an old version after a new one while a mutation is running.
_PROMISED = {Breach.STALE, Breach.LEFT_BEHIND, Breach.OTHERS}
# The judge adds a quarter of a second.
_TOLD_SECONDS = LEASE_SECONDS + 0.75
_ANSWER_SECONDS = 20.0

# Seconds, at least and at most.
_BETWEEN_STORMS = (0.2, 0.8)
_BETWEEN_DEATHS = (4.0, 12.0)
_BETWEEN_STOPS = (5.0, 15.0)
_BETWEEN_CUTS = (1.0, 6.0)


@dataclass(frozen=True, slots=True)
class Entrance:
    """A node, or an origin that is asked past the nodes. Every request has an incarnation of its own."""

    number: int
    address: tuple[str, int]
    _numbers: Iterator[int]

    @property
    def incarnation(self) -> Incarnation:
        return self.number, next(self._numbers)

    @property
    def port(self) -> int:
        return self.address[1]


class HttpClient:
    """Sends the requests of the checker's traffic by HTTP. `dooms`: the operations that kill a process."""

    def __init__(self, dooms: set[str]) -> None:
        self._dooms = dooms

    def close(self) -> None:
        """Each request has a connection of its own."""

    async def ask(self, worker: Door, asked: dict[str, Any]) -> dict[str, Any]:
        who = asked.get("identity")
        headers = {"X-Who": f"{'' if who[0] is None else who[0]}/{who[1]}"} if who else {}
        if "read" in asked:
            query = "&".join(f"{name}={value}" for name, value in sorted(asked["params"].items()))
            path = f"/api/mizan/ctx/{asked['read']}/" + (f"?{query}" if query else "")
            answer = await self._answer(worker, "GET", path, headers)
            if answer.status != 200 or not _is_whole(answer):
                raise Unanswered
            return {"body": json.loads(answer.body), "status": answer.edge or "passed", "calm": True}
        if asked["doomed"]:
            self._dooms.add(asked["args"]["operation"])
            headers["X-Doomed"] = asked["args"]["operation"]
        headers["Content-Type"] = "application/json"
        body = json.dumps(asked["args"])
        answer = await self._answer(worker, "POST", f"/api/mizan/call/{asked['call']}/", headers, body)
        return {"ended": _ended(answer), "calm": True}

    async def _answer(self, worker: Door, method: str, path: str, headers: dict[str, str], body: str = "") -> Reply:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await request(("127.0.0.1", worker.port or 0), method, path, headers, body)
        except (OSError, TimeoutError, ValueError, IndexError):  # an answer without a first line, or half of it
            raise Unanswered from None


def _is_whole(answer: Reply) -> bool:
    """Whether no way was cut in the middle of its body."""
    return answer.body.endswith("}")


def _ended(answer: Reply) -> str:
    if answer.status == 200:
        return "acknowledged" if _is_whole(answer) else "unknown"
    is_mizans = "problem+json" in answer.headers.get("content-type", "")
    return "refused" if is_mizans and answer.status in (409, 503) else "unknown"


@dataclass(slots=True)
class Judgement:
    kind: str
    seconds: float
    without: tuple[str, str]
    history: History
    faults: Counter[str]
    found: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        reads = Counter(read.status for read in self.history.reads)
        outcomes = Counter(mutation.outcome.value for mutation in self.history.mutations)
        breaches = Counter(one.breach.value for one in self.found)
        without = f" without {', '.join(sorted(set(self.without) - {''}))}" if any(self.without) else ""
        lines = [
            f"{self.kind}{without}, {self.seconds:g} s",
            f"reads: {reads.total():,} ({_counted(reads)})",
            f"mutations: {outcomes.total():,} ({_counted(outcomes)})",
            f"faults: {self.faults.total():,} ({_counted(self.faults)})",
            f"violations: {len(self.found):,} ({_counted(breaches)})",
            *(f"  {one}" for one in self.found[:10]),
        ]
        return "\n".join(lines)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counter.items())) or "none"


class Check:
    """One run. `kills`: origins are killed and nodes are stopped, too. `without`: what each of the two nodes lacks."""

    def __init__(
        self, kind: str, *, without: tuple[str, str] = ("", ""), seed: int = 0, clients: int = 10, kills: bool = True
    ) -> None:
        self._kind = kind
        self._without = without
        self._random = random.Random(seed)
        self._clients = clients
        self._kills = kills
        self._faults = Counter[str]()
        self._dooms: set[str] = set()
        self._history = History(_TOLD_SECONDS)
        self._entrances: list[Entrance] = []
        self._traffic = Traffic(
            self._entrances, self._history, time.monotonic, self._random, lambda: HttpClient(self._dooms)
        )

    async def run(self, seconds: float) -> Judgement:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mizan-told-")))
            database = Database(folder / "truth.sqlite")
            database.create()
            stack.callback(database.close)
            nodes, origins, ways = await self._started(folder, database, stack)
            works = [self._storms(), *(self._traffic.visit() for _ in range(self._clients)), self._cuts(ways)]
            if self._kills:
                works += [self._deaths(), self._stops(nodes)]
            rising = [asyncio.create_task(self._rise(one)) for one in origins]
            tasks = [asyncio.create_task(work) for work in works]
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            await _cancelled(tasks)
            assert not done, [one.exception() for one in done]
            if self._kills:
                await asyncio.sleep(_TOLD_SECONDS + 0.5)
            await self._read_all()
            await _cancelled(rising)
            for operation, row, version in database.commits():
                self._history.commits.setdefault(operation, {})[row] = version
        return self._judged(seconds)

    def _judged(self, seconds: float) -> Judgement:
        for mutation in self._history.mutations:
            if mutation.operation in self._dooms:
                self._history.deaths[mutation.worker] = mutation.ended
        found = [one for one in violations(self._history, allow=False) if one.breach in _PROMISED]
        return Judgement(self._kind, seconds, self._without, self._history, self._faults, found)

    async def _started(
        self, folder: Path, database: Database, stack: AsyncExitStack
    ) -> tuple[list[Server], list[Server], list[Proxy]]:
        parts = stack.enter_context(ExitStack())
        redis = parts.enter_context(redis_server()).url
        manifest = build_manifest(World(database, Pauses(self._random)).graph())
        ports = [parts.enter_context(reserved()) for _ in range(3)]
        ways, nodes = [], []
        for number in range(2):
            way = Proxy("127.0.0.1", ports[number], self._delay)
            await way.start()
            stack.push_async_callback(way.aclose)
            ways.append(way)
            origin = f"http://127.0.0.1:{way.port}"
            nodes.append(
                node_of(self._kind, manifest, origin, folder / str(number), parts, without=self._without[number])
            )
        environment = os.environ | {
            "CHECKED_REDIS": redis,
            "CHECKED_PREFIX": "checked:",
            "CHECKED_DATABASE": str(database.path),
            "CHECKED_NODES": " ".join(node.purging for node in nodes),
        }
        origins = []
        for port in ports:
            command = [sys.executable, "-m", "uvicorn", "--factory", "tests.edge.told.checked:Served"]
            command += ["--port", str(port), "--log-level", "critical"]
            origins.append(Server(command, port, folder / f"{port}.log", environment))
            parts.callback(origins[-1].kill)
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in [*nodes, *origins]))
        numbers = itertools.count()
        doors = [Entrance(number, one.address, numbers) for number, one in enumerate([*nodes, origins[2]])]
        self._entrances += [*doors[:2], *doors]  # most of what is asked goes through the nodes
        return list(nodes), origins, ways

    def _delay(self) -> float:
        """Most chunks are fast, and some take longer than a mutation does."""
        often = self._random.uniform(0.0, 0.003)
        return self._random.uniform(0.02, 0.15) if self._random.random() < 0.2 else often

    async def _storms(self) -> None:
        while True:
            await self._pause(_BETWEEN_STORMS)
            await self._traffic.storm(deadly=False)

    async def _deaths(self) -> None:
        while True:
            await self._pause(_BETWEEN_DEATHS)
            team = await self._traffic.storm(deadly=True)
            if team is not None:
                self._faults["origin killed before its purge"] += 1
                await self._traffic.look_for_stale_entries(team)

    async def _stops(self, nodes: list[Server]) -> None:
        while True:
            await self._pause(_BETWEEN_STOPS)
            node = self._random.choice(nodes)
            self._faults["node stopped"] += 1
            node.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(self._random.uniform(0.3, 2.5))
            finally:
                node.signal(signal.SIGCONT)

    async def _cuts(self, ways: list[Proxy]) -> None:
        while True:
            await self._pause(_BETWEEN_CUTS)
            self._faults["way cut"] += 1
            self._random.choice(ways).cut()

    async def _rise(self, origin: Server) -> None:
        """Start an origin again whenever it has died."""
        while True:
            await asyncio.sleep(0.1)
            if origin.has_ended:
                await asyncio.to_thread(origin.start)

    async def _read_all(self) -> None:
        client = HttpClient(self._dooms)
        for _ in range(2):
            for worker, team, user in itertools.product(self._entrances[-3:], range(10), (None, *range(5))):
                await self._traffic.read(client, worker, team, user)

    async def _pause(self, seconds: tuple[float, float]) -> None:
        await asyncio.sleep(self._random.uniform(*seconds))


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edge", choices=("varnish", "nginx"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--without", choices=WITHOUT, default="")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        judgement = asyncio.run(
            Check(given.edge, without=(given.without, given.without), seed=given.seed).run(given.seconds)
        )
        print(judgement)
        raise SystemExit(bool(judgement.found))


if __name__ == "__main__":
    main()
