"""From URLs and invalidations to tags (protocol, section 15): what is stale has a tag that the invalidation names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..protocol.invalidation import Invalidation
from ..protocol.urls import decode_text, encode_text
from .surfaces import EdgeMap, Surface

# Every URL has this tag. An invalidation names it where it cannot be known what it concerns.
EVERYTHING = "*"

# Edges without loops take the entries of a header apart step by step, so there is a limit to what they take.
MAXIMUM_ENTRIES = 32


@dataclass(frozen=True, slots=True)
class Match:
    """A surface at a URL. `encoded`: canonical texts, percent-encoded; a null and a list have none here."""

    surface: Surface
    encoded: Mapping[str, str]

    @property
    def context(self) -> str:
        return self.surface.context

    @property
    def texts(self) -> Mapping[str, str]:
        """The canonical texts themselves."""
        return {name: decode_text(text.encode()) for name, text in self.encoded.items()}

    @property
    def tags(self) -> tuple[str, ...]:
        known = (one for one in self.surface.templates if all(name in self.encoded for name in one.names))
        return tuple(one.tag(self.encoded) for one in known)


@dataclass(frozen=True, slots=True)
class Kept:
    """A URL that an edge may keep. `url`: with the final slash, or without it, as its path was declared.

    There are several matches where routes overlap: which one answers is known to the origin alone. Such a URL is left
    as it was sent.
    """

    url: str
    matches: tuple[Match, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags by which the answer is purged."""
        return (EVERYTHING, *dict.fromkeys(tag for match in self.matches for tag in match.tags))


def locate(edge: EdgeMap, url: str) -> Kept | None:
    """The bundle or page for everyone at a URL (path and query); None if an edge has to pass the request on.

    A query in another spelling than the canonical one is passed on: the origin answers it `no-store`.
    """
    path, mark, query = url.partition("?")
    if any(re.fullmatch(pattern, path) for pattern in edge.passing):
        return None
    found = [surface for surface in edge.surfaces if re.fullmatch(surface.pattern, url)]
    if not found:
        return None
    if len(found) == 1:
        url = _canonical_path(found[0], path) + mark + query
    return Kept(url, tuple(Match(one, _encoded(one, path, query)) for one in found))


def tags_of_url(edge: EdgeMap, url: str) -> tuple[str, ...]:
    """The tags of what an edge may keep for a URL; none if it has to pass the request on."""
    kept = locate(edge, url)
    return () if kept is None else kept.tags


def tags_of_invalidations(edge: EdgeMap, invalidations: Iterable[Invalidation]) -> tuple[str, ...]:
    """The tags to purge: for each invalidation those of the largest known shape inside its scope.

    An invalidation of one function, or by a scope that only a body knows, thus purges what the origin purges. Unknown
    contexts, and more than `MAXIMUM_ENTRIES` entries, purge everything.
    """
    entries = list(invalidations)
    if len(entries) > MAXIMUM_ENTRIES or any(one.context not in edge.shapes for one in entries):
        return (EVERYTHING,)
    tags: dict[str, None] = {}
    for one in entries:
        texts = {name: encode_text(text) for name, text in one.texts.items()}
        shape = next(shape for shape in edge.shapes[one.context] if texts.keys() >= set(shape.names))
        tags.update(dict.fromkeys(template.tag(texts) for template in shape.templates))
    return tuple(tags)


def _canonical_path(surface: Surface, path: str) -> str:
    """The path with or without its final slash, as it was declared."""
    if path.endswith("/") == surface.path.endswith("/") or not surface.has_two_spellings:
        return path
    return f"{path}/" if surface.path.endswith("/") else path.removesuffix("/")


def _encoded(surface: Surface, path: str, query: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    in_path = {name: re.fullmatch(surface.with_capture(name), path) for name in surface.in_path}
    return {
        **surface.filled,
        **{name: match[1].replace("/", "%2F") for name, match in in_path.items() if match is not None},
        **{name: text for name, _, text in pairs if name not in surface.lists},
    }
