"""One run: a time of clients and faults, a time without faults, a last read of every bundle, and the judgement."""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .faults import KILL, KINDS, Fault, GivenRedis, OwnRedis, Store, network_faults
from .fleet import WorkerProcess, proxied, target_of
from .history import SETTLED_SECONDS, History, Incarnation, Violation, violations
from .proxy import Proxy
from .traffic import Traffic
from .trouble import Trouble
from .worker import Settings
from .world import Database

# Every chunk to Redis and back is delayed by a random time up to this, so that orders change.
_USUAL_DELAY_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class Options:
    """`redis`: a URL, or None for a server of the checker's own. `faults`: the kinds of faults that may happen.

    `without`: the safeguards to take away. `seconds`: the time of faults.
    """

    redis: str | None = None
    seconds: float = 60.0
    workers: int = 4
    clients: int = 12
    on_cache_failure: Literal["allow", "refuse"] = "refuse"
    hold: float = 3.0
    faults: tuple[str, ...] = KINDS
    without: tuple[str, ...] = ()
    seed: int = 0

    @property
    def allow(self) -> bool:
        return self.on_cache_failure == "allow"


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run.

    `remaining`: violations after the time without faults. `uncached`: the number of bundles that were not served from
    the cache again by then.
    """

    options: Options
    history: History
    faults: Counter[str]
    violations: list[Violation]
    remaining: list[Violation]
    uncached: int

    @property
    def unexpected(self) -> list[Violation]:
        """The violations that the documentation does not allow."""
        return [one for one in self.violations if not one.documented]

    @property
    def passed(self) -> bool:
        return not (self.unexpected or self.remaining or self.uncached)


async def check(options: Options) -> Report:
    """One run, from start to judgement."""
    async with AsyncExitStack() as stack:
        run = _Run(options, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mizan-consistency-"))))
        await run.start(stack)
        await run.trouble()
        return await run.calm()


class _Run:
    def __init__(self, options: Options, directory: Path) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        self._history = History(options.hold)
        self._workers: list[WorkerProcess] = []
        self._traffic = Traffic(self._workers, self._history, time.monotonic, self._random)
        self._database = Database(directory / "truth.sqlite")
        self._prefix = f"mizan-consistency-{directory.name}:"
        self._faults: list[Fault] = []
        self._trouble = Trouble(
            self._faults, self._workers, self._traffic, self._history, self._random, one_at_a_time=options.allow
        )

    async def start(self, stack: AsyncExitStack) -> None:
        """Start the store, the database, the proxies and the workers. They run until the stack is closed."""
        url = self._options.redis
        store: Store = OwnRedis() if url is None else GivenRedis(url, self._prefix)
        stack.push_async_callback(store.aclose)
        self._database.create()
        stack.callback(self._database.close)
        proxies = [proxy async for proxy in self._proxies(store.url, stack)]
        for number in range(self._options.workers):
            proxy = proxies[number] if proxies else None
            settings = self._settings(proxied(store.url, proxy) if proxy else store.url)
            worker = WorkerProcess(number, settings, self._died)
            stack.push_async_callback(worker.aclose)
            await worker.start()
            self._workers.append(worker)
        possible = [*store.faults(self._random), *network_faults(proxies, self._random)]
        self._faults += [fault for fault in possible if fault.kind in self._options.faults]

    async def trouble(self) -> None:
        """Clients, faults and kills side by side, for the time of faults."""
        works = [self._trouble.storms, *[self._traffic.visit] * self._options.clients]
        if self._faults:
            works.append(self._trouble.strikes)
        if KILL in self._options.faults:
            works.append(self._trouble.kills)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works]
            await asyncio.sleep(self._options.seconds)
            for task in tasks:
                task.cancel()

    async def calm(self) -> Report:
        """Wait without faults until all has settled, read every bundle, and judge the whole history."""
        await asyncio.sleep(max(self._options.hold, SETTLED_SECONDS) + 1.0)
        self._traffic.end()
        calm_since = time.monotonic()
        uncached = await self._traffic.sweep()
        for operation, row, version in self._database.commits():
            self._history.commits.setdefault(operation, {})[row] = version
        found = violations(self._history, allow=self._options.allow)
        remaining = [one for one in found if one.read.began >= calm_since]
        return Report(self._options, self._history, self._trouble.struck, found, remaining, uncached)

    async def _proxies(self, url: str, stack: AsyncExitStack) -> AsyncIterator[Proxy]:
        """One proxy for each worker; none if the URL is not plain TCP."""
        if url.startswith("redis://"):
            for _ in range(self._options.workers):
                proxy = Proxy(*target_of(url), lambda: self._random.uniform(0.0, _USUAL_DELAY_SECONDS))
                stack.push_async_callback(proxy.aclose)
                await proxy.start()
                yield proxy

    def _settings(self, redis: str) -> Settings:
        options = self._options
        return Settings(
            redis=redis,
            prefix=self._prefix,
            database=self._database.path,
            on_cache_failure=options.on_cache_failure,
            hold=options.hold,
            without=options.without,
            seed=str(options.seed),
        )

    def _died(self, incarnation: Incarnation) -> None:
        self._history.deaths[incarnation] = time.monotonic()
        self._traffic.forget(incarnation)
