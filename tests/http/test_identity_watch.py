"""A reader of a shared answer must not read the caller's identity (protocol, section 8)."""

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, SimpleUser
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Host, Mount, Router

from mizan_asgi import Mizan
from mizan_core import Identity, NotFound, build, client
from tests.http.site import KEYS, PUBLIC, Clock, hosting, http, logged, refusal, token

FRONT = "/api/mizan/ctx/front/"

Look = Callable[[Request], object]

LOOKS: dict[str, Look] = {
    "user": lambda request: request.user,
    "auth": lambda request: request.auth,
    "session": lambda request: request.session,
    "cookies": lambda request: request.cookies,
    "headers": lambda request: request.headers,
    "query": lambda request: request.query_params,
    "client": lambda request: request.client,
    "url": lambda request: request.url,
    "base url": lambda request: request.base_url,
    "user in the scope": lambda request: request.scope["user"],
    "headers of the scope": lambda request: request.scope.get("headers"),
    "dict(scope)": lambda request: dict(request.scope),
    "{**scope}": lambda request: {**request.scope},
    "scope.items()": lambda request: list(request.scope.items()),
    "scope.values()": lambda request: list(request.scope.values()),
    "scope.copy()": lambda request: request.scope.copy(),
    "scope | {}": lambda request: request.scope | {},
    "{} | scope": lambda request: {} | request.scope,
    "scope.pop()": lambda request: request.scope.pop("client"),
    "scope.setdefault()": lambda request: request.scope.setdefault("session", {}),
    "repr(scope)": lambda request: repr(request.scope),
    "dict(request)": lambda request: dict(request),
    "request['headers']": lambda request: request["headers"],
    "path": lambda request: request.scope["path"],
    "path parameters": lambda request: request.path_params,
    "state": lambda request: request.state,
    "root path": lambda request: request.scope.get("root_path"),
    "app root path": lambda request: request.scope["app_root_path"],
    "server": lambda request: request.scope["server"],
    "scheme": lambda request: request.scope["scheme"],
    "http version": lambda request: request.scope["http_version"],
    "key of the host's": lambda request: request.scope["acme.tenant"],
    "url_for()": lambda request: request.url_for("data"),
    "names in the scope": lambda request: list(request.scope),
    "names of the scope": lambda request: list(request.scope.keys()),
    "name in the scope": lambda request: "user" in request.scope,
    "absent name in the scope": lambda request: "acme.admin" in request,
    "len(scope)": lambda request: len(request.scope),
    "len(request)": lambda request: len(request),
    "scope == {}": lambda request: request.scope == {},
    "scope in another request": lambda request: Request(request.scope).headers,
    "copy of the scope": lambda request: copy.copy(request.scope)["user"],
    "match": lambda request: matched(request.scope),
    "del": lambda request: request.scope.__delitem__("client"),
    "popitem": lambda request: request.scope.popitem(),
}

FREE_LOOKS: dict[str, Look] = {
    "method": lambda request: request.method,
    "type": lambda request: request.scope["type"],
    "application": lambda request: request.app.state,
    "url_path_for()": lambda request: request.app.url_path_for("data"),
    "router": lambda request: request.scope["router"].url_path_for("data"),
    "what it put there itself": lambda request: request.scope.__setitem__("seen", True),
    "past the methods": lambda request: dict.get(request.scope, "user"),  # which finds nothing
}

LOOKS_AT_THE_CONNECTION: dict[str, Callable[[Request], Awaitable[object]]] = {
    "is_disconnected": lambda request: request.is_disconnected(),
    "receive": lambda request: asyncio.wait_for(request.receive(), 0.01),
}


def matched(scope: Any) -> object:
    match scope:
        case {"client": client}:
            return client
    return None


def host(mizan: Mizan) -> Any:
    """A host whose middleware has set user, session and state."""
    app = hosting(mizan)

    async def hosted(scope: Any, receive: Any, send: Any) -> None:
        known = {"user": SimpleUser("ada"), "auth": AuthCredentials(), "session": {"cart": 1}, "acme.tenant": 5}
        await app(scope | known, receive, send)

    return hosted


