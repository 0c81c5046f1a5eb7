"""Which contexts mean something else under a new manifest: what an edge keeps of them under the old one is stale."""

from collections.abc import Mapping
from typing import Any

# What is compared, and the word for it.
_MEMBERS = {
    "rev": "rev",
    "functions": "readers",
    "params": "parameters",
    "defaults": "parameters",
    "lists": "parameters",
    "nullable": "parameters",
    "identity_params": "parameters",
    "scopes": "scopes",
    "fingerprint": "results",
    "per": "policy",
    "public": "policy",
    "cache": "policy",
    "endpoints": "urls",
    "page_routes": "urls",
    "pages": "pages",
}


def changed_contexts(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The contexts of `before` that `after` has otherwise or not at all, each with what changed, sorted by name.

    A context that is new changes nothing that is kept. `fingerprint` changes with readers, parameters and scopes, and
    is named as `results` only where none of these changed. Members that an older manifest lacks are not compared.
    """
    changed = {}
    for name, old in sorted(before["contexts"].items()):
        new = after["contexts"].get(name)
        reasons = ("removed",) if new is None else _reasons(old, new, since_fingerprints="fingerprint" in old)
        if reasons:
            changed[name] = reasons
    return changed


def _reasons(old: Mapping[str, Any], new: Mapping[str, Any], *, since_fingerprints: bool) -> tuple[str, ...]:
    younger = {"lists", "nullable", "fingerprint", "public", "pages"}
    words = dict.fromkeys(
        word
        for member, word in _MEMBERS.items()
        if old.get(member) != new.get(member) and (since_fingerprints or member not in younger)
    )
    if len(words) > 1 and not words.keys().isdisjoint({"readers", "parameters", "scopes"}):
        words.pop("results", None)
    return tuple(words)
