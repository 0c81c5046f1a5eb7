"""The host's request as functions see it."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Set
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from mizan_core.engine.privacy import Notice
from mizan_core.protocol.identity import Identity

from .bodies import replaying

# What of an ASGI scope is the same for every request, and so may be read where the answer is shared. Anything else is
# not known to be: middleware and mounts may have put there what they like.
_SAME_FOR_ALL = frozenset({"type", "app", "router"})


# Where the host has mounted us. With parameters in its path, one user may ask at several mounts: `/{tenant}/api/mizan`.
_OF_THE_MOUNT = frozenset({"path", "raw_path", "root_path", "app_root_path", "path_params"})


# What the log calls parts of a scope; the others go by their keys.
_LOGGED_AS: Mapping[str, str] = {
    "auth": "user",
    "headers": "headers or cookies",
    "query_string": "query",
    "client": "client address",
    "path_params": "path parameters of the mount",
}


class HostRequest:
    """The host's request on its way to a function; see `mizan_core.engine.privacy.Watchable`.

    `body`: what has been read of the request already, to be read again. `own`: the function's inputs, whose path
    parameters are its own; all others are those of the host's mount.
    """

    __slots__ = ("_body", "_identity", "_own", "_receive", "_scope")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        identity: Identity,
        *,
        body: bytes | None = None,
        own: Set[str] = frozenset(),
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._identity = identity
        self._body = body
        self._own = own

    def known_as(self, identity: Identity) -> "HostRequest":
        return HostRequest(self._scope, self._receive, identity, body=self._body, own=self._own)

    def plain(self) -> "FunctionRequest":
        return FunctionRequest(self._scope, self._receiving(), lambda: self._identity)

    def watched(self, notice: Notice) -> "FunctionRequest":
        receiving = self._receiving()
        # What a GET is read to carry is the empty body, whatever was sent; what comes after it tells of the connection.
        free = 1 if self._scope["method"] in ("GET", "HEAD") else 0

        async def receive() -> Message:
            nonlocal free
            free -= 1
            if free < 0:
                notice("body or connection")
            return await receiving()

        def identity() -> Identity:
            notice("user")
            return self._identity

        return FunctionRequest(_watched_scope(self._scope, self._own, notice), receive, identity)

    def watched_by_user(self, notice: Notice) -> "FunctionRequest":
        """The request for an answer that is kept for the user who asks: `notice` is told of a look at the mount."""
        if self._scope.get("path_params", {}).keys() <= self._own:
            return self.plain()
        free = {key: value for key, value in self._scope.items() if key not in _OF_THE_MOUNT}
        return FunctionRequest(_Watched(free, self._scope, notice), self._receiving(), lambda: self._identity)

    def _receiving(self) -> Receive:
        return self._receive if self._body is None else replaying(self._body, self._receive)


class FunctionRequest(Request):
    """The request that a function sees. `user` is the host's user if it has one, else the caller's `Identity`."""

    def __init__(self, scope: Scope, receive: Receive, identity: Callable[[], Identity]) -> None:
        super().__init__(scope, receive)
        self._identity = identity

    @property
    def user(self) -> Any:
        user = self.scope.get("user")
        return self._identity() if user is None else user


if TYPE_CHECKING:
    _Dict = MutableMapping[str, Any]
else:

    class _Dict(MutableMapping, dict):
        """A dict whose methods all go through the five of a mapping."""


class _Watched(_Dict):
    """A dict that tells `notice` of every look at it, except at the values of `free`.

    Only these are in the dict itself, so that what passes its methods by (`dict.get(scope, "user")`) finds no others.
    """

    def __init__(self, free: Mapping[str, Any], others: Mapping[str, Any], notice: Notice) -> None:
        super().__init__(free)  # type: ignore[call-arg]  # the dict's
        self._free = free
        self._values = {**others, **free}  # a copy: what a function changes is changed for it alone
        self._notice = notice

    def __getitem__(self, key: str) -> Any:
        if key not in self._free:
            self._notice(_LOGGED_AS.get(key, key))
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._tell_all()
        del self._values[key]

    def __iter__(self) -> Iterator[str]:  # makes dict(scope), {**scope}, unions and copies ask for each key
        self._tell_all()
        return iter(self._values)

    def __len__(self) -> int:
        self._tell_all()
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def _tell_all(self) -> None:
        for key in self._values.keys() - self._free.keys():
            self._notice(_LOGGED_AS.get(key, key))


def _watched_scope(scope: Scope, own: Set[str], notice: Notice) -> _Watched:
    """The scope for a function whose answer others get too: `own` are the path parameters that are its arguments."""
    free = {key: scope[key] for key in _SAME_FOR_ALL if key in scope}
    # A HEAD is answered with the headers of the GET, so it has to be computed as one.
    free["method"] = "GET" if scope["method"] == "HEAD" else scope["method"]
    in_path = scope.get("path_params", {})
    if own:
        mine = {name: value for name, value in in_path.items() if name in own}
        free["path_params"] = mine if len(mine) == len(in_path) else _Watched(mine, in_path, notice)
    return _Watched(free, scope, notice)
