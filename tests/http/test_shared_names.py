"""Readers of different contexts may share a name; what is called by name stays unambiguous (protocol, section 1)."""

import json
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mizan_asgi import Mizan
from mizan_asgi.codegen.openapi import openapi
from mizan_core import (
    Context,
    DeclarationError,
    GraphError,
    Invalidation,
    build,
    build_manifest,
    client,
    decode_header,
    invalidate,
)
from mizan_core.engine.observers import Computing, Observer
from mizan_core.proof.explain import explain_call
from tests.http.site import hosting, http, refusal

Articles, Books = Context("articles"), Context("books")


def readers(**declared: Any) -> list[Any]:
    """`title` of an article and `title` of a book."""

    @client(context=Articles, name="title", **({"route": "/article/{code}/"} | declared))
    async def of_article(code: int) -> str:
        if code == 0:
            raise ValueError("no article")
        return f"article {code}"

    @client(context=Books, name="title", **({"route": "/book/{code}/"} | declared))
    async def of_book(code: int) -> list[str]:
        return [f"book {code}"]

    return [of_article, of_book]


def plain(name: str) -> Any:
    @client(name=name)
    async def other() -> None: ...

    return other


def mutation(affects: Any) -> Any:
    @client(affects=affects)
    async def change(code: int) -> None: ...

    return change


@pytest.mark.asyncio
async def test_each_bundle_calls_its_reader_by_the_short_name() -> None:
    article, book = readers()
    mizan = Mizan(build([article, book, mutation([article, book])]))
    async with mizan.engine, http(hosting(mizan)) as web:
        assert (await web.get("/api/mizan/ctx/articles/?code=1")).json() == {"title": "article 1"}
        assert (await web.get("/api/mizan/ctx/books/?code=1")).json() == {"title": ["book 1"]}
        assert (await web.get("/article/1/")).json() == "article 1"
        assert (await web.get("/book/1/")).json() == ["book 1"]


@pytest.mark.asyncio
async def test_a_call_names_the_context_too() -> None:
    mizan = Mizan(build(readers()))
    async with mizan.engine, http(hosting(mizan)) as web:
        assert (await web.post("/api/mizan/call/books.title/", json={"code": 1})).json() == {"result": ["book 1"]}
        told = await web.post("/api/mizan/call/", json={"fn": "articles.title", "args": {"code": 1}})
        assert told.json() == {"result": "article 1"}
        refusal(await web.post("/api/mizan/call/title/", json={"code": 1}), 404, "not_found")
        assert (await mizan.engine.run("books.title", {"code": 2})).result == ["book 2"]


@pytest.mark.asyncio
async def test_what_names_a_function_itself_is_told_with_its_context() -> None:
    article, book = readers()

    @client(affects=Articles.by_body())
    async def rename(code: int) -> None:
        invalidate(article, code=code)

    mizan = Mizan(build([article, book, mutation([book, article]), rename]))
    async with mizan.engine, http(hosting(mizan)) as web:

        async def are_hits() -> list[bool]:
            urls = [f"/api/mizan/ctx/{name}/?code=1" for name in ("articles", "books")]
            return ["hit" in (await web.get(url)).headers["cache-status"] for url in urls]

        await are_hits()
        told = await web.post("/api/mizan/call/change/", json={"code": 1})
        assert told.headers["x-mizan-invalidate"] == "books/title;code=1, articles/title;code=1"
        assert await are_hits() == [False, False]
        told = await web.post("/api/mizan/call/rename/", json={"code": 1})
        assert told.headers["x-mizan-invalidate"] == "articles/title;code=1"
        assert await are_hits() == [False, True]
        for stale in decode_header("books/title;code=1"):
            assert await mizan.engine.invalidate(stale) == (Invalidation("books", {"code": "1"}, "title"),)
        assert await are_hits() == [True, False]
        await mizan.engine.invalidate(book, code=1)
        assert await are_hits() == [True, False]


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        (
            [*readers(), mutation("title")],
            "change: affects 'title', which several readers are called; name 'articles.title' or 'books.title'",
        ),
        ([*readers(), *readers()[1:]], "two functions are called 'title'"),
        ([*readers(), plain("title")], "two functions are called 'title'"),
        ([*readers(), plain("books.title")], "two functions are called 'title'"),
    ],
)
def test_what_would_be_ambiguous_is_refused(functions: list[Any], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        build(functions)


@pytest.mark.asyncio
async def test_a_text_that_names_several_is_refused_in_a_body() -> None:
    engine = Mizan(build(readers())).engine
    said = "Several readers are called 'title': name 'articles.title' or 'books.title' to invalidate."
    with pytest.raises(DeclarationError, match=said):
        await engine.invalidate("title")
    with pytest.raises(DeclarationError, match="There is no context or reader 'tite' to invalidate; did you mean"):
        await engine.invalidate("tite")


@pytest.mark.asyncio
async def test_a_host_responds_with_the_one_that_it_names() -> None:
    article, book = readers()
    mizan = Mizan(build([article, book]))

    async def show(request: Request) -> Response:
        return await mizan.respond(request, {"article": article, "book": book}[request.path_params["kind"]], code=1)

    async with mizan.engine, http(Starlette(routes=[Route("/{kind}", show)])) as web:
        for _ in range(2):
            assert (await web.get("/article")).json() == "article 1"
            assert (await web.get("/book")).json() == ["book 1"]


def test_the_document_and_the_manifest_tell_them_apart() -> None:
    article, book = readers()
    graph = build([article, book, mutation(book)])
    document = openapi(graph, base_url="/m", title="", version="")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert [path for path in document["paths"] if "title" in path] == ["/call/articles.title/", "/call/books.title/"]
    call = document["paths"]["/call/books.title/"]["post"]
    assert call["operationId"] == "call_books.title"
    manifest = build_manifest(graph)
    assert [one["name"] for one in manifest["contexts"]["books"]["functions"]] == ["title"]
    assert manifest["mutations"]["change"]["targets"][0]["function"] == "title"
    json.dumps(manifest)


class Names(Observer):
    """The readers that are computed."""

    def __init__(self) -> None:
        self.names: list[tuple[str, ...]] = []

    def around(self, event: Any) -> None:
        if isinstance(event, Computing):
            self.names.append(event.readers)


@pytest.mark.asyncio
async def test_observers_and_the_log_tell_which_it_is(caplog: pytest.LogCaptureFixture) -> None:
    names = Names()
    article, book = readers()
    mizan = Mizan(build([article, book, mutation(article)]), observers=[names])
    async with mizan.engine, http(hosting(mizan)) as web:
        await web.get("/book/1/")
        assert (await web.get("/api/mizan/ctx/articles/?code=0")).status_code == 500
    assert names.names == [("books.title",), ("articles.title",)]
    assert "articles.title failed unexpectedly." in caplog.messages
    explained = explain_call(mizan.graph, "change", {"code": 1})
    assert [(one.context, one.function) for one in explained.stale] == [("articles", "title")]
