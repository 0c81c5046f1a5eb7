"""Noticing who-asks: what a reader must not look at when its stored answer serves more than one user (section 8)."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, TypeAlias, runtime_checkable

from .identity import Identity

Notice: TypeAlias = Callable[[str], None]


@runtime_checkable
class Watchable(Protocol):
    """A request that can be handed out in a form that notices when who-asks is read from it."""

    def plain(self) -> object:
        """The request as a function may read all of it."""
        ...

    def watched(self, notice: Notice) -> object:
        """The request for an answer that others will get too; `notice` is told what was read."""
        ...


class _WatchedIdentity(Identity):
    """An identity that tells when one of some attributes is read."""

    __slots__ = ("_notice", "_watched")
    _watched: frozenset[str]
    _notice: Notice

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "_watched"):
            object.__getattribute__(self, "_notice")(name)
        return object.__getattribute__(self, name)


def watch_identity(identity: Identity, attributes: frozenset[str], notice: Notice) -> Identity:
    """The same identity, telling `notice` the name of each of these attributes when it is read."""
    watched = object.__new__(_WatchedIdentity)
    object.__setattr__(watched, "_watched", attributes)
    object.__setattr__(watched, "_notice", notice)
    for field in fields(Identity):
        object.__setattr__(watched, field.name, getattr(identity, field.name))
    return watched
