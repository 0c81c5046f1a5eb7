"""Resolves the invalidations of a call from its arguments, result and body (protocol, section 4), in pure functions."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from ..errors import DeclarationError, Unauthorized
from ..protocol.identity import Identity
from ..protocol.invalidation import Invalidation, merge
from .declare import Arg, Binding, ByBody, ByName, Context, Result, Target, Where, Whole, target_of
from .defects import nearest
from .model import Affect, ContextPlan, Function, Graph
from .types.identity_sources import CallerId, Claim

# A list argument gives one entry for each element. Refetching the whole context costs less than more entries.
MAXIMUM_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class Running:
    """The function has not ended: its arguments are known, its result is not."""


@dataclass(slots=True)
class Returned:
    """The function returned this result."""

    result: object


@dataclass(frozen=True, slots=True)
class Refused:
    """The function refused: it has changed nothing but the scopes that its body named."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The function failed unexpectedly: it may have changed anything that it declares."""


Outcome: TypeAlias = Running | Returned | Refused | Unknown


def named(
    graph: Graph, affected: Context | Target | Invalidation | str | Callable[..., Any], params: Mapping[str, object]
) -> list[Invalidation]:
    """The invalidations that `invalidate(affected, **params)` names in a body or a script.

    Raises `DeclarationError` for a context, a reader or a parameter that is not in the graph.
    """
    if isinstance(affected, Invalidation):  # as `Context.of` makes it
        params = {**affected.params, **params}
        affected = (
            Target(affected.context)
            if affected.function is None
            else Target(affected.function, reader_of=affected.context)
        )
    target = target_of(affected)
    reader = None
    plan = graph.contexts.get(target.name) if target.reader_of is None else None
    if plan is None:
        of = target.reader_of
        function = graph.functions.get(target.name) if of is None else graph.reader(of, target.name)
        if function is None or function.context is None:
            readers = [one.name for one in graph.functions.values() if one.context is not None]
            several = [one.name for one in graph.functions.values() if one.context and one.member == target.name]
            if of is None and len(several) > 1:
                raise DeclarationError(
                    f"Several readers are called {target.name!r}: name {several[0]!r} or {several[1]!r} to invalidate."
                )
            hint = nearest(target.name, readers if of is not None else [*graph.contexts, *readers])
            raise DeclarationError(f"There is no context or reader {target.name!r} to invalidate{hint or '.'}")
        plan, reader = graph.contexts[function.context], function.member
    for name in params:
        if name not in plan.parameters:
            known = ", ".join(plan.parameters) or "none at all"
            hint = nearest(name, plan.parameters) or "."
            raise DeclarationError(
                f"Context {plan.name!r} has no parameter {name!r} to narrow by; it has {known}{hint}"
            )
    nulls = {name for name, value in params.items() if value is None and plan.parameters[name].kinds.nullable}
    narrowed = narrow(plan, reader, {name: value for name, value in params.items() if name not in nulls})
    return [_where_null(one, nulls) for one in narrowed] if nulls else narrowed


def _where_null(invalidation: Invalidation, nulls: Iterable[str]) -> Invalidation:
    """The invalidation, narrowed to the bundles in which these parameters are null."""
    params = {**invalidation.params, **dict.fromkeys(nulls)}
    return Invalidation(invalidation.context, params, invalidation.function, frozenset(nulls))


def resolve(
    graph: Graph,
    function: Function,
    sent: Mapping[str, object],
    identity: Identity,
    outcome: Outcome,
    body: Sequence[Invalidation] = (),
    *,
    names_all: bool = False,
) -> tuple[Invalidation, ...]:
    """Everything that a call made stale, in the order of declaration, merged.

    `sent`: the validated arguments that the caller gave. `body`: the invalidations that the function's body named;
    `names_all`: they are all there is for targets with `by_body()`.
    """
    if isinstance(outcome, Refused):
        return merge(body)
    stale: list[Invalidation] = []
    for affect in function.affects:
        if names_all and isinstance(affect.narrowing, ByBody) and isinstance(outcome, Returned):
            continue
        stale += declared(graph.contexts[affect.context], affect, sent, identity, outcome, body)
    return merge([*stale, *body] if body else stale)


def told_to(graph: Graph, invalidations: Iterable[Invalidation], identity: Identity) -> tuple[Invalidation, ...]:
    """The invalidations as the caller is told them in an answer: without its own values, and without those of others.

    A client does not know the values that its identity fills in, and what concerns others alone is not for it to know.
    """
    return merge(own for one in invalidations if (own := _own(graph.contexts[one.context], one, identity)) is not None)


