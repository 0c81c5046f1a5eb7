"""Dependencies that read the request: refused where an answer is kept, solved with the caller's own elsewhere."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
import starlette.exceptions
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    WebSocket,
)
from fastapi.security import APIKeyCookie, HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from mizan_asgi import Mizan
from mizan_asgi.integrations.fastapi import FastAPIDependencies
from mizan_core import Context, DeclarationError, Engine, Identity, MemoryCache, build, client
from mizan_core import File as Upload

Notes = Context("notes")
bearer = OAuth2PasswordBearer(tokenUrl="token")


class Item(BaseModel):
    name: str


def by_request(request: Request) -> str:
    return request.headers.get("x-user", "")


def by_connection(connection: HTTPConnection) -> str:
    return ""


def by_header(x_user: Annotated[str, Header()]) -> str:
    return x_user


def by_cookie(user: Annotated[str, Cookie()] = "") -> str:
    return user


def by_query(limit: int = 10) -> int:
    return limit


def by_marked_query(limit: Annotated[int, Query(alias="most")] = 10) -> int:
    return limit


def by_token(token: Annotated[str, Depends(bearer)]) -> str:
    return token


def below(user: Annotated[str, Depends(by_header)]) -> str:
    return user


READING: list[tuple[Any, str]] = [
    (by_request, "Depends(by_request), which takes the request"),
    (by_connection, "Depends(by_connection), which takes the request"),
    (by_header, "Depends(by_header), which reads the header 'x-user'"),
    (by_cookie, "Depends(by_cookie), which reads the cookie 'user'"),
    (by_query, "Depends(by_query), which reads the query parameter 'limit'"),
    (by_marked_query, "Depends(by_marked_query), which reads the query parameter 'most'"),
    (by_token, "Depends(by_token → OAuth2PasswordBearer), which takes the request"),
    (below, "Depends(below → by_header), which reads the header 'x-user'"),
    (HTTPBearer(), "Depends(HTTPBearer), which takes the request"),
    (APIKeyCookie(name="key"), "Depends(APIKeyCookie), which takes the request"),
]


def serving(*functions: Any, app: FastAPI | None = None, **settings: Any) -> Mizan:
    return Mizan(build(functions), fastapi=app or FastAPI(), **settings)


def asking(mizan: Mizan, **settings: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test", **settings)


class TestKept:
    @pytest.mark.parametrize(("dependency", "words"), READING)
    @pytest.mark.parametrize("options", [{}, {"per": "user"}, {"cache": 60}, {"route": "/notes/"}])
    def test_the_request_is_refused_in_a_kept_answer(
        self, dependency: Any, words: str, options: dict[str, Any]
    ) -> None:
        @client(context=Notes, **options)
        async def note_list(value: Annotated[Any, Depends(dependency)]) -> list[str]:
            return []

        with pytest.raises(DeclarationError, match=re.escape(f"note_list takes 'value' by {words}")) as refused:
            serving(note_list)
        for remedy in ("`me: Identity`", "as a parameter", "cache=False"):
            assert remedy in str(refused.value)

    def test_it_is_refused_in_a_private_reader_too(self) -> None:
        @client(context=Notes, private=True)
        async def note_list(value: Annotated[str, Depends(by_header)]) -> list[str]:
            return []

        @client(context=Notes)
        async def note_count() -> int:
            return 0

        for functions in ([note_list], [note_list, note_count]):
            with pytest.raises(DeclarationError, match="note_list takes 'value'"):
                serving(*functions)

    def test_a_reader_that_is_kept_alone_is_refused(self) -> None:
        @client(context=Notes)
        async def note_list(value: Annotated[str, Depends(by_header)]) -> list[str]:
            return []

        @client(context=Notes, cache=False)
        async def note_time() -> int:
            return 0

        with pytest.raises(DeclarationError, match="note_list takes 'value'"):
            serving(note_list, note_time)

    @pytest.mark.asyncio
    async def test_no_request_is_handed_to_a_kept_answer(self) -> None:
        handed = []

        class Noting(FastAPIDependencies):
            async def within(self, calls: Any, request: object, work: Any) -> Any:
                handed.append(request)
                return await super().within(calls, request, work)

        @client(context=Notes)
        async def note_list(value: Annotated[int, Depends(lambda: 5)]) -> int:
            return value

        @client(context="now", cache=False)
        async def now(value: Annotated[int, Depends(lambda: 5)]) -> int:
            return value

        @client(affects=Notes)
        async def add_note(value: Annotated[int, Depends(lambda: 5)]) -> int:
            return value

        request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})
        graph = build([note_list, now, add_note])
        async with Engine(graph, cache=MemoryCache(), dependencies=Noting(FastAPI())) as engine:
            for name in ("notes", "now"):
                await engine.fetch(name, {}, request=request)
            await engine.call("add_note", {}, request=request)
        assert handed == [None, request, request]

    @pytest.mark.asyncio
    async def test_an_override_that_reads_it_is_refused(self) -> None:
        def one() -> str:
            return "one"

        @client(context=Notes)
        async def note_list(value: Annotated[str, Depends(one)]) -> list[str]:
            return [value]

        app = FastAPI()
        mizan = serving(note_list, app=app)
        app.dependency_overrides[one] = below
        with pytest.raises(DeclarationError, match=r"below → by_header\), which reads the header .*are kept"):
            await mizan.engine.fetch("notes", {})
        app.dependency_overrides[by_header] = lambda: "none"
        assert (await mizan.engine.fetch("notes", {})).body == b'{"note_list":["none"]}'

    @pytest.mark.asyncio
    async def test_an_override_may_read_less(self) -> None:
        @client
        async def whoami(user: Annotated[str, Depends(below)]) -> str:
            return user

        app = FastAPI()
        mizan = serving(whoami, app=app)
        app.dependency_overrides[below] = lambda: "somebody"
        assert (await mizan.engine.run("whoami", {})).result == "somebody"
        app.dependency_overrides[below] = by_header
        with pytest.raises(DeclarationError, match=r"by_header\), which reads the header 'x-user', and this call has"):
            await mizan.engine.run("whoami", {})
        async with asking(mizan) as web:
            assert (await web.post("/call/whoami/", json={}, headers={"x-user": "Ada"})).json()["result"] == "Ada"


class TestNotKept:
    @pytest.mark.asyncio
    async def test_each_caller_of_an_answer_not_kept_has_its_own(self) -> None:
        both = asyncio.Barrier(2)

        @client(context=Notes, cache=False)
        async def seen(user: Annotated[str, Depends(below)]) -> str:
            await both.wait()
            return user

        @client(context="page", cache=False, route="/page/")
        async def page(user: Annotated[str, Depends(below)]) -> str:
            return user

        mizan = serving(seen, page)

        async def one(user: str) -> Any:
            async with asking(mizan, headers={"x-user": user}) as web:
                return (await web.get("/ctx/notes/")).json()

        assert await asyncio.gather(one("Ada"), one("Bo")) == [{"seen": "Ada"}, {"seen": "Bo"}]
        app = FastAPI(routes=mizan.routes)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as web:
            assert (await web.get("/page/", headers={"x-user": "Ada"})).json() == "Ada"

    @pytest.mark.asyncio
    async def test_a_mutation_reads_its_own_request(self) -> None:
        ran = []

        async def account(token: Annotated[str, Depends(bearer)]) -> str:
            if token != "of Ada":
                raise HTTPException(401, "Who?", headers={"www-authenticate": "Bearer"})
            return "Ada"

        @client(affects=Notes)
        async def add_note(text: str, user: Annotated[str, Depends(account)]) -> str:
            ran.append(text)
            return f"{user}: {text}"

        mizan = serving(add_note, noted)
        async with asking(mizan) as web:
            for path, body in (("/call/add_note/", {}), ("/call/", {"fn": "add_note"})):
                args = {"text": "hello"}
                answer = await web.post(path, json={**body, "args": args} if body else args)
                assert (answer.status_code, answer.json()["detail"]) == (401, "Not authenticated")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "x-mizan-invalidate" not in answer.headers
        assert ran == []

    @pytest.mark.asyncio
    async def test_a_missing_header_is_invalid_input(self) -> None:
        @client(affects=Notes)
        async def add_note(user: Annotated[str, Depends(below)]) -> str:
            return user

        async with asking(serving(add_note, noted)) as web:
            answer = await web.post("/call/add_note/", json={})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
            assert answer.json()["errors"] == [
                {"loc": ["header", "x-user"], "msg": "Field required", "type": "missing"}
            ]
            answer = await web.post("/call/add_note/", json={}, headers={"x-user": "Ada"})
            assert answer.json()["result"] == "Ada"
            assert answer.headers["x-mizan-invalidate"] == "notes"

    @pytest.mark.asyncio
    async def test_the_body_can_be_read_again(self) -> None:
        async def size(request: Request) -> int:
            return len(await request.body())

        @client
        async def measured(text: str, bytes_sent: Annotated[int, Depends(size)]) -> int:
            return bytes_sent

        async with asking(serving(measured)) as web:
            answer = await web.post(
                "/call/measured/", content=b'{"text":"12"}', headers={"content-type": "application/json"}
            )
        assert answer.json()["result"] == 13

    @pytest.mark.asyncio
    async def test_a_call_with_a_file_hands_its_request_on(self) -> None:
        @client(affects=Notes)
        async def add_note(user: Annotated[str, Depends(below)], scan: Upload | None = None) -> str:
            return user if scan is None else f"{user}: {len(await scan.read())}"

        async with asking(serving(add_note, noted), headers={"x-user": "Ada"}) as web:
            answer = await web.post("/call/add_note/", files={"scan": b"bytes"})
            assert answer.json()["result"] == "Ada: 5"
            assert (await web.post("/call/add_note/", json={})).json()["result"] == "Ada"

    @pytest.mark.asyncio
    async def test_without_a_request_nothing_is_opened(self) -> None:
        opened = []

        async def resource() -> AsyncIterator[int]:
            opened.append(1)
            yield 1

        @client(affects=Notes)
        async def add_note(number: Annotated[int, Depends(resource)], user: Annotated[str, Depends(below)]) -> str:
            return user

        mizan = serving(add_note, noted)
        await mizan.engine.fetch("notes", {})
        with pytest.raises(DeclarationError, match=r"Depends\(below → by_header\), which reads .*request=request"):
            await mizan.engine.run("add_note", {}, identity=Identity("5"))
        assert opened == []
        assert (await mizan.engine.fetch("notes", {})).status == "hit"

    @pytest.mark.asyncio
    async def test_an_endpoint_of_the_host_hands_its_request_on(self) -> None:
        @client(affects=Notes)
        async def add_note(user: Annotated[str, Depends(below)]) -> str:
            raise HTTPException(418, user)

        app = FastAPI()
        mizan = serving(add_note, noted, app=app)

        @app.post("/notes")
        async def post(request: Request, value: Annotated[str, Depends(by_request)]) -> Any:
            return (await mizan.engine.call("add_note", {}, request=request)).result

        @app.exception_handler(starlette.exceptions.HTTPException)
        async def handle(request: Request, error: HTTPException) -> Response:
            return Response(f"handled {error.detail}", error.status_code)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as web:
            answer = await web.post("/notes", headers={"x-user": "Ada"})
        assert (answer.status_code, answer.text) == (418, "handled Ada")

    @pytest.mark.asyncio
    async def test_an_own_url_hands_its_request_on(self) -> None:
        @client(affects=Notes)
        async def add_note(text: str, user: Annotated[str, Depends(below)]) -> str:
            return f"{user}: {text}"

        @client(context="seen", cache=False)
        async def seen(user: Annotated[str, Depends(by_request)]) -> str:
            return user

        app = FastAPI()
        mizan = serving(add_note, noted, seen, app=app)

        @app.post("/notes")
        async def post(request: Request, item: Item) -> Response:
            return await mizan.respond(request, add_note, text=item.name)

        @app.get("/seen")
        async def get(request: Request) -> Response:
            return await mizan.respond(request, seen)

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test", headers={"x-user": "Ada"}
        ) as web:
            answer = await web.post("/notes", json={"name": "hello"})
            assert (answer.json(), answer.headers["x-mizan-invalidate"]) == ("Ada: hello", "notes")
            assert (await web.get("/seen")).json() == "Ada"


@client(context=Notes)
async def noted() -> int:
    return 1


def with_response(response: Response) -> None: ...
def with_tasks(tasks: BackgroundTasks) -> None: ...
def with_websocket(socket: WebSocket) -> None: ...
def with_model(item: Item) -> None: ...
def with_body(item: Annotated[str, Body()]) -> None: ...
def with_form(item: Annotated[str, Form()]) -> None: ...
def with_file(item: Annotated[bytes, File()]) -> None: ...


@pytest.mark.parametrize(
    ("dependency", "words"),
    [
        (with_response, "takes the Response, and nothing would send"),
        (with_tasks, "takes BackgroundTasks, and nothing would run them"),
        (with_websocket, "takes a WebSocket"),
        (with_model, "reads 'item' from the body"),
        (with_body, "reads 'item' from the body"),
        (with_form, "reads 'item' from the body"),
        (with_file, "reads 'item' from the body"),
    ],
)
def test_what_can_be_filled_in_nowhere_is_refused(dependency: Any, words: str) -> None:
    @client(affects=Notes)
    async def add_note(value: Annotated[Any, Depends(dependency)]) -> None: ...

    with pytest.raises(DeclarationError, match=f"add_note takes 'value' by .*{words}"):
        serving(add_note, noted)


def test_a_parameter_of_the_path_is_refused() -> None:
    def with_path(item: Annotated[str, Path()]) -> None: ...

    @client(affects=Notes)
    async def add_note(value: Annotated[Any, Depends(with_path)]) -> None: ...

    with pytest.raises(DeclarationError, match="add_note"):
        serving(add_note, noted)
