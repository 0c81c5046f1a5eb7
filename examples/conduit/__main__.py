"""`python -m examples.conduit` serves the API on http://127.0.0.1:8000.

Without `CONDUIT_DATABASE_URL` it starts a PostgreSQL server of its own, whose data go with it.
"""

import os
from contextlib import ExitStack

import uvicorn

from mizan_core.testing.postgres_server import postgres_server

with ExitStack() as stack:
    if "CONDUIT_DATABASE_URL" not in os.environ:
        server = stack.enter_context(postgres_server())
        url = stack.enter_context(server.database())
        os.environ["CONDUIT_DATABASE_URL"] = url.replace("postgresql://", "postgresql+psycopg://")
    uvicorn.run("examples.conduit.app:app", host="127.0.0.1", port=8000)
