"""Resolves `affects`: the context that each target names, and the arguments, results or caller that narrow it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from ..declare import Arg, Binding, ByName, Context, Declaration, Result, Target, Where
from ..defects import nearest
from ..inputs import Compiled
from ..model import Affect, Function, NotNarrowing
from ..signature import sent_names
from ..types.declared_types import same_declared_type, show_type
from ..types.identity_sources import CallerId, Claim, is_source
from ..types.json_types import Kinds, kinds_of
from ..types.result_fields import fields_of_results, kinds_of_field
from .contexts import CheckedContext


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves targets against everything that is declared; notes in `defects` what cannot be resolved."""

    declared: Mapping[str, Declaration]
    settings: Mapping[str, Context]
    contexts: Mapping[str, CheckedContext]
    defects: list[str]

    def affects(self, function: Function) -> tuple[Affect, ...]:
        """The resolved members of a function's `affects`, in the order of their declaration."""
        found = [self._resolved(function, target) for target in function.declaration.affects]
        return tuple(affect for affect in found if affect is not None)

    def check_spares(self, function: Function) -> None:
        """Note the contexts that a function spares and that do not exist, or that it affects as well."""
        affected = {named[0] for target in function.declaration.affects if (named := self._found(target)) is not None}
        for name in function.declaration.spares:
            if name not in self.settings:
                self.defects.append(
                    f"{function.name}: spares {name!r}, which no reader has for its context"
                    f"{nearest(name, self.settings) or '; build a reader of it as well'}"
                )
            elif name in affected:
                self.defects.append(
                    f"{function.name}: spares {name!r} and affects it; drop spares if its answers can change, "
                    "affects if they cannot"
                )

    def _resolved(self, function: Function, target: Target) -> Affect | None:
        named = self._named(function, target)
        if named is None:
            return None
        context, reader = named
        checked = self.contexts.get(context)
        if checked is None:  # its readers did not compile, and their defects say why
            return None
        match target.narrowing:
            case ByName():
                return _by_name(function, checked, reader, target.narrowing)
            case Where(bindings=declared_bindings):
                bound = tuple((name, _by_attribute(function, binding)) for name, binding in declared_bindings)
                for name, binding in bound:
                    self._check_binding(function, checked, name, binding)
                as_is = frozenset(name for name, binding in bound if _is_of_its_type(function, checked, name, binding))
                return Affect(context, reader, target.narrowing, bound, as_is, _known_nulls(function, checked, bound))
        return Affect(context, reader, target.narrowing)

    def _named(self, function: Function, target: Target) -> tuple[str, str | None] | None:
        """As `_found`, with a defect where it names nothing."""
        found = self._found(target)
        if found is not None:
            return found
        known = [*self.settings, *(name for name, one in self.declared.items() if one.context is not None)]
        several = [name for name, one in self.declared.items() if one.name == target.name]
        if len(several) > 1 and target.reader_of is None:
            self.defects.append(
                f"{function.name}: affects {target.name!r}, which several readers are called; name {several[0]!r} or "
                f"{several[1]!r}"
            )
            return None
        self.defects.append(
            f"{function.name}: affects {target.name!r}, which no reader has for its context and no reader is "
            f"called{nearest(target.name, known) or '; build a reader of it as well'}"
        )
        return None

    def _found(self, target: Target) -> tuple[str, str | None] | None:
        """The context that a target names, and the reader if it names one."""
        if target.name in self.settings and target.reader_of is None:
            return target.name, None
        declared = self.declared.get(target.name)
        if declared is None and target.reader_of is not None:
            declared = self.declared.get(f"{target.reader_of}.{target.name}")
        if declared is not None and declared.context is not None:
            return declared.context.name, declared.name
        return None

    def _check_binding(self, function: Function, context: CheckedContext, name: str, binding: Binding) -> None:
        where = f"{function.name}: affects {context.name!r} where {name!r} is {_show_binding(binding)}"
        parameter = context.parameters.get(name)
        if parameter is None:
            hint = nearest(name, context.parameters)
            if is_source(binding):
                hint += f"{' Or' if hint else ';'} let its readers take {name}: Annotated[int, {binding!r}]"
            self.defects.append(f"{where}, and the context has no parameter {name!r}{hint}")
            return
        match binding:
            case CallerId():
                kinds: Kinds | None = Kinds(frozenset({"string"}))
            case Claim():  # only an identity can tell
                kinds = None
            case Arg(name=argument):
                if argument not in function.inputs:
                    self.defects.append(
                        f"{where}, and the function has no argument {argument!r}{nearest(argument, function.inputs)}"
                    )
                    return
                if function.inputs[argument].input.is_file:
                    self.defects.append(f"{where}, which is a file; bind it to an argument that names the thing")
                    return
                kinds = function.inputs[argument].kinds
            case _:
                kinds = self._result_kinds(where, function, binding.field)
        if kinds is not None and not kinds.can_become(parameter.kinds):
            self.defects.append(
                f"{where}, which never fits the parameter's type ({' or '.join(sorted(kinds.own))} for "
                f"{' or '.join(sorted(parameter.kinds.own))})"
            )

    def _result_kinds(self, where: str, function: Function, field_name: str) -> Kinds | None:
        """The kinds of a field of the result; None where only a result can tell, or where there is no such field."""
        returns = function.signature.returns
        fields = fields_of_results(returns)
        if not fields:
            if kinds_of(function.result or TypeAdapter(Any), serialized=True).own & {"object", "any"}:
                return None
            self.defects.append(f"{where}, and {show_type(returns)} has no fields")
            return None
        for known in fields:
            if field_name in known:
                return kinds_of_field(known[field_name])
        names = [name for known in fields for name in known]
        self.defects.append(
            f"{where}, and {show_type(returns)} has no field {field_name!r}{nearest(field_name, names)}"
        )
        return None


