"""`@mizan.changes(...)` on routes of FastAPI and Starlette, async and sync: what they purge, and what they answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Response
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mizan_asgi import Mizan
from mizan_core import Context, DeclarationError, MemoryCache, build, client, invalidate, invalidations_of
from mizan_core.cache.shared import holds as shared_holds

Articles, Feeds = Context("articles", scopes=[("code",)]), Context("feeds", scopes=[("user_id",)])
HEADER = "x-mizan-invalidate"


class FailingCache(MemoryCache):
    """A cache elsewhere, which fails where it is told to."""

    broken = False

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        self._try()
        return await super().set(key, value, ttl, if_absent=if_absent)

    async def delete(self, *keys: str) -> int:
        self._try()
        return await super().delete(*keys)

    def _try(self) -> None:
        if self.broken:
            raise ConnectionError


class Http:
    """Requests to an application, whose lifespan runs if its `Mizan` is given."""

    def __init__(self, app: Any, mizan: Mizan | None = None) -> None:
        self._runner = asyncio.Runner()
        self._lifespan = nullcontext() if mizan is None else mizan.lifespan(app)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://host")

    def __enter__(self) -> Http:
        self._runner.__enter__()
        self._runner.run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *raised: Any) -> None:
        self._runner.run(self._lifespan.__aexit__(*raised))
        self._runner.run(self._client.aclose())
        self._runner.__exit__(*raised)

    def get(self, url: str) -> httpx.Response:
        return self._runner.run(self._client.get(url))

    def put(self, url: str) -> httpx.Response:
        return self._runner.run(self._client.put(url))


class Host:
    """A host with articles, and a `Mizan` that shows them."""

    def __init__(self, **options: Any) -> None:
        self.rows: dict[int, int] = {}

        @client(context=Articles)
        async def article(code: int) -> int:
            return self.rows.get(code, 0)

        @client(context=Feeds)
        async def feed(user_id: int) -> int:
            return len(self.rows)

        self.mizan = Mizan(build([article, feed]), **options)
        self.app = FastAPI(lifespan=self.mizan.lifespan)
        self.app.mount("/api/mizan", self.mizan)

    def write(self, code: int) -> int:
        self.rows[code] = self.rows.get(code, 0) + 1
        return self.rows[code]

    @contextmanager
    def client(self) -> Iterator[Http]:
        """A client of the running host."""
        with Http(self.app, self.mizan) as http:
            yield http


def read(http: Http, code: int = 1) -> tuple[str, int]:
    answer = http.get(f"/api/mizan/ctx/articles/?code={code}")
    return "hit" if "hit" in answer.headers["cache-status"] else "miss", answer.json()["article"]


def read_feed(http: Http) -> int:
    return int(http.get("/api/mizan/ctx/feeds/?user_id=1").json()["feed"])


@pytest.fixture
def host() -> Host:
    return Host()


def route_of(host: Host, *, sync: bool, act: Callable[[int], Any] | None = None) -> Callable[..., Any]:
    """A route that writes an article, and then acts."""

    async def put(code: int, title: str = "") -> Any:
        host.write(code)
        return {"code": code} if act is None else act(code)

    def put_in_thread(code: int, title: str = "") -> Any:
        host.write(code)
        return {"code": code} if act is None else act(code)

    return put_in_thread if sync else put


both = pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])


@both
def test_a_route_purges_what_its_parameter_names_and_tells(host: Host, sync: bool) -> None:
    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync)))
    with host.client() as http:
        for code in (1, 2, 1, 2):
            read(http, code)
        answer = http.put("/1")
        assert (answer.json(), answer.headers[HEADER]) == ({"code": 1}, "articles;code=1")
        assert (read(http), read(http, 2)) == (("miss", 1), ("hit", 0))
        assert "mizan-blocking" not in {thread.name for thread in threading.enumerate()}


@both
def test_a_response_of_the_routes_own_tells(host: Host, sync: bool) -> None:
    def act(code: int) -> Response:
        return JSONResponse({"code": code}, 201, headers={HEADER: "feeds;user_id=1, articles;code=1"})

    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync, act=act)))
    with host.client() as http:
        answer = http.put("/1")
        assert (answer.status_code, answer.headers[HEADER]) == (201, "articles;code=1, feeds;user_id=1")


def test_a_header_that_is_none_is_replaced(host: Host) -> None:
    def act(code: int) -> Response:
        return JSONResponse(code, headers={HEADER: "=;="})

    host.app.put("/{code}")(host.mizan.changes(Articles)(route_of(host, sync=False, act=act)))
    with host.client() as http:
        assert http.put("/1").headers[HEADER] == "articles"


@both
def test_the_response_that_a_route_takes_tells(host: Host, sync: bool) -> None:
    async def put(code: int, response: Response) -> int:
        response.headers["x-own"] = "yes"
        return code

    def put_in_thread(code: int, response: Response) -> int:
        response.headers["x-own"] = "yes"
        return code

    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(put_in_thread if sync else put))
    with host.client() as http:
        answer = http.put("/1")
        assert (answer.headers["x-own"], answer.headers[HEADER]) == ("yes", "articles;code=1")


@both
def test_fastapi_sees_the_parameters_that_the_route_has(host: Host, sync: bool) -> None:
    def user() -> int:
        return 5

    async def put(code: int, limit: int = 3, user_id: int = Depends(user), **more: Any) -> int:
        return user_id

    def put_in_thread(code: int, limit: int = 3, user_id: int = Depends(user), **more: Any) -> int:
        return user_id

    endpoint = put_in_thread if sync else put
    changed = host.mizan.changes(Articles, Feeds, by={"code": "code", "user_id": "user_id"})(endpoint)
    assert asyncio.iscoroutinefunction(changed) is not sync
    documents = []
    for one in (endpoint, changed):
        app = FastAPI()
        app.put("/{code}")(one)
        documents.append(app.openapi())
    assert documents[0] == documents[1]
    host.app.put("/{code}")(changed)
    with host.client() as http:
        answer = http.put("/7?more=x")
        assert (answer.json(), answer.headers[HEADER]) == (5, "articles;code=7, feeds;user_id=5")


@both
@pytest.mark.parametrize("error", [HTTPException(409, "taken", {"x-own": "yes"}), HTTPException(404), ValueError("x")])
def test_a_route_that_raises_purges_and_tells(host: Host, sync: bool, error: Exception) -> None:
    raised = []

    def act(code: int) -> None:
        raise error

    async def unexpected(request: Any, error: Exception) -> Response:
        raised.append(invalidations_of(error))
        return Response("", 500)

    host.app.add_exception_handler(ValueError, unexpected)
    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync, act=act)))
    with host.client() as http:
        read(http)
        answer = http.put("/1")
        if isinstance(error, HTTPException):
            assert (answer.status_code, answer.headers[HEADER]) == (error.status_code, "articles;code=1")
        else:
            assert [one.params for one in raised[0]] == [{"code": 1}]
        assert answer.headers.get("x-own") == ("yes" if answer.status_code == 409 else None)
        assert read(http) == ("miss", 1)


@both
def test_what_the_body_names_is_told_too(host: Host, sync: bool) -> None:
    def act(code: int) -> None:
        invalidate(Feeds, user_id=1)

    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync, act=act)))
    with host.client() as http:
        assert read_feed(http) == 0
        assert http.put("/1").headers[HEADER] == "articles;code=1, feeds;user_id=1"
        assert read_feed(http) == 1


@both
def test_one_above_another_tells_all(host: Host, sync: bool) -> None:
    changed = host.mizan.changes(Feeds)(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync)))
    host.app.put("/{code}")(changed)
    with host.client() as http:
        assert http.put("/1").headers[HEADER] == "feeds, articles;code=1"


@both
def test_null_and_misfits_do_not_narrow(host: Host, sync: bool) -> None:
    changed = host.mizan.changes(Articles, by={"code": "title"})(route_of(host, sync=sync))
    host.app.put("/{code}")(changed)
    with host.client() as http:
        assert http.put("/1?title=x").headers[HEADER] == "articles"
        assert http.put("/1?title=7").headers[HEADER] == "articles;code=7"


@both
def test_where_it_cannot_be_held_refuse_answers_503(sync: bool) -> None:
    cache = FailingCache()
    host = Host(cache=cache, on_cache_failure="refuse", shutdown=0)
    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync)))
    with host.client() as http:
        cache.broken = True
        answer = http.put("/1")
        assert (answer.status_code, answer.headers.get(HEADER), host.rows) == (503, None, {})


@both
def test_a_purge_that_refuse_waits_for_in_vain_is_503(monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.1)
    cache = FailingCache()

    def act(code: int) -> None:
        cache.broken = True

    host = Host(cache=cache, on_cache_failure="refuse", shutdown=0)
    host.app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=sync, act=act)))
    with host.client() as http:
        answer = http.put("/1")
        assert (answer.status_code, answer.headers[HEADER], host.rows) == (503, "articles;code=1", {1: 1})


@both
def test_on_a_route_of_starlettes(host: Host, sync: bool) -> None:
    async def put(request: Request) -> Response:
        host.write(1)
        return JSONResponse(request.path_params["code"])

    def put_in_thread(request: Request) -> Response:
        host.write(1)
        return JSONResponse(request.path_params["code"])

    changed = host.mizan.changes(Articles)(put_in_thread if sync else put)

    app = Starlette(routes=[Route("/{code}", changed, methods=["PUT"])])
    app.mount("/api/mizan", host.mizan)
    with Http(app, host.mizan) as http:
        read(http)
        assert http.put("/1").headers[HEADER] == "articles"
        assert read(http) == ("miss", 1)


def test_without_a_lifespan_a_sync_route_purges_all_the_same(host: Host) -> None:
    app = FastAPI()
    app.mount("/api/mizan", host.mizan)
    app.put("/{code}")(host.mizan.changes(Articles, by="code")(route_of(host, sync=True)))
    with Http(app) as http:
        assert [read(http), read(http)] == [("miss", 0), ("hit", 0)]
        assert http.put("/1").headers[HEADER] == "articles;code=1"
        assert read(http) == ("miss", 1)
    assert "mizan-blocking" not in {thread.name for thread in threading.enumerate()}


def test_a_changed_function_can_be_called_as_before(host: Host) -> None:
    changed = host.mizan.changes(Articles, by="code")(route_of(host, sync=True))
    assert changed(1, title="x") == {"code": 1}
    assert (changed.__name__, changed.__module__) == ("put_in_thread", __name__)
    host.mizan.blocking.wait_for(host.mizan.engine.aclose)


def test_what_cannot_work_is_refused_where_it_stands(host: Host) -> None:
    async def put(code: int) -> None: ...

    def stream(code: int) -> Iterator[int]:
        yield code

    for affected, by, endpoint, said in (
        ((), (), put, "put: changes() names no context."),
        (("articels",), (), put, "did you mean 'articles'?"),
        ((Articles,), "cod", put, "by='cod' is a parameter of no context that it changes; did you mean 'code'?"),
        ((Articles,), "user_id", put, "by='user_id' is a parameter of no context that it changes."),
        ((Articles,), {"code": "codes"}, put, "by='codes' is no parameter of the route; did you mean 'code'?"),
        ((Articles,), {"code": "x"}, put, "put: by='x' is no parameter of the route."),
        ((Articles,), "code", stream, "stream yields"),
    ):
        with pytest.raises(DeclarationError) as refused:
            host.mizan.changes(*affected, by=by)(endpoint)
        assert said in str(refused.value)


def test_annotations_that_only_the_host_resolves_are_left(host: Host) -> None:
    class Local(int): ...

    async def put(code: Local) -> None: ...

    changed = host.mizan.changes(Articles, by="code")(put)
    assert changed.__name__ == "put"
    assert asyncio.run(changed(code=Local(1))) is None


@pytest.mark.asyncio
async def test_a_request_that_goes_away_is_purged(host: Host) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @host.app.put("/{code}")
    @host.mizan.changes(Articles, by="code")
    async def put(code: int) -> None:
        host.write(code)
        begun.set()
        await go_on.wait()

    async with host.mizan.lifespan(host.app):
        transport = httpx.ASGITransport(app=host.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as http:
            await http.get("/api/mizan/ctx/articles/?code=1")
            going = asyncio.create_task(http.put("/1"))
            await begun.wait()
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going
            assert (await http.get("/api/mizan/ctx/articles/?code=1")).json() == {"article": 1}
