"""FastAPI's `Depends(...)` in functions, solved by FastAPI itself.

For the functions that run together there is one route, never added to the application, whose endpoint takes all of
their dependencies and runs the functions. So sub-dependencies, `yield`, threads, caching and `dependency_overrides`
are FastAPI's own, in the task of the functions; and when the route has answered, every dependency is closed.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import FastAPI, Response
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Message, Scope

from mizan_core.engine.hosts.resources import Calls, Opened
from mizan_core.errors import DeclarationError, InvalidInput
from mizan_core.graph.model import Function, Graph
from mizan_core.graph.provide import HostDependency
from mizan_core.protocol.cache_policy import Never
from mizan_core.protocol.values import canonical, jsonable

T = TypeVar("T")

# The key in the scope of the work that the endpoint does.
_WORK = "mizan.work"

# FastAPI's names for what it would fill in by itself, and the reason why that cannot be done in any function.
_NEVER = {
    "websocket_param_name": "takes a WebSocket, and there are none here",
    "response_param_name": "takes the Response, and nothing would send what it sets; let a view return one",
    "background_tasks_param_name": "takes BackgroundTasks, and nothing would run them; hand the work to a queue",
}
_NEVER_SENT = {
    "path_params": "the path",
    "body_params": "the body, which has the arguments of the function",
}
_OF_REQUEST = ("request_param_name", "http_connection_param_name")
_SENT = {"header_params": "the header", "cookie_params": "the cookie", "query_params": "the query parameter"}


class FastAPIDependencies:
    """Solves the dependencies of functions as this application would (`HostDependencies` of the engine)."""

    def __init__(self, app: object) -> None:
        if not isinstance(app, FastAPI):
            raise DeclarationError(f"fastapi={app!r} is no FastAPI application; write Mizan(graph, fastapi=app).")
        self._app = app
        self._solvers: dict[tuple[str, ...], _Solver] = {}
        self._kept: frozenset[str] = frozenset()

    def check(self, graph: Graph) -> None:
        """Refuse dependencies that FastAPI refuses, that cannot work here, or that read the request of a kept answer.

        Raises `DeclarationError` with a sentence for each.
        """
        depending = [function for function in graph.functions.values() if function.dependencies]
        self._kept = frozenset(function.name for function in depending if _is_kept(function))
        defects: list[str] = []
        for function in depending:
            try:
                defects += self._solver([function]).defects()
            except (AssertionError, FastAPIError, TypeError) as error:  # FastAPI's own refusals
                defects.append(f"{function.name}: FastAPI refuses its dependencies: {error}")
        if defects:
            raise DeclarationError("\n".join(dict.fromkeys(defects)))

    async def within(self, calls: Calls, request: object, work: Callable[[Opened], Awaitable[T]]) -> T:
        """Do the work with the dependencies of these calls, which are closed when this returns or raises."""
        solver = self._solver([function for function, _ in calls])
        return await solver.run(request, [arguments for _, arguments in calls], work)

    def _solver(self, functions: Sequence[Function]) -> "_Solver":
        names = tuple(function.name for function in functions)
        if names not in self._solvers:
            self._solvers[names] = _Solver(self._app, functions, self._kept)
        return self._solvers[names]


class _Work:
    """The work of one route's endpoint, and what came of it."""

    def __init__(self, begin: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> None:
        self._begin = begin
        self.has_begun = False
        self.result: Any = None
        self.error: BaseException | None = None

    async def run(self, solved: Mapping[str, Any]) -> Response:
        self.has_begun = True
        try:
            self.result = await self._begin(solved)
        except BaseException as error:
            self.error = error
            raise
        return Response()


class _Solver:
    """A route whose endpoint takes the dependencies of these functions. Raises as FastAPI does for bad ones."""

    def __init__(self, app: FastAPI, functions: Sequence[Function], kept: frozenset[str]) -> None:
        self._app = app
        self._functions = functions
        self._kept = kept
        self._keys: dict[str, HostDependency] = {}
        for function in functions:
            for name, key in function.dependencies.items():
                while name in self._keys:
                    name += "_"  # noqa: PLW2901  # two functions may call theirs the same
                self._keys[name] = key
        self._name = ", ".join(function.name for function in functions)
        self._route = _route(app, self._keys, self._name)
        self._answer = AsyncExitStackMiddleware(self._route.app)
        self._reads = self._first_read()
        self._names = self._names_of_arguments({})

    async def run(
        self, request: object, arguments: Sequence[Mapping[str, Any]], work: Callable[[Opened], Awaitable[T]]
    ) -> T:
        """Do the work with the dependencies of the functions, for their arguments in the same order."""
        asking = request if isinstance(request, Request) else None
        names = self._names
        if self._app.dependency_overrides:
            self._check_overriding(asking)
            names = self._names_of_arguments(self._app.dependency_overrides)
        elif asking is None and self._reads is not None:
            raise _no_request(self._reads)
        doing = _Work(lambda solved: work({key: solved[name] for name, key in self._keys.items()}))
        scope, receive = _asked(self._app, asking)
        scope[_WORK] = doing
        if names:
            scope["query_string"] = _query(scope["query_string"], self._functions, arguments, names)
        try:
            await self._answer(scope, receive, _nothing)
        except RequestValidationError as error:
            if doing.has_begun:
                raise
            raise _invalid(error, names) from None
        except (FastAPIError, UnboundLocalError):  # FastAPI misses the response if a dependency's `except` swallowed it
            if doing.error is None:
                raise
        if doing.error is not None:
            raise doing.error
        result: T = doing.result
        return result

    def defects(self) -> Iterator[str]:
        """The reasons why these dependencies cannot work, a sentence each."""
        for function, where, dependant in self._dependants({}):
            for name, why in _NEVER.items():
                if getattr(dependant, name, None) is not None:
                    yield f"{where} {why}."
            for name, source in _NEVER_SENT.items():
                for one in getattr(dependant, name):
                    yield (
                        f"{where} reads {one.name!r} from {source}; let {function.name} take it as a parameter, and "
                        "call what needs it."
                    )
            if function.name in self._kept:
                yield from (_refusal(function, where, read) for read in _reads(function, dependant))

    def _check_overriding(self, request: Request | None) -> None:
        """Overrides may read the request where the dependencies that they replace do not."""
        for function, where, dependant in self._dependants(self._app.dependency_overrides):
            for read in _reads(function, dependant):
                if function.name in self._kept:
                    raise DeclarationError(_refusal(function, where, read))
                if request is None:
                    raise _no_request(f"{where} {read}")

    def _first_read(self) -> str | None:
        """The first read of the request that a dependency makes."""
        found = (f"{where} {read}" for of, where, one in self._dependants({}) for read in _reads(of, one))
        return next(found, None)

    def _names_of_arguments(self, overrides: Mapping[Any, Any]) -> frozenset[str]:
        """The arguments of the functions that dependencies take by name."""
        return frozenset(
            field.alias
            for function, _, dependant in self._dependants(overrides)
            for field in dependant.query_params
            if field.alias in function.inputs
        )

    def _dependants(self, overrides: Mapping[Any, Any]) -> Iterator[tuple[Function, str, Any]]:
        """Every dependency at any depth: the function that takes it, and the words for the way to it."""
        places = iter(self._route.dependant.dependencies)
        for function in self._functions:
            for parameter, dependant in zip(function.dependencies, places, strict=False):
                for chain, one in self._below(dependant, (), overrides):
                    yield function, f"{function.name} takes {parameter!r} by Depends({chain}), which", one

    def _below(self, dependant: Any, above: tuple[str, ...], overrides: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
        override = overrides.get(dependant.call)
        if override is not None:
            key = HostDependency(Any, Depends(override))
            dependant = _route(self._app, {"value": key}, self._name).dependant.dependencies[0]
        chain = (*above, _shown(dependant.call))
        yield " → ".join(chain), dependant
        for one in dependant.dependencies:
            yield from self._below(one, chain, overrides)


def _route(app: FastAPI, keys: Mapping[str, HostDependency], name: str) -> APIRoute:
    """`name`: of the functions, for FastAPI's spans and errors."""

    async def endpoint(request: Request, **solved: Any) -> Response:
        work: _Work = request.scope[_WORK]
        return await work.run(solved)

    endpoint.__name__ = endpoint.__qualname__ = name
    empty = inspect.Parameter.empty
    parameters = {"request": (Request, empty), **{name: (key.annotation, key.default) for name, key in keys.items()}}
    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as `inspect.signature` reads it
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in parameters.items()
        ]
    )
    return APIRoute("/", endpoint, dependency_overrides_provider=app, response_model=None, include_in_schema=False)


