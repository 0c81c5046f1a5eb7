"""`python -m examples.tracker.edge` serves the tracker behind Varnish, with the program of `mizan edge varnish`."""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from mizan_asgi import Mizan
from mizan_asgi.edge import Nodes, Refetch
from mizan_core import build_manifest, discover
from mizan_core.edge import varnish_text

from .app import authenticate, hosting

HOST = "127.0.0.1"
INSTALL = """\
`make demo-edge` needs Varnish, from 7.1 on, with the module `var`. On Debian 12, Ubuntu 24.04 and later ones:

    sudo apt-get install varnish varnish-modules

`make demo` serves the tracker without it."""
HELLO = """
The tracker behind Varnish: {public}
The tracker alone:          {origin}
Varnish is told at:         {purging}

A line below is a request that has reached the tracker. In another terminal, twice:

    curl -si {public}/p/1/ | grep -i cache-status

The second answer ends in `mizan-edge; hit`, and no line appears here. Then change an issue of that page:

    curl -sc jar -d person_id=2 {public}/sign-in/
    curl -sib jar {public}/api/mizan/call/rename_issue/ --json '{{"issue_id": {issue}, "title": "Behind an edge"}}'

It names what is stale, `page;project_id=1` for one, and Varnish has forgotten it before you see the answer. A moment
later the page has been fetched again: the first command shows a hit, and this one the new title.

    curl -s {public}/p/1/ | grep -o 'Behind an edge'

Ctrl-C ends all of it.
"""
# The first issue of that page, in the data of the first start.
FIRST_ISSUE = 366


class Refused(Exception):
    """The demonstration cannot run here. Says why, and what to do."""


class Server(uvicorn.Server):
    """Says what to try, once it serves."""

    def __init__(self, config: uvicorn.Config, hello: str) -> None:
        super().__init__(config)
        self._hello = hello

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._hello, flush=True)  # noqa: T201  # what to open


def serve(port: int, origin_port: int, purge_port: int) -> None:
    """Serve until a signal comes."""
    public, origin, purging = (f"http://{HOST}:{one}" for one in (port, origin_port, purge_port))
    mizan = Mizan(
        discover("examples.tracker"),
        authenticate=authenticate,
        edge=Nodes(purging, refetch=Refetch(public), lifetime=86_400),
    )
    config = uvicorn.Config(hosting(mizan), host=HOST, port=origin_port)
    hello = HELLO.format(public=public, origin=origin, purging=purging, issue=FIRST_ISSUE)
    text = varnish_text(build_manifest(mizan.graph), origin=origin)
    # After an orderly end, uvicorn raises the interrupt again.
    with varnish(text, port, purge_port), contextlib.suppress(KeyboardInterrupt):
        Server(config, hello).run()


@contextlib.contextmanager
def varnish(text: str, port: int, purge_port: int) -> Iterator[None]:
    """A Varnish of this program, with its files in a folder of its own. Raises `Refused` where none can be started."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("varnishd", path=places)
    if program is None:
        raise Refused(f"There is no varnishd here.\n\n{INSTALL}")
    with tempfile.TemporaryDirectory(prefix="tracker-edge-") as folder:
        file, log = Path(folder, "mizan.vcl"), Path(folder, "log")
        file.write_text(text)
        command = [
            *(program, "-F", "-j", "none", "-n", folder, "-f", str(file), "-s", "malloc,64m"),
            *("-a", f"public={HOST}:{port}", "-a", f"mizan-purge={HOST}:{purge_port}"),
        ]
        # In a session of its own: Ctrl-C is for this process, which ends it.
        with (
            log.open("w") as said,
            subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True) as node,  # noqa: S603  # as above
        ):
            try:
                _await_ports(node, (port, purge_port), log)
                yield
            finally:
                node.terminate()


def _await_ports(node: subprocess.Popen[bytes], ports: tuple[int, ...], log: Path) -> None:
    while not all(map(_is_used, ports)):
        if node.poll() is not None:
            raise Refused(f"This Varnish does not run the program:\n\n{log.read_text().strip()}\n\n{INSTALL}")
        time.sleep(0.02)


def _is_used(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((HOST, port)) == 0


def _check_free(option: str, port: int) -> None:
    if _is_used(port):
        raise Refused(
            f"Something listens on port {port} already. End it, or choose another port: "
            f"make demo-edge OPTIONS='--{option.replace('_', '-')} {port + 1000}'"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.tracker.edge")
    parser.add_argument("--port", type=int, default=8000, help="of Varnish, for the public (%(default)s)")
    parser.add_argument("--origin-port", type=int, default=8001, help="of the tracker (%(default)s)")
    parser.add_argument("--purge-port", type=int, default=8611, help="of Varnish, for purges (%(default)s)")
    ports = parser.parse_args()
    try:
        for option, port in vars(ports).items():
            _check_free(option, port)
        serve(ports.port, ports.origin_port, ports.purge_port)
    except Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
