"""`@mizan.changes(Orders, by="customer_id")`: a route of the host's as a change, told by its response.

FastAPI sees the parameters that the route has. Where none of them is a `Response`, whose headers FastAPI sends, one is
added, which is no input.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar, get_type_hints

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mizan_core.engine.engine import Engine
from mizan_core.engine.failures import invalidations_of
from mizan_core.engine.hosts.changing import Affected
from mizan_core.errors import CacheUnavailable, DeclarationError, HeaderError, Unavailable
from mizan_core.graph.callables import is_coroutine_function, name_of, wrapping
from mizan_core.graph.defects import nearest
from mizan_core.graph.narrowing import named
from mizan_core.protocol.headers import decode_header, encode_header
from mizan_core.protocol.invalidation import Invalidation, merge

from ...edge.fronting import Fronting
from ..responses import INVALIDATE_HEADER

F = TypeVar("F", bound=Callable[..., Any])

# A parameter that the contexts and the route have; several; or by parameters of the contexts those of the route.
By: TypeAlias = str | Sequence[str] | Mapping[str, str]

_HEADER, _GROUPS_HEADER = INVALIDATE_HEADER.decode(), "cache-group-invalidation"
# The parameter that is added to a route.
_ADDED = "mizan_response"


def changing_route(engine: Engine, groups: Fronting | None, affected: Sequence[Affected], by: By, endpoint: F) -> F:
    """The route with what it changes held and purged around it. Raises `DeclarationError` for what cannot work.

    `groups`: in whose words of cache groups its response tells it as well.
    """
    name = name_of(endpoint)
    if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
        raise DeclarationError(f"{name} yields, so it writes after it was called; use mizan.changing(...) in its body.")
    signature = _resolved(endpoint)
    scopes = _Scopes(engine, name, signature, affected, by)
    response = _response_parameter(signature)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        added = kwargs.pop(_ADDED, None) if response is None else None
        given = _arguments(signature, args, kwargs)
        with _in_terms_of_http(groups):
            async with engine.changing(*scopes.of(given), name=name) as change:
                result = await endpoint(*args, **kwargs)
        return _told(result, added or given.get(response or ""), change.invalidations, groups)

    def called(*args: Any, **kwargs: Any) -> Any:
        added = kwargs.pop(_ADDED, None) if response is None else None
        given = _arguments(signature, args, kwargs)
        with _in_terms_of_http(groups), engine.blocking.changing(*scopes.of(given), name=name) as change:
            result = endpoint(*args, **kwargs)
        return _told(result, added or given.get(response or ""), change.invalidations, groups)

    wrapper: Any = wrapping(awaited if is_coroutine_function(endpoint) else called, endpoint)
    wrapper.__signature__ = signature if response is not None else _with_response(signature)
    return wrapper  # type: ignore[no-any-return]  # it takes and returns what the route does


class _Scopes:
    """The invalidations of a route, narrowed by its arguments."""

    def __init__(
        self, engine: Engine, name: str, signature: inspect.Signature, affected: Sequence[Affected], by: By
    ) -> None:
        if not affected:
            raise DeclarationError(f"{name}: changes() names no context.")
        self._graph = engine.graph
        pairs = {by: by} if isinstance(by, str) else dict(by) if isinstance(by, Mapping) else {one: one for one in by}
        self._narrowing: list[tuple[Affected, dict[str, str]]] = []
        known: dict[str, None] = {}
        for one in affected:
            plan = self._graph.contexts[named(self._graph, one, {})[0].context]
            known |= dict.fromkeys(plan.parameters)
            own = {parameter: argument for parameter, argument in pairs.items() if parameter in plan.parameters}
            self._narrowing.append((one, own))
        for parameter, argument in pairs.items():
            if parameter not in known:
                what = f"{name}: by={parameter!r} is a parameter of no context that it changes"
                raise DeclarationError(f"{what}{nearest(parameter, known) or '.'}")
            if argument not in signature.parameters:
                what = f"{name}: by={argument!r} is no parameter of the route"
                raise DeclarationError(f"{what}{nearest(argument, signature.parameters) or '.'}")

    def of(self, given: Mapping[str, object]) -> Iterator[Invalidation]:
        """As of a mutation's arguments: null, or a value that does not fit, does not narrow."""
        for affected, narrowing in self._narrowing:
            values = {parameter: given.get(argument) for parameter, argument in narrowing.items()}
            yield from named(self._graph, affected, {name: one for name, one in values.items() if one is not None})


def _resolved(endpoint: Callable[..., Any]) -> inspect.Signature:
    """The signature, with annotations that are texts resolved where the names of the route's own module do it."""
    signature = inspect.signature(endpoint)
    try:
        hints = get_type_hints(endpoint, include_extras=True)
    except Exception:  # noqa: BLE001  # annotations may be any code; the host resolves them as it would have done
        return signature
    parameters = [one.replace(annotation=hints.get(one.name, one.annotation)) for one in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=hints.get("return", signature.return_annotation))


def _response_parameter(signature: inspect.Signature) -> str | None:
    """The parameter that FastAPI gives the response whose headers it sends."""
    for parameter in signature.parameters.values():
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Response):
            return parameter.name
    return None


def _with_response(signature: inspect.Signature) -> inspect.Signature:
    added = inspect.Parameter(_ADDED, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Response)
    own = list(signature.parameters.values())
    place = len(own) - 1 if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD else len(own)
    return signature.replace(parameters=[*own[:place], added, *own[place:]])


def _arguments(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


@contextmanager
def _in_terms_of_http(groups: Fronting | None) -> Iterator[None]:
    """Errors as the host answers them: an `HTTPException` tells what is stale; a cache that is down is 503."""
    try:
        yield
    except HTTPException as error:
        _tell(error, invalidations_of(error), groups)
        raise
    except (Unavailable, CacheUnavailable) as error:
        refused = HTTPException(Unavailable.STATUS, Unavailable.DETAIL)
        _tell(refused, invalidations_of(error), groups)
        raise refused from error


def add_groups(groups: Fronting, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of an `HTTPException`, with what is stale in the words of cache groups where it is told."""
    told = dict(headers or {})
    return {**told, _GROUPS_HEADER: groups.stale_groups(told[_HEADER])} if _HEADER in told else told


def _tell(error: HTTPException, stale: Sequence[Invalidation], groups: Fronting | None) -> None:
    if stale:
        error.headers = {**(error.headers or {}), _HEADER: encode_header(stale)}
        if groups is not None:
            error.headers = add_groups(groups, error.headers)


def _told(result: object, response: object, stale: Sequence[Invalidation], groups: Fronting | None) -> Any:
    """The result of the route, with the header set where it is sent."""
    target = result if isinstance(result, Response) else response
    if stale and isinstance(target, Response):
        _add(target.headers, stale)
        if groups is not None:
            target.headers[_GROUPS_HEADER] = groups.stale_groups(target.headers[_HEADER])
    return result


def _add(headers: MutableHeaders, stale: Sequence[Invalidation]) -> None:
    """Set the header, along with what it says already."""
    try:
        said = decode_header(headers.get(_HEADER, ""))
    except HeaderError:  # the host has written something else into it
        said = ()
    headers[_HEADER] = encode_header(merge([*stale, *said]))
