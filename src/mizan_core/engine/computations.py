"""Runs of readers: in contexts of their own, within a time limit, never waiting for one another in a circle.

A shared computation, whose answer other requests may get, sees none of the context variables that a host set for one
request. Its context begins empty, since the context of the engine's construction or of the first caller could hold such
variables. Coroutines are driven by hand here, so that a computation that never suspends costs no task.
"""

import asyncio
import contextvars
import logging
import types
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, TypeVar, cast

from ..cache.outcomes import PersonalFailure
from ..errors import CallError, DeclarationError, TimedOut
from ..graph.wrapper import current
from ..tasks import rest_of
from .failures import blame, cancelled_itself, is_cancelled

logger = logging.getLogger("mizan")

T = TypeVar("T")

# A person waits for the page, and the page for its readers: readers that take longer count as stuck.
DEFAULT_READER_TIMEOUT_SECONDS = 30.0


class Computation:
    """One run of readers. `key` says of which bundle; `parent` is the computation whose reader asked for it."""

    running = ""  # the name of the function that runs
    expired = False
    declined = False  # a reader said `no_store`
    has_ended = False
    task: "asyncio.Task[Any]"
    _cancelling: int

    def __init__(self, key: Hashable, parent: "Computation | None") -> None:
        self.key = key
        self.parent = parent

    def lineage(self) -> "Iterator[Computation]":
        """This computation, and those whose readers wait for it, directly or through another."""
        one: Computation | None = self
        while one is not None:
            if not one.has_ended:
                yield one
            one = one.parent

    def suspended(self) -> None:
        """Note which task to cancel once the limit has passed."""
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())  # there is one, for nothing else can suspend
        self._cancelling = self.task.cancelling()

    def was_timed_out(self) -> bool:
        """Whether the limit alone ended it. Takes back the cancellation of its task, as `asyncio.timeout` does."""
        return self.expired and self.task.uncancel() <= self._cancelling


def no_store(why: str) -> None:
    """Say in a reader's body that no cache may keep this one answer, such as one that is made without a service.

    The answer of its bundle, or of its page, is sent `no-store`; the next request computes it again. `why` is logged,
    and is not sent. So is an answer of a reader that fetches such a bundle. Elsewhere it does nothing.
    """
    reason: object = why
    if not isinstance(reason, str) or not reason:
        raise DeclarationError(f"no_store({reason!r}) does not say why; write no_store('the search is down').")
    computation = computing.get()
    if computation is not None and not computation.has_ended:
        computation.declined = True
        logger.info("%s declined to have its answer kept: %s", computation.running, why)


# Stands for the asking computation where no reader asks.
NOT_COMPUTING = Computation(None, None)
NOT_COMPUTING.has_ended = True

# The computation whose reader is running.
computing: ContextVar[Computation | None] = ContextVar("mizan_computing", default=None)

# The name of a reader that runs beside others of its computation, which `running` does not tell apart.
beside: ContextVar[tuple[Computation, str] | None] = ContextVar("mizan_beside", default=None)


