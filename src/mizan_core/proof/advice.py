"""The declaration that would have made a stale bundle stale, in words for the developer."""

from collections.abc import Mapping, Sequence

from ..errors import InvalidValue
from ..graph.declare import ByBody
from ..graph.model import ContextPlan, Function
from ..protocol.values import canonical


def advise(plan: ContextPlan, params: Mapping[str, str], function: Function | None, sent: Mapping[str, object]) -> str:
    """What to declare so that `function`, called with `sent`, would have invalidated the bundle of these parameters."""
    name = plan.name
    if function is None:
        return f"call 'await engine.invalidate({name!r})' after the write, or make the write a mutation"
    affects = [one for one in function.affects if one.context == name]
    wanted = _narrowing(plan, params, sent)
    if not affects:
        instead = ", and take it out of spares" if name in function.declaration.spares else ""
        return f"declare affects={name!r} on {function.name}{f', narrowed with {wanted}' if wanted else ''}{instead}"
    if any(isinstance(one.narrowing, ByBody) for one in affects):
        return f"name it in the body of {function.name} with invalidate({name!r}, ...), or declare {name!r} whole"
    narrowed = ", ".join(sorted({parameter for one in affects for parameter, _ in one.bindings}))
    remedy = f"add a second member to affects, {wanted}" if wanted else f"declare Context({name!r}).whole()"
    return f"{function.name} affects {name!r} narrowed by {narrowed}, which missed this bundle: {remedy}"


def _narrowing(plan: ContextPlan, params: Mapping[str, str], sent: Mapping[str, object]) -> str | None:
    """A `where` of arguments whose values are the bundle's, unless each has its parameter's name already."""
    given = {parameter: _arguments_of(text, sent) for parameter, text in params.items()}
    pairs = {name: arguments[0] for name, arguments in given.items() if arguments and name not in arguments}
    return f"Context({plan.name!r}){where(pairs)}" if pairs else None


def where(pairs: Mapping[str, str]) -> str:
    """The narrowing of parameters by these arguments, as it is declared."""
    return f".where({', '.join(f'{parameter}=Arg({argument!r})' for parameter, argument in pairs.items())})"


def _arguments_of(text: str, sent: Mapping[str, object]) -> list[str]:
    """The arguments whose canonical text this is."""
    return [name for name, value in sent.items() if _is_text_of(value, text)]


def _is_text_of(value: object, text: str) -> bool:
    try:
        return value is not None and canonical(value) == text
    except InvalidValue:
        return False


def narrowing_arguments(
    changed: Sequence[Mapping[str, str]], unchanged: Sequence[Mapping[str, str]], sent: Mapping[str, object]
) -> dict[str, str]:
    """The parameters that tell the changed bundles from the others, each with the argument that has its value."""
    found: dict[str, str] = {}
    for parameter in changed[0] if changed else ():
        texts = {one.get(parameter) for one in changed}
        text = texts.pop()
        if texts or text is None or all(one.get(parameter) == text for one in unchanged):
            continue
        if arguments := _arguments_of(text, sent):
            found[parameter] = arguments[0]
    return found
