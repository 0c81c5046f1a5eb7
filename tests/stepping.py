"""Every interleaving of concurrent coroutines: the real code, stopped at gates and let through one at a time.

Coroutines wait at `await steps.gate(label)` wherever the order of things could matter. `explore` runs a scenario once
for each order in which the gates can be passed, and stops a run where it reaches a state that another has been in:
what is stored, what every actor has seen, and where it waits.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar

from mizan_core import MemoryCache
from mizan_core.cache.backend import HELD

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


class Steps:
    """One run: who waits at a gate, and which of them goes next. Choices beyond `choices` take the first."""

    def __init__(self, choices: Sequence[int], visited: set[bytes]) -> None:
        self.choices = choices
        self.visited = visited
        self.taken: list[tuple[int, int]] = []  # the choice made, of how many
        self.trace: list[str] = []
        self.seen: dict[str, list[object]] = {}
        self.state: Callable[[], object] = lambda: None
        self.faults: Callable[[], list[tuple[str, Callable[[], None]]]] = list
        self.dead: set[str] = set()
        self.over = False
        self._ended: set[str] = set()
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []

    async def gate(self, label: str) -> None:
        """Wait to be let through; who is no actor of the scenario passes at once."""
        name = actor.get()
        if name is None:
            return
        if self.over:
            raise asyncio.CancelledError
        passed = asyncio.get_running_loop().create_future()
        self._waiting.append((name, label, passed))
        await passed

    def saw(self, what: object, *, only: bool = False) -> None:
        """Note what the actor has learned, which is part of its state; `only`: all else shows in the scenario's own."""
        name = actor.get()
        if name is not None:
            seen = self.seen.setdefault(name, [])
            if only:
                seen.clear()
            seen.append(what)

    def kill(self, process: str) -> None:
        """None of the actors of this process, whose names begin with its own, goes any further."""
        self.dead.add(process)

    async def run(self, actors: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, object]:
        """Run the actors to their end; what each returned or raised. Raises `Seen`."""
        tasks = {name: asyncio.create_task(self._as_actor(name, work)) for name, work in actors.items()}
        try:
            while True:
                await _settle()
                choices = self._choices()
                if not choices:
                    break
                self._take(choices)
        finally:
            self.over = True
            everyone = asyncio.all_tasks() - {asyncio.current_task()}
            for task in everyone:
                task.cancel()
            await asyncio.gather(*everyone, return_exceptions=True)
        return {name: _outcome(task) for name, task in tasks.items() if not self._is_dead(name)}

    async def _as_actor(self, name: str, work: Callable[[], Awaitable[object]]) -> object:
        actor.set(name)
        try:
            return await work()
        finally:
            self._ended.add(name)  # what it has seen matters to nobody any more

    def _choices(self) -> list[tuple[str, Callable[[], None]]]:
        self._waiting = [one for one in self._waiting if not one[2].done()]
        alive = [one for one in self._waiting if not self._is_dead(one[0])]
        steps = [
            (f"{name}: {label}", lambda one=one: self._let_through(one)) for one in alive for name, label, _ in [one]
        ]
        return [*steps, *self.faults()] if steps else []

    def _take(self, choices: list[tuple[str, Callable[[], None]]]) -> None:
        step = len(self.taken)
        if step >= len(self.choices):
            signature = self._signature([label for label, _ in choices])
            if signature in self.visited:
                raise Seen
            self.visited.add(signature)
        chosen = self.choices[step] if step < len(self.choices) else 0
        self.taken.append((chosen, len(choices)))
        label, go = choices[chosen]
        self.trace.append(label)
        go()

    def _let_through(self, waiting: tuple[str, str, "asyncio.Future[None]"]) -> None:
        self._waiting.remove(waiting)
        waiting[2].set_result(None)

    def _is_dead(self, name: str) -> bool:
        return any(name.startswith(process) for process in self.dead)

    def _signature(self, labels: list[str]) -> bytes:
        seen = [(name, what) for name, what in sorted(self.seen.items()) if name not in self._ended]
        raw = repr((sorted(labels), self.state(), seen, sorted(self.dead), sorted(self._ended))).encode()
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
        await self._steps.gate(f"{'add' if if_absent else 'set'} {_short([key])}")
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

    def evict(self, key: str) -> None:
        self._forget(key)


class SteppedHoldingCache(SteppedCache):
    """The same, counting holders across processes as `RedisCache` does."""

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        await self._steps.gate(f"hold {_short(tags)}")
        for tag in tags:
            (value,) = await MemoryCache.get(self, tag)
            holders = _holders(value)
            await MemoryCache.set(self, tag, HELD + b",".join(sorted({*holders, holder.encode()})), ttl)
        self._steps.saw("held")

    async def release(self, tags: Sequence[str], holder: str) -> None:
        await self._steps.gate(f"release {_short(tags)}")
        for tag in tags:
            (value,) = await MemoryCache.get(self, tag)
            holders = _holders(value) - {holder.encode()}
            if holders:
                await MemoryCache.set(self, tag, HELD + b",".join(sorted(holders)), None)
            else:
                await MemoryCache.delete(self, tag)
        self._steps.saw("released")


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


async def _settle() -> None:
    """Until nothing is left to run but what waits at a gate."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the only way to see that it is empty
    while ready:
        await asyncio.sleep(0)


def _short(keys: Sequence[str]) -> str:
    return " ".join(f"{key[:9]}{key[-3:]}" for key in keys)


def _holders(value: bytes | None) -> set[bytes]:
    if value is None or not value.startswith(HELD):
        return set()
    return set(value.removeprefix(HELD).split(b","))
