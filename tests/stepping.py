"""Every interleaving of concurrent coroutines: the real code, stopped at gates and let through one at a time.

Coroutines wait at `await steps.gate(label)` wherever the order of things could matter. `explore` runs a scenario once
for each order in which the gates can be passed, and stops a run where it reaches a state that another has been in:
what is stored, what every actor has seen, and where it waits.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An actor at a gate. `needs()`: the keys of the cache without which its step would be another one."""

    actor: str
    label: str
    needs: Callable[[], Sequence[str]]
    passed: "asyncio.Future[None]"


# What may happen next: how it is called, and how it is done.
Choice: TypeAlias = tuple[str, Callable[[], None]]


class Steps:
    """One run: who waits at a gate, and which of them goes next. Choices beyond `choices` take the first.

    `faults` adds to an actor's step the faults that could come right before or after it, where alone they matter: in
    between they commute with the steps of others.
    """

    def __init__(self, choices: Sequence[int], visited: set[bytes]) -> None:
        self.choices = choices
        self.visited = visited
        self.taken: list[tuple[int, int]] = []  # the choice made, of how many
        self.trace: list[str] = []
        self.seen: dict[str, list[object]] = {}
        self.state: Callable[[], object] = lambda: None
        self.faults: Callable[[Waiting], list[Choice]] = lambda waiting: []
        self.dead: set[str] = set()
        self.over = False
        self._ended: set[str] = set()
        self._waiting: list[Waiting] = []
        self._passing: set[str] = set()

    async def gate(self, label: str, needs: Callable[[], Sequence[str]] = tuple, *, and_next: bool = False) -> None:
        """Wait to be let through, `and_next` through the following gate as well; who is no actor passes at once."""
        name = actor.get()
        if name is None or name in self._passing:
            self._passing.discard(name or "")
            return
        if self.over:
            raise asyncio.CancelledError
        passed = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(name, label, needs, passed))
        await passed
        if and_next:
            self._passing.add(name)

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
        return {name: _outcome(task) for name, task in tasks.items() if not self.is_dead(name)}

    async def _as_actor(self, name: str, work: Callable[[], Awaitable[object]]) -> object:
        actor.set(name)
        try:
            return await work()
        finally:
            self._ended.add(name)  # what it has seen matters to nobody any more

    def let_through(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        waiting.passed.set_result(None)

    def _choices(self) -> list[Choice]:
        self._waiting = [one for one in self._waiting if not one.passed.done()]
        alive = [one for one in self._waiting if not self.is_dead(one.actor)]
        steps: list[Choice] = [(f"{one.actor}: {one.label}", lambda one=one: self.let_through(one)) for one in alive]  # type: ignore[misc]  # mypy cannot tell the type of such a lambda
        return steps + [fault for one in alive for fault in self.faults(one)]

    def _take(self, choices: list[Choice]) -> None:
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

    def is_dead(self, name: str) -> bool:
        return any(name.startswith(process) for process in self.dead)

    def _signature(self, labels: list[str]) -> bytes:
        over = [name for name in self.seen if name in self._ended or self.is_dead(name)]  # it matters to nobody
        seen = [(name, what) for name, what in sorted(self.seen.items()) if name not in over]
        raw = repr((sorted(labels), self.state(), seen, sorted(self.dead))).encode()
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
        await self._steps.gate(f"get {_short(keys)}", lambda: keys)
        values = await super().get(*keys)
        self._steps.saw(values)
        return values

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        if if_absent:
            await self._steps.gate(f"add {_short([key])}", lambda: [key])
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

    def evict(self, key: str) -> None:
        self._forget(key)


class SteppedHoldingCache(SteppedCache):
    """The same, counting holders across processes as `RedisCache` does. A holder is known by its actor's name."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(steps)
        self._names: dict[str, str] = {}

    async def hold(self, tags: Sequence[str], holder: str, ttl: float) -> None:
        name = self._names[holder] = actor.get() or holder
        await self._steps.gate(f"hold {_short(tags)}", lambda: [tag for tag in tags if self.holders(tag)])
        for tag in tags:
            self._keep(tag, self.holders(tag) | {name})
        self._steps.saw("held")

    async def release(self, tags: Sequence[str], holder: str) -> None:
        name = self._names.get(holder, holder)
        await self._steps.gate(f"release {_short(tags)}", lambda: [tag for tag in tags if self.holders(tag) - {name}])
        for tag in tags:
            self._keep(tag, self.holders(tag) - {name})
        self._steps.saw("released")

    def holders(self, tag: str) -> set[str]:
        """The actors that hold a tag; nobody holds a nonce."""
        cell = self.cell(tag)
        value = bytes(cell.value or b"") if cell is not None else b""
        return set(value.removeprefix(HELD).decode().split(",")) if value.startswith(HELD) else set()

    def let_expire(self, tag: str) -> None:
        """What the dead hold of a tag."""
        self._keep(tag, {name for name in self.holders(tag) if not self._steps.is_dead(name)})

    def _keep(self, tag: str, holders: set[str]) -> None:
        if holders:
            value = HELD + ",".join(sorted(holders)).encode()
            self.put(tag, value, len(value), None)
        else:
            self.evict(tag)


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
