"""`mizan.respond(...)` in routes of FastAPI and Starlette: what `/ctx/` and `/call/` answer, at URLs of the host's."""

import datetime
from collections import Counter
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import (
    Claim,
    Conflict,
    Context,
    DeclarationError,
    Identity,
    Me,
    NotFound,
    RedisCache,
    build,
    client,
    no_store,
)
from mizan_core.testing.redis_server import RedisServer
from tests.http.site import KEYS, PUBLIC, VARY, http, refusal, token

PRIVATE = "private, no-cache"
SECRET = "another-secret-of-the-tests-alone-32b"

pytestmark = pytest.mark.asyncio

Articles, Notes, Prices = Context("articles"), Context("notes"), Context("prices")


class Blog:
    """A host with articles at URLs of its own, which count how often a reader ran."""

    def __init__(self, **options: Any) -> None:
        self.rows: dict[int, str] = {1: "one", 2: "two"}
        self.ran: Counter[str] = Counter()

        @client(context=Articles)
        async def article(code: int, words: int = 0) -> dict[str, Any]:
            self.ran["article"] += 1
            if code not in self.rows:
                raise NotFound("There is no such article.")
            return {"code": code, "title": self.rows[code]}

        @client(context=Articles)
        async def letters(code: int) -> int:
            self.ran["letters"] += 1
            return len(self.rows.get(code, ""))

        @client(context=Articles)
        async def count() -> int:
            self.ran["count"] += 1
            return len(self.rows)

        @client(context=Notes)
        async def notes(user_id: Annotated[int | None, Me], org: Annotated[int, Claim("org")] = 0) -> str:
            return f"of {user_id} in {org}"

        @client(context="guarded", auth="staff")
        async def guarded(day: datetime.date) -> str:
            return day.isoformat()

        @client(context=Prices, cache=60)
        async def price(tag: str | None) -> str:
            if tag == "down":
                no_store("the service is down")
            if tag == "gone":
                raise HTTPException(410, {"gone": True}, {"X-Own": "1"})
            if tag == "wrong":
                raise ValueError
            return f"{tag} costs 1"

        @client(context="looks")
        async def looks(request: Request, code: int) -> str:
            return request.headers.get("x-own", "")

        @client(affects=Articles)
        async def write(code: int, title: str) -> dict[str, str]:
            if title == "taken":
                raise Conflict("It is taken.")
            if title == "elsewhere":
                raise HTTPException(409, "It is taken.")
            self.rows[code] = title
            if title == "torn":
                raise ValueError
            if title == "lost":
                raise HTTPException(502, "It is lost.")
            return {"title": title}

        @client
        async def shout(request: Request, word: str) -> str:
            if not word:
                raise ValueError("no word")
            return f"{word.upper()} {(await request.body()).decode()}"

        @client(affects=Articles, private=True)
        async def drop(code: int) -> None:
            self.rows.pop(code, None)

        self.article, self.letters, self.count, self.notes, self.guarded = article, letters, count, notes, guarded
        self.price, self.looks, self.write, self.shout, self.drop = price, looks, write, shout, drop
        self.functions = [article, letters, count, notes, guarded, price, looks, write, shout, drop]
        self.mizan = Mizan(build(self.functions), mwt_keys=KEYS, clock=lambda: 1_800_000_000.0, **options)

    def app(self) -> FastAPI:
        mizan, app = self.mizan, FastAPI(lifespan=self.mizan.lifespan)

        @app.api_route("/articles/{code}", methods=["GET", "HEAD"])
        async def whole(request: Request, code: int) -> Response:
            return await mizan.respond(request, Articles, code=code)

        @app.get("/articles/{code}/words")
        async def with_words(request: Request, code: int, words: int = 0) -> Response:
            return await mizan.respond(request, "articles", code=code, words=words)

        @app.get("/first")
        async def first(request: Request) -> Response:
            return await mizan.respond(request, Articles, code=1)

        @app.get("/alone/{code}")
        async def alone(request: Request, code: int) -> Response:
            response = await mizan.respond(request, self.article, code=code)
            response.headers["X-Host"] = "mine"
            return response

        @app.get("/count")
        async def count(request: Request) -> Response:
            return await mizan.respond(request, self.count)

        @app.get("/notes")
        async def notes(request: Request) -> Response:
            return await mizan.respond(request, Notes)

        @app.get("/guarded/{day}")
        async def guarded(request: Request, day: datetime.date) -> Response:
            return await mizan.respond(request, self.guarded, day=day)

        @app.get("/price")
        async def price(request: Request) -> Response:
            tags = dict(request.query_params)
            return await mizan.respond(request, self.price, **tags)

        @app.get("/looks/{code}")
        async def looks(request: Request, code: int) -> Response:
            return await mizan.respond(request, self.looks, code=code)

        @app.api_route("/write/{code}", methods=["POST", "GET"])
        async def write(request: Request, code: str, title: str = "") -> Response:
            return await mizan.respond(request, self.write, code=code, title=title)

        @app.post("/shout")
        async def shout(request: Request, word: str) -> Response:
            await request.body()
            return await mizan.respond(request, self.shout, word=word)

        app.mount("/api/mizan", mizan)
        return app


