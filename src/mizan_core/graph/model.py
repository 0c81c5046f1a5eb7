"""The compiled graph: every fact about functions and contexts that answers, headers, purges and manifests read.

Made by `build`, frozen, and derived nowhere else.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import CoreConfig, SchemaValidator

from ..protocol.cache_policy import CachePolicy, Per, Seconds
from .access import Anyone, Check, Guard
from .declare import Arg, Binding, ByBody, Declaration, Narrowing, Result
from .inputs import Compiled, Parameter, Validator
from .signature import Signature
from .types.round_trip import RoundTrips
from .types.snapshots import may_change
from .wrapper import plain_function


class NotNarrowing(Enum):
    """Why an argument with the name of a context's parameter does not narrow the context."""

    OPTIONAL = auto()  # the parameter is a filter, a page or a limit, and no name of a thing
    OTHER_TYPE = auto()  # the argument is declared to be another thing


@dataclass(frozen=True, slots=True)
class Affect:
    """One member of `affects`, resolved: a context, and the reader's name where a reader was named.

    `bindings` says which value narrows which parameter; `narrowing` says what it takes for them to count. `as_is`:
    parameters whose values are of their types already. `passed_over`: arguments that only have a parameter's name.
    """

    context: str
    function: str | None
    narrowing: Narrowing
    bindings: tuple[tuple[str, Binding], ...] = ()
    as_is: frozenset[str] = frozenset()
    passed_over: tuple[tuple[str, NotNarrowing], ...] = ()

    @property
    def is_determined(self) -> bool:
        """Whether it is known before the function runs what is narrowed by which value."""
        return not isinstance(self.narrowing, ByBody) and not any(isinstance(one, Result) for _, one in self.bindings)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A server function, ready to be called. `result` is None for views, whose response is passed on as it is."""

    declaration: Declaration
    signature: Signature
    inputs: Mapping[str, Compiled]
    validator: Validator
    result: TypeAdapter[Any] | None
    affects: tuple[Affect, ...] = ()

    # What every request asks for, said once.
    name: str = field(init=False)
    call: Callable[..., Any] = field(init=False)
    context: str | None = field(init=False)
    guard: Guard = field(init=False)
    is_for_clients: bool = field(init=False)  # it can be called by name
    is_open: bool = field(init=False)  # nobody is asked who they are
    checked: tuple[str, ...] = field(init=False)  # parameters that the guard is given, by their names in Python
    is_view: bool = field(init=False)
    is_async: bool = field(init=False)
    takes_request: bool = field(init=False)
    takes_more: bool = field(init=False)  # it is given more than its inputs
    is_direct: bool = field(init=False)  # its inputs and a call are all it takes
    validate_result: Callable[..., Any] = field(init=False, repr=False)  # views have neither
    dump_result: Callable[..., Any] = field(init=False, repr=False)
    is_told_who: bool = field(init=False)  # it, or what it affects, depends on the caller
    required: frozenset[str] = field(init=False)  # inputs that it has to be given
    is_determined: bool = field(init=False)  # its arguments alone say what it makes stale
    mutable: tuple[str, ...] = field(init=False)  # inputs that a body could change in place
    deciding: tuple[str, ...] = field(init=False)  # inputs that say what it makes stale
    fragile: tuple[str, ...] = field(init=False)  # both
    round_trips: RoundTrips = field(init=False, repr=False)  # inputs that a URL may not give back as they were

    def __post_init__(self) -> None:
        declaration, signature = self.declaration, self.signature
        facts: dict[str, object] = {
            "name": declaration.name,
            "call": _as_sent(_awaitable(declaration.function, signature), signature),
            "context": None if declaration.context is None else declaration.context.name,
            "guard": declaration.guard,
            "is_for_clients": not signature.is_view and not declaration.private,
            "is_open": declaration.guard == Anyone(),
            "checked": declaration.guard.arguments if isinstance(declaration.guard, Check) else (),
            "is_view": signature.is_view,
            "is_async": signature.is_async,
            "takes_request": signature.takes_request,
            "is_told_who": signature.takes_request or bool(signature.identity_parameters) or bool(self.affects),
            "required": frozenset(name for name, compiled in self.inputs.items() if compiled.input.required),
            "is_determined": all(affect.is_determined for affect in self.affects),
            "mutable": (
                mutable := tuple(name for name, one in self.inputs.items() if may_change(one.adapter.core_schema))
            ),
            "deciding": (deciding := tuple(sorted({one.name for one in self._bindings() if isinstance(one, Arg)}))),
            "fragile": tuple(name for name in deciding if name in mutable),
            "round_trips": _round_trips(self.inputs),
            "takes_more": (takes_more := signature.takes_request or bool(signature.identity_parameters)),
            "is_direct": signature.is_async and not takes_more,
        }
        if self.result is not None:
            # What does not fit says whose it was: the function has ended, and is not in the traceback.
            title = CoreConfig(title=f"the result of {declaration.name}")
            facts["validate_result"] = SchemaValidator(self.result.core_schema, title).validate_python
            facts["dump_result"] = self.result.serializer.to_python
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def _bindings(self) -> Iterator[Binding]:
        return (binding for affect in self.affects for _, binding in affect.bindings)

    @property
    def in_bundle(self) -> bool:
        """Whether its result is a member of its context's bundle."""
        return self.context is not None and not self.declaration.private and not self.is_view

    @property
    def private_to(self) -> Per:
        """Whom an answer of this reader may serve, unless a bundle mate is more private."""
        if self.declaration.per is not None:
            return self.declaration.per
        identified = self.guard != Anyone() or self.signature.identity_parameters
        return Per.USER if identified else Per.ALL


