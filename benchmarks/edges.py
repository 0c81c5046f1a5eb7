"""`python -m benchmarks.edges`: what an edge gives, and what telling it costs. Prints tables in Markdown.

Needs varnishd, nginx with Lua, redis-server and wrk. The origin, Varnish and nginx each have one core, the same one,
and take turns; wrk has another.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from mizan_asgi.edge import HeaderOnly, Nodes
from mizan_core import MemoryCache, RedisCache, build_manifest
from mizan_core.edge import nginx_text, varnish_text
from mizan_core.testing.redis_server import free_port, redis_server

from .contenders import ours
from .sockets import CLIENT, CONNECTIONS, SERVERS
from .world import OURS

NGINX_MODULES = Path("/usr/lib/nginx/modules")
START_SECONDS = 60.0
# Of all stored objects these are written by the purges that are measured.
PURGES = 200


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    public: int
    purging: int
    process: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.purging}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything, for a first look")
    parser.add_argument("--serve", type=int, metavar="PORT", help="only be the origin")
    options = parser.parse_args()
    if options.serve:
        app = ours.mizan(edge=HeaderOnly())
        uvicorn.run(app, port=options.serve, loop="uvloop", http="httptools", log_level="warning", access_log=False)
        return
    rounds, seconds, stored, calls = (2, 1.0, 2_000, 20) if options.quick else (7, 2.0, 100_000, 50)
    manifest = build_manifest(ours.graph())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mizan-bench-")))
        origin = free_port()
        command = _on(SERVERS, sys.executable, "-m", __spec__.name, "--serve", str(origin))
        process = stack.enter_context(_running(command, origin))
        nodes = [stack.enter_context(make(manifest, origin, folder / make.__name__)) for make in (_varnish, _nginx)]
        servers = {"origin": (origin, process), **{node.name: (node.public, node.process) for node in nodes}}
        print(_table(("Hits", "a second", "CPU of one, µs", "ratio"), _hits(servers, rounds, seconds)))
        print(_table((f"A purge at {stored:,} stored answers", "ms", "of one at none"), _purges(nodes, stored)))
        with redis_server() as redis:
            told = uvloop.run(_mutations(nodes, redis.url, 5 if options.quick else 41, calls))
        print(_table(("A mutation", "µs", "of one without edges"), told))


def _hits(servers: Mapping[str, tuple[int, int]], rounds: int, seconds: float) -> list[tuple[str, ...]]:
    """Medians of rates and of the CPU time of a hit, and of the ratios of that to the origin's within each round."""
    for port, _ in servers.values():
        for _ in range(2):
            _fetch(port, range(1))
    rates: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, (port, process) in servers.items():
            before = _cpu_seconds(process)
            rate = _wrk(port, seconds)
            rates[name].append(rate)
            costs[name].append((_cpu_seconds(process) - before) / (rate * seconds) * 1e6)
    return [
        (
            name,
            f"{statistics.median(rates[name]):,.0f}",
            f"{statistics.median(costs[name]):.1f}",
            f"{_ratio(costs[name], costs['origin']):.2f}",
        )
        for name in servers
    ]


def _cpu_seconds(process: int) -> float:
    """CPU time of a process and of those that it started."""
    found = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if process in (int(stat.parent.name), int(fields[1])):
                found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _purges(nodes: Sequence[Node], stored: int) -> list[tuple[str, ...]]:
    """Medians for one tag and for everything, each on one connection, when so many answers are stored."""
    rows = []
    for node in nodes:
        empty = _timed_purges(node, [f"user;user_id={number}" for number in range(PURGES)])
        _fetch(node.public, range(stored))
        assert all(_fetch(node.public, range(0, stored, 97))), "An answer is not stored."
        step = stored // PURGES
        one = _timed_purges(node, [f"user;user_id={number}" for number in range(0, stored, step)])
        assert not any(_fetch(node.public, range(0, stored, step))), "An answer was not purged."
        everything = _timed_purges(node, ["*"] * PURGES)
        assert not any(_fetch(node.public, range(1, stored, 97))), "An answer was not purged."
        rows += [
            (f"{node.name}, one tag", f"{one:.3f}", f"{one / empty:.2f}"),
            (f"{node.name}, everything", f"{everything:.3f}", f"{everything / empty:.2f}"),
        ]
    return rows