def reading(look: Look, *, in_a_thread: bool = False, **declared: Any) -> tuple[Mizan, list[int]]:
    ran: list[int] = []

    if in_a_thread:

        @client(context="front", **declared)
        def front(request: Request) -> str:
            ran.append(1)
            look(request)
            return "news"

    else:

        @client(context="front", **declared)
        async def front(request: Request) -> str:
            ran.append(1)
            look(request)
            return "news"

    @client(route="/data/")
    async def data() -> int:
        return 1

    return Mizan(build([front, data])), ran


@pytest.mark.asyncio
@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_a_reader_of_the_identity_is_not_shared(
    look: Look, in_a_thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    mizan, ran = reading(look, in_a_thread=in_a_thread)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert [answer.json() for answer in answers] == [{"front": "news"}] * 2
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}
    assert {answer.headers["cache-status"] for answer in answers} == {"mizan; fwd=bypass; detail=personal"}
    assert len(ran) == 2
    errors = [one for one in logged(caplog) if one.levelno == logging.ERROR]
    assert len(errors) == 2
    assert all(word in errors[0].getMessage() for word in ("front", "per='user'", "cache=False"))


@pytest.mark.asyncio
@pytest.mark.parametrize("look", FREE_LOOKS.values(), ids=FREE_LOOKS)
async def test_a_reader_of_shared_request_data_is_shared(look: Look, caplog: pytest.LogCaptureFixture) -> None:
    mizan, ran = reading(look)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {PUBLIC}
    assert len(ran) == 1
    assert not logged(caplog)


@pytest.mark.asyncio
@pytest.mark.parametrize("look", LOOKS_AT_THE_CONNECTION.values(), ids=LOOKS_AT_THE_CONNECTION)
async def test_the_connection_of_a_request_is_its_own(look: Callable[[Request], Awaitable[object]]) -> None:
    @client(context="front")
    async def front(request: Request) -> str:
        await request.body()
        with suppress(TimeoutError):
            await look(request)
        return "news"

    async with http(host(Mizan(build([front])))) as web:
        assert (await web.get(FRONT)).headers["cache-control"] == "private, no-store"


@pytest.mark.asyncio
async def test_the_body_of_a_post_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="front", route="/front/", methods=["GET", "POST"])
    async def front(request: Request) -> str:
        return (await request.body()).decode()

    async with http(hosting(Mizan(build([front])))) as web:
        answer = await web.post("/front/", content=b"mine", headers={"content-type": "text/plain"})
    assert (answer.json(), answer.headers["cache-control"]) == ("mine", "private, no-store")
    assert "body" in caplog.text


TENANTS: dict[str, Look] = {
    "parameter": lambda request: request.path_params["tenant"],
    "parameters": lambda request: dict(request.path_params),
    "get()": lambda request: request.path_params.get("tenant"),
    "url": lambda request: request.url.path,
    "root path": lambda request: request.scope["root_path"],
    "path": lambda request: request.scope["path"],
}


def of_tenants(mizan: Mizan) -> Starlette:
    """Every tenant has a mount of its own, by its path or by its host."""
    routes = [Mount("/api/mizan", mizan), *mizan.routes]
    return Starlette(routes=[Host("{tenant}.example.com", Router(routes)), Mount("/{tenant}", routes=routes)])


@pytest.mark.asyncio
@pytest.mark.parametrize("declared", [{}, {"per": "user"}, {"auth": True, "per": "all"}, {"per": "permissions"}])
@pytest.mark.parametrize("look", TENANTS.values(), ids=TENANTS)
async def test_no_tenant_is_served_anothers_answer(look: Look, declared: dict[str, Any]) -> None:
    @client(context="front", **declared)
    async def front(request: Request) -> str:
        return str(look(request))

    mizan = Mizan(build([front]), authenticate=lambda _: Identity("ada"))
    async with http(of_tenants(mizan)) as web:
        answers = [await web.get(f"/{tenant}{FRONT}") for tenant in ("acme", "globex")]
    assert ["acme" in answers[0].text, "globex" in answers[1].text] == [True, True]
    assert {answer.headers["cache-status"] for answer in answers} == {"mizan; fwd=bypass; detail=personal"}