class Computations:
    """The computations of one engine.

    `limit`: seconds for each, or None. `carry`: the context variables that shared computations see. `reading`: the
    value of `current` while a reader runs.
    """

    def __init__(self, limit: float | None, carry: Sequence[ContextVar[Any]], *, reading: object) -> None:
        self._limit = limit
        self._reading = reading
        self._carry = carry
        self._base = Context()
        self._base.run(current.set, reading)
        self._shared_context = self._carrying if carry else self._base.copy
        self._deadlines: dict[Computation, float] = {}  # the earliest first, for all have the same limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        # By key: its computations, each with the key that it waits for.
        self._waiting: dict[Hashable, list[tuple[Computation, Hashable]]] = {}

    @types.coroutine
    def run(
        self,
        key: Hashable,
        asked_by: Computation | None,
        shared: bool,
        read: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
    ) -> Generator[Any, Any, T]:
        """The result of `read(computation, *args)`. Raises `TimedOut` once the limit has passed.

        `shared`: other requests may get the answer, so it sees no context variables but those of `carry`. `asked_by`:
        the computation whose reader asks.
        """
        computation = Computation(key, asked_by)
        work = read(computation, *args)
        if shared:
            context = self._shared_context()
        else:
            context = contextvars.copy_context()
            context.run(current.set, self._reading)
        run = context.run
        run(computing.set, computation)
        try:
            awaited = run(work.send, None)
        except StopIteration as ended:
            computation.has_ended = True
            return ended.value  # type: ignore[no-any-return]  # what the coroutine returns
        except BaseException as error:
            computation.has_ended = True
            told = _told(error, computation, shared=shared)
            if told is not error:
                raise told from told.__cause__
            raise
        # Only what suspends can be stuck, and needs a limit.
        try:
            return (yield from self._limited(computation, work, awaited, context))
        except BaseException as error:
            told = _told(error, computation, shared=shared)
            if told is not error:
                raise told from told.__cause__
            raise
        finally:
            computation.has_ended = True

    @contextmanager
    def waiting(self, asking: Computation, key: Hashable) -> Iterator[None]:
        """Wraps a reader's wait for a bundle. Raises `DeclarationError` if that would wait for the reader."""
        lineage = list(asking.lineage())
        self._check_no_circle(asking, {one.key for one in lineage}, key)
        for one in lineage:
            self._waiting.setdefault(one.key, []).append((one, key))
        try:
            yield
        finally:
            for one in lineage:
                edges = self._waiting[one.key]
                edges.remove((one, key))
                if not edges:
                    del self._waiting[one.key]

    def _check_no_circle(self, asking: Computation, own: set[Hashable], key: Hashable) -> None:
        """Follow the waits from `key` on. By keys, so that the waits of joined computations are followed too."""
        seen: set[Hashable] = set()
        paths: list[tuple[Hashable, tuple[str, ...]]] = [(key, ())]
        while paths:
            reached, names = paths.pop()
            if reached in own:
                raise DeclarationError(_circle([*names, *_asked_by(asking, reached)]))
            if reached not in seen:
                seen.add(reached)
                paths += [(then, (*names, one.running)) for one, then in self._waiting.get(reached, ())]

    def _carrying(self) -> Context:
        """A context with the variables of `carry` alone, beside `current`."""
        context = self._base.copy()
        for variable in self._carry:
            try:
                value = variable.get()
            except LookupError:
                continue
            context.run(variable.set, value)
        return context

    @types.coroutine
    def _limited(
        self, computation: Computation, work: Coroutine[Any, Any, T], awaited: Any, context: Context
    ) -> Generator[Any, Any, T]:
        """The rest of a coroutine that waits for `awaited`, within the limit."""
        if self._limit is None:
            return (yield from rest_of(work, awaited, context))
        computation.suspended()
        self._watch(computation, self._limit)
        try:
            result = yield from rest_of(work, awaited, context)
        except BaseException as error:
            if computation.was_timed_out():
                raise TimedOut from error
            raise
        finally:
            self._deadlines.pop(computation, None)
        computation.was_timed_out()  # the limit may have passed as it ended: takes the cancellation back
        return result

    def _watch(self, computation: Computation, limit: float) -> None:
        """Set a computation's deadline. One timer serves all, since the first to begin is the first to be due."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            self._deadlines.clear()
        self._deadlines[computation] = loop.time() + limit
        if self._timer is None:
            self._timer = loop.call_later(limit, self._end_late, loop, context=Context())

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._timer = None
        for computation, deadline in list(self._deadlines.items()):
            if deadline > now:
                self._timer = loop.call_at(deadline, self._end_late, loop, context=Context())
                break
            del self._deadlines[computation]
            computation.expired = True
            logger.error("%s did not answer within %s seconds, and was given up.", computation.running, self._limit)
            computation.task.cancel()


def _told(error: BaseException, computation: Computation, *, shared: bool) -> BaseException:
    """The error to raise, marked with the failed function. A function's own CancelledError becomes an error."""
    failed = error.error if isinstance(error, PersonalFailure) else error
    if isinstance(failed, asyncio.CancelledError):
        return error if is_cancelled() else cancelled_itself(computation.running, failed)
    if not isinstance(failed, CallError):
        blame(failed, computation.running)
        _explain(failed, computation, shared=shared)
    return error


def _explain(error: BaseException, computation: Computation, *, shared: bool) -> None:
    """Add advice to the error of a function that misses a context variable."""
    if shared and isinstance(error, LookupError) and error.args and isinstance(error.args[0], ContextVar):
        error.add_note(
            f"{computation.running} answers more requests than one, so it sees no context variable that was set for "
            "one of them. List the variable in carry=[...] if it does not tell who asks, as for tracing; or pass what "
            "it holds as a parameter."
        )


def _asked_by(asking: Computation, key: Hashable) -> list[str]:
    """The functions that asked for one another, up to the one that computes `key`."""
    lineage = list(asking.lineage())
    last = [one.key for one in lineage].index(key)
    return [one.running for one in lineage[: last + 1]]


def _circle(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    whom = "itself" if len(distinct) == 1 else "each other"
    return (
        f"{' and '.join(distinct)} would wait for {whom} for ever: a reader fetches a bundle whose computation waits "
        "for that reader. Let them share a plain function instead."
    )