async def _mutations(nodes: Sequence[Node], redis: str, rounds: int, calls: int) -> list[tuple[str, ...]]:
    """Medians of one call in this process, and of their ratios to a call without edges within each round."""
    varnish, nginx = (node.address for node in nodes)
    contenders: dict[str, dict[str, Any]] = {
        "no edge": {},
        "HeaderOnly": {"edge": HeaderOnly()},
        "one node, Varnish": {"edge": Nodes(varnish)},
        "one node, nginx": {"edge": Nodes(nginx)},
        "two nodes": {"edge": Nodes(varnish, nginx)},
        "Redis, no edge": {"cache": RedisCache(redis, prefix="none:")},
        "Redis, one node, Varnish": {"cache": RedisCache(redis, prefix="one:"), "edge": Nodes(varnish)},
        "Redis, two nodes": {"cache": RedisCache(redis, prefix="two:"), "edge": Nodes(varnish, nginx)},
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    async with AsyncExitStack() as stack:
        apps = {}
        for name, options in contenders.items():
            app = ours.mizan(**{"cache": MemoryCache(), **options})
            await stack.enter_async_context(app.lifespan())
            while app.engine.health().owed_to_edges:  # noqa: ASYNC110  # an engine that starts tells its nodes
                await asyncio.sleep(0.01)
            apps[name] = app
        for number in range(rounds + 1):
            for name in apps if number % 2 else reversed(apps):
                times = [await _call(apps[name], user_id) for user_id in range(calls)]
                if number:
                    taken[name].append(statistics.median(times) * 1e6)
    base = {name: "Redis, no edge" if name.startswith("Redis") else "no edge" for name in taken}
    return [
        (name, f"{statistics.median(times):,.0f}", f"{_ratio(times, taken[base[name]]):.2f}")
        for name, times in taken.items()
    ]


async def _call(app: Callable[..., Awaitable[None]], user_id: int) -> float:
    """Seconds of one call, as a server makes it."""
    body = json.dumps({"user_id": user_id, "name": "Ada"}).encode()
    path = "/api/mizan/call/rename_and_purge/"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.com"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status"))

    began = time.perf_counter()
    await app(scope, receive, send)
    took = time.perf_counter() - began
    assert statuses[0] == 200, statuses
    return took


def _ratio(mine: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(mine, base, strict=True))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fetch(port: int, users: range) -> list[bool]:
    """For each user's bundle whether an edge had it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    found = []
    for user_id in users:
        connection.request("GET", f"{OURS}?user_id={user_id}", headers={"Host": "example.com"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        found.append((answer.getheader("Cache-Status") or "").endswith("mizan-edge; hit"))
    connection.close()
    return found


def _timed_purges(node: Node, entries: Sequence[str]) -> float:
    """The median in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", node.purging, timeout=30)
    times = []
    for entry in entries:
        began = time.perf_counter()
        connection.request("PURGE", "/", headers={"X-Mizan-Invalidate": entry})
        answer = connection.getresponse()
        answer.read()
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200, answer.status
    connection.close()
    return statistics.median(times)


def _wrk(port: int, seconds: float) -> float:
    """Requests a second."""
    url = f"http://127.0.0.1:{port}{OURS}?user_id=0"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-H", "Host: example.com", url]
    ran = subprocess.run(_on(CLIENT, *command), capture_output=True, text=True, check=True)
    assert "Non-2xx" not in ran.stdout, ran.stdout
    assert "Socket errors" not in ran.stdout, ran.stdout
    return float(ran.stdout.partition("Requests/sec:")[2].split()[0])


@contextmanager
def _varnish(manifest: Mapping[str, Any], origin: int, folder: Path) -> Iterator[Node]:
    folder.mkdir()
    public, purging = free_port(), free_port()
    (folder / "mizan.vcl").write_text(varnish_text(manifest, origin=f"http://127.0.0.1:{origin}", host="example.com"))
    command = [
        *(_program("varnishd"), "-F", "-j", "none", "-n", str(folder / "n"), "-f", str(folder / "mizan.vcl")),
        *("-a", f"public=127.0.0.1:{public}", "-a", f"mizan-purge=127.0.0.1:{purging}"),
        *("-s", "malloc,2g"),
    ]
    with _running(_on(SERVERS, *command), public, purging) as process:
        yield Node("Varnish", public, purging, process)


@contextmanager
def _nginx(manifest: Mapping[str, Any], origin: int, folder: Path) -> Iterator[Node]:
    folder.mkdir()
    public, purging = free_port(), free_port()
    settings = nginx_text(
        manifest,
        origin=f"http://127.0.0.1:{origin}",
        host="example.com",
        listen=f"127.0.0.1:{public}",
        purge_listen=f"127.0.0.1:{purging}",
        cache_path=str(folder / "cache"),
    )
    modules = "".join(
        f"load_module {NGINX_MODULES / name};\n" for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
    )
    temporary = "".join(
        f"{name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{modules}{user}daemon off;\nworker_processes 1;\npid {folder / 'pid'};\nerror_log {folder / 'error.log'};\n"
        f"events {{ }}\nhttp {{\naccess_log off;\nkeepalive_requests 100000000;\n{temporary}{settings}\n}}\n"
    )
    command = [_program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with _running(_on(SERVERS, *command), public, purging) as process:
        yield Node("nginx", public, purging, process)


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        raise SystemExit(f"There is no {name} here.")
    return path


@contextmanager
def _running(command: Sequence[str], *ports: int) -> Iterator[int]:
    """The process, when it listens at these ports."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not all(_listens(port) for port in ports):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command} did not start.")
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _on(core: int, *command: str) -> list[str]:
    """The command, bound to one core if `taskset` is available."""
    return ["taskset", "--cpu-list", str(core), *command] if shutil.which("taskset") else list(command)


if __name__ == "__main__":
    main()
