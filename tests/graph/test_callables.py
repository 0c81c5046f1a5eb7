"""Callables that can be marked: functions, bound methods, partials, callable objects, and wrappers of all kinds."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from mizan_core import Context, DeclarationError, Engine, Invalidation, MemoryCache, build, client


class Service:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    async def times(self, number: int) -> int:
        return self.factor * number

    def plus(self, number: int, more: int = 0) -> int:
        return self.factor + number + more


class Doubler:
    """An object that is called."""

    async def __call__(self, number: int) -> int:
        return 2 * number


async def added(number: int, more: int = 0) -> int:
    return number + more


def loudly(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function that returns the coroutine."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def in_a_loop_of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper that answers by itself."""

    @functools.wraps(function)
    def wrapper(number: int) -> Any:
        return 7

    return wrapper


def returning_a_coroutine(number: int) -> int:
    return added(number, 4)  # type: ignore[return-value]


CALLABLES: list[tuple[Callable[..., Any], str, int]] = [
    (Service(3).times, "times", 9),
    (Service(3).plus, "plus", 6),
    (functools.partial(added, more=1), "added", 4),
    (functools.partial(Service(3).plus, more=1), "plus", 7),
    (functools.partial(functools.partial(Service(3).times)), "times", 9),
    (Doubler(), "Doubler", 6),
    (loudly(added), "added", 3),
    (loudly(Service(3).times), "times", 9),
    (in_a_loop_of_its_own(added), "added", 3),
    (remembered(added), "added", 7),
    (returning_a_coroutine, "returning_a_coroutine", 7),
]
each = pytest.mark.parametrize(("function", "name", "result"), CALLABLES, ids=[f"{n}-{r}" for _, n, r in CALLABLES])


@each
@pytest.mark.parametrize("options", [{"context": "page"}, {"affects": "page"}, {}])
def test_it_is_marked_called_and_answers(function: Any, name: str, result: int, options: dict[str, Any]) -> None:
    @client(context="page")
    async def page() -> int:
        return 0

    marked = client(**options)(functools.partial(function))  # a mark on the function itself would stay there

    async def story() -> None:
        async with Engine(build([marked, page]), cache=MemoryCache()) as engine:
            answer = await engine.call(name, {"number": "3"})
            assert (answer.result, answer.result_json) == (result, b"%d" % result)
            assert bool(answer.invalidations) == ("affects" in options)

    asyncio.run(story())


@each
@pytest.mark.parametrize("concurrent", [True, False])
def test_it_is_a_reader_of_a_bundle(function: Any, name: str, result: int, concurrent: bool) -> None:
    marked = client(context=Context("page", concurrent=concurrent))(functools.partial(function))

    async def story() -> None:
        async with Engine(build([marked]), cache=MemoryCache()) as engine:
            assert (await engine.fetch("page", {"number": 3})).body == b'{"%b":%d}' % (name.encode(), result)

    asyncio.run(story())


def test_arguments_bound_by_a_partial_cannot_be_sent() -> None:
    graph = build([client(functools.partial(Service(3).plus, more=1)), client(name="two")(functools.partial(added, 2))])
    assert list(graph.functions["plus"].inputs) == ["number"]
    assert list(graph.functions["two"].inputs) == ["more"]


def test_a_mutation_of_an_object_joins_its_callers_answer() -> None:
    @client(context="page")
    async def page(number: int) -> int:
        return number

    inner = client(affects="page")(Service(3).times)

    @client
    async def act() -> int:
        return await inner(3)  # type: ignore[no-any-return]

    async def story() -> None:
        answer = await Engine(build([page, inner, act])).call("act", {})
        assert (answer.result, answer.invalidations) == (9, (Invalidation("page", {"number": 3}),))
        assert await inner(3) == 9

    asyncio.run(story())


def test_marking_an_object_leaves_the_object_alone() -> None:
    doubler = Doubler()
    marked = client(context="page")(doubler)
    assert asyncio.run(marked(2)) == 4
    assert (marked.__name__, vars(doubler)) == ("Doubler", {})
    assert client(context="page")(Service(3).plus)(2) == 5


def test_an_object_whose_call_yields_is_refused() -> None:
    class Yielding:
        def __call__(self) -> Any:
            yield 1

    with pytest.raises(DeclarationError, match="Yielding: it yields"):
        client(Yielding())