def _own(plan: ContextPlan, invalidation: Invalidation, identity: Identity) -> Invalidation | None:
    """The invalidation without the parameters that the identity fills in; None if it has other values for them."""
    scope = invalidation.scope
    named = [one for one in plan.identity_params if one.name in scope]
    try:
        if any(one.text(identity) != scope[one.name] for one in named):
            return None
    except Unauthorized:  # it sees no bundle of this context
        return None
    if not named:
        return invalidation
    names = {one.name for one in named}
    params = {name: value for name, value in invalidation.params.items() if name not in names}
    return Invalidation(invalidation.context, params, invalidation.function, invalidation.nulls - names)


def narrow(
    plan: ContextPlan, function: str | None, values: Mapping[str, object], as_is: Set[str] = frozenset()
) -> list[Invalidation]:
    """One invalidation for each combination of values. A value that is null or does not fit does not narrow.

    `as_is`: the names of values that were validated as their parameters' types before.
    """
    if len(values) == 1:
        ((name, value),) = values.items()
        choices = plan.parameters[name].choices(value, at_most=MAXIMUM_ENTRIES, as_is=name in as_is)
        return [Invalidation(plan.name, {name: one}, function) for one in choices] or [
            Invalidation(plan.name, {}, function)
        ]
    scopes: list[dict[str, object]] = [{}]
    for name in sorted(values):
        choices = plan.parameters[name].choices(values[name], at_most=MAXIMUM_ENTRIES, as_is=name in as_is)
        if choices and len(scopes) * len(choices) <= MAXIMUM_ENTRIES:
            scopes = [scope | {name: choice} for scope in scopes for choice in choices]
    return [Invalidation(plan.name, scope, function) for scope in scopes]


def declared(
    plan: ContextPlan,
    affect: Affect,
    sent: Mapping[str, object],
    identity: Identity,
    outcome: Outcome,
    body: Sequence[Invalidation],
) -> list[Invalidation]:
    """Everything that one member of `affects` makes stale; the arguments are those of `resolve`."""
    match affect.narrowing:
        case ByName():
            return _by_values(plan, affect, {name: sent[name] for name, _ in affect.bindings if name in sent})
        case Whole():
            return [Invalidation(affect.context, {}, affect.function)]
        case ByBody():
            if isinstance(outcome, Running) or (
                isinstance(outcome, Returned) and any(one.context == affect.context for one in body)
            ):
                return []
            return [Invalidation(affect.context, {}, affect.function)]
        case Where():
            return _bound(plan, affect, sent, identity, outcome)
        case _ as unreachable:
            assert_never(unreachable)


def _bound(
    plan: ContextPlan, affect: Affect, sent: Mapping[str, object], identity: Identity, outcome: Outcome
) -> list[Invalidation]:
    """Narrowed by the bindings of `where`. A null value widens to the whole context: what it was is unknown.

    A null that the identity gave is known: nobody is meant.
    """
    if isinstance(outcome, Running) and any(isinstance(binding, Result) for _, binding in affect.bindings):
        return []
    values = {name: _value(binding, sent, identity, outcome) for name, binding in affect.bindings}
    if any(values[name] is None and not _is_nobody(affect, name, binding, sent) for name, binding in affect.bindings):
        values = {}
    return _by_values(plan, affect, values)


def _by_values(plan: ContextPlan, affect: Affect, values: Mapping[str, object]) -> list[Invalidation]:
    """One invalidation for each combination of values; a null narrows where the affect says so."""
    nulls = {name for name in affect.null_narrows if name in values and values[name] is None}
    if not nulls:
        return narrow(plan, affect.function, values, affect.as_is)
    others = {name: value for name, value in values.items() if name not in nulls}
    return [_where_null(one, nulls) for one in narrow(plan, affect.function, others, affect.as_is)]


def _is_nobody(affect: Affect, name: str, binding: Binding, sent: Mapping[str, object]) -> bool:
    """Whether a null stands for callers without a value. An argument that a call in Python leaves out is unknown."""
    return name in affect.null_narrows and (not isinstance(binding, Arg) or binding.name in sent)


def _value(binding: Binding, sent: Mapping[str, object], identity: Identity, outcome: Outcome) -> object:
    match binding:
        case Arg(name=name):
            return sent.get(name)
        case CallerId() | Claim():
            return binding.of(identity)
        case Result(field=name):
            return _field(outcome.result, name) if isinstance(outcome, Returned) else None
        case _ as unreachable:
            assert_never(unreachable)


def _field(result: object, name: str) -> object:
    return result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
