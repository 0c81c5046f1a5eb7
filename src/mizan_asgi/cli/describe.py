"""The text that `mizan check` and `mizan audit` print."""

from collections.abc import Iterator
from typing import assert_never

from mizan_core.graph.declare import Arg, Binding, ByBody, ByName, Result, Whole
from mizan_core.graph.inputs import Parameter
from mizan_core.graph.model import Affect, ContextPlan, Function, Graph, NotNarrowing
from mizan_core.graph.types.declared_types import has_bare_type, show_type
from mizan_core.graph.types.identity_sources import CallerId, Claim, IdentitySource
from mizan_core.proof import Audit
from mizan_core.proof.advice import where
from mizan_core.protocol.cache_policy import Never, Per, Seconds

# Names of arguments that do not tell what they identify.
_VAGUE_NAMES = frozenset({"id", "pk", "name", "slug", "uuid", "key", "code"})


def describe_context(plan: ContextPlan) -> str:
    parameters = ", ".join(_describe_parameter(name, parameter) for name, parameter in plan.parameters.items())
    lines = [f"context {plan.name}({parameters})", f"  kept     {describe_policy(plan)}"]
    if plan.readers:
        lines.append(f"  bundle   {', '.join(reader.member for reader in plan.readers)}")
    lines += [f"  page     {_describe_page(plan, page)}" for page in plan.pages]
    shapes = ", ".join("+".join(shape) if shape else "whole" for shape in plan.shapes)
    only = f" only: {_whole_only(plan)}" if _is_whole_only(plan) else ""
    return "\n".join([*lines, f"  scopes   {shapes}{only}", ""])


def describe_mutation(graph: Graph, function: Function) -> str:
    private = " (private)" if function.declaration.private else ""
    arguments = ", ".join(_describe_argument(name, one.input.source) for name, one in function.inputs.items())
    lines = [f"mutation {function.name}({arguments}){private}"]
    for affect in function.affects:
        plan = graph.contexts[affect.context]
        reader = f"/{affect.function}" if affect.function else ""
        lines.append(f"  {affect.context}{reader}: {describe_affect(plan, affect)}")
        lines += [f"    {describe_passed_over(plan, function, *one)}" for one in affect.passed_over]
    lines += [f"  {context}: spared, as declared" for context in function.declaration.spares]
    return "\n".join([*lines, *(f"  WARNING: {one}" for one in _describe_bare_names(function)), ""])


def describe_policy(plan: ContextPlan) -> str:
    match plan.policy.lifetime:
        case Never():
            return "never"
        case Seconds(seconds=seconds):
            kept = f"{seconds} s"
        case _:
            kept = "until purged"
    whom = {"all": "everyone", "user": "each user", "permissions": "each permission set"}[plan.policy.per.value]
    if plan.identity_params:
        same = f"the same {' and '.join(one.name for one in plan.identity_params)}"
        whom = f"all callers with {same}" if plan.policy.per is Per.ALL else f"{whom} with {same}"
    guarded = ", behind a guard" if plan.policy.guarded else ""
    return f"{kept}, for {whom}{guarded}" + (f", rev {plan.policy.rev}" if plan.policy.rev else "")


def _describe_page(plan: ContextPlan, page: Function) -> str:
    missing = sorted({name for shape in plan.shapes for name in shape if name not in page.inputs})
    lacks = ", ".join(missing)
    note = f"  (it lacks {lacks}, so every scope by {lacks} purges it)" if missing else ""
    return f"{page.name} {page.declaration.route or '(no route)'}{note}"


def _describe_parameter(name: str, parameter: Parameter) -> str:
    """A parameter of a context, with its default, or with the part of the caller's identity that fills it in."""
    default = "null" if parameter.default_text is None else parameter.default_text
    if parameter.source is None:
        return name if parameter.required else f"{name}={default}"
    may_lack_one = not parameter.required or parameter.kinds.nullable
    return _describe_argument(name, parameter.source) + (f" or {default}" if may_lack_one else "")


def _describe_argument(name: str, source: IdentitySource | None) -> str:
    return name if source is None else f"{name}: {_describe_source(source)}"


def _describe_source(source: IdentitySource) -> str:
    return f"claim {source.name}" if isinstance(source, Claim) else "the caller's id"


