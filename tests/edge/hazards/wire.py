"""An origin that is told byte by byte what to answer, and remembers every request that reached it; and a raw client."""

import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.edge.nodes import Reply, parsed

PUBLIC = "public, max-age=0, must-revalidate, s-maxage=600"
PRIVATE = "private, no-cache"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived. `headers` are all lines, with lower-case names."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for one, value in self.headers if one == name]


def answer(body: str = "", *lines: str, status: str = "200 OK", control: str = PUBLIC) -> bytes:
    """A whole answer, with `lines` among its headers."""
    head = [f"HTTP/1.1 {status}", "Content-Type: text/plain", f"Content-Length: {len(body.encode())}"]
    head += [f"Cache-Control: {control}"] if control else []
    return "\r\n".join([*head, *lines, "", body]).encode()


class Origin:
    """Answers each request by `script`, in threads. A script that returns None closes the connection.

    Unless told otherwise, it sends every GET for everyone, with the number of the answer as its body.
    """

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.origin = self
        self.reset()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._server.server_address[:2])

    def reset(self) -> None:
        self._numbers = count(1)
        self.asked: list[Asked] = []
        self.script: Callable[[Asked], bytes | None] = self.numbered
        self.last = False  # whether each connection is closed after an answer

    def numbered(self, asked: Asked, *lines: str, control: str = PUBLIC, status: str = "200 OK") -> bytes:
        if asked.method not in ("GET", "HEAD"):
            control = "no-store"
        return answer(f"{asked.method} {next(self._numbers)}", *lines, control=control, status=status)

    def targets(self) -> list[tuple[str, str]]:
        return [(one.method, one.target) for one in self.asked]

    def __enter__(self) -> "Origin":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    origin: Origin


class _Connection(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        origin = self.server.origin
        while (asked := self._read()) is not None:
            origin.asked.append(asked)
            sent = origin.script(asked)
            if sent is None:
                return
            head = asked.method == "HEAD"
            self.wfile.write(sent.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head else sent)
            if origin.last or any("close" in value for value in asked.all("connection")):
                return

    def _read(self) -> Asked | None:
        """The next request; None where there is none, or only a part of one."""
        first = self.rfile.readline()
        if not first.endswith(b"\r\n"):
            return None
        method, target, _ = first.decode("latin-1").split(" ")
        headers = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.lower(), value.strip()))
        sizes = [value for name, value in headers if name == "content-length"]
        if any("chunked" in value for name, value in headers if name == "transfer-encoding"):
            body = self._chunks()
        else:
            size = int(sizes[0]) if sizes else 0
            body = self.rfile.read(size)
            if len(body) < size:
                return None
        return Asked(method, target, headers, body)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole


def exchange(to: Path, sent: bytes, *, timeout: float = 5.0) -> bytes:
    """All that comes back on a connection of its own. The edge has to close it."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        connection.connect(str(to))
        connection.sendall(sent)
        received = b""
        while some := connection.recv(65536):
            received += some
    return received


def head(method: str, target: str, *lines: str, host: str | None = "example.com") -> bytes:
    """The head of a request after which the connection is closed, in latin-1."""
    own = ([f"Host: {host}"] if host is not None else []) + ["Connection: close"]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *own, *lines, "", ""]).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Edge:
    """A node in front of an origin. `name`: varnish or nginx."""

    name: str
    node: Any
    origin: Origin
    url: str = field(default="/api/mizan/ctx/things/?item=")

    def ask(self, method: str, target: str, *lines: str, host: str | None = "example.com", body: bytes = b"") -> Reply:
        return parsed(exchange(self.node.public, head(method, target, *lines, host=host) + body))

    def get(self, target: str, *lines: str, host: str | None = "example.com") -> Reply:
        return self.ask("GET", target, *lines, host=host)

    def purge(self, entries: str) -> Reply:
        sent = head("PURGE", "/", f"X-Mizan-Invalidate: {entries}")
        return parsed(exchange(self.node.purging, sent))
