"""The host's request as functions see it.

Where an answer is shared, the request notices which of its parts the function reads: an answer made from a part that
differs between callers must not be shared (`mizan_core.engine.privacy`). Middleware and mounts may put anything into a
scope, so a key counts as differing unless it is listed here.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Set
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from mizan_core.engine.privacy import Notice
from mizan_core.protocol.identity import Identity

from .bodies.limits import replaying

# Keys whose values are the same in every request of an application.
_SAME_FOR_ALL = frozenset({"type", "app", "router"})

# Keys that tell the mount point. At a mount like `/{tenant}/api/mizan`, they differ between requests of one user.
_MOUNT_KEYS = frozenset({"path", "raw_path", "root_path", "app_root_path", "path_params"})

# The names of keys in the log, where they differ from the keys.
_LOGGED_AS: Mapping[str, str] = {
    "auth": "user",
    "headers": "headers or cookies",
    "query_string": "query",
    "client": "client address",
    "path_params": "path parameters of the mount",
}


class HostRequest:
    """The host's request, as the engine hands it to functions (`Watchable` of `mizan_core.engine.privacy`).

    `body`: the body if it was read already; functions read it again. `own`: path parameters that are inputs of the
    function; all others belong to the host's mount.
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
        # The first message of a GET is always an empty body; later ones tell something about the connection.
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
        """The request for an answer that is kept for this user: `notice` is told if the mount point is read."""
        if self._scope.get("path_params", {}).keys() <= self._own:
            return self.plain()
        free = {key: value for key, value in self._scope.items() if key not in _MOUNT_KEYS}
        return FunctionRequest(_Watched(free, self._scope, notice), self._receiving(), lambda: self._identity)

    def _receiving(self) -> Receive:
        return self._receive if self._body is None else replaying(self._body, self._receive)


class FunctionRequest(Request):
    """The request that a function sees. `user` is the host's user if there is one, else the caller's `Identity`."""

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
        """A dict whose methods all use the five that a mapping defines."""


class _Watched(_Dict):
    """A dict that tells `notice` which of its keys are read, except those of `free`.

    The underlying dict holds `free` alone, so calls such as `dict.get(scope, "user")` find none of the others.
    """

    def __init__(self, free: Mapping[str, Any], others: Mapping[str, Any], notice: Notice) -> None:
        super().__init__(free)  # type: ignore[call-arg]  # the dict's
        self._free = free
        self._values = {**others, **free}  # a copy, which the function may change
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
    """The scope for a function whose answer is shared; `own` as for `HostRequest`."""
    free = {key: scope[key] for key in _SAME_FOR_ALL if key in scope}
    # A HEAD gets the headers of a GET, so the function must see a GET.
    free["method"] = "GET" if scope["method"] == "HEAD" else scope["method"]
    in_path = scope.get("path_params", {})
    if own:
        mine = {name: value for name, value in in_path.items() if name in own}
        free["path_params"] = mine if len(mine) == len(in_path) else _Watched(mine, in_path, notice)
    return _Watched(free, scope, notice)
