"""Nodes of edges for tests: a real varnishd or nginx that listens on sockets in a folder, and raw HTTP to talk to it.

With `CI=true` a missing program is a failure, else a reason to skip.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mizan_core.edge import nginx_text, varnish_text

MODULES = Path("/usr/lib/nginx/modules")
LOADED = ("ndk_http_module.so", "ngx_http_lua_module.so")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def edge(self) -> str:
        """What the edge says of it in `Cache-Status`: `hit`, `fwd=uri-miss`, or nothing."""
        last = self.headers.get("cache-status", "").rpartition(",")[2].strip()
        return last.removeprefix("mizan-edge; ") if last.startswith("mizan-edge") else ""


@dataclass(frozen=True, slots=True)
class Node:
    """A running node. `public` and `purging` are the sockets of its two addresses."""

    folder: Path
    process: subprocess.Popen[str]
    public: Path = field(init=False)
    purging: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "public", self.folder / "public.sock")
        object.__setattr__(self, "purging", self.folder / "purging.sock")

    async def get(self, url: str, **headers: str) -> Reply:
        return await request(self.public, "GET", url, headers)

    async def post(self, url: str, body: str = "{}", **headers: str) -> Reply:
        return await request(self.public, "POST", url, {"Content-Type": "application/json", **headers}, body)

    async def purge(self, entries: str) -> Reply:
        return await request(self.purging, "PURGE", "/", {"X-Mizan-Invalidate": entries})


async def request(
    to: Path | tuple[str, int], method: str, url: str, headers: Mapping[str, str] | None = None, body: str = ""
) -> Reply:
    """One request on a connection of its own; the URL goes as it is. An underscore in a header's name is a hyphen."""
    opened = asyncio.open_connection(*to) if isinstance(to, tuple) else asyncio.open_unix_connection(to)
    reader, writer = await opened
    lines = {"Host": "example.com", "Connection": "close", "Content-Length": str(len(body.encode())), **(headers or {})}
    if method in ("GET", "HEAD"):
        del lines["Content-Length"]
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {url} HTTP/1.1\r\n{head}\r\n{body}".encode())
    try:
        answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return parsed(answer)


