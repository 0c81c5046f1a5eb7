"""Random applications for tests of edges: hostile names and values, and readers that tell how often they were touched.

Each reader answers with the number of writes so far that concern it. A write is an invalidation, of any scope.
"""

import inspect
import itertools
import random
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import HTMLResponse

from mizan_core import Context, Graph, Invalidation, build, client, invalidate
from mizan_core.engine.bundle_requests import spell
from mizan_core.protocol.invalidation import touches
from mizan_core.protocol.urls import page_url

# Names that begin alike, and values that look like the syntax of headers, URLs, regular expressions and programs.
CONTEXTS = ["user", "user.x", "user-x", "users", "User", "u", "r_1"]
PARAMETERS = ["a", "aa", "a.b", "user_id", "x-y", "id"]
TEXTS = [
    *("a", "A", "", "5", "05", "null", "true", "*", "é", "a b", "a/b", "a;b=c", "a,b", "a&b=c", "a%2Cb", "%", "+", "?"),
    *('"', "'", "\\1", "}", "{", "$1", "]]", "#", "<!--", "~", ".a.", "\n", "日本", "a" * 300),
]
POOLS: dict[Any, list[Any]] = {str: TEXTS, int: [0, 1, 5, -5, 10**30], bool: [True, False]}


class RandomWorld:
    """An application made from a seed. `pools`: for each context the values of each parameter."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.writes: list[Invalidation] = []
        self.pools: dict[str, dict[str, list[Any]]] = {}
        self.pages: dict[str, tuple[str, ...]] = {}  # for each context that has a page, the parameters in its route
        functions = [one for name in self._some(CONTEXTS, 1, 4) for one in self._context(name)]
        self.graph: Graph = build(functions)

    def values(self, context: str) -> dict[str, Any]:
        """A value for each parameter of a context."""
        return {name: self.random.choice(pool) for name, pool in self.pools[context].items()}

    def texts(self, context: str, values: Mapping[str, Any]) -> dict[str, str | None]:
        """The canonical texts of a bundle; None is null."""
        return dict.fromkeys(self.pools[context]) | spell(self.graph.contexts[context], values).texts

    def url(self, context: str, values: Mapping[str, Any]) -> str:
        """The canonical URL of a bundle."""
        query = spell(self.graph.contexts[context], values).query
        return f"/api/mizan/ctx/{context}/" + (f"?{query}" if query else "")

    def page(self, context: str, values: Mapping[str, Any]) -> str:
        """The canonical URL of the context's page."""
        texts = self.texts(context, values)
        return page_url(self.route(context), {name: texts[name] or "" for name in self.pages[context]})

    def route(self, context: str) -> str:
        return f"/{context}/" + "".join(f"{{{name}}}/" for name in self.pages[context])

    def invalidation(self, context: str) -> Invalidation:
        """Of any part of some bundle's scope, sometimes with a function and with nulls."""
        scope = self.values(context)
        scope = {name: scope[name] for name in self._some(list(scope), 0, len(scope))}
        nulls = frozenset(name for name, value in scope.items() if value is None)
        return Invalidation(context, scope, self.random.choice([None, f"{context}_r"]), nulls)

    def version(self, context: str, texts: Mapping[str, str | None]) -> int:
        """How many writes concern a bundle or page; a page lacks texts, and is concerned whatever these are."""
        return sum(touches(write, context, texts) for write in self.writes)

    def _some(self, pool: list[Any], least: int, most: int) -> list[Any]:
        return self.random.sample(pool, self.random.randint(least, most))

    def _context(self, name: str) -> list[Any]:
        names = self._some(PARAMETERS, 0, 3)
        inputs: dict[str, Any] = {}
        pools = self.pools[name] = {}
        for one in names:
            kind: Any = self.random.choice([str, int, bool])
            values = POOLS[kind]
            match self.random.choice(["required", "required", "required", "default", "nullable", "list"]):
                case "required":
                    inputs[one], pools[one] = kind, values
                case "default":
                    inputs[one], pools[one] = (kind, values[-1]), values
                case "nullable":
                    inputs[one], pools[one] = (kind | None, None), [*values, None]
                case _:
                    inputs[one], pools[one] = (list[kind], []), [[], values[:1], values[:2], values[1:]]
        required = [one for one in names if not isinstance(inputs[one], tuple)]
        shapes = [tuple(sorted(one)) for size in (1, 2, 3) for one in itertools.combinations(names, size)]
        context = Context(name, scopes=self._some(shapes, 0, len(shapes)))
        options = self.random.choice([{}, {}, {}, {"rev": 3}, {"cache": 60}, {"auth": True}, {"cache": False}])
        made = [client(context=context, **options)(self._reader(name, f"{name}_r", int, inputs))]
        in_route = [one for one in required if one.isidentifier()]
        if self.random.random() < 0.7:
            taken = self._some(in_route, 0, len(in_route))
            self.pages[name] = tuple(taken)
            own = {one: inputs[one] for one in taken}
            page = self._reader(name, f"{name}_page", HTMLResponse, own)
            made.append(client(context=context, route=self.route(name), **options)(page))
        made.append(client(affects=context)(_function(f"write_{name}", {one: inputs[one] for one in required}, int)))
        made.append(client(affects=context.by_body())(self._writer(name)))
        return made

    def _reader(self, context: str, name: str, returns: Any, inputs: Mapping[str, Any]) -> Any:
        def body(given: dict[str, Any]) -> Any:
            plan = self.graph.contexts[context]
            known = {one: given.get(one, how[1] if isinstance(how, tuple) else None) for one, how in inputs.items()}
            texts = {one: text for one, text in spell(plan, _filled(plan, known)).texts.items() if one in inputs}
            version = self.version(context, {one: texts.get(one) for one in inputs})
            return HTMLResponse(str(version)) if returns is HTMLResponse else version

        return _function(name, inputs, returns, body)

    def _writer(self, context: str) -> Any:
        """A mutation that writes what the next of `pending` says."""

        def body(given: dict[str, Any]) -> int:
            write = self.pending
            self.writes.append(write)
            invalidate(write)
            return len(self.writes)

        return _function(f"body_{context}", {}, int, body)

    pending: Invalidation


def _filled(plan: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """These values, and any for the parameters that are lacking."""
    samples = {"str": "x", "int": 0, "bool": False}
    lacking = [name for name, one in plan.parameters.items() if name not in known and one.required]
    return {**known, **{name: samples.get(plan.parameters[name].annotation.__name__) for name in lacking}}


def _function(name: str, inputs: Mapping[str, Any], returns: Any, body: Any = None) -> Any:
    """An async function whose parameters have these names, as aliases where they are no identifiers."""
    given_names = {f"p{number}": one for number, one in enumerate(inputs)}

    async def made(**given: Any) -> Any:
        values = {given_names[key]: value for key, value in given.items()}
        return body(values) if body is not None else 0

    made.__name__ = made.__qualname__ = name
    made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what functools.wraps sets too
        [_parameter(key, one, inputs[one]) for key, one in given_names.items()], return_annotation=returns
    )
    return made


def _parameter(key: str, alias: str, one: Any) -> inspect.Parameter:
    annotation, default = one if isinstance(one, tuple) else (one, inspect.Parameter.empty)
    annotated = Annotated[annotation, Field(alias=alias)]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=annotated, default=default)
