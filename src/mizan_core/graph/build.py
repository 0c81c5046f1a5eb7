"""Declarations collected, checked as a whole, and compiled into a `Graph`. All defects are reported together."""

import difflib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from ..errors import DeclarationError, GraphError
from ..protocol.cache_policy import Per
from ..protocol.values import WITHOUT_TEXT
from .declare import (
    Arg,
    Binding,
    ByName,
    CallerId,
    Context,
    Declaration,
    Result,
    Target,
    Where,
    check_signature,
    declaration_of,
)
from .inputs import (
    MISFIT,
    Compiled,
    Parameter,
    compile_input,
    compile_type,
    compile_validator,
    same_type,
    text_of_default,
)
from .model import Affect, ContextPlan, Function, Graph, NotNarrowing
from .plans import MAXIMUM_SHAPES, _always_narrows, _fingerprint, _policy
from .signature import Input, Signature, mentions, read_signature, sent_names, union_members
from .types.declared_types import same_declared_type, show_type
from .types.json_types import Kinds, kinds_of
from .types.sendable import unsendable
from .types.texts import ambiguous_texts

# What is wrong with a type that no client can send, and what to use in its place.
_UNSENDABLE = {
    "literal": "no JSON is read as one of its values; let them be texts, numbers or members of a StrEnum or IntEnum",
    "enum": "no JSON is read as one of its members; give these texts or numbers for values",
    "is-instance": "no JSON is read as one; use what Pydantic builds from JSON, such as a model, a text or a number",
    "is-subclass": "no JSON is read as a class; take a text, such as a Literal, and look the class up",
    "callable": "no JSON is read as a function; take a text, such as a Literal, and look the function up",
}


def build(functions: Iterable[Callable[..., Any]]) -> Graph:
    """Check the functions as a whole and compile them. Raises one `GraphError` with every defect found."""
    return _Build(functions).graph()


