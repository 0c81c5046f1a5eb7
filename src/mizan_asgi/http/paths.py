"""Paths below a mount point: found in a scope, compared with their canonical spelling, replaced by another path.

The path in a scope lacks the prefix that a proxy or an older Starlette mount stripped from it, if one did.
"""

from urllib.parse import quote

from starlette.types import Scope

# Characters that a path may have unencoded (RFC 3986, 3.3). Its canonical spelling encodes all others.
_PATH_SAFE = "/:@!$&'()*+,;="

# Headers that only a call has: those about its body, and the list of bundles that its answer may bring along.
_CALL_HEADERS = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect", b"trailer"),
        b"x-mizan-mounted",
    }
)


def below_mount(scope: Scope, base_url: str) -> str:
    """The path below the mount point, which is told by the root path, by `base_url`, or by both."""
    path: str = scope["path"]
    root, mount = _roots(scope)
    if mount:
        below = _without(path, root)
        return _without(path, mount) if below == path else below
    below = _without(path, root)
    if root.endswith(base_url):
        return below
    # A `base_url` that is the whole public path begins with the prefix that the proxy stripped.
    stripped = _without(below, base_url)
    return _without(below, base_url.removeprefix(root)) if stripped == below else stripped


def before_path(scope: Scope, path: str) -> str | None:
    """The part of the public URL's path, as edges see it, before `path`; None if it does not end in `path`.

    The server's root path is the prefix that a proxy stripped, unless the path still begins with it.
    """
    root = quote(_server_root(scope), safe=_PATH_SAFE)
    sent = _raw_path(scope)
    public = sent if sent.startswith(f"{root}/") else root + sent
    return public.removesuffix(path) if public.endswith(path) else None


def is_base(before: str, base_url: str, scope: Scope) -> bool:
    """Whether the public path `before` an endpoint's path is `base_url`, as the manifest tells edges.

    Nothing before it, and no root path either, means a proxy that stripped `base_url` without saying so.
    """
    return before == quote(base_url, safe=_PATH_SAFE) or not (before or scope.get("root_path"))


def as_get(scope: Scope, base_url: str, below: str, query: str) -> Scope:
    """The scope of a GET of the path `below` the same mount point, by the same client, with the same headers."""
    path = scope["path"].removesuffix(below_mount(scope, base_url)) + below
    return {
        **scope,
        "method": "GET",
        "path": path,
        "raw_path": quote(path, safe=_PATH_SAFE).encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name, value) for name, value in scope["headers"] if name not in _CALL_HEADERS],
    }


def sent_path(scope: Scope, base_url: str, below: str) -> str:
    """The raw path of the request, with its part below the mount point replaced by `below`."""
    return _raw_path(scope).removesuffix(quote(below_mount(scope, base_url), safe=_PATH_SAFE)) + below


def _raw_path(scope: Scope) -> str:
    """The path as it was sent, percent-encoded."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def _roots(scope: Scope) -> tuple[str, str]:
    """The root path, and the part of it that Starlette's mounts added to the server's."""
    root = (scope.get("root_path") or "").rstrip("/")
    return root, root.removeprefix(_server_root(scope))


def _server_root(scope: Scope) -> str:
    """The root path that the server was given, without what Starlette's mounts added."""
    root: str = scope.get("app_root_path", scope.get("root_path")) or ""
    return root.rstrip("/")


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path
