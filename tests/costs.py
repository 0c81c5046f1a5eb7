"""What each kind of request costs in steps, which unlike time are the same on every machine.

`python -m tests.costs` prints them beside those that are recorded, and with `--record` records them anew.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import mizan_asgi
import mizan_core
from mizan_asgi import Mizan
from mizan_core import Context, Graph, Identity, RedisCache, build, client
from mizan_core.testing.redis_server import redis_server

RECORD = Path(__file__).with_name("costs.json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
OURS = tuple(str(Path(package.__file__ or "").parent) for package in (mizan_core, mizan_asgi))

USERS = 10
# The lowest of several counts: any disturbance, such as a server that answers late, only adds to them.
REPETITIONS = 3
ATTEMPTS = 5

Costs = dict[str, dict[str, float]]


@dataclass(slots=True)
class Steps:
    """While this is entered: bytecode instructions in frames of ours, and calls that these make to foreign code.

    Other people's instructions are not counted, for a dependency's new release is not ours to answer for.
    """

    instructions: int = 0
    calls: int = 0

    def __enter__(self) -> "Steps":
        sys.setprofile(self._called)
        sys.settrace(self._entered)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _entered(self, frame: FrameType, event: str, argument: object) -> Any:
        if not _is_ours(frame):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._stepped

    def _stepped(self, frame: FrameType, event: str, argument: object) -> Any:
        self.instructions += event == "opcode"
        return self._stepped

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call":
            self.calls += _is_ours(frame)
        elif event == "call" and frame.f_back is not None:
            self.calls += _is_ours(frame.f_back) and not _is_ours(frame)


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(OURS)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as a server hands it over."""

    path: str
    query: bytes = b""
    method: str = "GET"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    user: Identity | None = None

    async def of(self, app: Mizan, steps: "Steps | None" = None) -> "Told":
        told = Told()
        scope = self._scope()
        with steps or contextlib.nullcontext():
            await app(scope, self._receive, told.send)
        return told

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.body, "more_body": False}

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "method": self.method,
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query,
            "headers": [(b"host", b"localhost"), (b"accept", b"application/json"), *self.headers],
            "user": self.user,
        }


@dataclass(slots=True)
class Told:
    """An answer's status and headers; its `line` is the status and the Cache-Status, if it has one."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])

    @property
    def line(self) -> str:
        return f"{self.status} {self.headers.get(b'cache-status', b'').decode()}".strip()


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind, one for each user. `expects`: how the answers' lines begin. `before`: comes before each."""

    name: str
    app: Mizan
    requests: Sequence[Asked]
    expects: str
    before: Callable[[int], Awaitable[object]] | None = None

    async def counted(self) -> Steps:
        """The steps of all its requests together, answered as they have to be."""
        for _ in range(ATTEMPTS):
            steps = Steps()
            told = [await self._ask(user_id, steps) for user_id in range(USERS)]
            if self._is_up() and all(one.line.startswith(self.expects) for one in told):
                return steps
            await self._up()
        raise AssertionError(
            f"{self.name}: {sorted({one.line for one in told})}, cache {self.app.engine.health().cache}"
        )

    async def _ask(self, user_id: int, steps: Steps) -> "Told":
        if self.before is not None:
            await self.before(user_id)
        return await self.requests[user_id].of(self.app, steps)

    def _is_up(self) -> bool:
        return self.app.engine.health().cache == "up"

    async def _up(self) -> None:
        """When a Redis that missed its deadline on a busy machine is asked again."""
        while not self._is_up():
            await asyncio.sleep(0.05)


def graph() -> Graph:
    user = Context("user")

    @client(context=user)
    async def user_profile(user_id: int) -> dict[str, str]:
        return {"name": f"User {user_id}"}

    @client(context=user)
    async def user_letters(user_id: int, page: int = 1) -> list[str]:
        return ["a", "b"]

    @client(context="mine")
    async def my_profile(me: Identity) -> str:
        return me.user_id or ""

    @client
    async def greet(user_id: int, name: str) -> str:
        return name

    @client(affects=user)
    async def rename(user_id: int, name: str) -> str:
        return name

    return build([user_profile, user_letters, my_profile, greet, rename])