def parsed(answer: bytes) -> Reply:
    head, _, rest = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        known = headers.get(name.lower())
        headers[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
    body = _dechunked(rest) if "chunked" in headers.get("transfer-encoding", "") else rest
    return Reply(int(status.split()[1]), headers, body.decode(errors="replace"))


def _dechunked(rest: bytes) -> bytes:
    whole = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            return whole
        whole, rest = whole + rest[:length], rest[length + 2 :]


def found(program: str) -> str:
    """The path of a program of the system's."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None or (program == "nginx" and not all((MODULES / one).exists() for one in LOADED)):
        message = f"There is no {program} here; .ci/run names the packages."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path: those of sockets have at most 108 characters."""
    with tempfile.TemporaryDirectory(prefix="mizan-edge-") as name:
        yield Path(name)


@contextmanager
def varnish(text: str) -> Iterator[Node]:
    with folder() as here:
        command = varnish_command(here, text, f"{here / 'public.sock'}", f"{here / 'purging.sock'}")
        with _running(command, here) as node:
            yield node


def varnish_command(here: Path, text: str, public: str, purging: str, *options: str) -> list[str]:
    """The command for a program that is written to a folder, listening at these addresses."""
    program = here / "mizan.vcl"
    program.write_text(text)
    return [
        *(found("varnishd"), "-F", "-j", "none", "-n", str(here / "n"), "-f", str(program), "-s", "malloc,64m"),
        *("-a", f"public={public}", "-a", f"mizan-purge={purging}"),
        *("-p", "thread_pool_min=10", "-p", "thread_pools=1", "-p", "vsl_space=4m", *options),
    ]


@contextmanager
def nginx_in(here: Path, text: str) -> Iterator[Node]:
    with _running(nginx_command(here, text), here) as node:
        yield node


def nginx_command(here: Path, text: str) -> list[str]:
    """The command for settings that are written to a folder."""
    _write_nginx(here, text)
    return [found("nginx"), *_nginx_options(here)]


def reload_nginx(node: Node, text: str) -> None:
    """New settings for a running node, which keeps its memory."""
    _write_nginx(node.folder, text)
    subprocess.run([found("nginx"), *_nginx_options(node.folder), "-s", "reload"], check=True, capture_output=True)


def reload_varnish(node: Node, text: str, name: str) -> None:
    program = node.folder / f"{name}.vcl"
    program.write_text(text)
    for command in (["vcl.load", name, str(program)], ["vcl.use", name]):
        subprocess.run([found("varnishadm"), "-n", str(node.folder / "n"), *command], check=True, capture_output=True)


def compiles(text: str, here: Path) -> tuple[int, str]:
    """The verdict of `varnishd -C`."""
    (here / "mizan.vcl").write_text(text)
    command = [found("varnishd"), "-C", "-j", "none", "-n", str(here / "n"), "-f", str(here / "mizan.vcl")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, "" if ran.returncode == 0 else ran.stderr


def passes(text: str, here: Path) -> tuple[int, str]:
    """The verdict of `nginx -t`."""
    _write_nginx(here, text)
    command = [found("nginx"), *_nginx_options(here), "-t"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stderr


def _nginx_options(here: Path) -> list[str]:
    return ["-p", str(here), "-c", str(here / "nginx.conf"), "-e", str(here / "error.log")]


def _write_nginx(here: Path, text: str) -> None:
    (here / "mizan.conf").write_text(text)
    modules = "".join(f"load_module {MODULES / one};\n" for one in LOADED)
    temporary = "".join(
        f"{one}_temp_path {here / one};\n" for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (here / "nginx.conf").write_text(
        f"{modules}user root;\ndaemon off;\npid {here / 'nginx.pid'};\nworker_processes 2;\n"
        f"error_log {here / 'error.log'} warn;\nevents {{ }}\nhttp {{\naccess_log off;\n{temporary}"
        f"include {here / 'mizan.conf'};\n}}\n"
    )


@contextmanager
def _running(command: list[str], here: Path) -> Iterator[Node]:
    with (here / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, text=True) as process:
        node = Node(here, process)
        try:
            _await_sockets(node)
            yield node
        finally:
            process.terminate()
            process.wait(timeout=30)


def _await_sockets(node: Node) -> None:
    """Until both addresses listen. A program that ended says why."""
    until = time.monotonic() + 50
    while not (_listens(node.public) and _listens(node.purging)):
        if node.process.poll() is not None or time.monotonic() > until:
            pytest.fail(
                (node.folder / "log").read_text() + "".join(p.read_text() for p in node.folder.glob("error.log"))
            )
        time.sleep(0.02)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0


@contextmanager
def varnish_of(manifest: Mapping[str, Any], origin: str, host: str | None = "example.com") -> Iterator[Node]:
    with varnish(varnish_text(manifest, origin=origin, host=host)) as node:
        yield node


def nginx_program(manifest: Mapping[str, Any], origin: str, here: Path, host: str | None = "example.com") -> str:
    return nginx_text(
        manifest,
        origin=origin,
        host=host,
        listen=f"unix:{here / 'public.sock'}",
        purge_listen=f"unix:{here / 'purging.sock'}",
        cache_path=str(here / "cache"),
    )


@contextmanager
def nginx_of(manifest: Mapping[str, Any], origin: str, host: str | None = "example.com") -> Iterator[Node]:
    with folder() as here, nginx_in(here, nginx_program(manifest, origin, here, host)) as node:
        yield node


@contextmanager
def plain_varnish(origin: str) -> Iterator[Node]:
    """Varnish as it comes."""
    address = urlsplit(origin)
    with varnish(f'vcl 4.1; backend origin {{ .host = "{address.hostname}"; .port = "{address.port}"; }}') as node:
        yield node


@contextmanager
def plain_nginx(origin: str) -> Iterator[Node]:
    """The usual `proxy_cache` of nginx."""
    with folder() as here:
        text = (
            f"proxy_cache_path {here / 'cache'} keys_zone=usual:1m;\n"
            f"server {{\nlisten unix:{here / 'public.sock'};\nlisten unix:{here / 'purging.sock'};\nlocation / {{\n"
            f"proxy_pass {origin};\nproxy_cache usual;\nproxy_cache_valid 200 10m;\n"
            "add_header Cache-Status $upstream_cache_status;\n}\n}\n"
        )
        with nginx_in(here, text) as node:
            yield node
