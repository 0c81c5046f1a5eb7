"""The manifest for edges, as deterministic JSON, and the URLs that an edge purges by it (protocol, section 12)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import DeclarationError
from ..protocol.cache_policy import CachePolicy, Lifetime, Never, Per, Seconds
from ..protocol.invalidation import Invalidation
from ..protocol.urls import canonical_query, encode_text, page_url, route_parameters
from ..protocol.values import jsonable, texts_of
from .declare import Arg, Binding, ByBody, ByName, Result
from .model import Affect, ContextPlan, Function, Graph
from .signature import sent_names
from .types.identity_sources import Claim, IdentitySource

VERSION = 1

# An answer for everyone depends on none of these: an edge leaves them out of the requests for what is `public`.
IDENTITY_HEADERS = ("Authorization", "X-Mizan-Token")
IDENTITY_COOKIES = ("*",)  # all of them: nothing tells which cookie a host reads

# A context with a parameter of such a name is about one user, even if its bundles are for everyone.
_USER_PARAMETERS = frozenset({"user", "user_id", "owner_id", "account_id"})


def build_manifest(
    graph: Graph,
    *,
    base_url: str = "/api/mizan",
    page_routes: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The manifest. `page_routes`: for each context the routes of pages of the host application that show it.

    Raises `DeclarationError` for a context in `page_routes` that is not in the graph.
    """
    base = base_url.rstrip("/")
    added = page_routes or {}
    for name in added:
        if name not in graph.contexts:
            known = ", ".join(sorted(graph.contexts)) or "none at all"
            raise DeclarationError(f"page_routes names the context {name!r}, and the graph has {known}.")
    manifest = {
        "version": VERSION,
        "base_url": base,
        "identity": {"headers": list(IDENTITY_HEADERS), "cookies": list(IDENTITY_COOKIES)},
        "contexts": {
            name: _context(graph.contexts[name], base, added.get(name, ())) for name in sorted(graph.contexts)
        },
        "mutations": {
            name: _mutation(graph.functions[name]) for name in sorted(graph.functions) if graph.functions[name].affects
        },
    }
    others = [one for one in graph.functions.values() if one.context is None and not one.affects]
    if routes := sorted({*_routes(others)}):
        manifest["routes"] = routes
    return manifest


