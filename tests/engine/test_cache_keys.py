"""A remembered query: the arguments of its readers, and about how many bytes it takes."""

import inspect
import tracemalloc

import pytest

from mizan_core import ANONYMOUS, Context, Engine, Graph, MemoryCache, build, client
from mizan_core.engine.bundle_requests import BundleRequest

KEYWORD = inspect.Parameter.KEYWORD_ONLY


def graph(readers: int) -> Graph:
    """A context whose first reader takes all of its parameters, and each further reader one of them."""
    user = Context("user")

    @client(context=user)
    async def all_of_it(user_id: int, page: int = 1, day: str | None = None) -> str:
        return ""

    @client(affects=user)
    async def rename(user_id: int) -> None: ...

    others = [client(context=user, name=f"reader{number}")(one_of_many(number)) for number in range(readers - 1)]
    return build([all_of_it, rename, *others])


def one_of_many(number: int) -> object:
    async def reader(user_id: int) -> str:
        return str(number)

    return reader


def query(engine: Engine, **params: object) -> BundleRequest:
    return engine.query(engine.plan("user"), params, ANONYMOUS)


def test_a_reader_is_given_the_parameters_that_it_takes() -> None:
    engine = Engine(graph(2))
    asked = query(engine, user_id=5, page=2)
    assert {reader.name: share for reader, share in asked.calls} == {
        "all_of_it": {"user_id": 5, "page": 2},
        "reader0": {"user_id": 5},
    }
    assert [share for _, share in query(engine, user_id=5).calls] == [{"user_id": 5}] * 2


@pytest.mark.parametrize("readers", [1, 2, 32])
@pytest.mark.parametrize("params", [{}, {"page": 2}, {"page": 2, "day": "x" * 1_000}], ids=["one", "two", "long"])
def test_a_query_takes_about_the_bytes_that_are_counted(readers: int, params: dict[str, object]) -> None:
    engine = Engine(graph(readers), cache=MemoryCache())
    check_what_is_counted(engine, **params)


def test_the_scopes_that_a_query_is_in_are_counted() -> None:
    user = Context("user", scopes=[(f"p{number}",) for number in range(12)])

    async def reader(**params: int) -> int:
        return len(params)

    several = [("user_id", inspect.Parameter.empty), *((f"p{number}", 0) for number in range(12))]
    reader.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as decorators set it
        [inspect.Parameter(name, KEYWORD, annotation=int, default=default) for name, default in several],
        return_annotation=int,
    )
    client(context=user)(reader)
    check_what_is_counted(Engine(build([reader]), cache=MemoryCache()))


def check_what_is_counted(engine: Engine, **params: object) -> None:
    query(engine, user_id=-1, **params)
    tracemalloc.start()
    queries = [query(engine, user_id=number, **params) for number in range(1_000, 2_000)]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counted = sum(one.size for one in queries)
    assert 0.4 * counted < used < 1.1 * counted
