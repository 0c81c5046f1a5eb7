"""The application of the consistency checker as a web server that tells nodes, set up by variables `CHECKED_...`."""

import os
import random
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from mizan_asgi import Mizan
from mizan_asgi.edge import Nodes
from mizan_core import Identity, RedisCache
from mizan_core.testing.consistency.world import Database, Pauses, World

LEASE_SECONDS = 3.0
_DEADLINE_SECONDS = 5.0


def identity(request: Any) -> Identity | None:
    """`X-Who: user/team`, or `X-Who: /team` for a visitor."""
    who = request.headers.get("x-who", "")
    user, _, team = who.partition("/")
    return Identity(int(user) if user else None, claims={"team": int(team)}) if team else None


class Served:
    """`X-Doomed` names an operation after whose commit the process kills itself."""

    def __init__(self) -> None:
        database = Database(Path(os.environ["CHECKED_DATABASE"]))
        self._world = World(database, Pauses(random.Random(os.getpid())))
        mizan = Mizan(
            self._world.graph(),
            cache=RedisCache(
                os.environ["CHECKED_REDIS"],
                prefix=os.environ["CHECKED_PREFIX"],
                timeout=_DEADLINE_SECONDS,
                connect_timeout=_DEADLINE_SECONDS,
            ),
            cache_secret="what all processes of the checker share",
            on_cache_failure="refuse",
            edge=Nodes(*os.environ["CHECKED_NODES"].split()),
            authenticate=identity,
            hold=LEASE_SECONDS,
            deadline=_DEADLINE_SECONDS,
            shutdown=1.0,
        )
        self._app = Starlette(routes=[Mount("/api/mizan", mizan)], lifespan=mizan.lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (doomed := Request(scope).headers.get("x-doomed")):
            self._world.doomed.add(doomed)
        await self._app(scope, receive, send)