class _Build:
    """One run of `build`: what is known so far, and what was found wrong."""

    def __init__(self, functions: Iterable[Callable[..., Any]]) -> None:
        self.sources = tuple(dict.fromkeys(functions))
        self.defects: list[str] = []
        self.declared: dict[str, Declaration] = {}
        self.functions: dict[str, Function] = {}
        self.settings: dict[str, Context] = {}
        self.members: defaultdict[str, list[Function]] = defaultdict(list)
        self.parameters: dict[str, dict[str, Parameter]] = {}
        self.compiled: dict[str, dict[str, Compiled]] = {}

    def graph(self) -> Graph:
        self.collect()
        for declaration in self.declared.values():
            self.compile(declaration)
        for context in self.members:
            self.read_parameters(context)
        self.check_routes()
        self.resolve_affects()
        if self.defects:
            raise GraphError(self.defects)
        return Graph(self.functions, {name: self.plan(name) for name in self.members}, self.sources)

    def collect(self) -> None:
        for source in self.sources:
            declaration = declaration_of(source)
            if declaration is None:
                self.defects.append(f"{source!r} is not marked with @client")
                continue
            if declaration.marked is not source:
                self.defects.append(
                    f"{declaration.name}: another decorator stands above @client, and calls would pass it by; "
                    "put @client on top"
                )
                continue
            if declaration.name in self.declared:
                self.defects.append(
                    f"two functions are called {declaration.name!r}: {_place(self.declared[declaration.name])} and "
                    f"{_place(declaration)}; give one of them name='...'"
                )
                continue
            self.declared[declaration.name] = declaration
            if declaration.context is not None:
                self.read_settings(declaration.context)

    def read_settings(self, context: Context) -> None:
        """One context may be named in many places; at most one way of setting it up may be given."""
        known = self.settings.get(context.name)
        if known is None or known == Context(context.name):
            self.settings[context.name] = context
        elif context not in (known, Context(context.name)):
            self.defects.append(f"context {context.name!r} is declared twice with different settings; declare it once")

    def compile(self, declaration: Declaration) -> None:
        signature = self.signature(declaration)
        if signature is None:
            return
        inputs: dict[str, Compiled] = {}
        for one in signature.inputs.values():
            compiled = self.input(declaration, one)
            if compiled is not None:
                inputs[one.name] = compiled
                self.check_sendable(declaration, compiled)
        result = None if signature.is_view else self.result(declaration, signature)
        if len(inputs) < len(signature.inputs) or (result is None and not signature.is_view):
            return
        function = Function(
            declaration=declaration,
            signature=signature,
            inputs=MappingProxyType(inputs),
            validator=compile_validator("args", inputs.values(), _required(inputs)),
            result=result,
        )
        self.functions[declaration.name] = function
        if function.context is not None:
            self.members[function.context].append(function)
            if declaration.per is Per.ALL and signature.identity_parameters:
                self.defects.append(
                    f"{declaration.name}: per='all' cannot serve everyone an answer made from one Identity; "
                    "use per='user' or drop the parameter"
                )

    def signature(self, declaration: Declaration) -> Signature | None:
        if declaration.signature is not None:
            return declaration.signature
        try:
            signature = read_signature(declaration.function, {})
        except DeclarationError as error:
            self.defects.append(f"{declaration.name}: {error}")
            return None
        except NameError as error:
            self.defects.append(
                f"{declaration.name}: an annotation uses what cannot be found ({error}); "
                "define or import it beside the function"
            )
            return None
        found = [f"{declaration.name}: {defect}" for defect in check_signature(declaration, signature)]
        self.defects.extend(found)
        return None if found else signature

    def input(self, declaration: Declaration, one: Input) -> Compiled | None:
        where = f"{declaration.name}: parameter {one.name!r}"
        try:
            if one.make_default is not None:
                one = replace(one, default=one.make_default())
            return compile_input(one)
        except MISFIT:
            self.defects.append(f"{where}: its default {one.default!r} is not a {show_type(one.annotation)}")
        except Exception as error:  # noqa: BLE001  # a type's hook may raise anything, and is one defect among others
            self.defects.append(f"{where}: Pydantic cannot validate {show_type(one.annotation)} ({_first_line(error)})")
        return None

    def check_sendable(self, declaration: Declaration, compiled: Compiled) -> None:
        """Only the server calls private functions without a route, and it may pass anything."""
        if declaration.private and declaration.route is None:
            return
        found = unsendable(compiled.adapter.core_schema)
        if found is not None:
            self.defects.append(
                f"{declaration.name}: parameter {compiled.input.name!r} is a "
                f"{show_type(compiled.input.annotation)}, and {_UNSENDABLE[found]}"
            )

    def result(self, declaration: Declaration, signature: Signature) -> TypeAdapter[Any] | None:
        try:
            return compile_type(signature.returns)
        except Exception as error:  # noqa: BLE001  # as for inputs
            self.defects.append(
                f"{declaration.name}: Pydantic cannot serialise what it returns, {show_type(signature.returns)} "
                f"({_first_line(error)})"
            )
            return None

    def read_parameters(self, context: str) -> None:
        """The union of the parameters of the bundle's readers, or of its pages where it has no bundle."""
        members = self.members[context]
        owners = [function for function in members if function.in_bundle] or members
        compiled: dict[str, Compiled] = {}
        owner_of: dict[str, Function] = {}
        for function in owners:
            for name, one in function.inputs.items():
                if name not in compiled:
                    compiled[name] = one
                    owner_of[name] = function
                elif defect := _divergence(compiled[name], one):
                    self.defects.append(
                        f"context {context!r}: parameter {name!r} of {owner_of[name].name} and {function.name} {defect}"
                    )
        self.check_names(context, owners)
        parameters: dict[str, Parameter] = {}
        for name in sorted(compiled):
            self.check_spelling(f"{owner_of[name].name}: parameter {name!r} of context {context!r}", compiled[name])
            parameters[name] = _parameter(compiled[name], is_name=all(_names_a_thing(one, name) for one in members))
        self.parameters[context] = parameters
        self.compiled[context] = {name: compiled[name] for name in parameters}
        self.check_pages(context, [function for function in members if function.is_view])
        self.check_scopes(context)

    def check_names(self, context: str, owners: Sequence[Function]) -> None:
        """One name, one parameter: what a reader calls by an alias, no other may know by its argument's name."""
        for one, other in itertools.permutations(owners, 2):
            for alias, compiled in one.inputs.items():
                argument = compiled.input.argument
                called = None if argument is None else _called(other, argument)
                if called is not None and called != alias:
                    self.defects.append(
                        f"context {context!r}: {argument!r} of {one.name} is {alias!r} to clients, and {argument!r} of "
                        f"{other.name} is {called!r}; give both the same alias"
                    )

    def check_spelling(self, where: str, compiled: Compiled) -> None:
        if defect := _unspellable(compiled):
            self.defects.append(f"{where} {defect}")

    def check_pages(self, context: str, views: Sequence[Function]) -> None:
        for view in views:
            extra = sorted(set(view.inputs) - set(self.parameters[context]))
            if extra:
                self.defects.append(
                    f"{view.name}: a view of context {context!r} takes only the context's parameters, and "
                    f"{', '.join(map(repr, extra))} is none of them"
                )
            for name, one in view.inputs.items():
                known = self.compiled[context].get(name)
                if known is not None and not same_type(known, one):
                    self.defects.append(
                        f"{view.name}: parameter {name!r} is a {show_type(one.input.annotation)} here and a "
                        f"{show_type(known.input.annotation)} in context {context!r}"
                    )

    def check_scopes(self, context: str) -> None:
        for shape in self.settings[context].scopes:
            for name in shape:
                if name not in self.parameters[context]:
                    self.defects.append(
                        f"context {context!r}: scopes names {name!r}, which is none of its parameters"
                        f"{_nearest(name, self.parameters[context])}"
                    )

    def check_routes(self) -> None:
        taken: dict[tuple[str, str], str] = {}
        for declaration in self.declared.values():
            for method in declaration.methods:
                place = (method, (declaration.route or "").rstrip("/"))
                if place in taken:
                    self.defects.append(
                        f"{taken[place]} and {declaration.name} both answer {method} {declaration.route}"
                    )
                taken.setdefault(place, declaration.name)

    def resolve_affects(self) -> None:
        for name, function in list(self.functions.items()):
            found = [self.resolve(function, target) for target in function.declaration.affects]
            affects = tuple(affect for affect in found if affect is not None)
            if affects:
                self.functions[name] = replace(function, affects=affects)

    def resolve(self, function: Function, target: Target) -> Affect | None:
        if target.name in self.settings and not target.reader:
            context, reader = target.name, None
        else:
            declared = self.declared.get(target.name)
            if declared is None or declared.context is None:
                known = [*self.settings, *(one.name for one in self.declared.values() if one.context is not None)]
                self.defects.append(
                    f"{function.name}: affects {target.name!r}, which no reader has for its context and no reader is "
                    f"called{_nearest(target.name, known) or '; build a reader of it as well'}"
                )
                return None
            context, reader = declared.context.name, target.name
        parameters = self.parameters.get(context)
        if parameters is None:  # its readers did not compile, and their defects say why
            return None
        match target.narrowing:
            case ByName():
                return self.by_name(function, context, reader, target.narrowing)
            case Where(bindings=declared_bindings):
                bound = tuple((name, _by_attribute(function, binding)) for name, binding in declared_bindings)
                for name, binding in bound:
                    self.check_binding(function, context, name, binding)
                as_is = frozenset(
                    name for name, binding in bound if self.is_of_its_type(function, context, name, binding)
                )
                return Affect(context, reader, target.narrowing, bound, as_is)
        return Affect(context, reader, target.narrowing)

    def by_name(self, function: Function, context: str, reader: str | None, narrowing: ByName) -> Affect:
        """The arguments that name the context's things: of a required parameter's name, and of its type."""
        parameters, compiled = self.parameters[context], self.compiled[context]
        bound: list[str] = []
        passed_over: list[tuple[str, NotNarrowing]] = []
        for name in [name for name in parameters if name in function.inputs]:
            if not parameters[name].is_name:
                passed_over.append((name, NotNarrowing.OPTIONAL))
            elif not _is_one_thing(function.inputs[name], compiled[name]):
                passed_over.append((name, NotNarrowing.OTHER_TYPE))
            else:
                bound.append(name)
        as_is = frozenset(name for name in bound if _is_one_thing(function.inputs[name], compiled[name], exactly=True))
        return Affect(context, reader, narrowing, tuple((name, Arg(name)) for name in bound), as_is, tuple(passed_over))

    def is_of_its_type(self, function: Function, context: str, name: str, binding: Binding) -> bool:
        """Whether what is bound to a parameter was validated as one of its values."""
        parameter = self.compiled[context].get(name)
        if parameter is None:
            return False
        match binding:
            case Arg(name=argument):
                source = function.inputs.get(argument)
                return source is not None and _is_one_thing(source, parameter, exactly=True)
            case Result(field=field_name):
                found = [known.get(field_name) for known in _all_fields(function)]
                return bool(found) and all(
                    one is not None and same_declared_type(one, parameter.input.annotation, constraints=True)
                    for one in found
                )
        return False

    def check_binding(self, function: Function, context: str, name: str, binding: Binding) -> None:
        where = f"{function.name}: affects {context!r} where {name!r} is {_show_binding(binding)}"
        parameter = self.parameters[context].get(name)
        if parameter is None:
            self.defects.append(
                f"{where}, and the context has no parameter {name!r}{_nearest(name, self.parameters[context])}"
            )
            return
        match binding:
            case CallerId():
                kinds: Kinds | None = Kinds(frozenset({"string"}))
            case Arg(name=argument):
                if argument not in function.inputs:
                    self.defects.append(
                        f"{where}, and the function has no argument {argument!r}{_nearest(argument, function.inputs)}"
                    )
                    return
                kinds = function.inputs[argument].kinds
            case _:
                kinds = self.result_kinds(where, function, binding.field)
        if kinds is not None and not kinds.can_become(parameter.kinds):
            self.defects.append(
                f"{where}, which never fits the parameter's type ({' or '.join(sorted(kinds.own))} for "
                f"{' or '.join(sorted(parameter.kinds.own))})"
            )

    def result_kinds(self, where: str, function: Function, field_name: str) -> Kinds | None:
        """The kinds of a field of the result; None where that cannot be known before it is there."""
        fields = _all_fields(function)
        if not fields:
            if kinds_of(function.result or TypeAdapter(Any), serialized=True).own & {"object", "any"}:
                return None
            self.defects.append(f"{where}, and {show_type(function.signature.returns)} has no fields")
            return None
        for known in fields:
            if field_name in known:
                return _kinds_of_field(known[field_name])
        names = [name for known in fields for name in known]
        self.defects.append(
            f"{where}, and {show_type(function.signature.returns)} has no field {field_name!r}"
            f"{_nearest(field_name, names)}"
        )
        return None

    def plan(self, name: str) -> ContextPlan:
        members = self.members[name]
        readers = tuple(function for function in members if function.in_bundle)
        pages = tuple(function for function in members if not function.in_bundle)
        parameters = self.parameters[name]
        policy = _policy(readers or pages)
        shapes = self.shapes(name)
        return ContextPlan(
            name=name,
            readers=readers,
            pages=pages,
            parameters=MappingProxyType(parameters),
            validator=compile_validator(
                "params",
                self.compiled[name].values(),
                frozenset(parameter.name for parameter in parameters.values() if parameter.required),
            ),
            policy=policy,
            page_policies=MappingProxyType(
                {
                    function.name: _policy((*readers, function))
                    for function in members
                    if function.declaration.route is not None
                }
            ),
            shapes=shapes,
            fingerprint=_fingerprint(readers, parameters, shapes),
            concurrent=self.settings[name].concurrent,
        )

    def shapes(self, context: str) -> tuple[tuple[str, ...], ...]:
        """Every set of parameters that something may narrow this context by, the widest first, and not too many."""
        found = {(), *self.settings[context].scopes}
        for function in self.functions.values():
            for affect in function.affects:
                if affect.context == context:
                    found.update(itertools.islice(self.shapes_of(function, affect), MAXIMUM_SHAPES))
        return tuple(sorted(found, key=lambda shape: (len(shape), shape))[:MAXIMUM_SHAPES])

    def shapes_of(self, function: Function, affect: Affect) -> Iterator[tuple[str, ...]]:
        """The widest first. What is always sent and always fits narrows always; the rest in every combination."""
        names = [name for name, _ in affect.bindings]
        if not isinstance(affect.narrowing, ByName):
            yield tuple(names)
            return
        parameters = self.compiled[affect.context]
        certain = [
            name for name in names if name in affect.as_is and _always_narrows(function.inputs[name], parameters[name])
        ]
        optional = [name for name in names if name not in certain]
        for count in range(len(optional) + 1):
            for chosen in itertools.combinations(optional, count):
                yield tuple(sorted((*certain, *chosen)))


