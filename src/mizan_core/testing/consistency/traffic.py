"""Clients that read and change at random over sockets, and record when each request began and ended."""

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Protocol, TypeAlias, assert_never

from .history import Ended, History, Incarnation, Mutation, Outage, Read
from .world import TEAMS, USERS, Kind, rows_of

Clock: TypeAlias = Callable[[], float]

# Longer than any request that succeeds, including one that insists on a purge through an outage.
_ANSWER_SECONDS = 20.0

# A bundle comes from the cache at the second read. Only a bundle that is never cached makes a run wait so long.
_CACHED_AGAIN_SECONDS = 60.0

_THINKING_SECONDS = 0.02
_WRITES = 0.12
_KINDS = {
    Kind.RENAME: 30,
    Kind.WORK: 20,
    Kind.RETITLE: 20,
    Kind.REFUSE: 20,
    Kind.PROMOTE: 15,
    Kind.TOUCH: 14,
    Kind.RESET: 1,
}


# A storm: so many clients read at these intervals. After a deadly one the team is not changed for the time of the hold
# and this long.
_CROWD = 6
_GLANCE_SECONDS = 0.002
_MOMENT_SECONDS = 0.02
_LEFT_ALONE_SECONDS = 2.0


class Unsent(Exception):
    """The worker was not reached: the request had no effect."""


class Unanswered(Exception):
    """The worker did not answer: the request may have had an effect."""


class Door(Protocol):
    """Where requests are sent: a worker process, or what stands in front of several."""

    @property
    def incarnation(self) -> Incarnation: ...
    @property
    def port(self) -> int | None: ...


class Asking(Protocol):
    """Sends the requests of one client, one at a time."""

    async def ask(self, worker: Door, request: dict[str, Any]) -> dict[str, Any]:
        """The answer, as of `Worker`. Raises `Unsent` or `Unanswered`."""
        ...

    def close(self) -> None: ...


