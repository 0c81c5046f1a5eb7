"""Noticing who-asks: what a reader must not look at when its stored answer serves more than one user (section 8)."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ..protocol.identity import Identity

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


@runtime_checkable
class WatchableByUser(Protocol):
    """A request that notices as well what may differ between two requests of one user."""

    def watched_by_user(self, notice: Notice) -> object:
        """The request for an answer that is kept for one user; `notice` is told what was read."""
        ...


@runtime_checkable
class KnowsIdentity(Protocol):
    """A request that tells functions who asks."""

    def known_as(self, identity: Identity) -> object:
        """The same request by this identity."""
        ...


class _WatchedIdentity(Identity):
    """An identity that tells when anything but some attributes is read."""

    __slots__ = ("_free", "_notice", "_original")
    _free: frozenset[str]
    _notice: Notice
    _original: Identity

    def __getattribute__(self, name: str) -> Any:
        read = object.__getattribute__
        original = read(self, "_original")
        if name == "__class__":  # which comparisons ask for, and isinstance()
            return type(original)
        if name not in read(self, "_free"):
            read(self, "_notice")(name)
        return getattr(original, name)

    # What Python asks of the type, and not of the object.
    def __eq__(self, other: object) -> bool:
        return bool(self.__eq__(other))

    def __hash__(self) -> int:
        return int(self.__hash__())

    def __repr__(self) -> str:
        return str(self.__repr__())


_WatchedIdentity.__name__ = Identity.__name__  # it is handed to functions that ask for one, and may log what they got


def watch_identity(identity: Identity, free: frozenset[str], notice: Notice) -> Identity:
    """The same identity, telling `notice` the name of each attribute that is read and is not free."""
    watched = object.__new__(_WatchedIdentity)
    object.__setattr__(watched, "_free", free)
    object.__setattr__(watched, "_notice", notice)
    object.__setattr__(watched, "_original", identity)
    return watched


def lacks_permissions(identity: Identity) -> bool:
    """Whether the identity's single permissions are not known, as with a token. Nobody is told of the question."""
    original = object.__getattribute__(identity, "_original") if type(identity) is _WatchedIdentity else identity
    return original.permissions is None


def by_identity(request: object, identity: Identity) -> object:
    """The request, telling functions that it is this identity's."""
    return request.known_as(identity) if isinstance(request, KnowsIdentity) else request