async def kinds(url: str) -> list[Kind]:
    """Every kind of request, each on an application of its own."""
    users = [Asked("/api/mizan/ctx/user/", b"user_id=%d" % number) for number in range(USERS)]
    mine = [Asked("/api/mizan/ctx/mine/", user=Identity(number)) for number in range(USERS)]
    known_to, purged = _mizan(), _mizan()
    in_redis = RedisCache(url)
    return [
        Kind("hit from memory", _mizan(), users, "200 mizan; hit"),
        Kind("hit from memory, kept per user", _mizan(), mine, "200 mizan; hit"),
        Kind("304", known_to, [await _knowing(known_to, one) for one in users], "304 mizan; hit"),
        Kind("hit from Redis", _mizan(in_redis), users, "200 mizan; hit"),
        Kind("miss", purged, users, "200 mizan; fwd=stale; stored", lambda user_id: _purged(purged, user_id)),
        Kind("call", _mizan(), _calls("greet"), "200"),
        Kind("mutation in memory", _mizan(), _calls("rename"), "200"),
        Kind("mutation in Redis", _mizan(in_redis), _calls("rename"), "200"),
    ]


def _mizan(cache: Any = "memory") -> Mizan:
    return Mizan(graph(), cache=cache, cache_secret="a secret of the tests' own, long enough")


async def _knowing(app: Mizan, asked: Asked) -> Asked:
    told = await asked.of(app)
    return replace(asked, headers=((b"if-none-match", told.headers[b"etag"]),))


async def _purged(app: Mizan, user_id: int) -> None:
    await app.engine.invalidate("user", user_id=user_id)


def _calls(name: str) -> list[Asked]:
    bodies = [json.dumps({"fn": name, "args": {"user_id": number, "name": "Ada"}}).encode() for number in range(USERS)]
    headers = [((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))) for body in bodies]
    return [
        Asked("/api/mizan/call/", method="POST", headers=sent, body=body)
        for sent, body in zip(headers, bodies, strict=True)
    ]


async def _counted(url: str) -> Costs:
    counted: Costs = {}
    for kind in await kinds(url):
        for request in kind.requests:
            await request.of(kind.app)
        await kind.counted()
        steps = [await kind.counted() for _ in range(REPETITIONS)]
        counted[kind.name] = {
            "instructions": min(one.instructions for one in steps) / USERS,
            "calls": min(one.calls for one in steps) / USERS,
        }
    return counted


def count(url: str) -> Costs:
    """The steps of one request of each kind, counted in a process of its own, where no other tracer runs."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.costs", "--count", url],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ran.returncode == 0, ran.stderr
    counted: Costs = json.loads(ran.stdout)
    return counted


def recorded() -> tuple[str, Costs]:
    """The minor version of Python that was recorded with, and what was. Calls are the same for every version."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return record["python"], record["costs"]


def record(costs: Costs) -> None:
    RECORD.write_text(json.dumps({"python": VERSION, "costs": costs}, indent=2) + "\n", encoding="utf-8")


def calls_alone(costs: Costs) -> Costs:
    return {kind: {"calls": cost["calls"]} for kind, cost in costs.items()}


def changes(old: Costs, new: Costs, *, beyond: float) -> list[str]:
    """What has become dearer or cheaper by more than such a share, and what only one of them has."""
    missing = [f"{kind}: only {where}" for kind, where in _unmatched(old, new).items()]
    return missing + [
        f"{kind}: {old[kind][what]:g} {what} have become {figure:g} ({figure / old[kind][what] - 1:+.0%})"
        for kind in sorted(old.keys() & new.keys())
        for what, figure in sorted(new[kind].items())
        if abs(figure - old[kind][what]) > beyond * old[kind][what]
    ]


def _unmatched(old: Costs, new: Costs) -> Mapping[str, str]:
    return dict.fromkeys(old.keys() - new.keys(), "recorded") | dict.fromkeys(new.keys() - old.keys(), "counted")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.costs", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write tests/costs.json")
    parser.add_argument("--count", metavar="REDIS", help="only count, and print JSON")
    options = parser.parse_args()
    if options.count:
        print(json.dumps(asyncio.run(_counted(options.count))))
        return
    with redis_server() as server:
        counted = count(server.url)
    version, old = recorded() if RECORD.exists() else (VERSION, {})
    for kind, costs in counted.items():
        was = old.get(kind, {})
        print(f"{kind:32}", *(f"{figure:8g} {what} (was {was.get(what, 0):g})" for what, figure in costs.items()))
    if version != VERSION:
        print(f"Recorded with Python {version}, whose instructions are not those of {VERSION}.")
    if options.record:
        record(counted)


if __name__ == "__main__":
    main()
