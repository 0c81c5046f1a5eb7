"""Checks the readers of one context against each other, and derives the parameters that they share."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...protocol.values import WITHOUT_TEXT
from ..declare import Context
from ..defects import nearest
from ..inputs import Compiled, Parameter, same_type, text_of_default
from ..model import Function
from ..signature import mentions
from ..types.declared_types import show_type
from ..types.texts import ambiguous_texts


@dataclass(frozen=True, slots=True)
class CheckedContext:
    """A context with its readers and pages, and the parameters that they share, sorted by name."""

    settings: Context
    members: Sequence[Function]
    parameters: Mapping[str, Parameter]
    inputs: Mapping[str, Compiled]  # of each parameter the input of the first reader that takes it

    @property
    def name(self) -> str:
        return self.settings.name


def check_context(settings: Context, members: Sequence[Function], defects: list[str]) -> CheckedContext:
    """The parameters are those of the bundle's readers, or of the pages where a context has no bundle."""
    name = settings.name
    owners = [function for function in members if function.in_bundle] or members
    inputs: dict[str, Compiled] = {}
    owner_of: dict[str, Function] = {}
    for function in owners:
        for parameter, one in function.inputs.items():
            if parameter not in inputs:
                inputs[parameter] = one
                owner_of[parameter] = function
            elif defect := _divergence(inputs[parameter], one):
                defects.append(
                    f"context {name!r}: parameter {parameter!r} of {owner_of[parameter].name} and {function.name} "
                    f"{defect}"
                )
    _check_names(name, owners, defects)
    parameters: dict[str, Parameter] = {}
    for parameter in sorted(inputs):
        if defect := _unspellable(inputs[parameter]):
            defects.append(f"{owner_of[parameter].name}: parameter {parameter!r} of context {name!r} {defect}")
        parameters[parameter] = parameter_of(
            inputs[parameter], is_identifying=all(_names_a_thing(one, parameter) for one in members)
        )
    checked = CheckedContext(settings, members, parameters, {one: inputs[one] for one in parameters})
    _check_pages(checked, defects)
    _check_scopes(checked, defects)
    return checked


def _divergence(first: Compiled, second: Compiled) -> str | None:
    if first.input.source != second.input.source:
        return f"diverges: {_show_source(first)} in the one and {_show_source(second)} in the other"
    if not same_type(first, second):
        return f"diverges: {show_type(first.input.annotation)} here and {show_type(second.input.annotation)} there"
    if first.input.required != second.input.required:
        return "diverges: it has a default in one of them only"
    if first.default_text != second.default_text:
        return f"diverges: its default is {first.input.default!r} here and {second.input.default!r} there"
    return None


def _show_source(compiled: Compiled) -> str:
    source = compiled.input.source
    return "clients send it" if source is None else f"it is {source!r} of the identity"


def _check_names(context: str, owners: Sequence[Function], defects: list[str]) -> None:
    """A name is one parameter: if a reader has an alias for an argument, the others call it by that alias too."""
    for one, other in itertools.permutations(owners, 2):
        for alias, compiled in one.inputs.items():
            argument = compiled.input.argument
            called = None if argument is None else _called(other, argument)
            if called is not None and called != alias:
                defects.append(
                    f"context {context!r}: {argument!r} of {one.name} is {alias!r} to clients, and {argument!r} of "
                    f"{other.name} is {called!r}; give both the same alias"
                )


def _called(function: Function, argument: str) -> str | None:
    """The name by which clients know an argument, or the input of that name; None where there is neither."""
    for name, compiled in function.inputs.items():
        if (compiled.input.argument or name) == argument:
            return name
    return argument if argument in function.inputs else None


def _unspellable(compiled: Compiled) -> str | None:
    """The reason why a URL cannot spell each value of a context's parameter as a text of its own."""
    kinds, one = compiled.kinds, compiled.input
    shown = f"is a {show_type(one.annotation)}"
    if not kinds.fits_a_url:
        return f"{shown}, which a URL cannot spell; use a scalar or a list of scalars"
    if mentions(one.annotation, WITHOUT_TEXT):
        return f"{shown}, which has no text for URLs and cache keys; take it in a mutation, or from a header"
    if compiled.adapter.core_schema["type"] == "generator":
        return f"{shown}, whose members can be read only once; let it be a list"
    if texts := ambiguous_texts(compiled.adapter.core_schema):
        return f"{shown}, and in a URL {min(texts)!r} is a text and a number alike; let its values be of one kind"
    if one.source is not None:  # no URL spells it
        return _changing_default(compiled)
    if kinds.is_list and kinds.nullable:
        return "is a list that may be null, and a URL spells null and the empty list alike; let it be a list alone"
    if kinds.is_list and compiled.default_text not in (None, "[]"):
        return (
            f"is a list with the default {one.default!r}, so a URL could not spell the empty list; "
            "let the default be empty or absent"
        )
    if kinds.nullable and not one.required and one.default is not None:
        return (
            f"may be null and has the default {one.default!r}, so a URL could not spell null; let the default be None"
        )
    return _changing_default(compiled)


def _changing_default(compiled: Compiled) -> str | None:
    make_default = compiled.input.make_default
    if make_default is not None and text_of_default(compiled.adapter, make_default()) != compiled.default_text:
        return "has a default_factory that makes another value each time; let it be null, and make it in the function"
    return None


def _names_a_thing(reader: Function, name: str) -> bool:
    """Whether the parameter, if the reader takes it at all, is the identity's, or is required and never null."""
    compiled = reader.inputs.get(name)
    if compiled is None or compiled.input.source is not None:
        return True
    return compiled.input.required and not compiled.kinds.nullable


def parameter_of(compiled: Compiled, *, is_identifying: bool) -> Parameter:
    """A context's parameter of an input.

    A nullable parameter without a default has the default null here: a URL spells null by leaving it out.
    """
    one = compiled.input
    return Parameter(
        name=one.name,
        annotation=one.annotation,
        adapter=compiled.adapter,
        kinds=compiled.kinds,
        required=one.required and not compiled.kinds.nullable,
        default_text=compiled.default_text,
        round_trip=compiled.round_trip,
        is_identifying=is_identifying,
        source=one.source,
    )


def _check_pages(context: CheckedContext, defects: list[str]) -> None:
    for view in (function for function in context.members if function.is_view):
        extra = sorted(set(view.inputs) - set(context.parameters))
        if extra:
            defects.append(
                f"{view.name}: a view of context {context.name!r} takes only the context's parameters, and "
                f"{', '.join(map(repr, extra))} is none of them"
            )
        for name, one in view.inputs.items():
            known = context.inputs.get(name)
            if known is not None and not same_type(known, one):
                defects.append(
                    f"{view.name}: parameter {name!r} is a {show_type(one.input.annotation)} here and a "
                    f"{show_type(known.input.annotation)} in context {context.name!r}"
                )


def _check_scopes(context: CheckedContext, defects: list[str]) -> None:
    unknown = [name for shape in context.settings.scopes for name in shape if name not in context.parameters]
    defects += [
        f"context {context.name!r}: scopes names {name!r}, which is none of its parameters"
        f"{nearest(name, context.parameters)}"
        for name in unknown
    ]
