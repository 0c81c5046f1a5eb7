"""The places of an application that are asked for: bundles and pages at their canonical URLs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from starlette.routing import compile_path

from mizan_core.engine.bundle_requests import spell
from mizan_core.errors import DeclarationError, InvalidInput, InvalidValue
from mizan_core.graph.model import ContextPlan, Function, Graph
from mizan_core.protocol.cache_policy import CachePolicy, Never
from mizan_core.protocol.urls import Pairs, page_url, route_parameters
from mizan_core.protocol.values import canonical

from ..http.bodies.forms import parse_pairs

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A bundle, or a page, at its canonical URL.

    `readers`: the members of a bundle; none for a page. `params`: the values by which its context may be purged.
    """

    context: str
    path: str
    query: str = ""
    is_public: bool = False
    readers: tuple[str, ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_page(self) -> bool:
        return not self.readers

    @property
    def url(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def spelled(self, number: int) -> str:
        """Another spelling of the URL, which the application answers with `no-store`, and which no cache has seen."""
        return f"{self.path}?{self.query}{'&' * number}"


@dataclass(frozen=True, slots=True)
class Unasked:
    """A place that could not be asked for, and why."""

    name: str
    why: str


class Places:
    """The places of a graph that is mounted at `base_url`."""

    def __init__(self, graph: Graph, base_url: str) -> None:
        self._graph = graph
        self._base_url = base_url
        self._bundles = {f"{base_url}/ctx/{plan.name}/": plan for plan in graph.contexts.values() if plan.readers}
        self._pages = {one.declaration.route or "": one for one in graph.functions.values() if _is_page(one)}

    def named(self, urls: Sequence[str]) -> Iterator[Place]:
        """Those of `--url`. Raises `DeclarationError` for a URL at which the application has nothing to keep."""
        for url in urls:
            yield self._at(url)

    def with_values(self, given: Sequence[tuple[str, str]]) -> Iterator[Place | Unasked]:
        """All whose parameters these texts fill in, public ones first; and those that lack some.

        A name may have its context before it, as `user.user_id`. Raises `DeclarationError` for a name that nothing has.
        """
        used: set[str] = set()
        every: list[ContextPlan | Function] = [*self._bundles.values(), *self._pages.values()]
        found = [self._filled(one, given, used) for one in every]
        if unknown := [name for name, _ in given if name not in used]:
            raise DeclarationError(f"--with names {', '.join(unknown)}, and no context or page has such a parameter.")
        yield from sorted(found, key=lambda one: not (isinstance(one, Place) and one.is_public))

    def _at(self, url: str) -> Place:
        parts = urlsplit(url)
        for path, plan in self._bundles.items():
            if parts.path.rstrip("/") == path.rstrip("/"):
                return _checked(url, self._bundle, plan, parse_pairs(parts.query.encode()))
        for route, function in self._pages.items():
            for spelling in (parts.path, f"{parts.path}/", parts.path.rstrip("/")):
                match = compile_path(route)[0].match(spelling)
                if match is not None:
                    texts = Pairs((name, unquote(text)) for name, text in match.groupdict().items())
                    return _checked(url, self._page, function, texts)
        raise DeclarationError(
            f"--url {url}: the target has neither a bundle nor a page there. `mizan manifest TARGET` lists the paths."
        )

    def _filled(self, one: ContextPlan | Function, given: Sequence[tuple[str, str]], used: set[str]) -> Place | Unasked:
        validator = one.validator
        context = one.name if isinstance(one, ContextPlan) else one.context or ""
        pairs = []
        for name, text in given:
            own = name.removeprefix(f"{context}.")
            if own in validator.names:
                used.add(name)
                pairs.append((own, text))
        name = one.name if isinstance(one, ContextPlan) else one.declaration.route or one.name
        if missing := sorted(validator.required - {own for own, _ in pairs}):
            wanted = " ".join(f"--with {own}=..." for own in missing)
            return Unasked(name, f"it needs {', '.join(missing)}: {wanted}")
        try:
            return self._bundle(one, Pairs(pairs)) if isinstance(one, ContextPlan) else self._page(one, Pairs(pairs))
        except InvalidInput as error:
            return Unasked(name, _wrong(error))

    def _bundle(self, plan: ContextPlan, given: Pairs) -> Place:
        sent = plan.validator.validate(given)
        query = spell(plan, sent).query
        if query is None:
            raise InvalidInput("A value has no canonical URL.")
        return Place(
            context=plan.name,
            path=f"{self._base_url}/ctx/{plan.name}/",
            query=query,
            is_public=_is_public(plan.policy),
            readers=tuple(sorted(reader.member for reader in plan.readers)),
            params=_scope(plan, sent),
        )

    def _page(self, function: Function, given: Pairs) -> Place:
        route, plan = function.declaration.route or "", self._graph.contexts[function.context or ""]
        sent = function.validator.validate(given)
        texts = {name: canonical(sent[name]) for name in route_parameters(route)}
        return Place(
            context=plan.name,
            path=page_url(route, texts),
            is_public=_is_public(plan.page_policies[function.name]),
            params=_scope(plan, {name: sent[name] for name in texts}),
        )


def _is_page(function: Function) -> bool:
    """Whether a GET of its own route gives its answer, by what the route has."""
    route = function.declaration.route
    if route is None or function.context is None or "GET" not in function.declaration.methods:
        return False
    return function.validator.required <= set(route_parameters(route)) <= function.validator.names


def _is_public(policy: CachePolicy) -> bool:
    return policy.for_everyone and not isinstance(policy.lifetime, Never)


def _scope(plan: ContextPlan, sent: Mapping[str, object]) -> dict[str, object]:
    """What narrows a purge to this place: lists and nulls do not."""
    return {
        name: value
        for name, value in sent.items()
        if value is not None and name in plan.parameters and not plan.parameters[name].is_list
    }


def _checked(url: str, made: Callable[[T, Pairs], Place], of: T, texts: Pairs) -> Place:
    """The place of a URL that was named. Raises `DeclarationError` where its values are not of their types."""
    try:
        return made(of, texts)
    except (InvalidInput, InvalidValue) as error:
        raise DeclarationError(f"--url {url}: {_wrong(error)}") from None


def _wrong(error: Exception) -> str:
    errors = error.errors if isinstance(error, InvalidInput) else ()
    listed = "; ".join(f"{one.get('loc', ('',))[-1]}: {one.get('msg')}" for one in errors)  # type: ignore[index]
    return listed or str(error)
