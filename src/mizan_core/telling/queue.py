"""The scopes that one edge has yet to be told: sent in batches, again after failures, and wider when they are many."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable

from ..protocol.invalidation import Invalidation
from .edge import Edge, EdgeBusy

logger = logging.getLogger("mizan")

# Seconds between two attempts while an edge fails, growing from the first to the last.
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 1.0


class _Ticket:
    """Scopes that were added together: the future is done once all of them are through."""

    __slots__ = ("left", "through")

    def __init__(self, left: int, through: "asyncio.Future[None]") -> None:
        self.left = left
        self.through = through

    def count(self) -> None:
        self.left -= 1
        if not self.left and not self.through.done():
            self.through.set_result(None)


class EdgeQueue:
    """Tells one edge. Scopes that are added while a batch is under way share the next one.

    `is_failing`: the last attempt failed, or takes longer than a mutation waits.
    """

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.is_failing = False
        self._pending: dict[Invalidation, list[_Ticket]] = {}
        self._under_way: dict[Invalidation, list[_Ticket]] = {}
        self._telling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._pending) + len(self._under_way)

    def add(self, scopes: Iterable[Invalidation]) -> "asyncio.Future[None]":
        """Tell the edge of these scopes, which are distinct. The future is done once it has forgotten all of them."""
        through: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listed = list(scopes)
        ticket = _Ticket(len(listed), through)
        if not listed:
            through.set_result(None)
            return through
        for scope in listed:
            self._wait_for(scope, [ticket])
        self._widen()
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())
        return through

    def keeps_waiting(self, seconds: float) -> None:
        """Note that a mutation has waited so long for this edge: no other one waits until a batch is through."""
        self._begin_to_fail(f"it takes longer than {seconds:g} s")

    def begin_anew(self) -> None:
        """Forget what is pending: it is added again on another loop, or after `aclose`."""
        self._pending, self._under_way, self._telling = {}, {}, None

    async def aclose(self, seconds: float) -> None:
        """Go on sending for at most so many seconds, then stop."""
        telling = self._telling
        if telling is not None and not telling.done():
            await asyncio.wait([telling], timeout=seconds)
            telling.cancel()
            await asyncio.wait([telling])
        await self.edge.aclose()

    def _wait_for(self, scope: Invalidation, tickets: list[_Ticket]) -> None:
        """Let a scope be pending, as part of its whole context if that is pending."""
        whole = Invalidation(scope.context)
        self._pending.setdefault(whole if whole in self._pending else scope, []).extend(tickets)

    def _widen(self) -> None:
        """Let whole contexts be pending in place of scopes, where these are too many."""
        while len(self._pending) > self.edge.pending:
            narrow = Counter(scope.context for scope in self._pending if not scope.is_whole)
            if not narrow:
                return
            ((context, _),) = narrow.most_common(1)
            tickets = [
                ticket
                for scope in list(self._pending)
                if scope.context == context
                for ticket in self._pending.pop(scope)
            ]
            self._pending[Invalidation(context)] = tickets

    async def _tell(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while self._pending:
            self._under_way = {scope: self._pending.pop(scope) for scope in list(self._pending)[: self.edge.batch]}
            try:
                async with asyncio.timeout(self.edge.timeout):
                    await self.edge.purge(tuple(self._under_way))
            except EdgeBusy as busy:
                self._failed(busy)
                await asyncio.sleep(max(busy.after, pause))
            except Exception as error:  # noqa: BLE001  # an edge may fail in any way; it is told again
                self._failed(error)
                await asyncio.sleep(pause)
            else:
                self._through()
                pause = FIRST_RETRY_SECONDS
                continue
            pause = min(2 * pause, LAST_RETRY_SECONDS)

    def _failed(self, error: Exception) -> None:
        self._put_back()
        self._begin_to_fail(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    def _begin_to_fail(self, why: str) -> None:
        if not self.is_failing:
            self.is_failing = True
            logger.error("The edge %s could not be told what is stale, and is told again: %s", self.edge.name, why)

    def _through(self) -> None:
        told, self._under_way = self._under_way, {}
        for tickets in told.values():
            for ticket in tickets:
                ticket.count()
        if self.is_failing:
            self.is_failing = False
            logger.warning("The edge %s is told again.", self.edge.name)

    def _put_back(self) -> None:
        """Let what was under way be pending again."""
        again, self._under_way = self._under_way, {}
        for scope, tickets in again.items():
            self._wait_for(scope, tickets)
        self._widen()
