"""The one seam for everything that watches an engine: logs, traces, metrics, proofs of staleness, the inspector.

An engine that has no observers makes no events and takes no times. Observers are called at once, on the event loop,
and have to return quickly; an error of theirs is logged and never reaches a request.
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias, TypeVar

from ..cache.store import Hold
from ..cache.tags import PurgeScope
from ..errors import CacheUnavailable
from ..graph.wrapper import current
from ..protocol.identity import Identity
from ..protocol.invalidation import Invalidation, spelled, touches
from ..protocol.values import Json
from .answers import Status
from .bundle_requests import BundleRequest
from .computations import beside, computing
from .current_call import CurrentCall

# Names that observers and integrations may use; the others serve the engine.
__all__ = [
    "CacheChanged",
    "Called",
    "Calling",
    "Checked",
    "Computing",
    "FetchFailed",
    "Fetched",
    "Observer",
    "Purged",
    "Refused",
    "running",
]

logger = logging.getLogger("mizan")

T = TypeVar("T")

# How a function ended. "refused": a 4xx error, or it never began. "unknown": any other error, or a cancellation.
OutcomeName: TypeAlias = Literal["returned", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A bundle, or a reader alone, was answered.

    `seconds` until it was; `detail` as in `Cache-Status`, why it was no hit.
    `params` are the canonical texts of all parameters. `asked` and `identity` are enough to compute the bundle again.
    """

    context: str
    params: Mapping[str, str]
    status: Status
    detail: str
    seconds: float
    body: bytes
    identity: Identity
    asked: BundleRequest
    request: object = field(default=None, repr=False)
    inside: bool = False  # asked for by the body of a function, which may not have committed

    @property
    def bytes(self) -> int:
        return len(self.body)

    @property
    def reader(self) -> str | None:
        """The reader whose value alone is the body; None for a bundle."""
        return self.asked.plan.alone

    def is_touched(self, invalidations: Iterable[Invalidation]) -> bool:
        """Whether one of these makes the bundle stale."""
        texts = self.asked.texts
        return any(touches(one, self.context, texts) for one in invalidations)


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A bundle could not be answered."""

    context: str
    params: Mapping[str, str]
    error: Exception
    seconds: float


@dataclass(frozen=True, slots=True)
class Calling:
    """A function that is no reader is about to run. `holds`: what its arguments make stale, held until it has ended.

    `filled`: the names of the arguments that the caller's identity filled in.
    """

    function: str
    arguments: Mapping[str, object]
    identity: Identity
    holds: tuple[Invalidation, ...] = ()
    filled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Called:
    """A function has ended, and what it made stale is purged. Times are in seconds.

    `seconds`: until the caller is told; `held`: how long its scopes were held; `purge`: how long ending the hold and
    purging took. `began` is the event of its beginning.
    """

    began: Calling
    outcome: OutcomeName
    error: Exception | None
    invalidations: tuple[Invalidation, ...]
    seconds: float
    held: float
    purge: float

    @property
    def function(self) -> str:
        return self.began.function


@dataclass(frozen=True, slots=True)
class Computing:
    """Readers are about to run, for a bundle or alone. `shared`: other requests may get their answer."""

    context: str
    readers: tuple[str, ...]
    shared: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A request ended before anything ran for it: its guard refused or failed, or its arguments are invalid.

    `function`: the one that was called; None for a bundle, of which `context` is the name. A guard that takes arguments
    refuses a bundle or a page by `FetchFailed`. Requests for what is not in the graph are not told.
    """

    function: str | None
    context: str | None
    error: Exception
    identity: Identity

    @property
    def name(self) -> str:
        return self.function or self.context or ""


