"""A circuit breaker around a backend: every command has a deadline, and in an outage commands fail at once."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from ...errors import CacheUnavailable, DeclarationError
from ..backends.backend import (
    CacheBackend,
    ClaimingBackend,
    HoldingBackend,
    RestoringBackend,
    hold_and_claim,
    let_go,
    release_and_get,
)
from ..store import CacheState

logger = logging.getLogger("mizan")

P = ParamSpec("P")
T = TypeVar("T")

# How long one command may take, in seconds: a few hundred times what a healthy one needs.
DEFAULT_DEADLINE_SECONDS = 0.25

# After an outage no hits are served for this long, so that purges that other processes owe succeed first.
SETTLING_SECONDS = 1.0

# Seconds between two probes of a cache that is down, growing from the first to the last. They are below
# `SETTLING_SECONDS`: a process that owes a purge notices the recovery, and purges, before other processes serve hits.
_FIRST_PROBE_SECONDS = 0.1
_LAST_PROBE_SECONDS = 0.5

# How often within one deadline overdue operations are looked for.
_TICKS = 10

_VERBS = ("get", "set", "delete", "delete_by_prefix", "clear")


class _Bounded(Awaitable[T]):
    """An operation whose deadline begins when it is awaited."""

    __slots__ = ("_guard", "_operation")

    def __init__(self, guard: "CircuitBreaker", operation: Awaitable[T]) -> None:
        self._guard = guard
        self._operation = operation

    def __await__(self) -> Generator[Any, None, T]:
        return self._guard.bounded(self._operation).__await__()

    def close(self) -> None:
        let_go(self._operation)


class _Begun(_Bounded[T]):
    """An operation that is under way: its deadline began when it was called."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, T]:
        try:
            return (yield from self._operation.__await__())
        except CacheUnavailable:  # raised by the backend itself: it answers, but cannot do this one thing
            raise
        except Exception as error:
            raise self._guard.failed(error) from error


class _Timed(Protocol):
    """An operation that can be given up: a future, or a `_Wait`."""

    def done(self) -> bool: ...

    def set_exception(self, error: Exception, /) -> object: ...

    def exception(self) -> object: ...


class _Wait:
    """The wait for a `_Bounded` operation."""

    __slots__ = ("_has_ended", "_timeout")

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._has_ended = False

    def end(self) -> None:
        self._has_ended = True

    def done(self) -> bool:
        return self._has_ended

    def set_exception(self, _: Exception) -> None:
        """Raise `TimeoutError` in the waiting caller."""
        self._timeout.reschedule(0.0)

    def exception(self) -> None:
        """Nothing is left to retrieve: the waiting caller gets the `TimeoutError`."""