def _called(function: Function, argument: str) -> str | None:
    """What clients call an argument, or an input that they call so itself; None where there is neither."""
    for name, compiled in function.inputs.items():
        if (compiled.input.argument or name) == argument:
            return name
    return argument if argument in function.inputs else None


def _unspellable(compiled: Compiled) -> str | None:
    """Why no URL spells each value of a context's parameter as one text."""
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
    if kinds.is_list and kinds.nullable:
        return "is a list that may be null, and a URL spells null and the empty list alike; let it be a list alone"
    if kinds.is_list and compiled.default_text not in (None, "[]"):
        return (
            f"is a list with the default {one.default!r}, so a URL could not spell the empty list; "
            "let the default be empty or absent"
        )
    if one.make_default is not None and text_of_default(compiled.adapter, one.make_default()) != compiled.default_text:
        return "has a default_factory that makes another value each time; let it be null, and make it in the function"
    if kinds.nullable and not one.required and one.default is not None:
        return (
            f"may be null and has the default {one.default!r}, so a URL could not spell null; let the default be None"
        )
    return None


def _names_a_thing(reader: Function, name: str) -> bool:
    """Whether a reader, if it takes the parameter at all, cannot do without it."""
    compiled = reader.inputs.get(name)
    return compiled is None or (compiled.input.required and not compiled.kinds.nullable)