@pytest.mark.asyncio
async def test_no_host_is_served_anothers_answer() -> None:
    @client(context="front")
    async def front(request: Request) -> str:
        return str(request.path_params["tenant"])

    @client(context="pages", route="/front/{page}/")
    async def view(request: Request, page: str) -> HTMLResponse:
        return HTMLResponse(request.path_params["tenant"] + page)

    async with http(of_tenants(Mizan(build([front, view])))) as web:
        for path in (FRONT, "/front/news/"):
            answers = [await web.get(f"http://{tenant}.example.com{path}") for tenant in ("acme", "globex")]
            assert ["acme" in answers[0].text, "globex" in answers[1].text] == [True, True]
            assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}


@pytest.mark.asyncio
@pytest.mark.parametrize("mount", ["", "/acme"])
async def test_a_page_may_read_its_own_path_parameters(mount: str, caplog: pytest.LogCaptureFixture) -> None:
    @client(context="front", route="/front/{page}/")
    async def view(request: Request, page: str) -> HTMLResponse:
        return HTMLResponse(request.path_params["page"] + page)

    mizan = Mizan(build([view]))
    async with http(of_tenants(mizan) if mount else Starlette(routes=mizan.routes)) as web:
        answer = await web.get(f"{mount}/front/news/")
    # Below a prefix no page is public.
    assert answer.headers["cache-control"] == ("no-store" if mount else PUBLIC)
    assert "looked at" not in caplog.text


@pytest.mark.asyncio
async def test_a_head_is_computed_as_its_get() -> None:
    @client(context="front")
    async def front(request: Request) -> str:
        return request.method

    async with http(hosting(Mizan(build([front])))) as web:
        await web.head(FRONT)
        assert (await web.get(FRONT)).json() == {"front": "GET"}


@pytest.mark.asyncio
@pytest.mark.parametrize("declared", [{"per": "user"}, {"cache": False}, {"per": "user", "auth": True}])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_a_per_user_or_uncached_reader_may_read_everything(
    look: Look, declared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    mizan, ran = reading(look, **declared)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    kept = "cache" not in declared
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-cache" if kept else "no-store"}
    assert len(ran) == (1 if kept else 2)
    assert not logged(caplog)


@pytest.mark.asyncio
@pytest.mark.parametrize("declared", [{"auth": True, "per": "all"}, {"per": "permissions"}])
async def test_a_guarded_or_per_permissions_reader_is_watched_too(declared: dict[str, Any]) -> None:
    mizan, ran = reading(LOOKS["user"], **declared)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}
    assert len(ran) == 2


@pytest.mark.asyncio
async def test_one_reader_that_looks_spoils_its_whole_bundle(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="front")
    async def innocent(request: Request) -> str:
        return "news"

    @client(context="front")
    def nosy(request: Request) -> str:
        return request.headers.get("x-who", "")

    async with http(hosting(Mizan(build([innocent, nosy])))) as web:
        answers = [await web.get(FRONT, headers={"x-who": name}) for name in ("a", "b")]
    assert [answer.json()["nosy"] for answer in answers] == ["a", "b"]
    assert "nosy looked at who asks (headers or cookies)" in caplog.text
    assert "innocent" not in caplog.text


@pytest.mark.asyncio
async def test_looking_only_now_and_then_spoils_only_those_answers() -> None:
    @client(context="front")
    async def moody(request: Request, mood: str) -> str:
        return request.headers["x-who"] if mood == "nosy" else "news"

    async with http(hosting(Mizan(build([moody]))), x_who="ada") as web:
        shown = {mood: (await web.get(f"{FRONT}?mood={mood}")).headers["cache-control"] for mood in ("nosy", "calm")}
    assert shown == {"nosy": "private, no-store", "calm": PUBLIC}


