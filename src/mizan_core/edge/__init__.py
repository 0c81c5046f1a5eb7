"""Caches in front of the origin: what they may keep, and by which tags it is purged (protocol, section 15).

Everything here is computed from the manifest alone, so it also serves programs that never see the graph.
"""

from .changes import changed_contexts
from .nginx import nginx_text
from .profiles import CACHE_GROUPS, CACHE_TAG, EDGE_CACHE_TAG, READABLE, SURROGATE_KEY, Profile, spelled_tag
from .surfaces import EdgeMap, Surface, Template, read_manifest
from .tags import EVERYTHING, MAXIMUM_ENTRIES, Kept, Match, locate, tags_of_invalidations, tags_of_url
from .urls import urls_of_invalidations
from .varnish import varnish_text
from .worker import worker_text

__all__ = [
    "CACHE_GROUPS",
    "CACHE_TAG",
    "EDGE_CACHE_TAG",
    "EVERYTHING",
    "MAXIMUM_ENTRIES",
    "READABLE",
    "SURROGATE_KEY",
    "EdgeMap",
    "Kept",
    "Match",
    "Profile",
    "Surface",
    "Template",
    "changed_contexts",
    "locate",
    "nginx_text",
    "read_manifest",
    "spelled_tag",
    "tags_of_invalidations",
    "tags_of_url",
    "urls_of_invalidations",
    "varnish_text",
    "worker_text",
]