def _by_name(function: Function, context: CheckedContext, reader: str | None, narrowing: ByName) -> Affect:
    """Binds each argument that has the name of a required parameter and is declared to be the same thing."""
    bound: list[str] = []
    passed_over: list[tuple[str, NotNarrowing]] = []
    for name in [name for name in context.parameters if name in function.inputs]:
        if not context.parameters[name].is_identifying:
            passed_over.append((name, NotNarrowing.OPTIONAL))
        elif not _is_one_thing(function.inputs[name], context.inputs[name]):
            passed_over.append((name, NotNarrowing.OTHER_TYPE))
        else:
            bound.append(name)
    as_is = frozenset(name for name in bound if _is_value(function.inputs[name], context.inputs[name]))
    bindings = tuple((name, Arg(name)) for name in bound)
    nulls = _known_nulls(function, context, bindings)
    return Affect(context.name, reader, narrowing, bindings, as_is, nulls, tuple(passed_over))


def _known_nulls(
    function: Function, context: CheckedContext, bindings: Iterable[tuple[str, Binding]]
) -> frozenset[str]:
    """The parameters for which a null is nobody's: the identity gives their values here and in the context."""
    return frozenset(
        name
        for name, binding in bindings
        if (parameter := context.parameters.get(name)) is not None
        and parameter.source is not None
        and parameter.default_text is None
        and _is_of_identity(function, binding)
    )


def _is_of_identity(function: Function, binding: Binding) -> bool:
    if isinstance(binding, Arg):
        source = function.inputs.get(binding.name)
        return source is not None and source.input.source is not None
    return is_source(binding)


def _is_of_its_type(function: Function, context: CheckedContext, name: str, binding: Binding) -> bool:
    """Whether the value that is bound to a parameter was validated as one of the parameter's values."""
    parameter = context.inputs.get(name)
    if parameter is None:
        return False
    match binding:
        case Arg(name=argument):
            source = function.inputs.get(argument)
            return source is not None and _is_value(source, parameter)
        case Result(field=field_name):
            found = [known.get(field_name) for known in fields_of_results(function.signature.returns)]
            return bool(found) and all(
                one is not None and same_declared_type(one, parameter.input.annotation, constraints=True)
                for one in found
            )
    return False


def _is_one_thing(argument: Compiled, parameter: Compiled) -> bool:
    """Whether an argument is the parameter's thing, or a collection of them."""
    return same_declared_type(argument.input.annotation, parameter.input.annotation)


def _is_value(argument: Compiled, parameter: Compiled) -> bool:
    """Whether an argument that was validated is a value of the parameter: constraints are equal as well."""
    return same_declared_type(argument.input.annotation, parameter.input.annotation, constraints=True)


def _by_attribute(function: Function, binding: Binding) -> Binding:
    """`Result(...)` by the field's name in Python, where the declaration has its name in JSON."""
    if not isinstance(binding, Result):
        return binding
    names = sent_names(function.signature.returns)
    known = {sent: name for name, sent in names.items() if sent not in names}
    return Result(known.get(binding.field, binding.field))


def _show_binding(binding: Binding) -> str:
    match binding:
        case Arg(name=name):
            return f"Arg({name!r})"
        case Result(field=name):
            return f"Result({name!r})"
    return repr(binding)
