"""Edges that purge by tags: which tags a scope has, and how a vendor's header spells them."""

from collections.abc import Sequence

from mizan_core.edge.profiles import Profile, spelled_tag
from mizan_core.edge.surfaces import EdgeMap
from mizan_core.edge.tags import tags_of_invalidations
from mizan_core.protocol.invalidation import Invalidation
from mizan_core.protocol.urls import encode_text


def tags_to_purge(tables: EdgeMap, profile: Profile, scopes: Sequence[Invalidation]) -> list[str]:
    """The tags of these scopes, as the profile spells them, without repeats.

    A context that is not there any more is purged by the tag that all its answers had.
    """
    tags = (
        tag
        for scope in scopes
        for tag in (
            tags_of_invalidations(tables, [scope]) if scope.context in tables.shapes else (encode_text(scope.context),)
        )
    )
    return list(dict.fromkeys(spelled_tag(tag, profile) for tag in tags))


def parts(tags: Sequence[str], size: int) -> list[Sequence[str]]:
    """The tags in parts that a vendor takes at once: a scope may have several."""
    return [tags[start : start + size] for start in range(0, len(tags), size)]
