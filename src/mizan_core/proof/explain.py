"""Why a call would purge what it would purge, and why a bundle is kept or not. No function of the application runs.

`explain_call` is pure. `explain_bundle` reads the cache of an engine and adds nothing to it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from time import time

from ..engine.answers import Inspected
from ..engine.engine import Engine
from ..engine.observers import Called, Observer, Purged
from ..errors import DeclarationError
from ..graph.callables import names_stale
from ..graph.declare import Arg, ByBody, Result, Where
from ..graph.defects import nearest
from ..graph.identity_params import filled
from ..graph.inputs import Given
from ..graph.model import Affect, ContextPlan, Function, Graph
from ..graph.narrowing import MAXIMUM_ENTRIES, Running, Unknown, declared, resolve
from ..graph.types.identity_sources import Me
from ..protocol.headers import encode_header
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.invalidation import Invalidation, touches

# So many purges are remembered; the oldest are forgotten first.
MAXIMUM_PURGES = 1_000


class When(Enum):
    """The moment at which it is known what a member of `affects` makes stale."""

    BEFORE = auto()  # from the arguments and the caller, before the function runs
    RESULT = auto()  # from the function's result
    BODY = auto()  # from the function's body


@dataclass(frozen=True, slots=True)
class ExplainedAffect:
    """A member of `affects`, for one call. `stale`: what it makes stale; empty unless that is known `BEFORE`.

    `widened`: parameters that the declaration narrows by and this call does not, each with the reason.
    """

    affect: Affect
    when: When
    stale: tuple[Invalidation, ...]
    widened: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """What a call makes stale. `sent`: its validated arguments.

    `stale`: what is known before the function runs; it is held while it runs, and purged after it unless it refuses.
    `at_worst`: what is purged if it fails in an error that is no refusal. `names_stale`: its body mentions
    `invalidate`, so it may make more stale.
    """

    function: Function
    sent: Mapping[str, object]
    affects: tuple[ExplainedAffect, ...]
    stale: tuple[Invalidation, ...]
    at_worst: tuple[Invalidation, ...]
    names_stale: bool

    @property
    def is_determined(self) -> bool:
        """Whether a call that returns makes exactly `stale` stale."""
        return self.function.is_determined and not self.names_stale

    @property
    def header(self) -> str:
        """`X-Mizan-Invalidate` of an answer, as far as it is known before the function runs."""
        return encode_header(self.stale)


def explain_call(graph: Graph, name: str, arguments: Given, *, identity: Identity = ANONYMOUS) -> ExplainedCall:
    """What a call of this function would make stale. The guard is not asked.

    Raises `DeclarationError` for a function that is not in the graph, and `InvalidInput` and `Unauthorized` as the call
    would.
    """
    function = graph.functions.get(name)
    if function is None:
        raise DeclarationError(f"There is no function {name!r}{nearest(name, graph.functions) or '.'}")
    sent = filled(function.identity_params, function.validator.validate(arguments), identity)
    return ExplainedCall(
        function=function,
        sent=sent,
        affects=tuple(_explained(graph.contexts[one.context], one, sent, identity) for one in function.affects),
        stale=resolve(graph, function, sent, identity, Running()),
        at_worst=resolve(graph, function, sent, identity, Unknown()),
        names_stale=names_stale(function.declaration.function),
    )


def _explained(plan: ContextPlan, affect: Affect, sent: Mapping[str, object], identity: Identity) -> ExplainedAffect:
    stale = tuple(declared(plan, affect, sent, identity, Running(), ()))
    return ExplainedAffect(affect, _when(affect), stale, tuple(_widened(plan, affect, sent, identity)))


def _when(affect: Affect) -> When:
    if isinstance(affect.narrowing, ByBody):
        return When.BODY
    return When.BEFORE if affect.is_determined else When.RESULT


def _widened(
    plan: ContextPlan, affect: Affect, sent: Mapping[str, object], identity: Identity
) -> Iterator[tuple[str, str]]:
    """The parameters by which this call does not narrow although the declaration does, each with the reason."""
    for name, binding in affect.bindings:
        if isinstance(binding, Result):
            continue
        if isinstance(binding, Arg):
            value, missing = sent.get(binding.name), f"the argument {binding.name} is null or left out"
        else:
            value = binding.of(identity)
            missing = "the caller is anonymous" if binding == Me else f"the caller's identity has no {binding!r}"
        if value is None and name in affect.null_narrows:
            continue
        if value is None:
            yield name, f"{missing}, which leaves the whole context" if isinstance(affect.narrowing, Where) else missing
        elif not plan.parameters[name].choices(value, at_most=MAXIMUM_ENTRIES, as_is=name in affect.as_is):
            yield name, f"its value does not fit, is an empty list, or has more than {MAXIMUM_ENTRIES} members"


@dataclass(frozen=True, slots=True)
class RememberedPurge:
    """A purge. `by`: the function that was called; None for `engine.invalidate`. `at`: seconds since 1970."""

    invalidation: Invalidation
    by: str | None
    at: float


class LastPurges(Observer):
    """Remembers the latest purges that this process made, to tell which call purged a bundle.

    Add it with `engine.observe(...)`. Purges of other processes are recorded nowhere.
    """

    sees_hits = False

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._purges: deque[RememberedPurge] = deque(maxlen=MAXIMUM_PURGES)

    def called(self, event: Called) -> None:
        self._remember(event.invalidations, event.function)

    def purged(self, event: Purged) -> None:
        self._remember(event.invalidations, None)

    def last(self, context: str, texts: Mapping[str, str | None]) -> RememberedPurge | None:
        """The latest purge that made the bundle of these canonical texts stale."""
        return next((one for one in reversed(self._purges) if touches(one.invalidation, context, texts)), None)

    def _remember(self, invalidations: tuple[Invalidation, ...], by: str | None) -> None:
        now = self._clock()
        self._purges += [RememberedPurge(one, by, now) for one in invalidations]


@dataclass(frozen=True, slots=True)
class ExplainedBundle:
    """A bundle and its entry. `query`: that of its canonical URL; None where it has none (protocol, section 8).

    `entry` is None where its answer is kept nowhere. `last_purge`: as far as it is known to this process.
    """

    plan: ContextPlan
    texts: Mapping[str, str]
    query: str | None
    entry: Inspected | None
    last_purge: RememberedPurge | None


async def explain_bundle(
    engine: Engine,
    context: str,
    params: Given,
    *,
    identity: Identity = ANONYMOUS,
    purges: LastPurges | None = None,
) -> ExplainedBundle:
    """Whether the bundle of these parameters is kept for this identity. Guards are not asked.

    Raises `DeclarationError` for a context without a bundle, `InvalidInput` as a fetch would, and `CacheUnavailable`.
    """
    plan = engine.graph.contexts.get(context)
    if plan is None or not plan.readers:
        known = [name for name, one in engine.graph.contexts.items() if one.readers]
        raise DeclarationError(f"There is no context {context!r} that has a bundle{nearest(context, known) or '.'}")
    asked = engine.query(plan, params, identity)
    return ExplainedBundle(
        plan=plan,
        texts=asked.spelling.texts,
        query=asked.spelling.query,
        entry=await engine.inspect(asked),
        last_purge=None if purges is None else purges.last(context, asked.texts),
    )