@pytest.mark.asyncio
@pytest.mark.parametrize("fails", [False, True])
async def test_a_joiner_never_gets_an_answer_that_was_personal(fails: bool) -> None:
    begun: list[int] = []
    go_on = asyncio.Event()

    @client(context="front")
    async def front(request: Request) -> str:
        begun.append(1)
        await go_on.wait()
        who = request.headers["x-who"]
        if fails:
            raise NotFound(f"There is no {who}.")
        return who

    async with http(hosting(Mizan(build([front])))) as web:
        asked = [asyncio.create_task(web.get(FRONT, headers={"x-who": name})) for name in "abc"]
        while not begun:
            await asyncio.sleep(0)
        for _ in range(20):  # the other requests have joined by now
            await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.gather(*asked)
    assert len(begun) == 3
    if fails:
        assert [refusal(answer, 404, "not_found")["detail"][-2] for answer in answers] == ["a", "b", "c"]
    else:
        assert [answer.json() for answer in answers] == [{"front": name} for name in "abc"]
        assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}


IDENTITY_LOOKS: dict[str, tuple[Callable[[Identity], object], bool]] = {
    "user_id": (lambda me: me.user_id, True),
    "is_authenticated": (lambda me: me.is_authenticated, True),
    "repr": (repr, True),
    "==": (lambda me: me == Identity("ada"), True),
    "hash": (hash, True),
    "copy": (copy.copy, True),
    "by_token": (lambda me: me.by_token, True),
    "staff": (lambda me: me.staff, False),
    "superuser": (lambda me: me.superuser, False),
    "permission_key": (lambda me: me.permission_key, False),
    "permissions": (lambda me: me.permissions, False),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(("look", "personal"), IDENTITY_LOOKS.values(), ids=IDENTITY_LOOKS)
async def test_per_permissions_watches_the_user_id_only(
    look: Callable[[Identity], object], personal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @client(context="front", per="permissions", auth=True)
    async def front(me: Identity) -> str:
        look(me)
        return "news"

    app = hosting(Mizan(build([front]), mwt_keys=KEYS, clock=Clock(), permissions=lambda _: ()))
    async with http(app, x_mizan_token=token("ada")) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {
        "private, no-store" if personal else "private, no-cache"
    }
    assert ("hit" in answers[1].headers["cache-status"]) == (not personal)
    assert len(logged(caplog)) == (2 if personal else 0)


@pytest.mark.asyncio
async def test_a_page_that_reads_the_identity_is_not_shared(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="front", route="/")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(f"for {request.cookies}", headers={"cache-control": "public, max-age=600"})

    @client(context="front", route="/data/")
    async def data(request: Request) -> str:
        return f"for {request.cookies}"

    async with http(hosting(Mizan(build([page, data])))) as web:
        controls = [(await web.get(url)).headers["cache-control"] for url in ("/", "/data/")]
    assert controls == ["private, no-store"] * 2
    assert [one.levelno for one in logged(caplog)] == [logging.ERROR] * 2


@pytest.mark.asyncio
async def test_request_user_is_the_hosts_user_or_the_identity() -> None:
    @client
    async def who(request: Request) -> list[Any]:
        return [type(request.user).__name__, request.user.is_authenticated]

    @client(context="front", route="/")
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(type(request.user).__name__)

    mizan = Mizan(build([who, page]), mwt_keys=KEYS, clock=Clock())
    async with http(hosting(mizan)) as web:
        nobody = await web.post("/api/mizan/call/who/")
        known = await web.post("/api/mizan/call/who/", headers={"x-mizan-token": token("ada")})
        shown = await web.get("/", headers={"x-mizan-token": token("ada")})
    async with http(host(mizan)) as web:
        hosted = await web.post("/api/mizan/call/who/")
    assert [one.json()["result"] for one in (nobody, known, hosted)] == [
        ["Identity", False],
        ["Identity", True],
        ["SimpleUser", True],
    ]
    assert shown.text == "Identity"


@pytest.mark.asyncio
async def test_a_call_may_look_at_everything(caplog: pytest.LogCaptureFixture) -> None:
    mizan, ran = reading(LOOKS["dict(scope)"])
    async with http(host(mizan)) as web:
        answer = await web.post("/api/mizan/call/front/")
    assert answer.json() == {"result": "news"}
    assert len(ran) == 1
    assert not logged(caplog)
