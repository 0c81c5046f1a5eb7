"""Measurement over sockets: each contender in its own process under uvicorn, with wrk on another core.

Contenders take turns, for a second or two in each round; a figure is the median of the rounds.
"""

import contextlib
import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mizan_core.testing.redis_server import RedisServer, free_port

from .report import Result
from .serving import TABLES
from .world import HEADERS, USERS, body_of

SCRIPT = Path(__file__).parent / "users.lua"
CONNECTIONS = 32
START_SECONDS = 60.0

# Servers have a core to themselves. wrk has another, and Redis a third where there is one.
CORES = sorted(os.sched_getaffinity(0))
SERVERS, CLIENT, STORE = CORES[0], CORES[1 % len(CORES)], CORES[2 if len(CORES) > 2 else 1 % len(CORES)]

# Contenders that send entity tags.
WITH_ETAGS = ("raw floor", "mizan", "mizan in FastAPI", "mizan in FastAPI, hits first", "FastAPI, fastapi-cache2")


@dataclass(frozen=True, slots=True)
class Served:
    """A contender under a server, and the requests for its users as wrk sends them."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    path: str

    def requests(self, etags: Sequence[str] | None = None) -> bytes:
        return b"".join(
            self._request(user_id, etags[user_id] if etags is not None else None) for user_id in range(USERS)
        )

    def _request(self, user_id: int, etag: str | None) -> bytes:
        lines = [b"GET %s?user_id=%d HTTP/1.1" % (self.path.encode(), user_id)]
        lines += [b"%s: %s" % pair for pair in HEADERS]
        if etag is not None:
            lines.append(b"if-none-match: " + etag.encode())
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def answers(self, etags: Sequence[str] | None = None) -> list[str]:
        """The entity tags of its answers, after a check of their bodies."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        found = []
        for user_id in range(USERS):
            headers = {} if etags is None else {"If-None-Match": etags[user_id]}
            connection.request("GET", f"{self.path}?user_id={user_id}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            right = (200, body_of(user_id)) if etags is None else (304, b"")
            assert (answer.status, body) == right, f"{self.name}: {answer.status} {body!r}"
            found.append(answer.getheader("etag") or "")
        connection.close()
        return found


def measure(redis: RedisServer, *, rounds: int, seconds: float) -> list[Result]:
    """Hits from memory, `304`s and hits from Redis."""
    assert redis.process is not None
    os.sched_setaffinity(redis.process.pid, {STORE})
    with _servers("memory", redis.url) as served:
        etags = {one.name: one.answers() for one in served}
        hits = [(one, None) for one in served]
        known = [(one, etags[one.name]) for one in served if one.name in WITH_ETAGS]
        results = [
            _measured("sockets-hit", "Hit from memory, over sockets", hits, rounds, seconds),
            _measured("sockets-304", "304, over sockets", known, rounds, seconds),
        ]
    with _servers("redis", redis.url) as served:
        for one in served:
            one.answers()
        hits = [(one, None) for one in served]
        results.append(_measured("sockets-redis", "Hit from Redis, over sockets", hits, rounds, seconds))
    return results


@contextlib.contextmanager
def _servers(table: str, url: str) -> Iterator[list[Served]]:
    """The servers of all contenders, which run at the same time: an idle one costs nothing."""
    served: list[Served] = []
    try:
        for name, (path, _) in TABLES[table].items():
            port = free_port()
            command = _on(SERVERS, sys.executable, "-m", "benchmarks.serving", str(port), url, table, name)
            served.append(Served(name, port, subprocess.Popen(command), path))
        for one in served:
            _wait_for(one)
        yield served
    finally:
        for one in served:
            one.process.kill()
            one.process.wait()


def _wait_for(served: Served) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and served.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", served.port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{served.name} did not start.")


def _measured(
    name: str, title: str, asked: list[tuple[Served, list[str] | None]], rounds: int, seconds: float
) -> Result:
    taken: dict[str, list[tuple[float, float, float]]] = {served.name: [] for served, _ in asked}
    for _ in range(rounds):
        for served, etags in asked:
            taken[served.name].append(_wrk(served, served.requests(etags), seconds))
    for served, etags in asked:
        served.answers(etags)
    medians = {who: [statistics.median(column) for column in zip(*rows, strict=True)] for who, rows in taken.items()}
    return Result(
        name,
        title,
        {who: rate for who, (rate, _, _) in medians.items()},
        "requests/s",
        {who: f"{median:.2f} ms / {worst:.2f} ms" for who, (_, median, worst) in medians.items()},
        f"latency, median / p99, at {CONNECTIONS} connections",
    )


def _wrk(served: Served, requests: bytes, seconds: float) -> tuple[float, float, float]:
    """Requests per second, and the latency's median and 99th percentile in milliseconds."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(requests)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--timeout", "5s", "-s", str(SCRIPT)]
        url = f"http://127.0.0.1:{served.port}/"
        ran = subprocess.run(
            _on(CLIENT, *command, url, "--", file.name), capture_output=True, text=True, check=True, timeout=60
        )
    line = next(line for line in ran.stdout.splitlines() if line.startswith("figures "))
    requests_sent, duration, median, worst, errors = map(int, line.split()[1:])
    assert errors == 0, f"{served.name}: {errors} errors\n{ran.stdout}"
    return requests_sent / duration * 1_000_000, median / 1000, worst / 1000


def _on(core: int, *command: str) -> list[str]:
    """The command, bound to one core if `taskset` is available."""
    return ["taskset", "--cpu-list", str(core), *command] if shutil.which("taskset") else list(command)