@pytest.fixture(params=["memory", "redis"])
def blog(request: pytest.FixtureRequest, redis: RedisServer) -> Blog:
    if request.param == "memory":
        return Blog()
    return Blog(cache=RedisCache(redis.url, prefix=f"{request.node.name}:", timeout=1e9), cache_secret=SECRET)


CACHING = ("cache-control", "etag", "vary", "cache-status", "content-type", "x-content-type-options", "content-length")


def caching(response: Any) -> dict[str, str]:
    return {name: response.headers[name] for name in CACHING if name in response.headers}


async def test_a_context_is_answered_as_its_own_endpoint_does(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        first = await site.get("/articles/1")
        assert first.headers["cache-status"] == "mizan; fwd=uri-miss; stored"
        own = await site.get("/api/mizan/ctx/articles/?code=1")
        again = await site.get("/articles/1")
        assert first.content == again.content == own.content
        assert caching(again) == caching(own)
        assert own.headers["cache-control"] == PUBLIC
        assert again.headers["cache-status"] == "mizan; hit"
        assert "content-location" not in again.headers
        known = await site.get("/articles/1", headers={"If-None-Match": again.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == again.headers["etag"]
        head = await site.head("/articles/1")
        assert (head.content, caching(head)) == (b"", caching(again))
        assert blog.ran["article"] == 1


async def test_a_reader_alone_is_its_value_with_a_tag_of_its_own(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        whole = await site.get("/articles/1")
        first, again = await site.get("/alone/1"), await site.get("/alone/1")
        assert first.headers["cache-status"] == "mizan; fwd=uri-miss; stored"
        assert again.content == b'{"code":1,"title":"one"}'
        assert again.headers["etag"] == first.headers["etag"] != whole.headers["etag"]
        assert again.headers["x-host"] == "mine"
        expected = {**caching(whole), "etag": again.headers["etag"], "content-length": str(len(again.content))}
        assert caching(again) == {**expected, "cache-status": "mizan; hit"}
        known = await site.get("/alone/1", headers={"If-None-Match": again.headers["etag"]})
        assert known.status_code == 304
        assert blog.ran == {"article": 2, "letters": 1, "count": 1}


async def test_it_is_purged_when_its_contexts_scope_is(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        for _ in range(2):
            one, two, count = await site.get("/alone/1"), await site.get("/alone/2"), await site.get("/count")
        assert [each.headers["cache-status"] for each in (one, two, count)] == ["mizan; hit"] * 3
        told = await site.post("/write/1?title=new")
        assert told.headers["x-mizan-invalidate"] == "articles;code=1"
        one, two, count = await site.get("/alone/1"), await site.get("/alone/2"), await site.get("/count")
        assert one.json()["title"] == "new"
        assert two.headers["cache-status"] == "mizan; hit"
        assert "hit" not in count.headers["cache-status"]  # it lacks `code`, so any article's change may be its own


async def test_what_no_url_tells_is_kept_by_no_edge(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        expected = {
            "/articles/1": PUBLIC,
            "/articles/1?utm=x": PRIVATE,
            "/articles/01": PRIVATE,
            "/articles/1/words": PUBLIC,
            "/articles/1/words?words=3": PUBLIC,
            "/articles/1/words?words=03": PRIVATE,
            "/articles/1/words?words=0": PRIVATE,
            "/first": PRIVATE,
        }
        for url, control in expected.items():
            for _ in range(2):
                answer = await site.get(url)
                assert answer.headers["cache-control"] == control, url
                assert answer.headers.get("vary") == (None if control == PUBLIC else VARY)


async def test_whoever_asks_is_found_as_at_the_endpoint(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        assert (await site.get("/notes")).json() == {"notes": "of None in 0"}
        signed = {"X-Mizan-Token": token("5", claims={"org": 3})}
        for _ in range(2):
            mine = await site.get("/notes", headers=signed)
            assert mine.json() == {"notes": "of 5 in 3"}
            assert (mine.headers["cache-control"], mine.headers["vary"]) == (PRIVATE, VARY)
        assert mine.headers["cache-status"] == "mizan; hit"
        refusal(await site.get("/notes", headers={"X-Mizan-Token": "x"}), 401, "unauthorized")


async def test_a_guard_is_asked_at_every_hit(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        staff = {"X-Mizan-Token": token("5", staff=True)}
        for _ in range(2):
            assert (await site.get("/guarded/2026-01-02", headers=staff)).json() == "2026-01-02"
        refusal(await site.get("/guarded/2026-01-02", headers={"X-Mizan-Token": token("6")}), 403, "forbidden")
        refusal(await site.get("/guarded/2026-01-02"), 401, "unauthorized")


async def test_policies_of_readers_hold_there_too(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        assert (await site.get("/price?tag=tea")).headers["cache-control"] == PUBLIC
        assert (await site.get("/price")).json() == "None costs 1"  # it may be null, so it may be left out
        for _ in range(2):
            down = await site.get("/price?tag=down")
            assert down.headers["cache-control"] == "no-store"
            assert down.headers["cache-status"] == "mizan; fwd=bypass; detail=no-store"
        for own in ("a", "b"):
            looked = await site.get("/looks/1", headers={"x-own": own})
            assert (looked.json(), looked.headers["cache-control"]) == (own, "private, no-store")


async def test_errors_of_readers_are_problems_or_the_hosts(blog: Blog) -> None:
    app = blog.app()

    @app.exception_handler(ValueError)
    async def wrong(request: Request, error: ValueError) -> Response:
        return JSONResponse("of the host", 418)

    async with blog.mizan.engine, http(app) as site:
        assert refusal(await site.get("/alone/9"), 404, "not_found")["detail"] == "There is no such article."
        gone = await site.get("/price?tag=gone")
        assert (gone.status_code, gone.json(), gone.headers["x-own"]) == (410, {"detail": {"gone": True}}, "1")
        assert (await site.get("/price?tag=wrong")).status_code == 418


async def test_a_mutation_answers_its_result_alone(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        told = await site.post("/write/1?title=new")
        assert told.json() == {"title": "new"}
        assert told.headers["cache-control"] == "no-store"
        assert "etag" not in told.headers
        assert refusal(await site.post("/write/x?title=new"), 422, "invalid_input")["errors"][0]["loc"] == [
            "args",
            "code",
        ]
        from_elsewhere = {"Sec-Fetch-Site": "cross-site"}
        refusal(await site.post("/write/1?title=new", headers=from_elsewhere), 403, "forbidden")
        by_token = {**from_elsewhere, "X-Mizan-Token": token("5")}
        assert (await site.post("/write/1?title=new", headers=by_token)).status_code == 200
        with pytest.raises(DeclarationError, match="write changes something, and a GET must not"):
            await site.get("/write/1")


async def test_a_mutation_that_fails_tells_what_may_be_stale(blog: Blog) -> None:
    header = "x-mizan-invalidate"
    async with blog.mizan.engine, http(blog.app()) as site:
        assert header not in (await site.post("/write/1?title=taken")).headers
        elsewhere = await site.post("/write/1?title=elsewhere")
        assert (elsewhere.status_code, elsewhere.json()) == (409, {"detail": "It is taken."})
        assert header not in elsewhere.headers
        lost = await site.post("/write/1?title=lost")
        assert (lost.status_code, lost.json(), lost.headers[header]) == (
            502,
            {"detail": "It is lost."},
            "articles;code=1",
        )
        torn = await site.post("/write/1?title=torn")
        refusal(torn, 500, "internal_error")
        assert torn.headers[header] == "articles;code=1"


async def test_a_plain_function_reads_a_body_that_the_host_read(blog: Blog) -> None:
    async with blog.mizan.engine, http(blog.app()) as site:
        assert (await site.post("/shout?word=a", content=b"body")).json() == "A body"
        with pytest.raises(ValueError, match="no word"):
            await site.post("/shout?word=")


async def test_what_the_host_asks_for_wrongly_is_said(blog: Blog) -> None:
    mizan = blog.mizan
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})

    @client
    async def elsewhere() -> None: ...

    @client(context="articles")
    async def article(code: int) -> int:
        return code

    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("article", {}, "There is no context 'article' that has a bundle to respond with; did you mean 'articles'?"),
        (Context("other"), {}, "There is no context 'other' that has a bundle to respond with."),
        (len, {}, "is neither a Context, a context's name nor a function marked with @client."),
        (elsewhere, {}, "elsewhere is not in this graph; give it to build"),
        (article, {"code": 1}, "article is not in this graph"),
        (Articles, {}, r"articles needs code: respond\(request, ..., code=...\)."),
        (
            blog.article,
            {"codes": 1},
            "articles/article has no parameter 'codes'; it has code, words; did you mean 'code'?",
        ),
        (blog.count, {"x": 1}, "articles/count has no parameter 'x'; it has none at all."),
        (blog.notes, {"user_id": 5}, "notes/notes: 'user_id' is filled in by the caller's identity, so respond"),
        (blog.shout, {}, "shout needs word: respond"),
    ]
    async with mizan.engine:
        for what, params, said in wrong:
            with pytest.raises(DeclarationError, match=said):
                await mizan.respond(request, what, **params)


async def test_a_host_may_respond_with_what_is_private() -> None:
    blog = Blog()
    mizan = blog.mizan

    async def drop(request: Request) -> Response:
        return await mizan.respond(request, blog.drop, code=request.path_params["code"])

    async def article(request: Request) -> Response:
        return await mizan.respond(request, blog.article, code=request.path_params["code"])

    routes = [Route("/{code:int}", drop, methods=["DELETE"]), Route("/{code:int}", article)]
    async with mizan.engine, http(Starlette(routes=[Mount("/old", routes=routes)])) as site:
        assert (await site.get("/old/1")).headers["cache-control"] == PUBLIC
        assert (await site.get("/old/01")).headers["cache-control"] == PRIVATE
        gone = await site.delete("/old/1")
        assert (gone.content, gone.headers["x-mizan-invalidate"]) == (b"null", "articles;code=1")
        refusal(await site.get("/old/1"), 404, "not_found")


async def test_a_view_may_respond_with_a_reader() -> None:
    blog = Blog()

    @client(context="pages", route="/page/{code}/")
    async def page(request: Request, code: int) -> Response:
        return await blog.mizan.respond(request, blog.article, code=code)

    pages = Mizan(build([page]))
    async with blog.mizan.engine, pages.engine, http(Starlette(routes=[*pages.routes])) as site:
        shown = await site.get("/page/1/")
        assert (shown.json()["title"], shown.headers["cache-control"]) == ("one", "private, no-store")


async def test_a_post_is_neither_kept_nor_conditional() -> None:
    blog = Blog()

    async def search(request: Request) -> Response:
        return await blog.mizan.respond(request, Articles, code=1)

    async with blog.mizan.engine, http(Starlette(routes=[Route("/", search, methods=["POST"])])) as site:
        for _ in range(2):
            found = await site.post("/", headers={"If-None-Match": "*"})
            assert (found.status_code, found.headers["cache-control"]) == (200, PRIVATE)
        assert found.headers["cache-status"] == "mizan; hit"


async def test_known_edges_keep_no_url_that_they_are_not_told_of() -> None:
    blog = Blog(edge=HeaderOnly())
    async with blog.mizan.engine, http(blog.app()) as site:
        assert (await site.get("/api/mizan/ctx/articles/?code=1")).headers["cache-control"] != PRIVATE
        for _ in range(2):
            for url in ("/articles/1", "/alone/1"):
                assert (await site.get(url)).headers["cache-control"] == PRIVATE


async def test_a_hosts_user_is_who_asks() -> None:
    blog = Blog(authenticate=lambda request: Identity(request.headers.get("x-user")))
    async with blog.mizan.engine, http(blog.app()) as site:
        assert (await site.get("/notes", headers={"x-user": "7"})).json() == {"notes": "of 7 in 0"}
