"""Every interleaving of concurrent coroutines: the real code, stopped at gates and let through one at a time.

Coroutines wait at `await steps.gate(label)` where the order of events can matter. `explore` runs a scenario once
for each order in which the gates can be passed, and stops a run where it reaches a state that another has been in:
the stored values, what each actor has seen, and the gate at which it waits.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from mizan_core import MemoryCache

actor: ContextVar[str | None] = ContextVar("actor", default=None)

_TOKEN = re.compile(rb"#[0-9]{13}#")


class Seen(Exception):
    """The run has reached a state that another run has been in."""


class Tokens:
    """Randomness that can be told apart, and renamed: two states that differ in nothing else are one."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, count: int) -> bytes:
        self._count += 1
        return (b"#%013d#" % self._count).ljust(count, b".")[:count]


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An actor at a gate."""

    actor: str
    label: str
    passed: "asyncio.Future[None]"

    def __str__(self) -> str:
        return f"{self.actor}: {self.label}"


class Steps:
    """One run: the actors that wait at gates, and the order of passing. Beyond `choices` the first one passes."""

    def __init__(self, choices: Sequence[int], visited: set[bytes]) -> None:
        self.choices = choices
        self.visited = visited
        self.taken: list[tuple[int, int]] = []  # the choice made, of how many
        self.trace: list[str] = []
        self.seen: dict[str, list[object]] = {}
        self.state: Callable[[], object] = lambda: None
        self.over = False
        self._waiting: list[Waiting] = []
        self._passing: set[str] = set()

    async def gate(self, label: str, *, and_next: bool = False) -> None:
        """Wait to be let through, `and_next` through the following gate too. A task that is no actor passes at once."""
        name = actor.get()
        if name is None or name in self._passing:
            self._passing.discard(name or "")
            return
        if self.over:
            raise asyncio.CancelledError
        passed = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(name, label, passed))
        await passed
        if and_next:
            self._passing.add(name)

    def saw(self, what: object) -> None:
        """Note what the actor has learned, which is part of its state."""
        name = actor.get()
        if name is not None:
            self.seen.setdefault(name, []).append(what)

    async def run(self, actors: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, object]:
        """Run the actors to their end; what each returned or raised. Raises `Seen`."""
        tasks = {name: asyncio.create_task(self._as_actor(name, work)) for name, work in actors.items()}
        try:
            while True:
                await settled()
                self._waiting = [one for one in self._waiting if not one.passed.done()]
                if not self._waiting:
                    break
                self._take()
        finally:
            self.over = True
            everyone = asyncio.all_tasks() - {asyncio.current_task()}
            for task in everyone:
                task.cancel()
            await asyncio.gather(*everyone, return_exceptions=True)
        return {name: _outcome(task) for name, task in tasks.items()}

    async def _as_actor(self, name: str, work: Callable[[], Awaitable[object]]) -> object:
        actor.set(name)
        try:
            return await work()
        finally:
            self.seen.pop(name, None)  # an ended actor is no part of the state

    def _take(self) -> None:
        step = len(self.taken)
        if step >= len(self.choices):
            signature = self._signature()
            if signature in self.visited:
                raise Seen
            self.visited.add(signature)
        chosen = self.choices[step] if step < len(self.choices) else 0
        self.taken.append((chosen, len(self._waiting)))
        waiting = self._waiting.pop(chosen)
        self.trace.append(str(waiting))
        waiting.passed.set_result(None)

    def _signature(self) -> bytes:
        raw = repr((sorted(map(str, self._waiting)), self.state(), sorted(self.seen.items()))).encode()
        names: dict[bytes, bytes] = {}
        return _TOKEN.sub(lambda match: names.setdefault(match[0], b"#%d#" % len(names)), raw)


class SteppedCache(MemoryCache):
    """A memory cache with a gate before every operation. Time stands still in it."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(clock=lambda: 0.0)
        self._steps = steps

    def contents(self) -> list[tuple[str, bytes]]:
        return sorted((key, bytes(cell.value or b"")) for key, cell in self._entries.items())

    async def get(self, *keys: str) -> list[bytes | None]:
        await self._steps.gate(f"get {_short(keys)}")
        values = await super().get(*keys)
        self._steps.saw(values)
        return values

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if if_absent:
            await self._steps.gate(f"add {_short([key])}")
        else:  # the look at the tags that follows decides what caches beyond may keep, and nothing here
            await self._steps.gate(f"set {_short([key])}", and_next=True)
        kept = await super().set(key, value, ttl, if_absent=if_absent)
        self._steps.saw((value if if_absent else b"", kept))
        return kept

    async def delete(self, *keys: str) -> int:
        if not keys:
            return 0
        await self._steps.gate(f"delete {_short(keys)}")
        count = await super().delete(*keys)
        self._steps.saw("deleted")
        return count

    async def delete_by_prefix(self, prefix: str) -> int:
        return 0  # housekeeping, and not what is looked at


def explore(scenario: Callable[[Steps], Awaitable[None]]) -> int:
    """Run the scenario under every order of its gates; how many runs that took.

    The scenario calls `steps.run` with its actors and checks what came of it.
    """
    return asyncio.run(_explore(scenario))


async def _explore(scenario: Callable[[Steps], Awaitable[None]]) -> int:
    count = 0
    visited: set[bytes] = set()
    pending: list[list[int]] = [[]]
    while pending:
        choices = pending.pop()
        steps = Steps(choices, visited)
        try:
            await scenario(steps)
        except Seen:
            pass
        except AssertionError as error:
            raise AssertionError(f"{error}\nin this order:\n  " + "\n  ".join(steps.trace)) from error
        count += 1
        pending.extend(_siblings(steps.taken, len(choices)))
    return count


def _siblings(taken: list[tuple[int, int]], fixed: int) -> Iterator[list[int]]:
    """The runs that differ first at a step that this run was the first to reach."""
    for step in range(fixed, len(taken)):
        prefix = [chosen for chosen, _ in taken[:step]]
        for other in range(1, taken[step][1]):
            yield [*prefix, other]


def _outcome(task: "asyncio.Task[object]") -> object:
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


async def settled() -> None:
    """Until nothing is left to run but what waits at a gate."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the only way to see that it is empty
    while ready:
        await asyncio.sleep(0)


def _short(keys: Sequence[str]) -> str:
    return " ".join(f"{key[:9]}{key[-3:]}" for key in keys)
