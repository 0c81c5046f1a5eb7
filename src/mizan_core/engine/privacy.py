"""Noticing that a reader looks at its caller, which it must not if its answer serves several users (section 8)."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ..protocol.identity import Identity

Notice: TypeAlias = Callable[[str], None]


@runtime_checkable
class Watchable(Protocol):
    """A request with a form that reports each read of something that depends on the caller."""

    def plain(self) -> object:
        """The form that reports nothing."""
        ...

    def watched(self, notice: Notice) -> object:
        """The form for an answer that other users get too; `notice` is called with each read."""
        ...


@runtime_checkable
class WatchableByUser(Protocol):
    """A request that can also report reads of something that may differ between two requests of one user."""

    def watched_by_user(self, notice: Notice) -> object:
        """The form for an answer that is stored for one user; `notice` is called with each read."""
        ...


@runtime_checkable
class KnowsIdentity(Protocol):
    """A request that shows its caller's identity to functions."""

    def known_as(self, identity: Identity) -> object:
        """The same request, showing this identity."""
        ...


class _WatchedIdentity(Identity):
    """An identity that reports each read of an attribute, but for some that are free."""

    __slots__ = ("_free", "_notice", "_original")
    _free: frozenset[str]
    _notice: Notice
    _original: Identity

    def __getattribute__(self, name: str) -> Any:
        read = object.__getattribute__
        original = read(self, "_original")
        if name == "__class__":  # read by comparisons and by isinstance()
            return type(original)
        if name not in read(self, "_free"):
            read(self, "_notice")(name)
        return getattr(original, name)

    # Python looks these up on the type, past `__getattribute__`.
    def __eq__(self, other: object) -> bool:
        return bool(self.__eq__(other))

    def __hash__(self) -> int:
        return int(self.__hash__())

    def __repr__(self) -> str:
        return str(self.__repr__())


_WatchedIdentity.__name__ = Identity.__name__  # functions may log the type of an identity


def watch_identity(identity: Identity, free: frozenset[str], notice: Notice) -> Identity:
    """The same identity; `notice` is called with the name of each attribute that is read and is not free."""
    watched = object.__new__(_WatchedIdentity)
    object.__setattr__(watched, "_free", free)
    object.__setattr__(watched, "_notice", notice)
    object.__setattr__(watched, "_original", identity)
    return watched


def lacks_permissions(identity: Identity) -> bool:
    """Whether the identity's permissions are not loaded, as with a token. A watched identity does not report this."""
    original = object.__getattribute__(identity, "_original") if type(identity) is _WatchedIdentity else identity
    return original.permissions is None


def by_identity(request: object, identity: Identity) -> object:
    """The request, showing this identity to functions."""
    return request.known_as(identity) if isinstance(request, KnowsIdentity) else request
