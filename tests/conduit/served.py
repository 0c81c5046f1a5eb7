"""`python -m tests.conduit.served PART ...`: a part of Conduit as a process of its own, as tests want it.

PART is `web PORT`, `worker`, or `redact OLD NEW`. The environment takes safeguards away
(`CONDUIT_WITHOUT=writes,holds`) and says how long a scope stays held when its process dies (`CONDUIT_HOLD`). A file at
`CONDUIT_DIE` has the process killed with SIGKILL as soon as a transaction has been committed, before anything is purged
for it.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

from fastapi import FastAPI

from mizan_asgi import Mizan
from mizan_core import Graph
from mizan_core.testing.safeguards import without

# A cache that answers late is a cache that is down: a machine with a lot to do must not make it so.
PATIENT_SECONDS = 60.0

_from_env = Mizan.from_env


def patient(graph: Graph, **options: Any) -> Mizan:
    """As `Mizan.from_env`; nothing is written whose purge could be owed."""
    hold = float(os.environ.get("CONDUIT_HOLD", "30"))
    return _from_env(graph, deadline=PATIENT_SECONDS, on_cache_failure="refuse", hold=hold, **options)


def dying(app: FastAPI, order: Path) -> None:
    """Kill this process after a commit, once there is the order."""
    dialect: Any = app.state.sessions.kw["bind"].sync_engine.dialect
    commit = dialect.do_commit

    def committed(connection: Any) -> None:
        commit(connection)
        with suppress(FileNotFoundError):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    dialect.do_commit = committed


def serve(port: int) -> None:
    import uvicorn

    from examples.conduit.app import create_app

    app = create_app()
    if "CONDUIT_DIE" in os.environ:
        dying(app, Path(os.environ["CONDUIT_DIE"]))
    # A connection that is kept longer than a client pauses is never closed while a request is on its way.
    uvicorn.run(
        app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=600, timeout_graceful_shutdown=2
    )


def main(part: str, *arguments: str) -> None:
    taken = set(filter(None, os.environ.get("CONDUIT_WITHOUT", "").split(",")))
    with without(*taken - {"writes"}), mock.patch.object(Mizan, "from_env", patient):
        if "writes" in taken:
            mock.patch("examples.conduit.freshness.attach").start()
        if part == "web":
            serve(int(arguments[0]))
        elif part == "worker":
            import asyncio

            from examples.conduit.worker import main as work

            asyncio.run(work())
        else:
            from examples.conduit import settings
            from examples.conduit.app import mizan
            from examples.conduit.redact import redact

            old, new = arguments
            redact(mizan, settings.database_url(), old, new)


if __name__ == "__main__":
    main(*sys.argv[1:])
