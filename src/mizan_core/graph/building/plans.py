"""Derives the plan of a context: its cache policy, the shapes of the scopes it is purged by, and its fingerprint."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ...protocol.cache_policy import CachePolicy, most_private, shortest
from ...protocol.values import canonical_json
from ..access import Anyone
from ..declare import ByName
from ..identity_params import identity_params_of
from ..inputs import Compiled, Parameter, compile_validator
from ..model import Affect, ContextPlan, Function
from ..types.result_shapes import result_shape
from .contexts import CheckedContext, parameter_of

# An entry depends on one tag for each shape of its context, so shapes are few (protocol, section 7).
MAXIMUM_SHAPES = 16

# Few versions of a context are deployed side by side: 64 bits tell them apart.
FINGERPRINT_BYTES = 8


def plan_of(context: CheckedContext, functions: Iterable[Function]) -> ContextPlan:
    """The plan of a context without defects. `functions` are all of the graph, with `affects` resolved."""
    members = context.members
    readers = tuple(function for function in members if function.in_bundle)
    pages = tuple(function for function in members if not function.in_bundle)
    shapes = _shapes(context, functions)
    loose = tuple(shape for shape in shapes if any(not one.inputs.keys() >= set(shape) for one in members))
    plan = ContextPlan(
        name=context.name,
        readers=readers,
        pages=pages,
        parameters=MappingProxyType(context.parameters),
        validator=compile_validator(
            "params",
            context.inputs.values(),
            frozenset(parameter.name for parameter in context.parameters.values() if parameter.required),
        ),
        policy=_policy(readers or pages),
        page_policies=MappingProxyType(
            {
                function.name: _policy((*readers, function))
                for function in members
                if function.declaration.route is not None
            }
        ),
        shapes=shapes,
        fingerprint=_fingerprint(readers, pages, context.parameters, shapes, loose),
        concurrent=context.settings.concurrent,
        identity_params=identity_params_of(context.inputs),
        loose=loose,
    )
    plan = replace(plan, readers_alone=MappingProxyType({one.member: _alone(plan, one) for one in members}))
    private = tuple(function for function in pages if not function.is_view)
    if readers or not private:
        return plan
    return replace(plan, private_bundle=replace(plan, readers=private, pages=(), policy=_policy(private)))


def _alone(plan: ContextPlan, reader: Function) -> ContextPlan:
    """The plan of one reader by itself. Behind a route of its own it has the policy of its context's pages."""
    known = plan.parameters if reader.in_bundle else {}
    return replace(
        plan,
        readers=(reader,),
        pages=(),
        parameters=MappingProxyType(
            {
                name: known.get(name) or parameter_of(reader.inputs[name], is_identifying=False)
                for name in sorted(reader.inputs)
            }
        ),
        validator=reader.validator,
        policy=plan.page_policies.get(reader.name) or _policy((reader,)),
        shapes=tuple(shape for shape in plan.shapes if reader.inputs.keys() >= set(shape)),
        identity_params=reader.identity_params,
        loose=tuple(shape for shape in plan.shapes if not reader.inputs.keys() >= set(shape)),
        alone=reader.member,
    )


def _policy(readers: Sequence[Function]) -> CachePolicy:
    return CachePolicy(
        rev=max(reader.declaration.rev for reader in readers),
        lifetime=shortest([reader.declaration.lifetime for reader in readers]),
        per=most_private([reader.private_to for reader in readers]),
        guarded=any(reader.guard != Anyone() for reader in readers),
        by_identity=any(reader.identity_params for reader in readers),
    )


def _shapes(context: CheckedContext, functions: Iterable[Function]) -> tuple[tuple[str, ...], ...]:
    """The sets of parameters by which a declaration may narrow the context, the smallest first, cut off at the maximum.

    A scope of a shape that was cut off is purged by the largest shape inside it.
    """
    found = {(), *context.settings.scopes}
    for function in functions:
        for affect in function.affects:
            if affect.context == context.name:
                found.update(itertools.islice(_shapes_of(context, function, affect), MAXIMUM_SHAPES))
    return tuple(sorted(found, key=lambda shape: (len(shape), shape))[:MAXIMUM_SHAPES])


def _shapes_of(context: CheckedContext, function: Function, affect: Affect) -> Iterator[tuple[str, ...]]:
    """The shapes that one declaration may narrow by, the smallest first.

    `where` narrows by all of its bindings. By name, an argument that is always sent and always fits narrows always; the
    others narrow in every combination.
    """
    names = [name for name, _ in affect.bindings]
    if not isinstance(affect.narrowing, ByName):
        yield tuple(names)
        return
    certain = [
        name for name in names if name in affect.as_is and _always_narrows(function.inputs[name], context.inputs[name])
    ]
    optional = [name for name in names if name not in certain]
    for count in range(len(optional) + 1):
        for chosen in itertools.combinations(optional, count):
            yield tuple(sorted((*certain, *chosen)))


def _always_narrows(argument: Compiled, parameter: Compiled) -> bool:
    if argument.input.source is not None and parameter.input.source is not None:  # a null narrows as well
        return argument.kinds.is_list == parameter.kinds.is_list and parameter.round_trip is None
    is_alone = argument.kinds.is_list == parameter.kinds.is_list
    return argument.input.required and not argument.kinds.nullable and is_alone and parameter.round_trip is None


def _fingerprint(
    readers: Sequence[Function],
    pages: Sequence[Function],
    parameters: Mapping[str, Parameter],
    shapes: Sequence[tuple[str, ...]],
    loose: Sequence[tuple[str, ...]],
) -> bytes:
    message: dict[str, object] = {
        "readers": sorted(reader.member for reader in readers),
        "parameters": {
            name: [
                *(one.default_text, one.required, sorted(one.kinds.own)),
                *([] if one.source is None else [repr(one.source)]),
            ]
            for name, one in parameters.items()
        },
        "shapes": shapes,
        "results": {reader.member: result_shape(reader.result) for reader in readers if reader.result is not None},
    }
    if loose:
        message["loose"] = loose
    if pages:
        message["pages"] = {page.name: None if page.result is None else result_shape(page.result) for page in pages}
    return hashlib.sha256(canonical_json(message).encode()).digest()[:FINGERPRINT_BYTES]
