"""What the uvicorn processes of the tests serve: Mizan alone, and Mizan in a host."""

import socket

from fastapi import FastAPI

from mizan_asgi import Mizan
from mizan_core import build, client
from tests.http.site import Site

site = Site()


@client(affects="user")
def work_until_told(port: int) -> str:
    """A sync mutation that says that it has begun, and ends when it is told to."""
    with socket.create_connection(("127.0.0.1", port)) as told:
        told.sendall(b"begun")
        told.recv(1)
        told.sendall(b" ended")
    return "done"


alone = Mizan(build([*site.functions, work_until_told]))
mounted = Mizan(alone.graph)
host = FastAPI(lifespan=mounted.lifespan)
host.mount("/api/mizan", mounted)
host.router.routes.extend(mounted.routes)
