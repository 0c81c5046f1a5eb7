"""Opens what functions take from the server: resources by their factories, and dependencies by the host's framework.

The framework solves dependencies in the task that runs the functions, and closes them before that task goes on: an
error of a function, or a cancellation, reaches them as any exception does.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeAlias, TypeVar

from ...errors import DeclarationError
from ...graph.model import Function, Graph
from ...graph.provide import Factory, HostDependency, Provided, check_provided, factory_of, named_by, show_key
from ...resources import InThread, opened

T = TypeVar("T")

# The opened values, by the keys of `Function.resources`.
Opened: TypeAlias = Mapping[Any, Any]

# Functions that run together, each with its arguments by the names that clients use.
Calls: TypeAlias = Sequence[tuple[Function, Mapping[str, Any]]]


class HostDependencies(Protocol):
    """Solves the dependencies of functions as the host's framework does, such as FastAPI's `Depends(...)`."""

    def check(self, graph: Graph, /) -> None:
        """Raise `DeclarationError` for dependencies that cannot work here. Called once, at start-up."""
        ...

    async def within(self, calls: Calls, request: object, work: Callable[[Opened], Awaitable[T]], /) -> T:
        """Solve the dependencies of these calls together, do the work with them, and close them.

        `request`: the host's, or None where there is none or the answer is kept. An error of the work is thrown into
        the dependencies, which may raise another one, and cannot hide it.
        """
        ...


class Resources:
    """Opens the resources of one graph's functions, each once for all functions that run together."""

    def __init__(self, graph: Graph, provide: object, host: HostDependencies | None, in_thread: InThread) -> None:
        """Raises `DeclarationError` for a resource that nothing opens."""
        self._factories = _factories(graph, provide)
        self._host = host
        self._in_thread = in_thread
        if host is None:
            _check_needs_no_host(graph)
        else:
            host.check(graph)

    async def within(self, calls: Calls, request: object, work: Callable[[Opened], Awaitable[T]]) -> T:
        """Do the work with what these functions take, closed when this returns or raises."""
        async with AsyncExitStack() as stack:
            resources: dict[Any, Any] = {}
            for key in dict.fromkeys(key for function, _ in calls for key in function.resources.values()):
                if not isinstance(key, HostDependency):
                    resources[key] = await stack.enter_async_context(opened(self._factories[key], self._in_thread))
            depending = [call for call in calls if call[0].dependencies]
            if self._host is None or not depending:
                return await work(resources)
            return await self._host.within(depending, request, lambda solved: work({**resources, **solved}))


def _factories(graph: Graph, provide: object) -> dict[Any, Factory]:
    """The factory of each resource that a function of the graph takes. Raises `DeclarationError` if one is missing."""
    replaced = check_provided(provide, may_lack=False)
    factories: dict[Any, Factory] = {}
    for function in graph.functions.values():
        for name, key in function.resources.items():
            if isinstance(key, HostDependency):
                continue
            factory = factory_of(key, replaced) or factory_of(key, graph.provided)
            if factory is None:
                raise DeclarationError(
                    f"{function.name} takes {name!r}, a {show_key(key)}, and no factory opens one; give it to the "
                    f"engine: provide={{{show_key(key)}: ...}}."
                )
            factories[key] = factory
    _check_taken(factories, replaced)
    return factories


def _check_taken(factories: Mapping[Any, Factory], replaced: Provided) -> None:
    taken = {named_by(key) for key in factories}
    unknown = [show_key(key) for key in replaced if key not in taken]
    if unknown:
        raise DeclarationError(f"provide= names {', '.join(unknown)}, which no function of the graph takes.")


def _check_needs_no_host(graph: Graph) -> None:
    for function in graph.functions.values():
        for name in function.dependencies:
            raise DeclarationError(
                f"{function.name}: parameter {name!r} has Depends(...), which only FastAPI can solve; give the "
                "application to Mizan: Mizan(graph, fastapi=app). Without FastAPI, take the caller as `me: Identity`, "
                "which authenticate= finds out, and what else the function needs, such as a database session, by its "
                "type: build(functions, provide={AsyncSession: ...})."
            )
