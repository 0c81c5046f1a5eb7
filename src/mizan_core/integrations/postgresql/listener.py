"""Hears what triggers notify of, and purges it."""

import logging
from collections.abc import Iterable, Sequence

from psycopg import AsyncConnection

from ...engine.engine import Engine
from ...errors import CacheUnavailable, DeclarationError
from ...graph.model import Graph
from ...graph.narrowing import MAXIMUM_ENTRIES
from ...protocol.invalidation import Invalidation, merge
from .connections import Background, Conninfo, heard
from .payloads import read_payload

logger = logging.getLogger("mizan")

ORIGIN = "a notification of PostgreSQL"

# How often a connection on which nothing is heard is asked whether it is still there.
PROBE_SECONDS = 30.0


class Listener(Background):
    """Purges what triggers notify of: `async with triggers.listener(url):`, in the lifespan of the application.

    What is written while it is not connected it does not hear of, so it purges `contexts` as a whole on every connect.
    """

    def __init__(self, engine: Engine, contexts: Iterable[str], conninfo: Conninfo, channel: str) -> None:
        super().__init__(conninfo, channel)
        self._engine = engine
        self._contexts = tuple(Invalidation(one) for one in contexts)

    async def _opened(self) -> None:
        await self._purge(self._contexts)

    async def _work(self, connection: AsyncConnection) -> None:
        while True:
            if payloads := await heard(connection, PROBE_SECONDS):
                await self._purge(understood(self._engine.graph, payloads))
            else:
                await connection.execute("SELECT 1")

    async def _purge(self, invalidations: Sequence[Invalidation]) -> None:
        try:
            await self._engine.purge(invalidations, insist=False, origin=ORIGIN)
        except CacheUnavailable:  # the deployment refuses; it is owed and retried
            logger.warning("A purge that PostgreSQL notified of did not get through, and is tried again.")


def understood(graph: Graph, payloads: Iterable[str]) -> tuple[Invalidation, ...]:
    """The invalidations of notifications. One that this version of the program cannot read is logged."""
    found: list[Invalidation] = []
    for text in payloads:
        try:
            found += read_payload(graph, text)
        except (DeclarationError, ValueError) as error:
            logger.warning("A notification was passed over: %s", error)
    return bounded(found)


def bounded(invalidations: Iterable[Invalidation]) -> tuple[Invalidation, ...]:
    """Merged, and more than `MAXIMUM_ENTRIES` of a context widened to all of it."""
    by_context: dict[str, list[Invalidation]] = {}
    for one in merge(invalidations):
        by_context.setdefault(one.context, []).append(one)
    return tuple(
        each
        for context, found in by_context.items()
        for each in (found if len(found) <= MAXIMUM_ENTRIES else [Invalidation(context)])
    )