def _parameter(compiled: Compiled, *, is_name: bool) -> Parameter:
    """A nullable parameter without a default has null for one here: leaving it out is how a URL spells null."""
    one = compiled.input
    return Parameter(
        name=one.name,
        annotation=one.annotation,
        adapter=compiled.adapter,
        kinds=compiled.kinds,
        required=one.required and not compiled.kinds.nullable,
        default_text=compiled.default_text,
        round_trip=compiled.round_trip,
        is_name=is_name,
    )


def _required(inputs: Mapping[str, Compiled]) -> frozenset[str]:
    return frozenset(name for name, compiled in inputs.items() if compiled.input.required)


def _is_one_thing(argument: Compiled, parameter: Compiled, *, exactly: bool = False) -> bool:
    """Whether an argument is the parameter's thing, or a collection of them; `exactly`: with the same constraints."""
    one, other = argument.input.annotation, parameter.input.annotation
    return same_declared_type(one, other, constraints=exactly)


def _divergence(first: Compiled, second: Compiled) -> str | None:
    if not same_type(first, second):
        return f"diverges: {show_type(first.input.annotation)} here and {show_type(second.input.annotation)} there"
    if first.input.required != second.input.required:
        return "diverges: it has a default in one of them only"
    if first.default_text != second.default_text:
        return f"diverges: its default is {first.input.default!r} here and {second.input.default!r} there"
    return None