def _round_trips(inputs: Mapping[str, Compiled] | Mapping[str, Parameter]) -> RoundTrips:
    return {name: one.round_trip for name, one in inputs.items() if one.round_trip is not None}


def _awaitable(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """A coroutine function. One that wraps such may answer by itself, as a decorator that remembers does."""
    plain = plain_function(function)
    if not signature.is_async or (plain is not None and plain.__code__.co_flags & inspect.CO_COROUTINE):
        return function

    @functools.wraps(function)
    async def call(**given: Any) -> Any:
        result = function(**given)
        return await result if inspect.isawaitable(result) else result

    return call


def _as_sent(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """The function, called by the names that clients know its parameters by, and with the annotations' defaults."""
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
    """A context: its bundle's readers, its parameters in name order, its scope shapes with the widest first."""

    name: str
    readers: tuple[Function, ...]
    pages: tuple[Function, ...]  # the readers that are in no bundle
    parameters: Mapping[str, Parameter]
    validator: Validator
    policy: CachePolicy
    page_policies: Mapping[str, CachePolicy]
    shapes: tuple[tuple[str, ...], ...]
    fingerprint: bytes  # of the readers, parameters and shapes: processes that differ in it do not share entries
    concurrent: bool
    is_open: bool = field(init=False)  # no reader has a guard
    checks_arguments: bool = field(init=False)  # a reader's guard is given arguments
    is_told_who: bool = field(init=False)  # a reader is given the request or the identity
    is_plain: bool = field(init=False)  # readers that take nothing but inputs and no threads, one after the other
    is_shared: bool = field(init=False)  # a stored answer serves more than one user
    seconds: float | None = field(init=False)  # how long an answer is kept; None: until it is purged
    defaults: Mapping[str, str] = field(init=False)  # the texts of those that are not null
    round_trips: RoundTrips = field(init=False)  # parameters that a URL may not give back as they were

    def __post_init__(self) -> None:
        plain = all(reader.is_async and not reader.takes_more for reader in self.readers)
        object.__setattr__(self, "is_open", all(reader.is_open for reader in self.readers))
        object.__setattr__(self, "checks_arguments", any(reader.checked for reader in self.readers))
        object.__setattr__(self, "is_told_who", any(reader.takes_more for reader in self.readers))
        object.__setattr__(self, "is_plain", plain and not self.concurrent)
        object.__setattr__(self, "is_shared", self.policy.per is not Per.USER)
        lifetime = self.policy.lifetime
        defaults = {name: one.default_text for name, one in self.parameters.items() if one.default_text is not None}
        object.__setattr__(self, "defaults", defaults)
        object.__setattr__(self, "round_trips", _round_trips(self.parameters))
        object.__setattr__(self, "seconds", lifetime.seconds if isinstance(lifetime, Seconds) else None)

    def known_shape(self, names: Set[str]) -> tuple[str, ...]:
        """The largest known shape inside a set of names: what the origin purges for a scope with these names."""
        return max((shape for shape in self.shapes if names >= set(shape)), key=len)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """All functions and contexts of an application."""

    functions: Mapping[str, Function]
    contexts: Mapping[str, ContextPlan]
    sources: tuple[Callable[..., Any], ...] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", MappingProxyType(dict(self.functions)))
        object.__setattr__(self, "contexts", MappingProxyType(dict(self.contexts)))
