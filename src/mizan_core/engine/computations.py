"""Runs of readers: in contexts of their own, for no longer than a limit, never waiting for one another in a circle.

A computation whose answer others may be served, or may join, sees none of the context variables that a host set for
one request. Its context begins empty: that of the engine's construction, or of the first caller, could hold what a
request set. A coroutine is driven by hand here because that costs no task for a computation that never suspends.
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

# A page waits for it, and a person for the page; what takes longer is stuck for all that anybody can tell.
DEFAULT_READER_TIMEOUT_SECONDS = 30.0


class Computation:
    """One run of readers. `key` says of which bundle; `parent` is the computation whose reader asked for it."""

    running = ""  # the name of the function that runs
    expired = False
    has_ended = False
    task: "asyncio.Task[Any]"
    _cancelling: int

    def __init__(self, key: Hashable, parent: "Computation | None") -> None:
        self.key = key
        self.parent = parent

    def lineage(self) -> "Iterator[Computation]":
        """This one, and those that wait for it because they asked for it."""
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
        """Whether it ended for the limit alone; its task is cancelled no longer (as in `asyncio.timeout`)."""
        return self.expired and self.task.uncancel() <= self._cancelling


# What asks where no reader does.
NOT_COMPUTING = Computation(None, None)
NOT_COMPUTING.has_ended = True

# The computation whose reader is running.
computing: ContextVar[Computation | None] = ContextVar("mizan_computing", default=None)


class Computations:
    """The computations of one engine. `limit` in seconds, or None; `carry` are seen by those that are shared.

    `reading` is the current call of every reader.
    """

    def __init__(self, limit: float | None, carry: Sequence[ContextVar[Any]], *, reading: object) -> None:
        self._limit = limit
        self._reading = reading
        self._carry = carry
        self._empty = self._carrying if carry else Context
        self._deadlines: dict[Computation, float] = {}  # the earliest first, for all have the same limit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Hashable, list[tuple[Computation, Hashable]]] = {}  # by key: who waits for which other key

    @types.coroutine
    def run(
        self,
        key: Hashable,
        asked_by: Computation | None,
        shared: bool,
        read: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
    ) -> Generator[Any, Any, T]:
        """What `read(computation, *args)` comes to. Raises `TimedOut` once the limit has passed.

        `shared`: others may be served the answer, or join, so the context variables that were set for the request that
        asks are not seen. `asked_by`: the computation whose reader asks.
        """
        computation = Computation(key, asked_by)
        work = read(computation, *args)
        context = self._empty() if shared else contextvars.copy_context()
        run = context.run
        run(computing.set, computation)
        run(current.set, self._reading)
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
        """Around what a reader asks for. Raises `DeclarationError` where that would wait for the reader itself."""
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
        """Follow who waits for whom from `key` on. By keys, so that joined computations are seen through as well."""
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
        """An empty context but for what is carried."""
        context = Context()
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
        """The rest of a coroutine that stands waiting for `awaited`."""
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
        computation.was_timed_out()  # too late: it has ended all the same
        return result

    def _watch(self, computation: Computation, limit: float) -> None:
        """One timer for all computations: of two, that which began first ends first."""
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
    """The error with the name of the function that failed, for the log. A CancelledError of its own is a failure."""
    failed = error.error if isinstance(error, PersonalFailure) else error
    if isinstance(failed, asyncio.CancelledError):
        return error if is_cancelled() else cancelled_itself(computation.running, failed)
    if not isinstance(failed, CallError):
        blame(failed, computation.running)
        _explain(failed, computation, shared=shared)
    return error


def _explain(error: BaseException, computation: Computation, *, shared: bool) -> None:
    """Add what to do to the error of a function that misses a context variable."""
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
