"""Hits for everyone, answered before the host's stack: at URLs where the host's stack has led to Mizan before.

Which URLs are Mizan's is learned, not computed: hosts route by host names, mounts and their order. So the first request
for each URL passes the host.
"""

from collections.abc import Awaitable

from starlette.types import Scope

from mizan_core.memo import Memo

from .marks import ROUTED_BY, Again, Mark, RawResponse

# Senders may make up host names without end. The URLs of several thousand pages fit.
_REMEMBERED_BYTES = 4 * 1024 * 1024
_URL_BYTES = 600

_Url = tuple[object, ...]

_LENGTHS = frozenset(map(len, ROUTED_BY))


class Hits:
    """How URLs are answered once more, as far as they are known. Without `allowed`, none ever is."""

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed
        self._known: Memo[_Url, Again] = Memo(_REMEMBERED_BYTES)

    def find(self, scope: Scope) -> RawResponse | Awaitable[RawResponse | None] | None:
        """The response to a plain hit, at once or after a look-up. None for what the host has to answer."""
        if not self._allowed or scope["method"] not in ("GET", "HEAD"):
            return None
        again = self._known.get(_url(scope))
        return None if again is None else again(scope)

    def mark(self, scope: Scope) -> Mark:
        """The mark for a request that the host answers."""
        return Mark(scope, self._allowed and self._known.get(_url(scope)) is None)

    def learn(self, mark: Mark, status: int | None) -> None:
        """Remember how the URL is answered, once the host has let Mizan's answer pass with its status."""
        if mark.again is not None and mark.answered is not None and mark.answered.status == status:
            url = _url(mark.scope)
            self._known.put(
                url, mark.again, _URL_BYTES + sum(len(part) for part in url if isinstance(part, str | bytes))
            )


def _url(scope: Scope) -> _Url:
    """What hosts route a GET by, apart from its query."""
    url = [scope["path"], scope.get("raw_path"), scope.get("root_path")]
    for name, value in scope["headers"]:
        if len(name) in _LENGTHS and name in ROUTED_BY:  # a length is compared sooner than a name is hashed
            url.append(value)
    return tuple(url)
