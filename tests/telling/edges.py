"""An edge whose every purge a test lets through, refuses or holds up, and what it has heard so far."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mizan_core import Invalidation
from mizan_core.protocol.invalidation import spelled


@dataclass
class StubbornEdge:
    """`error`: raised by every purge while it is set. `open`: purges wait for it."""

    name: str = "edge"
    batch: int = 100
    pending: int = 1_000
    timeout: float = 5.0
    again: float | None = None
    error: Exception | None = None
    tried: int = 0
    heard: list[list[str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    on_purge: Callable[[], object] = lambda: None
    closed: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    async def purge(self, scopes: Sequence[Invalidation]) -> None:
        self.tried += 1
        await self.open.wait()
        self.on_purge()
        if self.error is not None:
            raise self.error
        self.heard.append([spelled(one) for one in scopes])

    async def aclose(self) -> None:
        self.closed += 1

    @property
    def all_heard(self) -> list[str]:
        return [scope for scopes in self.heard for scope in scopes]
