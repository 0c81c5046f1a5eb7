"""The compiled graph: every fact about functions and contexts that the engine, the manifest and the clients read.

Made by `build` and frozen. A fact that requests ask for is derived here once, as an attribute.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import CoreConfig, SchemaValidator

from ..protocol.cache_policy import CachePolicy, Never, Per, Seconds
from ..protocol.urls import encode_text
from .access import Anyone, Check, Guard
from .callables import plain_function
from .declare import Arg, Binding, ByBody, Declaration, Narrowing, Result
from .identity_params import IdentityParam, identity_params_of
from .inputs import Compiled, Parameter, Validator
from .provide import HostDependency, Provided
from .signature import Signature
from .types.file_params import most_files
from .types.round_trip import RoundTrips
from .types.set_orders import order_of_sets
from .types.snapshots import may_change


class NotNarrowing(Enum):
    """The reason why an argument does not narrow a context that has a parameter of the same name."""

    OPTIONAL = auto()  # the parameter is a filter, a page or a limit: it does not identify a thing
    OTHER_TYPE = auto()  # the argument is declared to be another thing


@dataclass(frozen=True, slots=True)
class Affect:
    """One member of `affects`, resolved: a context, and in `function` the reader's name where a reader was named.

    `narrowing`: the rule by which it is narrowed. `bindings`: for each narrowed parameter the source of its value.
    `as_is`: the parameters whose values were validated as their types before. `null_narrows`: the parameters whose
    value the identity gives, so that null stands for an identity without one. `passed_over`: the arguments that have
    the name of a parameter and do not narrow it.
    """

    context: str
    function: str | None
    narrowing: Narrowing
    bindings: tuple[tuple[str, Binding], ...] = ()
    as_is: frozenset[str] = frozenset()
    null_narrows: frozenset[str] = frozenset()
    passed_over: tuple[tuple[str, NotNarrowing], ...] = ()

    @property
    def is_determined(self) -> bool:
        """Whether the values that narrow are known before the function runs."""
        return not isinstance(self.narrowing, ByBody) and not any(isinstance(one, Result) for _, one in self.bindings)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A server function, ready to be called. `result` is None for a view: its response is passed on unchanged.

    `name`: what calls have for it, and for no other function. `member`: the name that it has in its context, in bundles
    and in invalidations; another one only where readers of several contexts share it. `inputs`: all that are filled in,
    by clients or by the caller's identity. `validator`: of those that clients send.
    """

    name: str
    declaration: Declaration
    signature: Signature
    inputs: Mapping[str, Compiled]
    validator: Validator
    result: TypeAdapter[Any] | None
    affects: tuple[Affect, ...] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)  # by parameter: the key of what is opened for it

    member: str = field(init=False)
    call: Callable[..., Any] = field(init=False)  # takes inputs by the names that clients use
    context: str | None = field(init=False)
    guard: Guard = field(init=False)
    has_no_guard: bool = field(init=False)
    guard_arguments: tuple[str, ...] = field(init=False)  # parameters that the guard takes, by their names in Python
    is_for_clients: bool = field(init=False)  # clients can call it by name
    is_view: bool = field(init=False)
    is_async: bool = field(init=False)
    takes_request: bool = field(init=False)
    dependencies: Mapping[str, HostDependency] = field(init=False)  # by parameter: what the host's framework fills in
    may_read_request: bool = field(init=False)  # itself, or what its framework fills in
    takes_only_inputs: bool = field(init=False)  # neither the request nor an identity
    runs_directly: bool = field(init=False)  # `call(**inputs)` is all of a call: async, and takes nothing else
    depends_on_caller: bool = field(init=False)  # it takes the request or of the identity, or may narrow by that
    client_inputs: Mapping[str, Compiled] = field(init=False)  # those that clients send
    files: Mapping[str, int] = field(init=False)  # inputs that take files, and how many of them at most
    identity_params: tuple[IdentityParam, ...] = field(init=False)  # those that the caller's identity fills in
    required: frozenset[str] = field(init=False)  # inputs without a default
    is_determined: bool = field(init=False)  # the values that narrow are known before it runs
    narrowing_inputs: tuple[str, ...] = field(init=False)  # inputs that a binding names
    mutable_inputs: tuple[str, ...] = field(init=False)  # inputs that the body could change in place
    mutable_narrowing_inputs: tuple[str, ...] = field(init=False)
    round_trips: RoundTrips = field(init=False, repr=False)  # inputs with values that a URL may not give back
    validate_result: Callable[..., Any] = field(init=False, repr=False)  # not set for a view, like the next
    dump_result: Callable[..., Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        declaration, signature = self.declaration, self.signature
        takes_only_inputs = not (signature.takes_request or signature.identities)
        mutable = tuple(name for name, one in self.inputs.items() if may_change(one.adapter.core_schema))
        narrowing = tuple(sorted({one.name for one in self._bindings() if isinstance(one, Arg)}))
        identity_params = identity_params_of(self.inputs)
        dependencies = {name: key for name, key in self.resources.items() if isinstance(key, HostDependency)}
        facts: dict[str, object] = {
            "member": declaration.name,
            "call": _as_sent(_awaitable(declaration.function, signature), signature),
            "context": None if declaration.context is None else declaration.context.name,
            "guard": declaration.guard,
            "has_no_guard": declaration.guard == Anyone(),
            "guard_arguments": declaration.guard.arguments if isinstance(declaration.guard, Check) else (),
            "is_for_clients": not signature.is_view and not declaration.private,
            "is_view": signature.is_view,
            "is_async": signature.is_async,
            "takes_request": signature.takes_request,
            "dependencies": dependencies,
            "may_read_request": signature.takes_request or bool(dependencies),
            "takes_only_inputs": takes_only_inputs,
            "runs_directly": signature.is_async and takes_only_inputs and not self.resources,
            "depends_on_caller": not takes_only_inputs or bool(self.affects or identity_params or dependencies),
            "client_inputs": {name: one for name, one in self.inputs.items() if one.input.source is None},
            "files": {name: most_files(one.adapter) for name, one in self.inputs.items() if one.input.is_file},
            "identity_params": identity_params,
            "required": frozenset(name for name, compiled in self.inputs.items() if compiled.input.required),
            "is_determined": all(affect.is_determined for affect in self.affects),
            "narrowing_inputs": narrowing,
            "mutable_inputs": mutable,
            "mutable_narrowing_inputs": tuple(name for name in narrowing if name in mutable),
            "round_trips": _round_trips(self.inputs),
        }
        if self.result is not None:
            # The title names the function in a ValidationError: it has ended by then, and is not in the traceback.
            title = CoreConfig(title=f"the result of {declaration.name}")
            facts["validate_result"] = SchemaValidator(self.result.core_schema, title).validate_python
            facts["dump_result"] = _dumping(self.result)
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def _bindings(self) -> Iterator[Binding]:
        return (binding for affect in self.affects for _, binding in affect.bindings)

    @property
    def in_bundle(self) -> bool:
        """Whether its result is part of its context's bundle."""
        return self.context is not None and not self.declaration.private and not self.is_view

    @property
    def private_to(self) -> Per:
        """The users that one answer of this reader may serve. A bundle is as private as its most private reader."""
        if self.declaration.per is not None:
            return self.declaration.per
        if self.signature.identities:
            return Per.USER
        # What the identity fills in is part of the key, and the guard is asked before any answer.
        return Per.ALL if self.identity_params or self.has_no_guard else Per.USER


def _round_trips(inputs: Mapping[str, Compiled] | Mapping[str, Parameter]) -> RoundTrips:
    return {name: one.round_trip for name, one in inputs.items() if one.round_trip is not None}


def _dumping(result: TypeAdapter[Any]) -> Callable[..., Any]:
    """A function that makes plain JSON types of a result. It has a step more only for a type with sets."""
    dump, order = result.serializer.to_python, order_of_sets(result.core_schema)
    if order is None:
        return dump
    return lambda value, **options: order(dump(value, **options))


def _awaitable(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """A coroutine function for an async function. A decorator around one may return a plain value, as caches do."""
    plain = plain_function(function)
    if not signature.is_async or (plain is not None and plain.__code__.co_flags & inspect.CO_COROUTINE):
        return function

    @functools.wraps(function)
    async def call(**given: Any) -> Any:
        result = function(**given)
        return await result if inspect.isawaitable(result) else result

    return call


def _as_sent(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """The function with its parameters under the names that clients use, and with the defaults of its annotations."""
    renamed = {name: one.argument for name, one in signature.inputs.items() if one.argument is not None}
    made = {name: one.make_default for name, one in signature.inputs.items() if one.make_default is not None}
    if not renamed and not made:
        return function

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        filled = {**{name: make() for name, make in made.items() if name not in given}, **given}
        return function(**{renamed.get(name, name): value for name, value in filled.items()})

    return call


@dataclass(frozen=True, slots=True, eq=False)
class ContextPlan:
    """A context: the readers of its bundle, its parameters sorted by name, and the shapes of its scopes.

    `parameters`: all that are filled in, by clients or by the caller's identity. `validator`: of those that clients
    send. A shape is the set of parameters that a scope fixes; shapes are sorted from the widest, which fixes none.
    """

    name: str
    readers: tuple[Function, ...]
    pages: tuple[Function, ...]  # the readers that are not part of the bundle
    parameters: Mapping[str, Parameter]
    validator: Validator
    policy: CachePolicy
    page_policies: Mapping[str, CachePolicy]  # by the name of the reader
    shapes: tuple[tuple[str, ...], ...]
    fingerprint: bytes  # of readers, parameters and shapes: processes with another fingerprint do not share entries
    concurrent: bool
    identity_params: tuple[IdentityParam, ...] = ()  # the parameters that the caller's identity fills in
    # Shapes with a parameter that some reader lacks. Each purge of one deletes the tag on which the answers of such
    # readers alone depend. Of the plan of a reader alone: those with a parameter that it lacks itself.
    loose: tuple[tuple[str, ...], ...] = ()
    alone: str | None = None  # the reader whose value by itself is the answer; None for a bundle
    readers_alone: "Mapping[str, ContextPlan]" = field(default_factory=dict)  # by the name of the reader
    # Where a context has no bundle for clients: the bundle of its private readers, for the server itself.
    private_bundle: "ContextPlan | None" = None

    has_no_guard: bool = field(init=False)  # of the bundle's readers, and so are the next three
    guards_take_arguments: bool = field(init=False)
    depends_on_caller: bool = field(init=False)  # a reader takes the request or an identity
    may_read_request: bool = field(init=False)  # a reader does, or what its framework fills in for an answer not kept
    runs_directly: bool = field(init=False)  # every reader does, one after the other
    is_shared: bool = field(init=False)  # a stored answer serves more than one user
    policy_of_visitors: CachePolicy = field(init=False)  # one answer serves all of them; the key has who they are
    seconds: float | None = field(init=False)  # the longest that an answer is kept; None: until it is purged
    defaults: Mapping[str, str] = field(init=False)  # the canonical texts of the defaults that are not null
    round_trips: RoundTrips = field(init=False)  # parameters with values that a URL may not give back
    client_parameters: Mapping[str, Parameter] = field(init=False)  # those that clients send
    # Of each parameter, sorted: its name, its default's text, and how its pair in a URL begins. None: it has none.
    spelled: tuple[tuple[str, str | None, str | None], ...] = field(init=False)
    is_pure: bool = field(init=False)  # validation gives the same result for the same values at any time
    readers_share_parameters: bool = field(init=False)  # each takes all of them, and can change none in place

    def __post_init__(self) -> None:
        lifetime = self.policy.lifetime
        facts: dict[str, object] = {
            "has_no_guard": all(reader.has_no_guard for reader in self.readers),
            "guards_take_arguments": any(reader.guard_arguments for reader in self.readers),
            "depends_on_caller": not all(reader.takes_only_inputs for reader in self.readers),
            "may_read_request": any(
                reader.takes_request or (reader.may_read_request and isinstance(lifetime, Never))
                for reader in self.readers
            ),
            "runs_directly": all(reader.runs_directly for reader in self.readers)
            and not (self.concurrent or self.alone),
            "is_shared": self.policy.per is not Per.USER,
            "policy_of_visitors": replace(self.policy, per=Per.ALL) if self.policy.per is Per.USER else self.policy,
            "seconds": lifetime.seconds if isinstance(lifetime, Seconds) else None,
            "defaults": {
                name: one.default_text for name, one in self.parameters.items() if one.default_text is not None
            },
            "round_trips": _round_trips(self.parameters),
            "client_parameters": {name: one for name, one in self.parameters.items() if one.source is None},
            "spelled": tuple(
                (name, one.default_text, f"{encode_text(name)}=" if one.source is None else None)
                for name, one in sorted(self.parameters.items())
            ),
            "is_pure": self.validator.is_pure
            and all(self.parameters[one.name].is_pure for one in self.identity_params),
            "readers_share_parameters": all(
                reader.inputs.keys() == self.parameters.keys() and not reader.mutable_inputs for reader in self.readers
            ),
        }
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    @property
    def label(self) -> str:
        """The context, or the context and the reader that answers alone: `user`, `user/user_profile`."""
        return self.name if self.alone is None else f"{self.name}/{self.alone}"

    def known_shape(self, names: Set[str]) -> tuple[str, ...]:
        """The largest known shape inside a set of names: the origin purges a scope with these names by that shape."""
        return max((shape for shape in self.shapes if names >= set(shape)), key=len)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """All functions and contexts of an application."""

    functions: Mapping[str, Function]
    contexts: Mapping[str, ContextPlan]
    sources: tuple[Callable[..., Any], ...] = field(repr=False)
    provided: Provided = field(default_factory=dict, repr=False)

    _by_declaration: Mapping[int, Function] = field(init=False, repr=False)

    def function_of(self, declaration: Declaration) -> Function | None:
        """The function that was declared so, if it is in this graph."""
        return self._by_declaration.get(id(declaration))

    def reader(self, context: str, member: str) -> Function | None:
        """The reader of a context that has this name in it."""
        for name in (member, f"{context}.{member}"):
            function = self.functions.get(name)
            if function is not None and (function.context, function.member) == (context, member):
                return function
        return None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_declaration", {id(one.declaration): one for one in self.functions.values()})
        object.__setattr__(self, "functions", MappingProxyType(dict(self.functions)))
        object.__setattr__(self, "contexts", MappingProxyType(dict(self.contexts)))