class Client:
    """Sends one request at a time. Keeps a connection to each worker for as long as that lives."""

    def __init__(self) -> None:
        self._open: dict[Incarnation, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, worker: Door, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer. Raises `Unsent` or `Unanswered`."""
        incarnation = worker.incarnation
        reader, writer = await self._connected(incarnation, worker.port)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(json.dumps(request).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
        except (OSError, TimeoutError, ValueError):
            del self._open[incarnation]
            writer.transport.abort()
            raise Unanswered from None
        return answer

    def close(self) -> None:
        for _, writer in self._open.values():
            writer.close()

    async def _connected(
        self, incarnation: Incarnation, port: int | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if incarnation not in self._open:
            if port is None:
                raise Unsent
            try:
                self._open[incarnation] = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                raise Unsent from None
        return self._open[incarnation]


class Traffic:
    """All clients. Their requests are random, and recorded in the history."""

    def __init__(
        self,
        workers: Sequence[Door],
        history: History,
        clock: Clock,
        rng: random.Random,
        client: Callable[[], Asking] = Client,
    ) -> None:
        self._workers = workers
        self._client = client
        self._history = history
        self._clock = clock
        self._random = rng
        self._numbers = itertools.count()
        self._left_alone: dict[int, float] = {}  # teams that are not changed, with the end of that time
        self._troubled: dict[Incarnation, float] = {}  # workers that report a fault, with its beginning
        self._calm = asyncio.Event()
        self._calm.set()

    async def visit(self) -> None:
        """One client that reads, and at times changes, until it is cancelled."""
        with closing(self._client()) as client:
            while True:
                await asyncio.sleep(self._random.expovariate(1 / _THINKING_SECONDS))
                if self._random.random() < _WRITES:
                    await self._change_something(client)
                else:
                    user = self._random.choice((None, *range(USERS)))
                    await self.read(client, self._worker(), self._team(), user, by_identity=self._by_identity())

    async def storm(self, *, deadly: bool) -> int | None:
        """Change a card twice, at once or one after the other, while it is read and a third change is refused.

        `deadly`: the process of the second change dies between its commit and its purge. As soon as the card has been
        changed, late clients read it from every worker, where readers from before may still run. After a deadly storm
        the card's team is not changed until the dead process's hold has expired, so that stale entries that it left
        behind stay visible. Returns the team; None if the chosen team must not be changed.
        """
        team, user = self._random.randrange(TEAMS), self._random.randrange(USERS)
        if self._is_left_alone(team):
            return None
        if deadly:
            self._left_alone[team] = self._clock() + self._history.hold + _LEFT_ALONE_SECONDS
        kind = self._random.choice((Kind.RENAME, Kind.WORK, Kind.RETITLE))
        late = tuple(itertools.product(self._workers, (user, None)))
        with ExitStack() as stack:
            one, other, refused, *others = (
                stack.enter_context(closing(self._client())) for _ in range(3 + _CROWD + len(late))
            )
            async with asyncio.TaskGroup() as group:
                first = group.create_task(self.change(one, self._worker(), kind, team, user))
                again = partial(self.change, other, self._worker(), kind, team, user, doomed=deadly)
                last = group.create_task(self._soon_after(first, again) if self._random.random() < 0.5 else again())
                group.create_task(self.change(refused, self._worker(), Kind.REFUSE, team, user))
                for client in others[:_CROWD]:
                    group.create_task(self._look_on(client, team, user, last))
                for client, (worker, whose) in zip(others[_CROWD:], late, strict=True):
                    group.create_task(self._come_late(client, worker, team, whose, last))
        return team

    async def look_for_stale_entries(self, team: int) -> None:
        """Read all bundles of a team as soon as the hold of a process that died has expired."""
        await asyncio.sleep(self._history.hold + _LEFT_ALONE_SECONDS / 2)
        with closing(self._client()) as client:
            for worker, user, by_identity in itertools.product(self._workers, (None, *range(USERS)), (False, True)):
                await self.read(client, worker, team, user, by_identity=by_identity)

    async def read(
        self, client: Asking, worker: Door, team: int, user: int | None, *, by_identity: bool = False
    ) -> str | None:
        """Read a card, or the whole board. Returns the cache status; None without an answer.

        `by_identity`: as that user, or as a visitor of that team, where the identity alone says what is read.
        """
        incarnation, began = worker.incarnation, self._clock()
        params = {"team": team} if user is None else {"team": team, "user": user}
        request: dict[str, Any] = {"read": "board" if user is None else "card", "params": params}
        if by_identity:
            request = {"read": "lobby" if user is None else "desk", "params": {}, "identity": [user, team]}
        try:
            answer = await client.ask(worker, request)
        except (Unsent, Unanswered):
            return None
        status, (versions,) = answer["status"], answer["body"].values()
        seen = Read(request["read"], incarnation, began, self._clock(), status, versions, rows_of(team, user))
        self._history.reads.append(seen)
        self._note(incarnation, began, calm=answer["calm"])
        return str(status)

    async def change(
        self, client: Asking, worker: Door, kind: Kind, team: int, user: int, *, doomed: bool = False
    ) -> None:
        """Call one mutation. A doomed one kills its worker after the commit."""
        incarnation, began = worker.incarnation, self._clock()
        operation = f"{kind}-{next(self._numbers)}"
        args = {**self._arguments(kind, team, user), "operation": operation}
        request = {"call": kind, "args": args, "identity": [user, team]}
        try:
            answer = await client.ask(worker, {**request, "doomed": doomed})
        except Unsent:
            return
        except Unanswered:
            answer = {"ended": Ended.UNKNOWN, "calm": True}
        outcome = Ended(answer["ended"])
        self._history.mutations.append(Mutation(operation, kind, incarnation, began, self._clock(), outcome))
        self._note(incarnation, began, calm=answer["calm"])

    async def sweep(self) -> int:
        """Read every bundle from every worker until it is a hit. Returns the number of those that never were."""
        until = self._clock() + _CACHED_AGAIN_SECONDS
        waiting = [*itertools.product(self._workers, range(TEAMS), (None, *range(USERS)), (False, True))]
        with closing(self._client()) as client:
            while waiting and self._clock() < until:
                waiting = [
                    (*one, by_identity)
                    for *one, by_identity in waiting
                    if await self.read(client, *one, by_identity=by_identity) != "hit"
                ]
        return len(waiting)

    async def calm(self) -> None:
        """Wait until no worker reports a fault."""
        await self._calm.wait()

    def end(self) -> None:
        """End the outages of all workers that report a fault."""
        for incarnation in tuple(self._troubled):
            self.forget(incarnation)

    def forget(self, incarnation: Incarnation) -> None:
        """End the outage of a worker that has died."""
        self._note(incarnation, self._clock(), calm=True)

    async def _change_something(self, client: Asking) -> None:
        team, user = self._team(), self._random.randrange(USERS)
        (kind,) = self._random.choices(tuple(_KINDS), tuple(_KINDS.values()))
        if not self._is_left_alone(team):
            await self.change(client, self._worker(), kind, team, user)

    async def _look_on(self, client: Asking, team: int, user: int, change: asyncio.Task[None]) -> None:
        """Read the card and its board until the change has ended, and once more."""
        worker = self._worker()
        for _ in itertools.chain(iter(change.done, True), (True,)):
            whose = self._random.choice((user, user, None))
            await self.read(client, worker, team, whose, by_identity=self._by_identity())
            await asyncio.sleep(_GLANCE_SECONDS)

    async def _soon_after(self, change: asyncio.Task[None], again: Callable[[], Awaitable[None]]) -> None:
        """Change again, a moment after the first change, when other clients have begun to read."""
        await asyncio.wait([change])
        await asyncio.sleep(self._random.uniform(0.0, _MOMENT_SECONDS))
        await again()

    async def _come_late(
        self, client: Asking, worker: Door, team: int, user: int | None, change: asyncio.Task[None]
    ) -> None:
        """Read the card, or its board, as soon as the change has ended."""
        await asyncio.wait([change])
        await self.read(client, worker, team, user, by_identity=self._by_identity())

    def _arguments(self, kind: Kind, team: int, user: int) -> dict[str, object]:
        match kind:
            case Kind.RENAME | Kind.REFUSE:
                return {"team": team, "user": user}
            case Kind.RETITLE:
                return {"team": team}
            case Kind.PROMOTE:
                return {"number": team * USERS + user}
            case Kind.TOUCH:
                return {"numbers": [team * USERS + other for other in self._random.sample(range(USERS), 2)]}
            case Kind.RESET | Kind.WORK:
                return {}
            case _:
                assert_never(kind)

    def _by_identity(self) -> bool:
        return self._random.random() < 0.5

    def _worker(self) -> Door:
        return self._random.choice(self._workers)

    def _team(self) -> int:
        """A random team; low numbers are more frequent."""
        return int(TEAMS * self._random.random() ** 1.5)

    def _is_left_alone(self, team: int) -> bool:
        return self._left_alone.get(team, 0.0) > self._clock()

    def _note(self, incarnation: Incarnation, began: float, *, calm: bool) -> None:
        """Record a worker's report on the cache. The time in which it reports a fault is an outage like any other."""
        if not calm:
            self._troubled.setdefault(incarnation, began)
            self._calm.clear()
        elif incarnation in self._troubled:
            since = self._troubled.pop(incarnation)
            self._history.outages.append(Outage("noticed", since, self._clock()))
            if not self._troubled:
                self._calm.set()
