"""How answers for everyone are sent to the caches in front: for how long they may keep them, and with which tags."""

from collections.abc import Sequence
from typing import Any

from mizan_core.edge.profiles import spelled_tag
from mizan_core.edge.surfaces import EdgeMap, read_manifest
from mizan_core.edge.tags import EVERYTHING, tags_of_url
from mizan_core.errors import DeclarationError
from mizan_core.graph.manifest import build_manifest
from mizan_core.graph.model import Graph
from mizan_core.memo import Memo
from mizan_core.protocol.cache_headers import without_shared_lifetime
from mizan_core.telling.edge import Edge

from ..http.responses import RawHeaders
from .front import Front, InFront, joined

_REMEMBERED_BYTES = 1024 * 1024
# The bytes of remembered headers beside their texts.
_HEADERS_BYTES = 500

# The groups of an answer that a cache has to take, and the characters of each (RFC 9875, 2.1).
_GROUPS, _GROUP_CHARACTERS = 32, 32


def caches_of(edge: InFront | Sequence[InFront]) -> tuple[InFront, ...]:
    """The caches that `edge=` names, one or several."""
    listed: Any = edge if isinstance(edge, list | tuple) else [edge]
    return tuple(listed)


def in_front(
    graph: Graph, base_url: str, caches: InFront | Sequence[InFront]
) -> "tuple[Fronting | None, Sequence[Edge]]":
    """How answers are sent to these caches, and those of them that are told. Raises `DeclarationError`."""
    listed: Sequence[Any] = caches_of(caches)
    for one in listed:
        if not isinstance(getattr(one, "front", None), Front):
            raise DeclarationError(
                f"edge={one!r} is no cache of mizan_asgi.edge, such as Nodes('http://varnish:8611')."
            )
    front = joined([one.front for one in listed])
    if front is None:
        return None, ()
    tables = read_manifest(build_manifest(graph, base_url=base_url))
    return Fronting(front, tables), [edge for one in listed for edge in one.edges(tables)]


class Fronting:
    """The headers of public answers, for one `Front`. `tables`: of the application's manifest."""

    def __init__(self, front: Front, tables: EdgeMap) -> None:
        self._front = front
        self._tables = tables
        self._tags: Memo[str, RawHeaders] = Memo(_REMEMBERED_BYTES)

    def headers(self, control: str, url: str) -> RawHeaders:
        """`Cache-Control` and all else that caches read, for an answer that has this one by section 8 of the protocol.

        `url`: the canonical path and query of a bundle or page, by which it is tagged.
        """
        asking, seconds = without_shared_lifetime(control)
        if seconds is None:
            return [(b"cache-control", control.encode("latin-1"))]
        lifetime = min(seconds, self._front.lifetime)
        targeted = self._front.targeted
        if targeted is None:
            told: RawHeaders = [(b"cache-control", f"{asking}, s-maxage={lifetime}".encode())]
        else:
            told = [
                (b"cache-control", asking.encode()),
                (targeted.lower().encode(), f"max-age={lifetime}".encode()),
            ]
        return [*told, *self._tagged(url)]

    def replaced(self, headers: RawHeaders, url: str) -> RawHeaders:
        """The headers of an answer, with `headers(...)` in place of its `Cache-Control`."""
        return [
            one
            for name, value in headers
            for one in (self.headers(value.decode("latin-1"), url) if name == b"cache-control" else [(name, value)])
        ]

    def _tagged(self, url: str) -> RawHeaders:
        if not self._front.profiles and not self._front.groups:
            return []
        headers = self._tags.get(url)
        if headers is None:
            headers = list(self._written(url))
            self._tags.put(url, headers, _HEADERS_BYTES + sum(len(value) for _, value in headers) + len(url))
        return headers

    def _written(self, url: str) -> RawHeaders:
        tags = [tag for tag in tags_of_url(self._tables, url) if tag != EVERYTHING]
        headers = [
            (one.header.lower().encode(), one.separator.join(spelled_tag(tag, one) for tag in tags).encode())
            for one in self._front.profiles
        ]
        if self._front.groups:
            headers.append((b"cache-groups", ", ".join(f'"{tag}"' for tag in tags[:_GROUPS]).encode()))
        return headers
