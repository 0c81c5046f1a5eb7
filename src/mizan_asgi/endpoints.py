"""Calls and bundles: `/call/`, `/call/{name}/` and `/ctx/{context}/` (protocol, section 3), in plain ASGI."""

from dataclasses import dataclass
from urllib.parse import quote

from starlette.types import Receive, Scope

from mizan_core.answers import Answer
from mizan_core.engine import Engine, Given
from mizan_core.errors import MethodNotAllowed, NotFound, UnsupportedMediaType
from mizan_core.wire import parse_call

from .auth import Authenticator, check_same_site
from .requests import (
    HostRequest,
    header_values,
    is_json,
    media_type,
    parse_pairs,
    raw_path,
    read_arguments,
    read_body,
    replaying,
)
from .responses import Reply, bundle_reply, data_reply, error_reply


@dataclass(frozen=True, slots=True)
class Service:
    """What every endpoint needs."""

    engine: Engine
    authenticator: Authenticator
    trusted_origins: frozenset[str]
    max_body_bytes: int


async def answer(service: Service, path: str, scope: Scope, receive: Receive) -> Reply:
    """The reply to a request whose path below the mount point is `path`. Errors are raised."""
    match path.removesuffix("/").split("/"):
        case ["", "call"]:
            return await _call(service, None, scope, receive)
        case ["", "call", name]:
            return await _call(service, name, scope, receive)
        case ["", "ctx", context]:
            return await _bundle(service, context, path.endswith("/"), scope, receive)
    raise NotFound


async def _call(service: Service, name: str | None, scope: Scope, receive: Receive) -> Reply:
    _check_method(scope, "POST")
    caller = await service.authenticator.identify(scope, receive)
    if not caller.by_header:
        check_same_site(scope, service.trusted_origins)
    body = await read_body(scope, receive, service.max_body_bytes)
    called, args = (name, await read_arguments(scope, body)) if name is not None else _read_call(scope, body)
    request = HostRequest(scope, replaying(body, receive), caller.identity)
    ended = await service.engine.attempt(called, args, identity=caller.identity, request=request)
    if isinstance(ended, Answer):
        return data_reply(ended.body, ended.invalidations)
    return error_reply(ended.error, ended.invalidations)


async def _bundle(service: Service, context: str, with_slash: bool, scope: Scope, receive: Receive) -> Reply:
    _check_method(scope, "GET", "HEAD")
    caller = await service.authenticator.identify(scope, receive)
    query: bytes = scope.get("query_string", b"")
    bundle = await service.engine.fetch(
        context,
        parse_pairs(query),
        identity=caller.identity,
        request=HostRequest(scope, replaying(b"", receive), caller.identity),
    )
    canonical = with_slash and query.decode("latin-1") == bundle.canonical_query and is_plainly_spelled(scope)
    return bundle_reply(bundle, canonical_url=canonical, if_none_match=header_values(scope, b"if-none-match"))


def is_plainly_spelled(scope: Scope) -> bool:
    """Whether the path has no character percent-encoded that need not be."""
    raw = raw_path(scope)
    return "%" not in raw or raw == quote(scope["path"])


def _read_call(scope: Scope, body: bytes) -> tuple[str, Given]:
    media = media_type(scope)
    if body and not is_json(media):
        raise UnsupportedMediaType("Send a call as JSON, or a form to /call/{name}/.")
    name, args = parse_call(body)
    return name, args


def _check_method(scope: Scope, *allowed: str) -> None:
    if scope["method"] not in allowed:
        raise MethodNotAllowed(allowed)
