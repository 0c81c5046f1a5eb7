"""What a function takes and returns, read from its annotations."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..errors import DeclarationError
from ..protocol.identity import Identity
from ..protocol.values import check_name
from .callables import is_coroutine_function, plain_function
from .types.aliases import TYPE_ALIASES, take_alias
from .types.field_defaults import MakeDefault, take_default
from .types.host_parameters import check_host_parameter

# A parameter of this name is given the host's request, whatever its annotation.
REQUEST = "request"

# How a sync function runs a coroutine by itself: asyncio.run, Runner.run, anyio.run, loops, portals, asgiref.
_RUNS_A_LOOP = frozenset({"run", "run_until_complete", "run_coroutine_threadsafe", "async_to_sync", "from_thread"})

# What methods call their first parameter.
_INSTANCE = ("self", "cls")


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter that the caller fills in. `default` means something only where it is not `required`.

    `name` is what everyone but the function calls it: its alias, where it has one. `argument` is then its name in the
    function's signature. `make_default`: the function's signature has no default, and is given what this makes.
    """

    name: str
    annotation: Any
    required: bool
    default: object = None
    argument: str | None = None
    make_default: MakeDefault | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's inputs, what it is given besides, and what it returns.

    `is_view`: it returns a web response. `has_view_member`: its return annotation mentions one.
    """

    inputs: Mapping[str, Input]
    takes_request: bool
    identity_parameters: tuple[str, ...]
    returns: Any
    is_view: bool
    has_view_member: bool
    is_async: bool


def check_parameters(function: Callable[..., Any]) -> None:
    """Refuse what shows without resolving an annotation."""
    plain = plain_function(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DeclarationError("it yields; a server function returns its answer once.")
    signature = signature_of(function)
    for parameter in signature.parameters.values():
        _check_parameter(parameter)
    if signature.return_annotation is inspect.Signature.empty:
        raise DeclarationError("its return annotation is missing; write -> None if it returns nothing.")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The parameters that are left to fill in. What a partial has bound by name is not, though Python lets it vary."""
    signature = inspect.signature(function)
    bound: set[str] = set()
    while isinstance(function, functools.partial):
        bound.update(function.keywords)
        function = function.func
    if not bound:
        return signature
    return signature.replace(parameters=[one for name, one in signature.parameters.items() if name not in bound])


def read_signature(function: Callable[..., Any], local_names: Mapping[str, Any]) -> Signature:
    """The signature. Raises NameError where an annotation names what is not, or not yet, defined."""
    try:
        hints = _hints(function, local_names)
    except (TypeError, SyntaxError) as error:
        raise DeclarationError(f"its annotations cannot be read: {error}.") from error
    except AttributeError as error:  # of a module that may still be on its way in
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
        identity_parameters=identities,
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
    if name != REQUEST:
        check_host_parameter(name, parameter.default)
    if name != REQUEST and parameter.annotation is inspect.Parameter.empty:
        raise DeclarationError(f"parameter {name!r} has no annotation; without one it cannot be validated.")
    if isinstance(parameter.default, FieldInfo):
        raise DeclarationError(
            f"parameter {name!r} has Field(...) for a default; write Annotated[..., Field(...)] and a plain default."
        )


def _hints(function: Callable[..., Any], local_names: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved annotations; that of the request is not asked for, so it may be imported for type checkers only."""
    signature = signature_of(function)
    named = {name: one.annotation for name, one in signature.parameters.items() if name != REQUEST}
    bearer = types.SimpleNamespace(__annotations__=named | {"return": signature.return_annotation})
    return typing.get_type_hints(bearer, _globals(function), dict(local_names), include_extras=True)


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """Where the annotations were written: for a wrapper, where what it wraps was."""
    behind: Any = plain_function(inspect.unwrap(function, stop=lambda one: hasattr(one, "__signature__")))
    written: dict[str, Any] = behind.__globals__
    return written


def _is_awaited(function: Callable[..., Any]) -> bool:
    """Whether it is called on the event loop and awaited. A wrapper that runs a loop of its own needs a thread."""
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
    check_host_parameter(parameter.name, annotation)
    alias, annotation = take_alias(parameter.name, annotation)
    make_default, annotation = take_default(parameter.name, annotation)
    argument = None if alias == parameter.name else parameter.name
    if parameter.default is inspect.Parameter.empty:
        return Input(alias, annotation, make_default is None, argument=argument, make_default=make_default)
    return Input(alias, annotation, required=False, default=parameter.default, argument=argument)


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone; `Annotated` and other names for a type are looked through."""
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
    """What the fields of the models among the results are called in JSON, by their names in Python."""
    models = [one for one in union_members(returns) if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = [pair for model in models for pair in model.model_fields.items()]
    computed = [pair for model in models for pair in model.model_computed_fields.items()]
    return {
        **{name: one.serialization_alias or name for name, one in fields},
        **{name: one.alias or name for name, one in computed},
    }


def mentions(annotation: Any, classes: tuple[Any, ...]) -> bool:
    """Whether one of the classes, or a class made from one, stands anywhere in an annotation."""
    for member in union_members(annotation):
        bare = typing.get_origin(member) or member
        if bare in classes or (isinstance(bare, type) and issubclass(bare, classes)):
            return True
        if bare is not typing.Literal and any(mentions(one, classes) for one in typing.get_args(member)):
            return True
    return False


def _filled_in(alias: Any, arguments: tuple[Any, ...]) -> Any:
    """What a generic alias stands for, with its parameters replaced."""
    value, given = alias.__value__, dict(zip(alias.__type_params__, arguments, strict=False))
    if isinstance(value, typing.TypeVar):
        return given.get(value, value)
    named = getattr(value, "__parameters__", ())
    return value[tuple(given.get(one, one) for one in named)] if named else value


def is_identity(annotation: Any) -> bool:
    """Whether a parameter is filled in with the caller."""
    named = [member for member in union_members(annotation) if member is not type(None)]
    return len(named) == 1 and named[0] is Identity


def _is_response(annotation: Any) -> bool:
    """Whether instances of the class are ASGI applications themselves, as Starlette's responses are."""
    call = inspect.getattr_static(annotation, "__call__", None) if isinstance(annotation, type) else None
    return inspect.isfunction(call) and list(inspect.signature(call).parameters)[1:] == ["scope", "receive", "send"]
