"""A function's inputs, the parameters that the host fills in, and its return type, read from its annotations."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..errors import DeclarationError
from ..protocol.identity import Identity
from ..protocol.values import check_name
from .callables import is_coroutine_function, plain_function
from .types.aliases import TYPE_ALIASES, take_alias
from .types.field_defaults import MakeDefault, take_default
from .types.file_params import takes_file
from .types.host_parameters import check_host_parameter, dependency_in
from .types.identity_sources import IdentitySource, take_source

# The name of the parameter that is given the host's request, with any annotation or none.
REQUEST = "request"

# Calls by which a sync function runs a coroutine itself: asyncio.run, Runner.run, anyio.run, loops, portals, asgiref.
_RUNS_A_LOOP = frozenset({"run", "run_until_complete", "run_coroutine_threadsafe", "async_to_sync", "from_thread"})

# The usual names of a method's first parameter.
_INSTANCE = ("self", "cls")


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter that the caller fills in. `default` counts only if it is not `required`.

    `name`: its name for clients, which is its alias if it has one. `argument`: its name in the function's signature if
    it has an alias. `make_default`: makes the default that only the annotation gives; the function is passed its value.
    `source`: the part of the caller's identity that fills it in; None if clients send it. `is_dependency`: the host's
    framework fills it in. `is_file`: it takes files.
    """

    name: str
    annotation: Any
    required: bool
    default: object = None
    argument: str | None = None
    make_default: MakeDefault | None = None
    source: IdentitySource | None = None
    is_dependency: bool = False
    is_file: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's inputs, the parameters that the host fills in, and its return type.

    `is_view`: it returns a web response. `has_view_member`: one member of its return annotation is a web response.
    """

    inputs: Mapping[str, Input]
    takes_request: bool
    identities: tuple[str, ...]
    returns: Any
    is_view: bool
    has_view_member: bool
    is_async: bool

    @property
    def inputs_of_identity(self) -> frozenset[str]:
        """The inputs that the caller's identity fills in."""
        return frozenset(name for name, one in self.inputs.items() if one.source is not None)

    @property
    def files(self) -> tuple[str, ...]:
        """The inputs that take files."""
        return tuple(name for name, one in self.inputs.items() if one.is_file)


