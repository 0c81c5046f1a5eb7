"""Every interleaving of concurrent coroutines: the real code, stopped at gates and let through one at a time.

Coroutines call `await steps.gate(label)` wherever the order of things could matter. `interleavings` runs a scenario
once for each order in which the gates can be passed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar

from mizan_core import MemoryCache

actor: ContextVar[str | None] = ContextVar("actor", default=None)


class Steps:
    """One run: who waits at a gate, and which of them goes next. Choices beyond `choices` take the first."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = choices
        self.taken: list[tuple[int, int]] = []  # the choice made, of how many
        self.trace: list[str] = []
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    async def gate(self, label: str) -> None:
        """Wait to be let through; who is no actor of the scenario passes at once."""
        name = actor.get()
        if name is None:
            return
        passed = asyncio.get_running_loop().create_future()
        self._waiting.append((f"{name}: {label}", passed))
        await passed

    async def run(self, actors: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, object]:
        """Run the actors to their end; what each returned or raised."""
        tasks = {name: asyncio.create_task(_as_actor(name, work)) for name, work in actors.items()}
        while True:
            await _settle()
            if not self._waiting:
                break
            self._let_one_through()
        done = await asyncio.gather(*tasks.values(), return_exceptions=True)
        return dict(zip(tasks, done, strict=True))

    def _let_one_through(self) -> None:
        count = len(self._waiting)
        step = len(self.taken)
        chosen = self.choices[step] if step < len(self.choices) else 0
        self.taken.append((chosen, count))
        label, passed = self._waiting.pop(chosen)
        self.trace.append(label)
        if not passed.done():
            passed.set_result(None)


class SteppedCache(MemoryCache):
    """A memory cache with a gate before every operation."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(clock=lambda: 0.0)
        self._steps = steps

    async def get(self, *keys: str) -> list[bytes | None]:
        await self._steps.gate(f"get {len(keys)}")
        return await super().get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        await self._steps.gate(f"set {key[:12]}")
        return await super().set(key, value, ttl, if_absent=if_absent)

    async def delete(self, *keys: str) -> int:
        if keys:
            await self._steps.gate("delete")
        return await super().delete(*keys)

    async def delete_by_prefix(self, prefix: str) -> int:
        return 0  # housekeeping, and not what is looked at


def interleavings(scenario: Callable[[Steps], Awaitable[None]]) -> int:
    """Run the scenario under every order of its gates, depth first; how many there were."""
    return asyncio.run(_interleavings(scenario))


async def _interleavings(scenario: Callable[[Steps], Awaitable[None]]) -> int:
    count = 0
    pending: deque[list[int]] = deque([[]])
    while pending:
        choices = pending.pop()
        steps = Steps(choices)
        try:
            await scenario(steps)
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


async def _as_actor(name: str, work: Callable[[], Awaitable[object]]) -> object:
    actor.set(name)
    return await work()


async def _settle() -> None:
    """Until nothing is left to run but what waits at a gate."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # the only way to see that it is empty
    while ready:
        await asyncio.sleep(0)
