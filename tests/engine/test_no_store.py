"""`no_store`: a reader says of one answer that no cache may keep it."""

import asyncio
import logging
from typing import Any

import pytest

from mizan_core import Bundle, DeclarationError, Engine, MemoryCache, build, client, no_store
from mizan_core.proof import Verify

_ran: list[str] = []
_is_down = True


@pytest.fixture(autouse=True)
def _down() -> None:
    global _is_down  # noqa: PLW0603  # the state of a service
    _is_down = True
    _ran.clear()


def _found(words: str) -> list[str]:
    _ran.append(words)
    if _is_down:
        no_store("the search is down")
        return []
    return [words]


@client(context="search")
async def results(words: str) -> list[str]:
    return _found(words)


@client(context="threaded")
def results_of_thread(words: str) -> list[str]:
    return _found(words)


@client(context="slow")
async def results_later(words: str) -> list[str]:
    await asyncio.sleep(0)
    return await asyncio.create_task(_in_a_task(words))


async def _in_a_task(words: str) -> list[str]:
    return _found(words)


@client(context="both")
async def one_half() -> int:
    return 1


@client(context="both")
async def other_half(words: str) -> list[str]:
    return _found(words)


@client(context="page", route="/found/{words}/")
async def found_page(words: str) -> list[str]:
    return _found(words)


@client(affects="search")
async def index() -> None:
    _found("index")


FUNCTIONS = [results, results_of_thread, results_later, one_half, other_half, found_page, index]

NO_STORE = ("bypass", "no-store", "mizan; fwd=bypass; detail=no-store")


def engine(**settings: Any) -> Engine:
    return Engine(build(FUNCTIONS), cache=MemoryCache(), **settings)


def told(bundle: Bundle) -> tuple[str, str, str]:
    return bundle.status, bundle.policy, bundle.cache_status


@pytest.mark.asyncio
@pytest.mark.parametrize("context", ["search", "threaded", "slow", "both"])
async def test_an_answer_is_kept_once_it_may_be(context: str) -> None:
    global _is_down  # noqa: PLW0603  # the state of a service
    async with engine() as one:
        assert [told(await one.fetch(context, {"words": "tea"})) for _ in range(2)] == [NO_STORE] * 2
        _is_down = False
        assert [(await one.fetch(context, {"words": "tea"})).status for _ in range(2)] == ["miss", "hit"]


@pytest.mark.asyncio
async def test_requests_that_have_joined_get_the_same_answer() -> None:
    async with engine() as one:
        found = await asyncio.gather(*(one.fetch("slow", {"words": "tea"}) for _ in range(5)))
    assert {told(bundle) for bundle in found} == {NO_STORE}
    assert _ran == ["tea"]


@pytest.mark.asyncio
async def test_a_page_that_declines_is_kept_nowhere() -> None:
    global _is_down  # noqa: PLW0603  # the state of a service
    async with engine() as one:
        assert not (await one.page("found_page", {"words": "tea"})).keepable
        _is_down = False
        assert (await one.page("found_page", {"words": "tea"})).keepable


@pytest.mark.asyncio
async def test_a_reader_that_fetches_such_a_bundle_is_not_kept() -> None:
    @client(context="outer")
    async def outer() -> int:
        return len((await one.fetch("search", {"words": "tea"})).body)

    one = Engine(build([*FUNCTIONS, outer]), cache=MemoryCache())
    async with one:
        assert [told(await one.fetch("outer", {})) for _ in range(2)] == [NO_STORE] * 2


@pytest.mark.asyncio
async def test_elsewhere_it_changes_nothing() -> None:
    async with engine() as one:
        answer = await one.call("index", {})
        assert [stale.context for stale in answer.invalidations] == ["search"]
        assert (await one.call("results", {"words": "tea"})).result == []
        assert (await one.run("results", {"words": "tea"})).result == []
    assert await results("tea") == []


@pytest.mark.asyncio
async def test_the_reason_is_logged_and_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with engine() as one:
        with caplog.at_level(logging.INFO, "mizan"):
            bundle = await one.fetch("search", {"words": "tea"})
    assert "results declined to have its answer kept: the search is down" in caplog.text
    assert b"down" not in bundle.body
    assert "down" not in bundle.cache_status


@pytest.mark.parametrize("why", ["", None, 5])
def test_a_reason_is_required(why: Any) -> None:
    with pytest.raises(DeclarationError, match="does not say why"):
        no_store(why)


@pytest.mark.asyncio
async def test_a_declined_answer_proves_nothing_stale() -> None:
    global _is_down  # noqa: PLW0603  # the state of a service
    proofs: list[object] = []
    async with engine(verify=Verify(on_stale=proofs.append)) as one:
        await one.fetch("both", {"words": "tea"})
        _is_down = False
        await one.fetch("threaded", {"words": "tea"})
        _is_down = True
        await one.call("index", {})
        assert proofs == []
