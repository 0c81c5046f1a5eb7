"""The interface of the two stores of bundles: this process's memory (`in_process/`), a shared backend (`shared/`).

A step that need not wait is done at once, so several answers are `T | Awaitable[T]`: tell them apart with
`isinstance(found, LOOKED_UP)` and `isinstance(answer, KEPT)`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from ..errors import CacheUnavailable
from .backends.memory import Cell
from .entries import Entry
from .outcomes import Fresh, Hit, Passing
from .slots import Slot
from .tags import PurgeScope

T = TypeVar("T")


class CacheState(StrEnum):
    """`UP` serves; `DOWN` answers nothing; `SETTLING` is back and takes writes, but its entries are not served yet."""

    UP = "up"
    DOWN = "down"
    SETTLING = "settling"


@dataclass(frozen=True, slots=True)
class Bypassed:
    """Nothing is served from this slot or stored in it now. `detail`: the reason, as in `Cache-Status`."""

    detail: str


class Stamped(NamedTuple):
    """A bundle that is about to be computed.

    `cells`: the memory cells of its tags, of which a shared store has none. `stale`: an entry is there, and not valid.
    """

    stamps: tuple[bytes, ...]
    cells: Sequence[Cell]
    stale: bool


LookedUp: TypeAlias = Hit | Stamped | Bypassed
LOOKED_UP = (Hit, Stamped, Bypassed)
KEPT = (Fresh, Passing)


class Hold(Protocol):
    """The scopes that one running mutation holds until its `end` or `restore`: nothing of them is served or stored."""

    def run(self, begin: Callable[[], Coroutine[Any, Any, T]], *, insist: bool) -> Awaitable[T]:
        """Begin the mutation and hold its scopes, both before any other request can see an effect of it.

        With `insist`, raises `Unavailable` where the scopes cannot be held.
        """
        ...

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        """Hold more scopes, as soon as that can be written."""
        ...

    async def make_visible(self, *, insist: bool = False) -> None:
        """Wait until the hold is written. With `insist`, raises `Unavailable` where it cannot be."""
        ...

    async def end(self, purged: Sequence[PurgeScope], *, insist: bool) -> CacheUnavailable | None:
        """End the hold, and purge what it held and `purged`; a tag that another mutation holds stays held.

        A purge that fails is remembered and retried. With `insist`, waits within bounds for a retry to succeed, and
        returns the error if none has.
        """
        ...

    async def restore(self) -> None:
        """End the hold of a mutation that was refused and changed nothing: its entries may be valid again."""
        ...


class Store(Protocol):
    """Keeps bundles by the algorithm that `mizan_core.cache` describes."""

    @property
    def state(self) -> CacheState: ...

    @property
    def owed(self) -> int:
        """How many mutations' purges have not succeeded yet."""
        ...

    @property
    def peek(self) -> Callable[[Slot], Entry | None]:
        """Synchronous look-up: finds an entry whose memory cells are remembered in `slot.kept`, or None."""
        ...

    def let_peek(self, allowed: bool) -> None:
        """Let `peek` find entries, or nothing: what it finds is served without any other step."""
        ...

    def on_change(self, tell: Callable[[], object]) -> None:
        """Call `tell` whenever `state` or `owed` has changed."""
        ...

    def copy(self, slot: Slot, values: Sequence[bytes | None]) -> Entry | None:
        """This process's copy of the entry, if that is valid while the slot's tags have these values."""
        ...

    def look_up(self, slot: Slot) -> LookedUp | Awaitable[LookedUp]:
        """Find a hit, or the stamps for an answer that is about to be computed."""
        ...

    def keep(
        self, slot: Slot, stamped: Stamped, lifetime: float, body: bytes
    ) -> Fresh | Passing | Awaitable[Fresh | Passing]:
        """Store a bundle for `lifetime` seconds, unless something was purged or held since it was stamped."""
        ...

    @property
    def read(self) -> Callable[..., Awaitable[list[bytes | None]]]:
        """The values of keys now, to inspect them. Raises `CacheUnavailable`."""
        ...

    def hold(self, scopes: Sequence[PurgeScope]) -> Hold:
        """A hold on these scopes, for a mutation that is about to run."""
        ...

    @property
    def reclaim(self) -> Callable[[str], None]:
        """Begins to free the memory of a context that was purged as a whole. Nothing depends on it."""
        ...

    async def aclose(self, seconds: float) -> None:
        """Retry what is owed for so many seconds, then stop all background work."""
        ...