def manifest_json(
    graph: Graph,
    *,
    base_url: str = "/api/mizan",
    page_routes: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The manifest as the text of a file: keys sorted, indented by two spaces, with a line break at the end."""
    manifest = build_manifest(graph, base_url=base_url, page_routes=page_routes)
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def urls_to_purge(manifest: Mapping[str, Any], invalidations: Iterable[Invalidation]) -> list[str]:
    """The URLs that an edge has to purge, without repeats. `*` in a URL stands for any text.

    A context that is not in the manifest is purged by a pattern of its endpoint: a purge too wide costs a refetch.
    """
    urls: dict[str, None] = {}
    for invalidation in invalidations:
        known = manifest["contexts"].get(invalidation.context)
        if known is None:
            urls[f"{manifest['base_url']}/ctx/{encode_text(invalidation.context)}/*"] = None
            continue
        scope = {
            name: value
            for name, value in invalidation.params.items()
            if value is not None or name in invalidation.nulls
        }
        for endpoint in known["endpoints"]:
            urls[_endpoint_url(endpoint, known, scope)] = None
        for route in known.get("page_routes", ()):
            urls[page_url(route, invalidation.texts)] = None
    return list(urls)


def _context(plan: ContextPlan, base: str, added: Sequence[str]) -> dict[str, Any]:
    routes = dict.fromkeys([*_routes((*_by_name(plan.pages), *_by_name(plan.readers))), *added])
    user_scoped = (
        plan.policy.per is Per.USER or plan.policy.by_identity or not _USER_PARAMETERS.isdisjoint(plan.parameters)
    )
    entry: dict[str, Any] = {
        "functions": [_reader(function) for function in (*_by_name(plan.readers), *_by_name(plan.pages))],
        "endpoints": [f"{base}/ctx/{plan.name}/"] if plan.readers else [],
        "params": list(plan.client_parameters),
        "per": plan.policy.per.value,
        "user_scoped": user_scoped,
        "render_strategy": "dynamic_cached" if user_scoped else "psr",
        "scopes": [list(shape) for shape in plan.shapes],
        "fingerprint": plan.fingerprint.hex(),
    }
    defaults = {name: one.default_text for name, one in plan.client_parameters.items() if one.default_text is not None}
    if plan.identity_params:
        entry["identity_params"] = [one.name for one in plan.identity_params]
    if defaults:
        entry["defaults"] = defaults
    if routes:
        entry["page_routes"] = list(routes)
        entry["pages"] = [*_pages(plan), *_added_pages(plan, routes)]
    if plan.readers and _is_public(plan.policy):
        entry["public"] = True
    kinds = {name: one.kinds for name, one in plan.client_parameters.items()}
    entry |= _names("lists", [name for name, one in kinds.items() if one.is_list])
    entry |= _names("nullable", [name for name, one in kinds.items() if one.nullable])
    return entry | _policy_members(plan.policy.rev, plan.policy.lifetime)


def _names(member: str, names: list[str]) -> dict[str, Any]:
    return {member: names} if names else {}


def _is_public(policy: CachePolicy) -> bool:
    """Whether answers are sent `public`: edges may keep them, and need not be told who asks."""
    return policy.for_everyone and not isinstance(policy.lifetime, Never)


def _pages(plan: ContextPlan) -> Iterator[dict[str, Any]]:
    """The pages of an application's own functions, each with the parameters that it takes and its own policy."""
    for reader in _routed((*_by_name(plan.pages), *_by_name(plan.readers))):
        policy = plan.page_policies[reader.name]
        page: dict[str, Any] = {
            "function": reader.member,
            "route": reader.declaration.route,
            "params": sorted(reader.client_inputs),
        }
        if _is_public(policy):
            page["public"] = True
        yield page | _policy_members(policy.rev, policy.lifetime)


def _added_pages(plan: ContextPlan, routes: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The pages of the host application. Nothing is known of them beside the route."""
    own = {page["route"] for page in _pages(plan)}
    return ({"route": one, "params": sorted(route_parameters(one))} for one in routes if one not in own)


def _by_name(functions: Iterable[Function]) -> list[Function]:
    return sorted(functions, key=lambda one: one.name)


def _routes(readers: Iterable[Function]) -> Iterator[str]:
    """The routes at which edges may keep answers of these readers, pages and data alike."""
    return (reader.declaration.route or "" for reader in _routed(readers))


def _routed(readers: Iterable[Function]) -> Iterator[Function]:
    """The readers that have a page."""
    return (one for one in readers if one.declaration.route is not None and "GET" in one.declaration.methods)


def _reader(function: Function) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": function.member, "path": "view" if function.is_view else "rpc"}
    declaration = function.declaration
    return entry | _policy_members(declaration.rev, declaration.lifetime) | _access_members(function)


def _mutation(function: Function) -> dict[str, Any]:
    automatic = sorted(
        {name for affect in function.affects if isinstance(affect.narrowing, ByName) for name, _ in affect.bindings}
    )
    entry: dict[str, Any] = {
        "affects": list(dict.fromkeys(affect.context for affect in function.affects)),
        "targets": [_target(function, affect) for affect in function.affects],
    }
    if automatic:
        entry["auto_scoped_params"] = automatic
    if function.files:
        entry["files"] = list(function.files)
    return entry | _access_members(function)


def _target(function: Function, affect: Affect) -> dict[str, Any]:
    sent = sent_names(function.signature.returns)
    entry: dict[str, Any] = {
        "context": affect.context,
        "params": {name: _binding(function, binding, sent) for name, binding in affect.bindings},
    }
    if affect.function is not None:
        entry["function"] = affect.function
    if isinstance(affect.narrowing, ByBody):
        entry["by_body"] = True
    return entry


def _binding(function: Function, binding: Binding, sent: Mapping[str, str]) -> dict[str, Any]:
    match binding:
        case Arg(name=name):
            source = function.inputs[name].input.source
            return {"arg": name} if source is None else _of_identity(source)
        case Result(field=name):
            return {"result": sent.get(name, name)}
    return _of_identity(binding)


def _of_identity(source: IdentitySource) -> dict[str, Any]:
    return {"claim": source.name} if isinstance(source, Claim) else {"me": True}


def _policy_members(rev: int, lifetime: Lifetime) -> dict[str, Any]:
    """`rev` and `cache`, if they are not the default."""
    members: dict[str, Any] = {"rev": rev} if rev else {}
    match lifetime:
        case Seconds(seconds=seconds):
            members["cache"] = seconds
        case Never():
            members["cache"] = False
    return members


def _access_members(function: Function) -> dict[str, Any]:
    """`identity_params`, `private`, `route` and `methods`, if they are declared."""
    declaration = function.declaration
    members: dict[str, Any] = {"private": True} if declaration.private else {}
    if function.identity_params:
        members["identity_params"] = [one.name for one in function.identity_params]
    if declaration.route is not None:
        members |= {"route": declaration.route, "methods": list(declaration.methods)}
    return members


def _endpoint_url(endpoint: str, context: Mapping[str, Any], scope: Mapping[str, object]) -> str:
    """The canonical URL, if the scope has every parameter; otherwise a pattern."""
    if any(name not in scope for name in context["params"]):
        return f"{endpoint}*"
    texts = texts_of({name: scope[name] for name in context["params"]})
    if any(_may_be_a_list(scope[name], text) for name, text in texts.items()):
        return f"{endpoint}*"
    query = canonical_query(texts, scope, context.get("defaults", {}))
    return f"{endpoint}?{query}" if query else endpoint


def _may_be_a_list(value: object, text: str) -> bool:
    """Whether a value is a text that spells a list: read from a header, it may have been that list."""
    return text.startswith("[") and not isinstance(jsonable(value), list)
