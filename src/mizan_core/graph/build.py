"""Builds the `Graph`: collects declarations, has them checked and compiled, and reports all defects together.

Each step has a module in `building/`: `functions` compiles one declaration, `contexts` checks the readers of a context
against each other, `affects` resolves what a mutation makes stale, and `plans` derives the rest once nothing is wrong.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import GraphError
from .building.affects import Resolver
from .building.contexts import CheckedContext, check_context
from .building.functions import compile_function
from .building.plans import plan_of
from .declare import Context, Declaration, declaration_of
from .model import Function, Graph
from .provide import NOTHING_PROVIDED, Provided, check_provided


def build(functions: Iterable[Callable[..., Any]], *, provide: Provided = NOTHING_PROVIDED) -> Graph:
    """Check the functions as a whole and compile them. Raises one `GraphError` with every defect found.

    `provide`: by type, the factory that opens a resource of it, such as `{AsyncSession: open_session}` (see `Provide`);
    None for a factory that `Engine(provide=...)` names. Raises `DeclarationError` for anything else.
    """
    provided = check_provided(provide, may_lack=True)
    sources = tuple(dict.fromkeys(functions))
    defects: list[str] = []
    declared, settings = _collect(sources, defects)
    compiled = _compile(declared, provided, defects)
    contexts = _check_contexts(compiled, settings, defects)
    _check_routes(declared, defects)
    resolver = Resolver(declared, settings, contexts, defects)
    for function in compiled.values():
        resolver.check_spares(function)
    resolved = {name: _with_affects(function, resolver) for name, function in compiled.items()}
    if defects:
        raise GraphError(defects)
    return Graph(resolved, {name: plan_of(one, resolved.values()) for name, one in contexts.items()}, sources, provided)


def _collect(
    sources: Sequence[Callable[..., Any]], defects: list[str]
) -> tuple[dict[str, Declaration], dict[str, Context]]:
    """The declarations by the names that calls have for them, and the contexts that they name, by name."""
    named: defaultdict[str, list[Declaration]] = defaultdict(list)
    settings: dict[str, Context] = {}
    for source in sources:
        declaration = declaration_of(source)
        if declaration is None:
            defects.append(f"{source!r} is not marked with @client")
        elif declaration.marked is not source:
            defects.append(
                f"{declaration.name}: another decorator stands above @client, and calls would pass it by; "
                "put @client on top"
            )
        else:
            named[declaration.name].append(declaration)
            if declaration.context is not None:
                _read_settings(declaration.context, settings, defects)
    return dict(_by_call(named, defects)), settings


def _by_call(named: Mapping[str, Sequence[Declaration]], defects: list[str]) -> Iterator[tuple[str, Declaration]]:
    """Each declaration with the name that calls have for it.

    Readers of several contexts may share a name. Calls then name them with their contexts: `orders.list`.
    """
    for name, (first, *others) in named.items():
        contexts = [None if one.context is None else one.context.name for one in (first, *others)]
        qualified = [f"{context}.{name}" for context in contexts]
        if not others:
            yield name, first
        elif None in contexts or len(set(contexts)) < len(contexts) or not named.keys().isdisjoint(qualified):
            defects.append(
                f"two functions are called {name!r}: {_place(first)} and {_place(others[0])}; give one of them "
                "name='...'. (Only readers of different contexts may share a name.)"
            )
            yield name, first
        else:
            yield from zip(qualified, (first, *others), strict=True)


def _read_settings(context: Context, settings: dict[str, Context], defects: list[str]) -> None:
    """Several functions may name one context, and at most one of them may set it up."""
    known = settings.get(context.name)
    if known is None or known == Context(context.name):
        settings[context.name] = context
    elif context not in (known, Context(context.name)):
        defects.append(f"context {context.name!r} is declared twice with different settings; declare it once")


def _compile(declared: Mapping[str, Declaration], provided: Provided, defects: list[str]) -> dict[str, Function]:
    found = {name: compile_function(name, declaration, provided, defects) for name, declaration in declared.items()}
    return {name: function for name, function in found.items() if function is not None}


def _check_contexts(
    functions: Mapping[str, Function], settings: Mapping[str, Context], defects: list[str]
) -> dict[str, CheckedContext]:
    members: defaultdict[str, list[Function]] = defaultdict(list)
    for function in functions.values():
        if function.context is not None:
            members[function.context].append(function)
    return {name: check_context(settings[name], readers, defects) for name, readers in members.items()}


def _check_routes(declared: Mapping[str, Declaration], defects: list[str]) -> None:
    taken: dict[tuple[str, str], str] = {}
    for declaration in declared.values():
        for method in declaration.methods:
            place = (method, (declaration.route or "").rstrip("/"))
            if place in taken:
                defects.append(f"{taken[place]} and {declaration.name} both answer {method} {declaration.route}")
            taken.setdefault(place, declaration.name)


def _with_affects(function: Function, resolver: Resolver) -> Function:
    """A function that affects nothing stays the object that its context's plan holds."""
    affects = resolver.affects(function)
    return replace(function, affects=affects) if affects else function


def _place(declaration: Declaration) -> str:
    function = declaration.function
    return f"{function.__module__}.{function.__qualname__}"
