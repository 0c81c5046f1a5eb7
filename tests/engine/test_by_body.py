"""`by_body()`: scopes of any parameter name, nothing stale, and bundles with a null."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mizan_core import (
    Arg,
    Context,
    DeclarationError,
    Engine,
    Invalidation,
    MemoryCache,
    build,
    build_manifest,
    client,
    decode_header,
    encode_header,
    invalidate,
    scope_tag,
    urls_to_purge,
)
from mizan_core.engine.answers import ended_of
from mizan_core.engine.refresh import refresh
from mizan_core.protocol.bodies import call_body
from mizan_core.protocol.invalidation import touches
from mizan_core.protocol.mounted import read_mounted
from tests.cache.holding_cache import HoldingCache

ARTICLES = Context("articles", scopes=[("tag",), ("author", "tag")])
TAKEN = ("self", "affected", "params", "context", "function", "name", "body", "cls")


@client(context=ARTICLES)
async def article_list(author: int, tag: str | None = None) -> str:
    return f"{author} {tag}"


@client(affects=ARTICLES.by_body())
async def tagged(author: int | None = None, tag: str | None = None, says: str = "") -> None:
    match says:
        case "nothing":
            invalidate.nothing()
        case "null":
            invalidate(ARTICLES, tag=tag)
        case "both":
            invalidate(ARTICLES, author=author, tag=tag)


GRAPH = build([article_list, tagged])
BUNDLES: list[dict[str, Any]] = [{"author": 1}, {"author": 1, "tag": "a"}, {"author": 2}, {"author": 2, "tag": "a"}]


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # every story is a coroutine function


async def gone(engine: Engine, change: Callable[[], Awaitable[object]]) -> list[dict[str, Any]]:
    """The bundles that a change purges."""
    for bundle in BUNDLES:
        await engine.fetch("articles", bundle)
    await change()
    return [bundle for bundle in BUNDLES if (await engine.fetch("articles", bundle)).status != "hit"]


@pytest.fixture(params=[MemoryCache, HoldingCache])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(GRAPH, cache=request.param(), cache_secret="s" * 32)


def test_every_name_of_a_parameter_can_be_named() -> None:
    context = Context("odd")
    source = f"def reader({', '.join(f'{name}: int' for name in TAKEN)}) -> int: return 1"
    names: dict[str, Any] = {}
    exec(source, names)  # rather than eight such parameters by hand
    values = {name: place for place, name in enumerate(TAKEN)}

    def body(x: int) -> None:
        invalidate(context, **values)

    mutation = client(affects=context.by_body())(body)
    bound = client(affects=context.where(**{name: Arg("x") for name in TAKEN}), name="bound")(body)

    async def story() -> None:
        engine = Engine(build([client(context=context)(names["reader"]), mutation, bound]))
        assert (await engine.call("body", {"x": 5})).invalidations == (Invalidation("odd", values),)
        assert await engine.invalidate(context, **values) == (Invalidation("odd", values),)

    run(story)


def test_a_body_that_says_nothing_purges_nothing(engine: Engine) -> None:
    async def story() -> None:
        assert await gone(engine, lambda: engine.call("tagged", {"says": "nothing"})) == []
        assert await gone(engine, lambda: engine.call("tagged", {})) == BUNDLES
        answer = await engine.call("tagged", {"says": "nothing"})
        assert answer.invalidations == ()

    run(story)


def test_named_scopes_count_beside_nothing_stale() -> None:
    other = Context("other")

    @client(context=other)
    async def other_one(x: int) -> int: ...

    @client(affects=[ARTICLES.by_body(), other])
    async def change(x: int) -> None:
        invalidate.nothing()
        invalidate(ARTICLES, author=1)

    async def story() -> None:
        engine = Engine(build([article_list, other_one, change]))
        named = (Invalidation("other", {"x": 5}), Invalidation("articles", {"author": 1}))
        assert (await engine.call("change", {"x": 5})).invalidations == named

    run(story)


def test_an_unknown_outcome_purges_scopes_the_body_did_not_name() -> None:
    @client(affects=ARTICLES.by_body())
    async def fails() -> None:
        invalidate.nothing()
        raise RuntimeError

    async def story() -> None:
        engine = Engine(build([article_list, fails]))
        ended = await ended_of(engine.begin("fails", {}))
        assert ended.invalidations == (Invalidation("articles"),)

    run(story)


def test_nothing_is_said_outside_of_a_mutation() -> None:
    with pytest.raises(DeclarationError, match="outside of a mutation"):
        invalidate.nothing()


def test_a_null_names_the_bundles_without_a_value(engine: Engine) -> None:
    async def story() -> None:
        assert await gone(engine, lambda: engine.call("tagged", {"says": "null"})) == [{"author": 1}, {"author": 2}]
        assert await gone(engine, lambda: engine.invalidate("articles", tag=None)) == [{"author": 1}, {"author": 2}]
        assert await gone(engine, lambda: engine.invalidate("articles", tag=None, author=2)) == [{"author": 2}]
        assert await gone(engine, lambda: engine.invalidate("articles", tag="a", author=[1, 2])) == [
            {"author": 1, "tag": "a"},
            {"author": 2, "tag": "a"},
        ]

    run(story)


def test_a_null_that_no_bundle_has_is_wider(engine: Engine) -> None:
    async def story() -> None:
        (named,) = await engine.invalidate("articles", author=None)
        assert named == Invalidation("articles")
        assert await gone(engine, lambda: engine.invalidate("articles", author=None)) == BUNDLES

    run(story)


def test_a_null_argument_is_wider() -> None:
    @client(affects=ARTICLES.where(tag=Arg("tag")))
    async def change(tag: str | None = None) -> None: ...

    async def story() -> None:
        engine = Engine(build([article_list, change]))
        assert (await engine.call("change", {"tag": None})).invalidations == (Invalidation("articles"),)

    run(story)


WITHOUT_TAG = Invalidation("articles", {"author": 1, "tag": None}, nulls=frozenset({"tag"}))


def test_json_says_a_null_and_the_header_is_wider() -> None:
    body = call_body(b"null", (WITHOUT_TAG,))
    assert body == b'{"invalidate":[{"context":"articles","params":{"author":1,"tag":null}}],"result":null}'
    assert encode_header([WITHOUT_TAG]) == "articles;author=1"
    untagged = Invalidation("articles", {"tag": None}, nulls=frozenset({"tag"}))
    assert encode_header([untagged, Invalidation("articles", {"tag": "a"})]) == "articles"
    assert decode_header(encode_header([untagged])) == (Invalidation("articles"),)


def test_a_null_scope_is_neither_whole_nor_another() -> None:
    assert not WITHOUT_TAG.is_whole
    assert Invalidation("articles", {"author": 1}) != WITHOUT_TAG
    assert touches(WITHOUT_TAG, "articles", {"author": "1", "tag": None})
    assert touches(WITHOUT_TAG, "articles", {"author": "1"})
    assert not touches(WITHOUT_TAG, "articles", {"author": "1", "tag": "null"})
    assert scope_tag("s" * 32, "articles", {"tag": None}) == scope_tag("s" * 32, "articles", {})


def test_the_url_of_a_null_scope_is_exact() -> None:
    manifest = build_manifest(GRAPH)
    assert urls_to_purge(manifest, [WITHOUT_TAG]) == ["/api/mizan/ctx/articles/?author=1"]


def test_of_mounted_bundles_those_without_a_value_are_refreshed() -> None:
    async def story() -> None:
        engine = Engine(GRAPH)
        answer = await engine.call("tagged", {"says": "null"})
        mounted = read_mounted(["articles?author=1, articles?author=1&tag=a"])
        assert mounted is not None

        async def get(stale: Any) -> bytes:
            return b"1"

        refreshed = (await refresh(GRAPH, answer, mounted, get)).refreshed
        assert refreshed is not None
        assert [one.params for one in refreshed] == [{"author": 1}]

    run(story)
