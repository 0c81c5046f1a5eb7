"""`Me` and `Claim`: the marks of parameters that the caller's identity fills in, and no client can send."""

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeGuard

from ...errors import DeclarationError
from ...protocol.identity import Identity
from ...protocol.values import Json
from .aliases import TYPE_ALIASES


@dataclass(frozen=True, slots=True)
class CallerId:
    """`Annotated[int, Me]` and `where(user_id=Me)`: the caller's user id."""

    def of(self, identity: Identity) -> Json:
        """The value in an identity, not validated; None for an identity that has none."""
        return identity.user_id

    def __repr__(self) -> str:
        return "Me"


Me = CallerId()


@dataclass(frozen=True, slots=True)
class Claim:
    """`Annotated[int, Claim("org")]` and `where(org_id=Claim("org"))`: a claim of the caller's identity."""

    name: str

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"Claim({name!r}) names no claim; write Claim('org').")

    def of(self, identity: Identity) -> Json:
        """As `CallerId.of`."""
        return identity.claims.get(self.name)

    def __repr__(self) -> str:
        return f"Claim({self.name!r})"


IdentitySource: TypeAlias = CallerId | Claim

_SOURCES = (CallerId, Claim)


def is_source(value: object) -> TypeGuard[IdentitySource]:
    """Whether this is `Me` or a `Claim`."""
    return isinstance(value, _SOURCES)


def take_source(name: str, annotation: Any, default: object) -> tuple[IdentitySource | None, Any]:
    """The source of a parameter that the identity fills in, and its annotation without the mark.

    Raises `DeclarationError` for marks that are not on the parameter as a whole, and for more than one.
    """
    if is_source(default):
        raise DeclarationError(f"parameter {name!r} has {default!r} for a default; write Annotated[int, {default!r}].")
    found = list(_marks(annotation))
    if not found:
        return None, annotation
    for one in found:
        if isinstance(one, type):
            example = "Me" if one is CallerId else "Claim('org')"
            raise DeclarationError(f"parameter {name!r} is marked with the class {one.__name__}; write {example}.")
    source, plain = _taken(annotation)
    if source is None or len(found) > 1:
        reason = "twice" if source is not None else "inside of its type"
        raise DeclarationError(
            f"parameter {name!r} is marked with {found[0]!r} {reason}; the mark stands once, and on the whole "
            f"parameter: Annotated[int | None, {found[0]!r}]."
        )
    return source, plain


def _taken(annotation: Any) -> tuple[IdentitySource | None, Any]:
    """The mark on an annotation, or on the only member of a union that is not null, and the annotation without it."""
    while isinstance(annotation, TYPE_ALIASES):
        annotation = annotation.__value__
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = typing.get_args(annotation)
        sources = [one for one in metadata if is_source(one)]
        if not sources:
            source, plain = _taken(inner)
            return source, Annotated[(plain, *metadata)]
        rest = [one for one in metadata if one not in sources]
        return sources[0], Annotated[(inner, *rest)] if rest else inner
    if origin is typing.Union or origin is types.UnionType:
        members = typing.get_args(annotation)
        named = [one for one in members if one is not type(None)]
        if len(named) == 1:
            source, plain = _taken(named[0])
            return source, plain | None
    return None, annotation


def _marks(annotation: Any) -> Iterator[Any]:
    """Every mark in an annotation, at any depth, also a class that was not called."""
    if isinstance(annotation, TYPE_ALIASES):
        yield from _marks(annotation.__value__)
    elif isinstance(annotation, typing.NewType):
        yield from _marks(annotation.__supertype__)
    elif typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
        yield from _marks(inner)
        yield from (one for one in metadata if is_source(one) or one in _SOURCES)
    else:
        for one in typing.get_args(annotation):
            yield from _marks(one)
