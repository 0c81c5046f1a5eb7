"""Bundles and readers at URLs of the host's own: which values the host may give, and which URLs an edge may keep.

The host's code chooses the values, so a URL need not tell them: `/me` may be about whoever is signed in. An answer that
is for everyone is public only where the URL spells all of them, canonically, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import replace

from starlette.types import Scope

from mizan_core.engine.answers import Bundle
from mizan_core.engine.bundle_requests import BundleRequest
from mizan_core.errors import DeclarationError
from mizan_core.graph.defects import nearest
from mizan_core.graph.model import ContextPlan, Function
from mizan_core.protocol.cache_headers import PRIVATE, VARY

from ..responses import RawHeaders
from ..service import Service


def complete(what: ContextPlan | Function, params: Mapping[str, object]) -> Mapping[str, object]:
    """The parameters, with null for each that is missing and may be null.

    Raises `DeclarationError` for one that does not exist, or is missing: the host's code has to be mended.
    """
    validator, name = what.validator, what.label if isinstance(what, ContextPlan) else what.name
    filled_in = {one.name for one in what.identity_params}
    for one in params:
        if one in filled_in:
            raise DeclarationError(f"{name}: {one!r} is filled in by the caller's identity, so respond() takes none.")
        if one not in validator.names:
            known = ", ".join(sorted(validator.names)) or "none at all"
            hint = nearest(one, validator.names) or "."
            raise DeclarationError(f"{name} has no parameter {one!r}; it has {known}{hint}")
    missing = sorted(validator.required - params.keys())
    if not missing:
        return params
    compiled = what.parameters if isinstance(what, ContextPlan) else what.inputs
    lacking = [one for one in missing if not compiled[one].kinds.nullable]
    if lacking:
        raise DeclarationError(f"{name} needs {', '.join(lacking)}: respond(request, ..., {lacking[0]}=...).")
    return {**params, **dict.fromkeys(missing)}


def tells_all(service: Service, scope: Scope, query: BundleRequest) -> bool:
    """Whether the URL of this GET spells every parameter that is not at its default, canonically, and nothing else.

    Its path has a parameter by its name, and its query those that its path does not have. False where caches in front
    are known (`edge=`): they are told of the URLs and tags of the manifest, which has no URLs of the host's.
    """
    if service.fronting is not None or query.canonical is None or scope["method"] not in ("GET", "HEAD"):
        return False
    plan = query.plan
    texts = query.spelling.texts
    in_path: Mapping[str, object] = scope.get("path_params") or {}
    path = f"{scope['path']}/"
    for name, value in in_path.items():
        if texts.get(name) != str(value) or name not in plan.client_parameters or f"/{value}/" not in path:
            return False
    pairs = [pair for pair in query.canonical.split(b"&") if pair.partition(b"=")[0].decode("ascii") not in in_path]
    sent: bytes = scope.get("query_string", b"")
    return b"&".join(pairs) == sent


def privately(headers: RawHeaders) -> RawHeaders:
    """The headers of a response that no cache but the caller's own may keep."""
    control = next((value for name, value in headers if name == b"cache-control"), b"")
    if not control.startswith(b"public"):
        return headers
    others = [pair for pair in headers if pair[0] != b"cache-control"]
    return [*others, (b"cache-control", PRIVATE.encode()), (b"vary", VARY.encode())]


def private(bundle: Bundle) -> Bundle:
    """The bundle, which no cache but the caller's own may keep."""
    policy = PRIVATE if bundle.policy.startswith("public") else bundle.policy
    return replace(bundle, policy=policy, varies=True)
