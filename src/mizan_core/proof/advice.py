"""The declaration that would have made a stale bundle stale, in words for the developer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ..errors import InvalidValue, Unauthorized
from ..graph.declare import ByBody
from ..graph.model import ContextPlan, Function
from ..graph.types.identity_sources import IdentitySource
from ..protocol.identity import ANONYMOUS, Identity
from ..protocol.values import canonical

# Where a parameter's value comes from: the argument of this name, or the caller's identity.
Origin: TypeAlias = str | IdentitySource


def advise(
    plan: ContextPlan,
    params: Mapping[str, str],
    function: Function | None,
    sent: Mapping[str, object],
    identity: Identity = ANONYMOUS,
) -> str:
    """What to declare so that `function`, called with `sent`, would have invalidated the bundle of these parameters.

    `identity`: of the caller of `function`.
    """
    name = plan.name
    if function is None:
        return f"call 'await engine.invalidate({name!r})' after the write, or make the write a mutation"
    affects = [one for one in function.affects if one.context == name]
    wanted = _narrowing(plan, params, sent, identity)
    if not affects:
        instead = ", and take it out of spares" if name in function.declaration.spares else ""
        return f"declare affects={name!r} on {function.name}{f', narrowed with {wanted}' if wanted else ''}{instead}"
    if any(isinstance(one.narrowing, ByBody) for one in affects):
        return f"name it in the body of {function.name} with invalidate({name!r}, ...), or declare {name!r} whole"
    narrowed = ", ".join(sorted({parameter for one in affects for parameter, _ in one.bindings}))
    remedy = f"add a second member to affects, {wanted}" if wanted else f"declare Context({name!r}).whole()"
    return f"{function.name} affects {name!r} narrowed by {narrowed}, which missed this bundle: {remedy}"


def _narrowing(
    plan: ContextPlan, params: Mapping[str, str], sent: Mapping[str, object], identity: Identity
) -> str | None:
    """A `where` of arguments and of the caller's identity, whose values are the bundle's.

    Arguments that have their parameters' names are left out: they narrow without it.
    """
    own = dict(_of_caller(plan, params, identity))
    pairs: dict[str, Origin] = {}
    for parameter in sorted({*params, *own}):
        arguments = _arguments_of(params[parameter], sent) if parameter in params else []
        if parameter in arguments:
            continue
        if parameter in own:
            pairs[parameter] = own[parameter]
        elif arguments:
            pairs[parameter] = arguments[0]
    return f"Context({plan.name!r}){where(pairs)}" if pairs else None


def _of_caller(
    plan: ContextPlan, params: Mapping[str, str], identity: Identity
) -> Iterator[tuple[str, IdentitySource]]:
    """The parameters that the identity fills in, and whose values in the bundle are the caller's; null is a value."""
    for one in plan.identity_params:
        try:
            text = one.text(identity)
        except Unauthorized:
            continue
        if text == params.get(one.name):
            yield one.name, one.source


def where(pairs: Mapping[str, Origin]) -> str:
    """The narrowing of parameters by these arguments, and by the caller's identity, as it is declared."""
    shown = (f"{name}=Arg({one!r})" if isinstance(one, str) else f"{name}={one!r}" for name, one in pairs.items())
    return f".where({', '.join(shown)})"


def _arguments_of(text: str, sent: Mapping[str, object]) -> list[str]:
    """The arguments whose canonical text this is."""
    return [name for name, value in sent.items() if _is_text_of(value, text)]


def _is_text_of(value: object, text: str) -> bool:
    try:
        return value is not None and canonical(value) == text
    except InvalidValue:
        return False


def narrowing_origins(
    plan: ContextPlan,
    changed: Sequence[Mapping[str, str]],
    unchanged: Sequence[Mapping[str, str]],
    sent: Mapping[str, object],
    identity: Identity = ANONYMOUS,
) -> dict[str, Origin]:
    """The parameters that tell the changed bundles from the others, each with the origin of its value in the call."""
    found: dict[str, Origin] = {}
    own = dict(_of_caller(plan, changed[0], identity)) if changed else {}
    for parameter in changed[0] if changed else ():
        texts = {one.get(parameter) for one in changed}
        text = texts.pop()
        if texts or text is None or all(one.get(parameter) == text for one in unchanged):
            continue
        if parameter in own:
            found[parameter] = own[parameter]
        elif arguments := _arguments_of(text, sent):
            found[parameter] = arguments[0]
    return found
