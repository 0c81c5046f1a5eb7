"""How answers for everyone are sent to the caches in front: for how long they may keep them, and with which tags."""

from collections.abc import Sequence
from typing import Any

from mizan_core.edge.profiles import CACHE_GROUPS, spelled_tag
from mizan_core.edge.surfaces import EdgeMap, read_manifest
from mizan_core.edge.tags import EVERYTHING, tags_of_url
from mizan_core.errors import DeclarationError
from mizan_core.graph.manifest import build_manifest
from mizan_core.graph.model import Graph
from mizan_core.memo import Memo
from mizan_core.protocol.cache_headers import without_shared_lifetime
from mizan_core.protocol.headers import decode_header
from mizan_core.protocol.urls import encode_text
from mizan_core.telling.edge import Edge

from ..http.responses import INVALIDATE_HEADER, RawHeaders
from .front import Front, InFront, joined
from .tagged import tags_to_purge

_REMEMBERED_BYTES = 1024 * 1024
# The bytes of remembered headers beside their texts.
_HEADERS_BYTES = 500

# A cache need not take more groups of an answer (RFC 9875, 2).
_MAXIMUM_GROUPS = 32


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
        tagged = self._tagged(url)
        if tagged is None:
            return [(b"cache-control", asking.encode())]
        lifetime = min(seconds, self._front.lifetime)
        targeted = self._front.targeted
        if targeted is None:
            told: RawHeaders = [(b"cache-control", f"{asking}, s-maxage={lifetime}".encode())]
        else:
            told = [
                (b"cache-control", asking.encode()),
                (targeted.lower().encode(), f"max-age={lifetime}".encode()),
            ]
        further = [(name.encode(), f"max-age={min(seconds, bound)}".encode()) for name, bound in self._front.further]
        return [*told, *further, *tagged]

    def replaced(self, headers: RawHeaders, url: str) -> RawHeaders:
        """The headers of an answer, with `headers(...)` in place of its `Cache-Control`."""
        return [
            one
            for name, value in headers
            for one in (self.headers(value.decode("latin-1"), url) if name == b"cache-control" else [(name, value)])
        ]

    @property
    def tells_groups(self) -> bool:
        """Whether `Cache-Group-Invalidation` says what is stale as well."""
        return self._front.groups

    def stale_groups(self, line: str) -> str:
        """The value of `Cache-Group-Invalidation` (RFC 9875, 3) that says what this `X-Mizan-Invalidate` says.

        Whole contexts where there are more groups than a cache need take.
        """
        stale = decode_header(line)
        groups = tags_to_purge(self._tables, CACHE_GROUPS, stale)
        if len(groups) > _MAXIMUM_GROUPS:
            groups = list(dict.fromkeys(spelled_tag(encode_text(one.context), CACHE_GROUPS) for one in stale))
        return _strings(groups)

    def grouped(self, headers: RawHeaders) -> RawHeaders:
        """The headers of an answer, with `Cache-Group-Invalidation` where they have `X-Mizan-Invalidate`."""
        stale = [
            (b"cache-group-invalidation", self.stale_groups(value.decode("latin-1")).encode())
            for name, value in headers
            if name == INVALIDATE_HEADER
        ]
        return [*headers, *stale] if stale else headers

    def _tagged(self, url: str) -> RawHeaders | None:
        """The headers with the tags of a URL. None where they would not name all of them: no purge would reach it."""
        if not self._front.profiles and not self._front.groups:
            return []
        headers = self._tags.get(url)
        if headers is None:
            headers = self._written(url)
            self._tags.put(url, headers, _HEADERS_BYTES + sum(len(value) for _, value in headers) + len(url))
        return headers or None

    def _written(self, url: str) -> RawHeaders:
        tags = [tag for tag in tags_of_url(self._tables, url) if tag != EVERYTHING]
        if not tags or (self._front.groups and len(tags) > _MAXIMUM_GROUPS):
            return []
        headers = [
            (one.header.lower().encode(), one.separator.join(spelled_tag(tag, one) for tag in tags).encode())
            for one in self._front.profiles
        ]
        if self._front.groups:
            headers.append((b"cache-groups", _strings([spelled_tag(tag, CACHE_GROUPS) for tag in tags]).encode()))
        return headers


def _strings(groups: Sequence[str]) -> str:
    """A List of Strings (RFC 9651, 3.1 and 3.3.3). No group has a character that would be escaped."""
    return CACHE_GROUPS.separator.join(f'"{group}"' for group in groups)
