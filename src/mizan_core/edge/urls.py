"""The URLs that an invalidation names outright: what can be fetched again after a purge, before anyone asks for it."""

from collections.abc import Iterable, Mapping

from ..protocol.invalidation import Invalidation
from ..protocol.urls import encode_text, page_url
from .surfaces import EdgeMap, Surface
from .tags import locate


def urls_of_invalidations(edge: EdgeMap, invalidations: Iterable[Invalidation]) -> tuple[str, ...]:
    """The canonical URLs of bundles and pages for everyone that became stale, as far as their scopes name them.

    A scope names the URL of a surface if it has a text for every parameter without a default. Of those that it lacks
    the URL has the defaults: the first page of a list, where the scope concerns all its pages. Only URLs that an edge
    keeps are given (`locate`), and none of a surface with a list, whose texts do not tell the types of its members.
    """
    urls: dict[str, None] = {}
    for one in invalidations:
        for surface in edge.surfaces:
            url = _url(surface, one.scope) if surface.context == one.context else None
            if url is not None and _is_of(edge, url, surface):
                urls[url] = None
    return tuple(urls)


def _url(surface: Surface, scope: Mapping[str, str | None]) -> str | None:
    """The canonical URL; None where the scope leaves it open, or is about other URLs of the surface."""
    if not surface.lists.isdisjoint(surface.params):
        return None
    written: dict[str, str] = {}
    for name in surface.params:
        text, default = scope.get(name), surface.filled.get(name)
        if text is None:
            if default is None and (name not in surface.nullable or name in surface.in_path):
                return None
        elif encode_text(text) != default:
            if name not in surface.in_path and name not in surface.in_query:
                return None
            written[name] = text
    query = "&".join(f"{name}={encode_text(written[name])}" for name in surface.in_query if name in written)
    return page_url(surface.path, written) + (f"?{query}" if query else "")


def _is_of(edge: EdgeMap, url: str, surface: Surface) -> bool:
    """Whether an edge keeps this URL, for this surface alone."""
    kept = locate(edge, url)
    return kept is not None and [one.surface for one in kept.matches] == [surface]
