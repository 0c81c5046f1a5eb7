"""Resources: parameters that the server opens for a function, such as a database session, and no client sends.

`build(functions, provide={AsyncSession: open_session})` says it for a type, `Annotated[AsyncSession, Provide(factory)]`
for one parameter. A resource is known by its type, or by its `Provide`. The host's framework fills in the parameters
that have its own mark, such as FastAPI's `Depends(...)`.
"""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

from ..errors import DeclarationError
from .signature import Input

# Takes no arguments. Makes an async or sync context manager or generator, a value to await, or the value itself.
Factory: TypeAlias = Callable[[], Any]

# By type, or by the factory of a `Provide`: the factory in use; None where an engine has to name it.
Provided: TypeAlias = Mapping[Any, Factory | None]

NOTHING_PROVIDED: Provided = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class HostDependency:
    """The key of a parameter that the host's framework fills in, as it is written: by FastAPI's `Depends(...)`."""

    annotation: Any
    default: Any  # `inspect.Parameter.empty` without one


@dataclass(frozen=True, slots=True)
class Provide:
    """`Annotated[AsyncSession, Provide(open_session)]`: the resource that this factory opens.

    The factory takes no arguments and makes an async or sync context manager or generator. It is entered once for all
    readers of a bundle, and once for a mutation, which it commits or rolls back before the purge.
    """

    factory: Factory

    def __post_init__(self) -> None:
        check_factory(f"Provide({self.factory!r})", self.factory)


def check_provided(provide: object, *, may_lack: bool) -> Provided:
    """The factories by what they open. `may_lack`: None may stand for one that is named later.

    Raises `DeclarationError`.
    """
    if not isinstance(provide, Mapping):
        raise DeclarationError(
            f"provide={provide!r} maps no types to factories; write provide={{AsyncSession: open_session}}."
        )
    for key, factory in provide.items():
        if not (may_lack and factory is None):
            check_factory(f"provide={{{show_key(key)}: ...}}", factory)
    return MappingProxyType(dict(provide))


def check_factory(where: str, factory: object) -> None:
    """Raise `DeclarationError` for anything but a callable that takes no arguments."""
    if not callable(factory):
        raise DeclarationError(f"{where} is given {factory!r}, which cannot be called; name a function that opens one.")
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a built-in may have no signature
        return
    needed = [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise DeclarationError(
            f"{where}: the factory takes {', '.join(needed)}, and is called without arguments; wrap it in a function "
            "that knows them."
        )


def key_of(one: Input, provided: Provided) -> Any | None:
    """The key of the resource that a parameter is; None for an input."""
    annotation = one.annotation
    if one.is_dependency:
        return HostDependency(annotation, inspect.Parameter.empty if one.required else one.default)
    while typing.get_origin(annotation) is Annotated:
        annotation, *metadata = typing.get_args(annotation)
        for mark in metadata:
            if isinstance(mark, Provide):
                return mark
            if mark is Provide:
                raise DeclarationError(f"parameter {one.name!r} is marked with the class Provide; write Provide(...).")
    try:
        return annotation if annotation in provided else None
    except TypeError:  # an annotation that has no hash is no key
        return None


def factory_of(key: Any, provided: Provided) -> Factory | None:
    """The factory of a resource: the one that is provided for it, or its own; None where there is neither."""
    return provided.get(named_by(key)) or (key.factory if isinstance(key, Provide) else None)


def named_by(key: Any) -> Any:
    """The name of a resource in `provide`: its type, or the factory of its `Provide`."""
    return key.factory if isinstance(key, Provide) else key


def show_key(key: Any) -> str:
    """A key for a message."""
    named = named_by(key)
    return getattr(named, "__qualname__", None) or repr(named)