def check_parameters(function: Callable[..., Any]) -> None:
    """Raise `DeclarationError` for a defect that shows without resolving annotations."""
    plain = plain_function(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DeclarationError("it yields; a server function returns its answer once.")
    signature = signature_of(function)
    for parameter in signature.parameters.values():
        _check_parameter(parameter)
    if signature.return_annotation is inspect.Signature.empty:
        raise DeclarationError("its return annotation is missing; write -> None if it returns nothing.")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature without the parameters that a partial binds by name, though Python lets callers replace those."""
    signature = inspect.signature(function)
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound.update(function.keywords)
        function = function.func
    if not bound:
        return signature
    return signature.replace(parameters=[one for name, one in signature.parameters.items() if name not in bound])


def read_signature(function: Callable[..., Any], local_names: Mapping[str, Any]) -> Signature:
    """The signature. Raises NameError for an annotation with a name that is not, or not yet, defined."""
    try:
        hints = _hints(function, local_names)
    except (TypeError, SyntaxError) as error:
        raise DeclarationError(f"its annotations cannot be read: {error}.") from error
    except AttributeError as error:  # the module of an annotation may still be importing
        raise NameError(str(error)) from error
    parameters = signature_of(function).parameters
    identities = tuple(name for name in parameters if name != REQUEST and is_identity(hints[name]))
    returned = union_members(hints["return"])
    views = [_is_response(member) for member in returned]
    given_by_host = (*identities, *[REQUEST] * (REQUEST in parameters))
    return Signature(
        inputs=_inputs(
            (_input(parameter, hints[name]) for name, parameter in parameters.items() if name not in given_by_host),
            given_by_host,
        ),
        takes_request=REQUEST in parameters,
        identities=identities,
        returns=hints["return"],
        is_view=all(views),
        has_view_member=any(views),
        is_async=_is_awaited(function),
    )


def _check_parameter(parameter: inspect.Parameter) -> None:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise DeclarationError(
            f"{stars}{name} takes anything; name each argument, for names decide what is invalidated."
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise DeclarationError(f"{name!r} is positional-only, and arguments arrive by name; drop the '/'.")
    check_name("parameter", name)
    if name in _INSTANCE and parameter.annotation is inspect.Parameter.empty:
        raise DeclarationError(f"it takes {name!r}, and nobody calls it on an instance; mark a function of the module.")
    if name != REQUEST and dependency_in(parameter.default):
        return
    if name != REQUEST:
        check_host_parameter(name, parameter.default)
    if name != REQUEST and parameter.annotation is inspect.Parameter.empty:
        raise DeclarationError(f"parameter {name!r} has no annotation; without one it cannot be validated.")
    if isinstance(parameter.default, FieldInfo):
        raise DeclarationError(
            f"parameter {name!r} has Field(...) for a default; write Annotated[..., Field(...)] and a plain default."
        )


def _hints(function: Callable[..., Any], local_names: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved annotations. That of the request is left out: it may be imported for type checkers only."""
    signature = signature_of(function)
    named = {name: one.annotation for name, one in signature.parameters.items() if name != REQUEST}
    bearer = types.SimpleNamespace(__annotations__=named | {"return": signature.return_annotation})
    return typing.get_type_hints(bearer, _globals(function), dict(local_names), include_extras=True)


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals of the module that has the annotations: for a wrapper, the module of the function that it wraps."""
    behind: Any = plain_function(inspect.unwrap(function, stop=lambda one: hasattr(one, "__signature__")))
    written: dict[str, Any] = behind.__globals__
    return written


def _is_awaited(function: Callable[..., Any]) -> bool:
    """Whether the function is awaited on the event loop. A sync wrapper that runs a loop itself needs a thread."""
    while not is_coroutine_function(function):
        plain = plain_function(function)
        if plain is not None and _RUNS_A_LOOP.intersection(plain.__code__.co_names):
            return False
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return False
    return True


def _inputs(found: Iterable[Input], given_by_host: Sequence[str]) -> dict[str, Input]:
    inputs: dict[str, Input] = {}
    for one in found:
        if one.name in inputs:
            first = inputs[one.name].argument or one.name
            raise DeclarationError(
                f"parameters {first!r} and {one.argument or one.name!r} are both called {one.name!r} by clients; "
                "give each a name of its own."
            )
        if one.name in given_by_host:
            raise DeclarationError(
                f"parameter {one.argument!r} has the alias {one.name!r}, which is a parameter that the host fills in; "
                "choose another."
            )
        inputs[one.name] = one
    return inputs


def _input(parameter: inspect.Parameter, annotation: Any) -> Input:
    if dependency_in(parameter.default) or dependency_in(annotation):
        required = parameter.default is inspect.Parameter.empty
        return Input(parameter.name, annotation, required, default=parameter.default, is_dependency=True)
    check_host_parameter(parameter.name, annotation)
    source, annotation = take_source(parameter.name, annotation, parameter.default)
    alias, annotation = take_alias(parameter.name, annotation)
    make_default, annotation = take_default(parameter.name, annotation)
    read = Input(
        alias,
        annotation,
        required=make_default is None,
        argument=None if alias == parameter.name else parameter.name,
        make_default=make_default,
        source=source,
        is_file=takes_file(parameter.name, annotation),
    )
    if parameter.default is inspect.Parameter.empty:
        return read
    return replace(read, required=False, default=parameter.default, make_default=None)


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone. `Annotated`, NewTypes and aliases are resolved."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return union_members(typing.get_args(annotation)[0])
    if isinstance(annotation, typing.NewType):
        return union_members(annotation.__supertype__)
    if isinstance(annotation, TYPE_ALIASES):
        return union_members(annotation.__value__)
    if isinstance(origin, TYPE_ALIASES):
        return union_members(_filled_in(origin, typing.get_args(annotation)))
    if origin is typing.Union or origin is types.UnionType:
        return tuple(inner for member in typing.get_args(annotation) for inner in union_members(member))
    return (annotation,)


def sent_names(returns: Any) -> dict[str, str]:
    """For the models in a return annotation: the names of their fields in JSON, by their names in Python."""
    models = [one for one in union_members(returns) if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = [pair for model in models for pair in model.model_fields.items()]
    computed = [pair for model in models for pair in model.model_computed_fields.items()]
    return {
        **{name: one.serialization_alias or name for name, one in fields},
        **{name: one.alias or name for name, one in computed},
    }


def mentions(annotation: Any, classes: tuple[Any, ...]) -> bool:
    """Whether an annotation contains one of the classes, or a subclass, at any depth."""
    for member in union_members(annotation):
        bare = typing.get_origin(member) or member
        if bare in classes or (isinstance(bare, type) and issubclass(bare, classes)):
            return True
        if bare is not typing.Literal and any(mentions(one, classes) for one in typing.get_args(member)):
            return True
    return False


def _filled_in(alias: Any, arguments: tuple[Any, ...]) -> Any:
    """The type that a generic alias stands for, with these arguments for its parameters."""
    value, given = alias.__value__, dict(zip(alias.__type_params__, arguments, strict=False))
    if isinstance(value, typing.TypeVar):
        return given.get(value, value)
    named = getattr(value, "__parameters__", ())
    return value[tuple(given.get(one, one) for one in named)] if named else value


def is_identity(annotation: Any) -> bool:
    """Whether a parameter with this annotation is given the caller's identity."""
    named = [member for member in union_members(annotation) if member is not type(None)]
    return len(named) == 1 and named[0] is Identity


def _is_response(annotation: Any) -> bool:
    """Whether the class is one of web responses: its instances are ASGI applications, as Starlette's responses are."""
    call = inspect.getattr_static(annotation, "__call__", None) if isinstance(annotation, type) else None
    return inspect.isfunction(call) and list(inspect.signature(call).parameters)[1:] == ["scope", "receive", "send"]
