"""Paths below a mount point, and their canonical spelling."""

from urllib.parse import quote

from starlette.types import Scope

# What a path may have unencoded (RFC 3986, 3.3); whatever else is encoded in its canonical spelling.
_PATH_SAFE = "/:@!$&'()*+,;="


# Headers of a call that speak of its body or of its answer.
_ABOUT_A_CALL = frozenset(
    {
        *(b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"expect", b"trailer"),
        b"x-mizan-mounted",
    }
)


def below_mount(scope: Scope, base_url: str) -> str:
    """The path below the mount point, whether the host strips it, leaves it, or `base_url` is all there is."""
    path: str = scope["path"]
    root, mount = _roots(scope)
    if mount:
        below = _without(path, root)
        return _without(path, mount) if below == path else below
    below = _without(path, root)
    if root.endswith(base_url):
        return below
    # A `base_url` that says all of the path outside begins with what the proxy has taken off.
    stripped = _without(below, base_url)
    return _without(below, base_url.removeprefix(root)) if stripped == below else stripped


def before_path(scope: Scope, path: str) -> str | None:
    """What the URL has before `path` where edges see it; None if `path` is not the spelling that its end has.

    The server's root path is what a proxy has taken off, unless the path that was sent has it still.
    """
    root = quote(_server_root(scope), safe=_PATH_SAFE)
    sent = raw_path(scope)
    outside = sent if sent.startswith(f"{root}/") else root + sent
    return outside.removesuffix(path) if outside.endswith(path) else None


def is_base(before: str, base_url: str, scope: Scope) -> bool:
    """Whether edges know what lies below `before` as lying below `base_url`.

    A proxy that takes `base_url` off and says nothing leaves nothing before the path.
    """
    return before == quote(base_url, safe=_PATH_SAFE) or not (before or scope.get("root_path"))


def raw_path(scope: Scope) -> str:
    """The path as it was sent, still encoded."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.decode("latin-1")


def as_get(scope: Scope, base_url: str, below: str, query: str) -> Scope:
    """The request that would get `below` the same mount point: by the same client, with the same headers."""
    path = scope["path"].removesuffix(below_mount(scope, base_url)) + below
    return {
        **scope,
        "method": "GET",
        "path": path,
        "raw_path": quote(path, safe=_PATH_SAFE).encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name, value) for name, value in scope["headers"] if name not in _ABOUT_A_CALL],
    }


def sent_path(scope: Scope, base_url: str, below: str) -> str:
    """The path that was sent, encoded, with `below` in place of what it has below the mount point."""
    return raw_path(scope).removesuffix(quote(below_mount(scope, base_url), safe=_PATH_SAFE)) + below


def _roots(scope: Scope) -> tuple[str, str]:
    """The root path, and what of it Starlette's mounts added to the server's, which a proxy may have taken off."""
    root = (scope.get("root_path") or "").rstrip("/")
    return root, root.removeprefix(_server_root(scope))


def _server_root(scope: Scope) -> str:
    """The root path before any mount of Starlette's."""
    root: str = scope.get("app_root_path", scope.get("root_path")) or ""
    return root.rstrip("/")


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] if prefix and (path == prefix or path.startswith(f"{prefix}/")) else path