def _is_kept(function: Function) -> bool:
    """Whether an answer with this function's result may be kept, so that requests to come are served it too.

    What its own declaration says counts: a bundle is kept no longer than each of its readers alone.
    """
    return function.context is not None and not isinstance(function.declaration.lifetime, Never)


def _reads(function: Function, dependant: Any) -> Iterator[str]:
    """What a dependency of this function reads of the request, without those that it depends on."""
    if any(getattr(dependant, name, None) is not None for name in _OF_REQUEST):
        yield "takes the request"
    for name, what in _SENT.items():
        for field in getattr(dependant, name):
            if name != "query_params" or field.alias not in function.inputs:
                yield f"reads {what} {field.alias!r}"


def _refusal(function: Function, where: str, read: str) -> str:
    return (
        f"{where} {read}, and the answers of {function.name} are kept for requests to come. Take the caller as "
        "`me: Identity`, which authenticate= finds out, a value of the request as a parameter, what request.app has "
        f"from a module; or give {function.name} cache=False."
    )


def _no_request(read: str) -> DeclarationError:
    return DeclarationError(
        f"{read}, and this call has no request. Give it one, as in engine.run(..., request=request), or take a "
        "dependency that needs none."
    )


def _shown(call: Any) -> str:
    return getattr(call, "__qualname__", None) or type(call).__qualname__