@dataclass(frozen=True, slots=True)
class StaleProof:
    """A bundle that was stale: computed again, it differs, and nothing had invalidated it.

    `mutation`: the function after which it differed; None for a write outside of any. `beside`: mutations that ran at
    the same time. `params`: the bundle's parameters, without those at their defaults. `path`: where the answers differ
    first (RFC 9535). `remedy`: the declaration that would have invalidated it.
    """

    mutation: str | None
    context: str
    params: Mapping[str, Json]
    path: str
    remedy: str
    before: bytes = field(repr=False)
    after: bytes | None = field(repr=False)  # None: computing it raised an error
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        writer = self.mutation or "a write outside of any mutation"
        beside = f" (beside {', '.join(self.beside)})" if self.beside else ""
        return (
            f"{self.context}({shown}) was stale after {writer}{beside}: it differs at {self.path}. "
            f"Remedy: {self.remedy}."
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """`Verify` has computed a bundle of this context again."""

    context: str


@dataclass(frozen=True, slots=True)
class Purged:
    """A purge that is not the end of a call has been made. `seconds` until it was.

    It has one cause, as far as that is known: a `proof`, whose bundle is healed; a `function`, whose body asked for it
    or which has outlived the call that it belonged to; or the place in the code that did, as `origin`, such as
    "shop/imports.py:12".
    """

    invalidations: tuple[Invalidation, ...]
    seconds: float
    proof: StaleProof | None = None
    function: str | None = None
    origin: str | None = None

    @property
    def cause(self) -> str:
        """The cause, in words. Empty where it is not known."""
        if self.proof is not None:
            return f"proved stale after {self.proof.mutation or 'a write outside of any mutation'}"
        if self.function is not None:
            return f"by {self.function}"
        return "" if self.origin is None else f"at {self.origin}"


@dataclass(frozen=True, slots=True)
class CacheChanged:
    """The state of the cache, or the number of mutations whose purges are owed, has changed."""

    state: str
    owed: int


Event: TypeAlias = Fetched | FetchFailed | Refused | Calling | Called | Purged | Checked | StaleProof | CacheChanged


class Observer:
    """Base of observers: each method is called with one kind of event, and does nothing unless it is overridden.

    `sees_hits = False` spares hits from memory: they are answered without being told.
    """

    sees_hits = True

    def fetched(self, event: Fetched) -> None:
        """A bundle was answered."""

    def fetch_failed(self, event: FetchFailed) -> None:
        """A bundle could not be answered."""

    def refused(self, event: Refused) -> None:
        """A request ended before anything ran for it."""

    def calling(self, event: Calling) -> None:
        """A function that is no reader is about to run."""

    async def before_running(self, event: Calling) -> None:
        """The same; the function waits for this."""

    def called(self, event: Called) -> None:
        """A function has ended, and what it made stale is purged."""

    async def before_answer(self, event: Called) -> None:
        """The same, before its caller is told; the caller waits for this."""

    def purged(self, event: Purged) -> None:
        """A purge that is not the end of a call has been made."""

    def checked(self, event: Checked) -> None:
        """A bundle was computed again, to be compared."""

    def stale(self, event: StaleProof) -> None:
        """A bundle was proved stale; the purge that heals it follows."""

    def cache_changed(self, event: CacheChanged) -> None:
        """The state of the cache, or what is owed to it, has changed."""

    def around(self, event: Calling | Computing) -> AbstractContextManager[object] | None:  # noqa: ARG002
        """Called before functions run; what it returns is entered around the run, until `called` has been told.

        It is called with the context variables of the caller, and entered with those that the functions see: for a
        shared computation, these are the variables of `carry` alone.
        """
        return None


class DebugLog(Observer):
    """Logs every event at DEBUG. An engine adds it by itself if the logger "mizan" is enabled for DEBUG by then.

    Arguments of functions and bodies of answers are left out: they may be secrets.
    """

    def fetched(self, event: Fetched) -> None:
        why = "" if event.status == "hit" else f" ({event.detail})"
        bundle = spelled(Invalidation(event.context, event.params, event.reader))
        logger.debug("%s %s%s: %d bytes in %s", event.status, bundle, why, event.bytes, _ms(event.seconds))

    def fetch_failed(self, event: FetchFailed) -> None:
        bundle = spelled(Invalidation(event.context, event.params))
        logger.debug("failed %s: %s in %s", bundle, type(event.error).__name__, _ms(event.seconds))

    def refused(self, event: Refused) -> None:
        logger.debug("refused %s before it began (%s)", event.name, type(event.error).__name__)

    def calling(self, event: Calling) -> None:
        logger.debug("%s begins and holds %s", event.function, _listed(event.holds))

    def called(self, event: Called) -> None:
        error = "" if event.error is None else f" ({type(event.error).__name__})"
        logger.debug(
            "%s %s%s in %s and purged %s (held for %s, purged in %s)",
            event.function,
            "ended in an error" if event.outcome == "unknown" else event.outcome,
            error,
            _ms(event.seconds),
            _listed(event.invalidations),
            _ms(event.held),
            _ms(event.purge),
        )

    def purged(self, event: Purged) -> None:
        cause = f", {event.cause}" if event.cause else ""
        logger.debug("purged %s in %s%s", _listed(event.invalidations), _ms(event.seconds), cause)

    def cache_changed(self, event: CacheChanged) -> None:
        logger.debug("cache %s, %d purges owed", event.state, event.owed)


def _listed(invalidations: Sequence[Invalidation]) -> str:
    return ", ".join(map(spelled, invalidations)) or "nothing"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


class Observers:
    """The observers of one engine. `all` is asked on every request, so it is an attribute."""

    def __init__(self) -> None:
        self.all: tuple[Observer, ...] = ()
        self.surrounding: tuple[Observer, ...] = ()  # those that have an `around` of their own

    @property
    def see_hits(self) -> bool:
        return any(one.sees_hits for one in self.all)

    def add(self, observer: Observer) -> None:
        self._let((*self.all, observer))

    def remove(self, observer: Observer) -> None:
        self._let(tuple(one for one in self.all if one is not observer))

    def _let(self, observers: tuple[Observer, ...]) -> None:
        self.all = observers
        self.surrounding = tuple(one for one in observers if type(one).around is not Observer.around)

    def around(self, event: "Calling | Computing") -> "Around":
        """What the observers enter around a run."""
        return Around(self.surrounding, event)

    def tell(self, event: Event) -> None:
        """Call every observer with the event."""
        method = _METHODS[type(event)]
        for observer in self.all:
            try:
                getattr(observer, method)(event)
            except Exception:  # an observer's code is not the request's
                logger.exception("An observer failed: %s.%s.", type(observer).__name__, method)

    async def tell_and_wait(self, event: Calling | Called) -> None:
        """Call every observer with the event, and wait for each."""
        self.tell(event)
        for observer in self.all:
            try:
                if isinstance(event, Calling):
                    await observer.before_running(event)
                else:
                    await observer.before_answer(event)
            except Exception:  # an observer's code is not the request's
                logger.exception("An observer failed at %s.", event)


_METHODS = {
    Fetched: "fetched",
    FetchFailed: "fetch_failed",
    Refused: "refused",
    Calling: "calling",
    Called: "called",
    Purged: "purged",
    Checked: "checked",
    StaleProof: "stale",
    CacheChanged: "cache_changed",
}


class Around(AbstractContextManager[None]):
    """What observers enter around one run. An error of theirs is logged, and never reaches the run."""

    def __init__(self, observers: Sequence[Observer], event: Calling | Computing) -> None:
        self._event = event
        self._managers: list[AbstractContextManager[object]] = []
        self._entered: list[AbstractContextManager[object]] = []
        for observer in observers:
            try:
                manager = observer.around(event)
            except Exception:  # an observer's code is not the request's
                logger.exception("%s failed around %s.", type(observer).__name__, type(self._event).__name__)
            else:
                if manager is not None:
                    self._managers.append(manager)

    def __enter__(self) -> None:
        for manager in self._managers:
            try:
                manager.__enter__()
            except Exception:  # an observer's code is not the request's
                logger.exception("%s failed around %s.", type(manager).__name__, type(self._event).__name__)
            else:
                self._entered.append(manager)

    def __exit__(self, *raised: Any) -> None:
        for manager in reversed(self._entered):
            try:
                manager.__exit__(*raised)
            except Exception:  # an observer's code is not the request's
                logger.exception("%s failed around %s.", type(manager).__name__, type(self._event).__name__)


# The function that an observed engine is calling, behind those that joined it to their own answers.
called: ContextVar[tuple[str, ...]] = ContextVar("mizan_called", default=())


def running() -> tuple[str, ...]:
    """The names of the functions whose bodies are running here, as for what watches the driver of a database.

    Either one reader; or a function that is none, after those whose bodies called it and whose answers tell what it
    makes stale, the outermost first. Empty outside of any. It holds in the tasks that a body starts, and in threads
    that have its context, as those of `asyncio.to_thread`. Only an engine that is observed names the functions that
    are no readers.
    """
    call = current.get()
    if isinstance(call, CurrentCall):
        return (*called.get(), *call.names)
    if call is None:
        return ()
    computation = computing.get()
    if computation is None:  # a route with GET
        return called.get()
    alongside = beside.get()
    if alongside is not None and alongside[0] is computation:
        return (alongside[1],)
    return (computation.running,) if computation.running else ()


def origin() -> str | None:
    """The place in the code that awaits Mizan, as "shop/imports.py:12". None where the event loop itself does."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # a stack of `inspect` reads the source of every frame
    while frame is not None and _module_of(frame) in _OWN:
        frame = frame.f_back
    if frame is None or _module_of(frame) == "asyncio":
        return None
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"


def _module_of(frame: FrameType) -> str:
    """The top-level package of the code that runs in a frame."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


# Packages whose frames are between `invalidate` and the code that calls it.
_OWN = frozenset({"mizan_core", "mizan_asgi"})


class TimedHold:
    """A hold that notes since when scopes are held, and how long its end took. `is_empty`: it has no scopes yet."""

    def __init__(self, hold: Hold, now: Callable[[], float], *, is_empty: bool = False) -> None:
        self._hold = hold
        self._now = now
        self._is_empty = is_empty
        self._since: float | None = None
        self.held = 0.0
        self.purge = 0.0

    def run(self, begin: Callable[[], Coroutine[Any, Any, T]], *, insist: bool) -> Awaitable[T]:
        def begun() -> Coroutine[Any, Any, T]:
            if not self._is_empty:
                self._since = self._now()
            return begin()

        return self._hold.run(begun, insist=insist)

    def extend(self, scopes: Sequence[PurgeScope]) -> None:
        if self._since is None:
            self._since = self._now()
        self._hold.extend(scopes)

    async def make_visible(self, *, insist: bool = False) -> None:
        await self._hold.make_visible(insist=insist)

    async def end(self, purged: Sequence[PurgeScope], *, insist: bool) -> CacheUnavailable | None:
        began = self._ending()
        late = await self._hold.end(purged, insist=insist)
        self.purge = self._now() - began
        return late

    async def restore(self) -> None:
        began = self._ending()
        await self._hold.restore()
        self.purge = self._now() - began

    def _ending(self) -> float:
        now = self._now()
        self.held = 0.0 if self._since is None else now - self._since
        return now