def _is_whole_only(plan: ContextPlan) -> bool:
    """Whether it is kept per user through an `Identity`, and no scope is smaller than the bundles of all users."""
    return (
        plan.policy.per is Per.USER
        and any(reader.signature.identities for reader in plan.readers)
        and not any(one.is_identifying for one in plan.parameters.values())
    )


def _whole_only(plan: ContextPlan) -> str:
    """Why it is purged for all users at once, and the remedy."""
    reader = next(one for one in plan.readers if one.signature.identities)
    taken = reader.signature.identities[0]
    return (
        f"{taken}: Identity of {reader.name} is no parameter, so one user's bundle is purged with everybody's; "
        "let the readers take user_id: Annotated[int, Me], and the mutations too"
    )


def describe_affect(plan: ContextPlan, affect: Affect) -> str:
    if isinstance(affect.narrowing, ByBody):
        return "narrowed by its body"
    if isinstance(affect.narrowing, Whole):
        return "WHOLE, as declared"
    if affect.bindings:
        return f"narrowed by {', '.join(_describe_binding(name, binding) for name, binding in affect.bindings)}"
    if _is_whole_only(plan):
        return f"whole only: {_whole_only(plan)}"
    if not plan.parameters:
        return "whole, for it has no parameters"
    if affect.passed_over:
        return "WHOLE"
    names = [name for name, parameter in plan.parameters.items() if parameter.is_identifying]
    if not names:
        return "WHOLE: none of its parameters is required; see .where(...)"
    return f"WHOLE: no argument is called {' or '.join(names)}; see .where(...)"


def describe_passed_over(plan: ContextPlan, function: Function, name: str, why: NotNarrowing) -> str:
    """Why an argument does not narrow, and the declaration that would make it narrow."""
    where = f'.where({name}=Arg("{name}"))'
    if why is NotNarrowing.OPTIONAL:
        return f"{name} does not narrow: it is optional in {plan.name}, a filter; if it should, declare {where}"
    argument, parameter = (show_type(one.annotation) for one in (function.inputs[name].input, plan.parameters[name]))
    return (
        f"{name} does not narrow: {argument} here, {parameter} in {plan.name}; "
        f"if both are one thing, give them one type or declare {where}"
    )


def _describe_bare_names(function: Function) -> Iterator[str]:
    """A warning for each vaguely named argument of a built-in type that narrows several contexts."""
    narrowed: dict[str, list[str]] = {}
    for affect in function.affects:
        for name, _ in affect.bindings if isinstance(affect.narrowing, ByName) else ():
            if name in _VAGUE_NAMES and has_bare_type(function.inputs[name].input.annotation):
                narrowed.setdefault(name, []).append(affect.context)
    for name, contexts in narrowed.items():
        distinct = list(dict.fromkeys(contexts))
        if len(distinct) > 1:
            yield (
                f"one {name} narrows {' and '.join(distinct)}; "
                "if these are different things, give each a NewType or declare .where(...)"
            )


def _describe_binding(name: str, binding: Binding) -> str:
    match binding:
        case Arg(name=argument):
            return name if argument == name else f"{name} = argument {argument}"
        case Result(field=field):
            return f"{name} = {field} of the result"
        case CallerId() | Claim():
            return f"{name} = {_describe_source(binding)}"
        case _ as unreachable:
            assert_never(unreachable)


def describe_audit(audited: Audit) -> Iterator[str]:
    """The lines that tell of an audit: proofs, what could not be verified, the widest declarations."""
    yield f"{audited.calls} calls and {audited.fetches} fetches played, {audited.refused} refused."
    for name, error in audited.failed.items():
        yield f"failed: {name}: {error}"
    for context, path in audited.verify.unstable.items():
        yield f"not verified: {context} differs from itself at {path}"
    for proof in audited.proved:
        yield f"stale: {proof}"
    for width in audited.verify.widths:
        if width.unchanged:
            remedy = f"; {where(width.narrow_by)} would narrow it" if width.narrow_by else ""
            yield (
                f"wide: {width.mutation} purged {width.purged} bundles of {width.context}, "
                f"{width.changed} of which had changed{remedy}"
            )
    if not audited.proved:
        yield "Nothing was stale."