def _all_fields(function: Function) -> list[Mapping[str, Any]]:
    """The fields of each type that the function may return, as far as they can be known."""
    members = union_members(function.signature.returns)
    return [found for member in members if (found := _fields_of(member)) is not None]


def _fields_of(annotation: Any) -> Mapping[str, Any] | None:
    """The named fields of a model, dataclass, TypedDict or named tuple; None where there are none to know."""
    if not isinstance(annotation, type) or annotation.__module__ == "builtins":
        return None
    if issubclass(annotation, BaseModel):
        computed = {name: field.return_type for name, field in annotation.model_computed_fields.items()}
        return {name: _annotation_of(field) for name, field in annotation.model_fields.items()} | computed
    if any(hasattr(annotation, mark) for mark in ("__dataclass_fields__", "__required_keys__", "_fields")):
        try:
            return get_type_hints(annotation, include_extras=True)
        except NameError:  # a type that is local to a function and names itself, which Pydantic alone can resolve
            return dict.fromkeys(annotation.__annotations__, Any)
    return None


def _annotation_of(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _by_attribute(function: Function, binding: Binding) -> Binding:
    """A field of the result by its name in Python, where it was named as JSON has it."""
    if not isinstance(binding, Result):
        return binding
    names = sent_names(function.signature.returns)
    known = {sent: name for name, sent in names.items() if sent not in names}
    return Result(known.get(binding.field, binding.field))


def _kinds_of_field(annotation: Any) -> Kinds | None:
    try:
        return kinds_of(TypeAdapter(annotation), serialized=True)
    except Exception:  # noqa: BLE001  # a model may have fields of types that Pydantic does not know
        return None


def _place(declaration: Declaration) -> str:
    function = declaration.function
    return f"{function.__module__}.{function.__qualname__}"


def _show_binding(binding: Binding) -> str:
    match binding:
        case Arg(name=name):
            return f"Arg({name!r})"
        case Result(field=name):
            return f"Result({name!r})"
    return "Me"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