def _asked(app: FastAPI, request: Request | None) -> tuple[Scope, Callable[[], Awaitable[Message]]]:
    """The scope to solve dependencies with: a copy of the request's, or one that tells nothing."""
    if request is not None:
        scope = dict(request.scope)
        receive = request.receive
    else:
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "app": app}
        receive = _nothing
    # Without the application's handlers, which would answer for an exception.
    scope["starlette.exception_handlers"] = ({}, {})
    return scope, receive


async def _nothing(*_: Message) -> Any: ...


def _query(sent: bytes, functions: Sequence[Function], given: Sequence[Mapping[str, Any]], names: Set[str]) -> bytes:
    """The query that FastAPI reads dependencies' parameters from: what was sent, with the arguments of these names."""
    pairs = [pair for pair in parse_qsl(sent.decode("latin-1"), keep_blank_values=True) if pair[0] not in names]
    for name in sorted(names):
        place = next(place for place, function in enumerate(functions) if name in function.inputs)
        value = jsonable(given[place].get(name, functions[place].inputs[name].input.default))
        members = value if isinstance(value, list) else [value]
        pairs += [(name, canonical(one)) for one in members if one is not None]
    return urlencode(pairs).encode("ascii")


def _invalid(error: RequestValidationError, names: Set[str]) -> InvalidInput:
    """The refusal of a request or of arguments that dependencies could not read, without the values."""
    found = [{name: one[name] for name in ("loc", "msg", "type") if name in one} for one in error.errors()]
    for one in found:
        if one["loc"][0] == "query" and one["loc"][1] in names:
            one["loc"] = ("args", *one["loc"][1:])
    return InvalidInput(errors=found)