class _Deadlines:
    """Ends operations that take longer than `seconds`, stalls of the event loop not counted.

    A stalled loop reads no replies. One timer looks `_TICKS` times within the deadline; a look that comes late by more
    than the time between two looks shows a stall, whose time is left out. An overdue operation is ended one look later,
    when a reply that had arrived has been read.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tick = seconds / _TICKS
        self._under_way: deque[tuple[float, _Timed]] = deque()  # by when each is due: all have the same deadline
        self._stalled = 0.0
        self._allowed = self._seconds + self._tick  # `seconds` and one look more, less all stalls so far
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, operation: _Timed) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._under_way.clear()
        if not self._under_way:
            self._look_again(loop)
        self._under_way.append((loop.time() + self._allowed, operation))

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._tick, self._look, loop, loop.time() + self._tick)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._loop is not loop:
            return
        late = loop.time() - due
        if late > self._tick:
            self._stalled += late
            self._allowed -= late
        now = loop.time() - self._stalled
        while self._under_way:
            ends, operation = self._under_way[0]
            if not operation.done():
                if ends > now:
                    break
                operation.set_exception(TimeoutError())
                operation.exception()  # marks it as retrieved: the caller may have gone
            self._under_way.popleft()
        if self._under_way:
            self._look_again(loop)


class CircuitBreaker:
    """The backend behind a breaker: every failure is a `CacheUnavailable`, raised within the deadline.

    Raises `DeclarationError` for an object that is no backend.
    """

    def __init__(self, backend: CacheBackend, *, deadline: float = DEFAULT_DEADLINE_SECONDS) -> None:
        _check_verbs(backend)
        self._backend = backend
        self._deadline = deadline
        self._deadlines = _Deadlines(deadline)
        self._probing: asyncio.Task[None] | None = None
        self.state = CacheState.UP
        self.on_change: Callable[[], object] = _nothing

    @property
    def serves(self) -> bool:
        """Whether entries may be served and stored."""
        return self.state is CacheState.UP

    def get(self, *keys: str) -> Awaitable[list[bytes | None]]:
        return self._guarded(self._backend.get, *keys)

    def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> Awaitable[bool]:
        return self._guarded(self._backend.set, key, value, ttl, if_absent=if_absent)

    def delete(self, *keys: str) -> Awaitable[int]:
        return self._guarded(self._backend.delete, *keys)

    def delete_by_prefix(self, prefix: str) -> Awaitable[int]:
        """Housekeeping: without a deadline, and a failure does not open the breaker."""
        return self._backend.delete_by_prefix(prefix)

    def clear(self) -> Awaitable[None]:
        return self._backend.clear()

    async def aclose(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])

    def _guarded(self, operation: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs) -> Awaitable[T]:
        if self.state is CacheState.DOWN:
            return _refused()
        try:
            called = operation(*args, **options)
        except Exception as error:  # noqa: BLE001  # raised where the operation is awaited, as any other
            return _Bounded(self, _raising(error))
        if not isinstance(called, asyncio.Future) or isinstance(called, asyncio.Task):  # a task refuses `set_exception`
            return _Bounded(self, called)
        self._deadlines.add(called)
        return _Begun(self, called)

    async def bounded(self, operation: Awaitable[T]) -> T:
        """The result of the operation. Raises `CacheUnavailable` if it fails or its deadline passes."""
        try:
            async with asyncio.timeout(None) as timeout:
                wait = _Wait(timeout)
                self._deadlines.add(wait)
                try:
                    return await operation
                finally:
                    wait.end()
        except CacheUnavailable:  # the backend answers, and cannot do this one thing
            raise
        except Exception as error:
            raise self.failed(error) from error

    def failed(self, error: Exception) -> CacheUnavailable:
        """Open the breaker and begin to probe, once for each outage. Returns the error to raise."""
        if self.state is not CacheState.DOWN:
            what = (
                f"did not answer within {self._deadline:g} s"
                if isinstance(error, TimeoutError)
                else f"failed: {str(error).removesuffix('.')}"
            )
            logger.error("The cache is down: it %s. Bundles are computed until it is back.", what)
            self._become(CacheState.DOWN)
            if self._probing is None:
                self._probing = asyncio.create_task(self._probe())
                self._probing.add_done_callback(self._probed)
        return CacheUnavailable("The cache cannot be reached.")

    def _become(self, state: CacheState) -> None:
        self.state = state
        self.on_change()

    async def _probe(self) -> None:
        wait = _FIRST_PROBE_SECONDS
        while True:
            await asyncio.sleep(wait)
            if self.state is CacheState.DOWN and not await self._answers():
                wait = min(2 * wait, _LAST_PROBE_SECONDS)
                continue
            self._become(CacheState.SETTLING)
            await asyncio.sleep(SETTLING_SECONDS)
            if self.state is CacheState.SETTLING:
                self._become(CacheState.UP)
                logger.warning("The cache is up again.")
                return
            wait = _FIRST_PROBE_SECONDS

    def _probed(self, _: asyncio.Task[None]) -> None:
        """The cache has settled; or the breaker was closed or its loop has ended, and the next command finds out."""
        self._probing = None
        self._become(CacheState.UP)

    async def _answers(self) -> bool:
        """Whether the backend takes a write: a read-only replica answers reads, but cannot purge."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._backend.set("probe", b"1", self._deadline)
                await self._backend.get("probe")
        except Exception:  # noqa: BLE001  # any error means that it is not back
            return False
        return True


class HoldingCircuitBreaker(CircuitBreaker):
    """The breaker of a backend that counts holders across processes."""

    def __init__(self, backend: Any, *, deadline: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(backend, deadline=deadline)
        self._holding: HoldingBackend = backend
        self._claiming = backend if isinstance(backend, ClaimingBackend) else None

    def hold(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        return self._guarded(self._holding.hold, tags, holder, ttl)

    def release(self, tags: Sequence[str], holder: str) -> Awaitable[None]:
        return self._guarded(self._holding.release, tags, holder)

    def restore(self, tags: Sequence[str], holder: str, ttl: float) -> Awaitable[None]:
        if isinstance(self._holding, RestoringBackend):
            return self._guarded(self._holding.restore, tags, holder, ttl)
        return self.release(tags, holder)

    def hold_and_claim(
        self, tags: Sequence[str], holder: str, ttl: float, fresh: Mapping[str, bytes], life: float
    ) -> Awaitable[list[bytes | None]]:
        if self._claiming is None:
            return hold_and_claim(self, self, tags, holder, ttl, fresh, life)
        return self._guarded(self._claiming.hold_and_claim, tags, holder, ttl, fresh, life)

    def release_and_get(self, tags: Sequence[str], holder: str, keys: Sequence[str]) -> Awaitable[list[bytes | None]]:
        if self._claiming is None:
            return release_and_get(self, self, tags, holder, keys)
        return self._guarded(self._claiming.release_and_get, tags, holder, keys)


def _check_verbs(backend: object) -> None:
    if isinstance(backend, type):
        raise DeclarationError(f"cache={backend.__name__} is the class itself; call it.")
    missing = [verb for verb in _VERBS if not callable(getattr(backend, verb, None))]
    if missing:  # the object itself is not shown, for it may be a URL with a password in it
        raise DeclarationError(
            f"cache= is a {type(backend).__name__}, which lacks {', '.join(missing)}; "
            "give it a MemoryCache, a RedisCache or another CacheBackend."
        )


def _nothing() -> None:
    """No one is told."""


async def _refused() -> Any:
    raise CacheUnavailable("The cache cannot be reached.")


async def _raising(error: Exception) -> Any:
    raise error
