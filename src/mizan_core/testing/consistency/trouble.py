"""Causes the faults of a run at random intervals: faults, kills of workers, and storms on one card."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NoReturn

from .faults import KILL, Fault
from .fleet import WorkerProcess
from .history import SETTLED_SECONDS, History, Outage
from .traffic import Traffic

KILL_BEFORE_PURGE = "kill before the purge"

# Seconds, at least and at most.
_BETWEEN_FAULTS = (3.0, 8.0)
_BETWEEN_KILLS = (1.0, 3.0)
_BETWEEN_STORMS = (0.05, 0.35)

_DEADLY_STORMS = 0.25


class Trouble:
    """`storms`, `strikes` and `kills` run until they are cancelled. `struck` counts the faults by kind.

    `one_at_a_time`: no worker is killed during a fault, nor until the workers have settled after it. Under "allow" a
    process that dies while it owes a purge loses the purge, which is documented and would hide other violations.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        workers: Sequence[WorkerProcess],
        traffic: Traffic,
        history: History,
        rng: random.Random,
        *,
        one_at_a_time: bool,
    ) -> None:
        self.struck = Counter[str]()
        self._faults = faults
        self._workers = workers
        self._traffic = traffic
        self._history = history
        self._random = rng
        self._turn = asyncio.Lock() if one_at_a_time else None

    async def storms(self) -> NoReturn:
        """Storms, a share of them deadly, side by side."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._pause(_BETWEEN_STORMS)
                group.create_task(self._storm(deadly=self._random.random() < _DEADLY_STORMS))

    async def strikes(self) -> NoReturn:
        """Random faults, one after the other."""
        while True:
            await self._pause(_BETWEEN_FAULTS)
            async with self._alone():
                await self._strike(self._random.choice(self._faults))

    async def kills(self) -> NoReturn:
        """`kill -9` of random workers, one after the other."""
        while True:
            await self._pause(_BETWEEN_KILLS)
            async with self._alone():
                self.struck[KILL] += 1
                self._random.choice(self._workers).kill()

    async def _strike(self, fault: Fault) -> None:
        self.struck[fault.kind] += 1
        began = time.monotonic()
        try:
            await fault.strike()
        finally:
            self._history.outages.append(Outage(fault.kind, began, time.monotonic(), fault.forgets))
        if self._turn is not None:
            await asyncio.sleep(SETTLED_SECONDS)
            await self._traffic.calm()

    async def _storm(self, *, deadly: bool) -> None:
        async with self._alone():
            team = await self._traffic.storm(deadly=deadly)
        if deadly and team is not None:
            self.struck[KILL_BEFORE_PURGE] += 1
            await self._traffic.look_for_stale_entries(team)

    async def _pause(self, seconds: tuple[float, float]) -> None:
        await asyncio.sleep(self._random.uniform(*seconds))

    def _alone(self) -> AbstractAsyncContextManager[object]:
        return self._turn or nullcontext()
