"""`python -m examples.helpdesk` runs all of it on this machine: Redis, two web processes, a worker, and nginx.

nginx serves <http://127.0.0.1:8000>. Where it is not installed, the web processes are at ports 8001 and 8002.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from mizan_core.testing.redis_server import redis_server

from . import database, settings

HERE = Path(__file__).parent
PORTS = (8001, 8002)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    database.use(settings.database_path())
    asyncio.run(database.make())  # before two processes would both do it
    with ExitStack() as stack:
        if "MIZAN_CACHE_REDIS_URL" not in os.environ:
            os.environ["MIZAN_CACHE_REDIS_URL"] = stack.enter_context(redis_server()).url
        os.environ.setdefault("MIZAN_CACHE_SECRET", secrets.token_hex(32))
        web = ["uvicorn", "examples.helpdesk.app:app", "--port"]
        programs = [["examples.helpdesk.worker"], *([*web, str(port)] for port in PORTS)]
        running = [started(sys.executable, "-m", *one) for one in programs]
        nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
        try:
            if nginx is not None:
                wait_for(PORTS)
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                as_root = ["-g", "user root;"] if os.geteuid() == 0 else []  # else it could not write into the folder
                running.append(started(nginx, "-p", folder, "-c", str(HERE / "nginx.conf"), *as_root))
                print("http://127.0.0.1:8000/docs", flush=True)  # noqa: T201  # what to open
            for one in running:
                one.wait()
        except KeyboardInterrupt:
            pass
        finally:
            for one in running:
                one.terminate()
            for one in running:
                one.wait()


def started(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)  # noqa: S603  # our own


def wait_for(ports: Iterable[int]) -> None:
    """Wait until something listens at these ports."""
    for port in ports:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)


if __name__ == "__main__":
    main()
