"""Calls, bundles, scripts: `/call/`, `/call/{name}/`, `/ctx/{context}/` (protocol, section 3), in plain ASGI."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from mizan_core.answers import Answer, Bundle, Failure
from mizan_core.engine import Engine, Given
from mizan_core.errors import MethodNotAllowed, NotFound, UnsupportedMediaType
from mizan_core.graph import CachePolicy, Function
from mizan_core.refresh import Stale, read_mounted, refresh
from mizan_core.wire import parse_call

from .auth import Authenticator, check_same_site
from .requests import (
    HostRequest,
    as_get,
    header_values,
    is_canonical_path,
    is_json,
    media_type,
    parse_pairs,
    read_arguments,
    read_body,
    replaying,
)
from .responses import Reply, bundle_reply, data_reply, error_reply, script_reply
from .scripts import SCRIPTS, Script


@dataclass(frozen=True, slots=True)
class Service:
    """What every endpoint needs."""

    engine: Engine
    authenticator: Authenticator
    trusted_origins: frozenset[str]
    base_url: str
    max_body_bytes: int


async def answer(service: Service, path: str, scope: Scope, receive: Receive) -> Reply:
    """The reply to a request whose path below the mount point is `path`. Errors are raised."""
    match path.removesuffix("/").split("/"):
        case ["", "call"]:
            return await _call(service, None, scope, receive)
        case ["", "call", name]:
            return await _call(service, name, scope, receive)
        case ["", "ctx", context]:
            return await _bundle(service, context, scope, receive)
        case ["", name] if name in SCRIPTS:
            return _script(SCRIPTS[name], scope)
    raise NotFound


async def _call(service: Service, name: str | None, scope: Scope, receive: Receive) -> Reply:
    _check_method(scope, "POST")
    caller = await service.authenticator.identify(scope, receive)
    if not caller.by_header:
        check_same_site(scope, service.trusted_origins)
    mounted = read_mounted(header_values(scope, b"x-mizan-mounted"))
    body = await read_body(scope, receive, service.max_body_bytes)
    called, args = (name, await read_arguments(scope, body)) if name is not None else _read_call(scope, body)
    request = HostRequest(scope, replaying(body, receive), caller.identity)
    ended = await service.engine.attempt(called, args, identity=caller.identity, request=request)
    if isinstance(ended, Answer):
        if mounted is not None:
            ended = await refresh(service.engine.graph, ended, mounted, partial(_stale_data, service, scope, receive))
        return data_reply(ended.body, ended.invalidations)
    return failure_reply(ended)


async def _bundle(service: Service, context: str, scope: Scope, receive: Receive) -> Reply:
    _check_method(scope, "GET", "HEAD")
    bundle = await _fetch(service, context, scope, receive)
    query = scope.get("query_string", b"").decode("latin-1")
    canonical = query == bundle.canonical_query and is_canonical_path(scope, service.base_url, f"/ctx/{context}/")
    known = header_values(scope, b"if-none-match")
    return bundle_reply(bundle, query=query, canonical_url=canonical, if_none_match=known)


async def _stale_data(service: Service, scope: Scope, receive: Receive, stale: Stale) -> bytes:
    """The bundle as the client would get it now: who asks is found out anew, for the call may have changed it."""
    asking = as_get(scope, service.base_url, f"/ctx/{stale.context}/", stale.query)
    return (await _fetch(service, stale.context, asking, receive)).body


async def _fetch(service: Service, context: str, scope: Scope, receive: Receive) -> Bundle:
    plan = service.engine.graph.contexts.get(context)
    ask_session = plan is not None and shows_who_asks(plan.policy, plan.readers)
    caller = await service.authenticator.identify(scope, receive, ask_session=ask_session)
    return await service.engine.fetch(
        context,
        parse_pairs(scope.get("query_string", b"")),
        identity=caller.identity,
        request=HostRequest(scope, replaying(b"", receive), caller.identity),
    )


def _script(script: Script, scope: Scope) -> Reply:
    _check_method(scope, "GET", "HEAD")
    return script_reply(script.body, script.etag, if_none_match=header_values(scope, b"if-none-match"))


def failure_reply(failure: Failure) -> Reply:
    """The problem document of a function that failed. Raises `ClientDisconnect` where nobody is there to read it."""
    if isinstance(failure.error, ClientDisconnect):
        raise failure.error
    return error_reply(failure.error, failure.invalidations)


def shows_who_asks(policy: CachePolicy, functions: Iterable[Function]) -> bool:
    """Whether an answer can depend on who asks. Where it cannot, the host's session is left alone.

    Reading a session costs, and Starlette's `SessionMiddleware` adds a `Vary` to every answer that it was read for.
    """
    return not policy.for_everyone or any(function.signature.takes_request for function in functions)


def _read_call(scope: Scope, body: bytes) -> tuple[str, Given]:
    media = media_type(scope)
    if body and not is_json(media):
        raise UnsupportedMediaType("Send a call as JSON, or a form to /call/{name}/.")
    name, args = parse_call(body)
    return name, args


def _check_method(scope: Scope, *allowed: str) -> None:
    if scope["method"] not in allowed:
        raise MethodNotAllowed(allowed)
