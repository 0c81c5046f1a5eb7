"""A reader of an answer that others will get too must not look at who asks (protocol, section 8)."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.authentication import AuthCredentials, SimpleUser
from starlette.requests import Request
from starlette.responses import HTMLResponse

from mizan_asgi import Mizan
from mizan_core import Identity, NotFound, build, client

from .site import KEYS, PUBLIC, Clock, hosting, http, logged, refusal, token

pytestmark = pytest.mark.anyio

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
}

OTHER_LOOKS: dict[str, Look] = {
    "method": lambda request: request.method,
    "path": lambda request: request.scope["path"],
    "path parameters": lambda request: request.path_params,
    "state": lambda request: request.state,
    "application": lambda request: request.app,
    "names in the scope": lambda request: list(request.scope),
    "a name in the scope": lambda request: "session" in request.scope,
}


def host(mizan: Mizan) -> Any:
    """A host whose middleware has found out everything there is to know."""
    app = hosting(mizan)

    async def hosted(scope: Any, receive: Any, send: Any) -> None:
        known = {"user": SimpleUser("ada"), "auth": AuthCredentials(), "session": {"cart": 1}}
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

    return Mizan(build([front])), ran


@pytest.mark.parametrize("in_a_thread", [False, True])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_a_look_at_who_asks_keeps_the_answer_from_everybody_else(
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


@pytest.mark.parametrize("look", OTHER_LOOKS.values(), ids=OTHER_LOOKS)
async def test_a_look_at_anything_else_is_free(look: Look, caplog: pytest.LogCaptureFixture) -> None:
    mizan, ran = reading(look)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {PUBLIC}
    assert len(ran) == 1
    assert not logged(caplog)


@pytest.mark.parametrize("declared", [{"per": "user"}, {"cache": False}, {"per": "user", "auth": True}])
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
async def test_a_reader_for_one_user_or_for_one_request_may_look_at_everything(
    look: Look, declared: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    mizan, ran = reading(look, **declared)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    kept = "cache" not in declared
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-cache" if kept else "no-store"}
    assert len(ran) == (1 if kept else 2)
    assert not logged(caplog)


@pytest.mark.parametrize("declared", [{"auth": True, "per": "all"}, {"per": "permissions"}])
async def test_a_reader_behind_a_guard_or_for_equals_may_not_look_either(declared: dict[str, Any]) -> None:
    mizan, ran = reading(LOOKS["user"], **declared)
    async with http(host(mizan)) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-store"}
    assert len(ran) == 2


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


async def test_looking_only_now_and_then_spoils_only_those_answers() -> None:
    @client(context="front")
    async def moody(request: Request, mood: str) -> str:
        return request.headers["x-who"] if mood == "nosy" else "news"

    async with http(hosting(Mizan(build([moody]))), x_who="ada") as web:
        shown = {mood: (await web.get(f"{FRONT}?mood={mood}")).headers["cache-control"] for mood in ("nosy", "calm")}
    assert shown == {"nosy": "private, no-store", "calm": PUBLIC}


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
        for _ in range(20):  # the others have joined by now
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
    "staff": (lambda me: me.staff, False),
    "superuser": (lambda me: me.superuser, False),
    "permission_key": (lambda me: me.permission_key, False),
    "permissions": (lambda me: me.permissions, False),
}


@pytest.mark.parametrize(("look", "personal"), IDENTITY_LOOKS.values(), ids=IDENTITY_LOOKS)
async def test_for_equals_the_user_id_of_the_identity_is_watched_and_its_permissions_are_not(
    look: Callable[[Identity], object], personal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @client(context="front", per="permissions", auth=True)
    async def front(me: Identity) -> str:
        look(me)
        return "news"

    app = hosting(Mizan(build([front]), mwt_keys=KEYS, clock=Clock()))
    async with http(app, x_mizan_token=token("ada")) as web:
        answers = [await web.get(FRONT) for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {
        "private, no-store" if personal else "private, no-cache"
    }
    assert ("hit" in answers[1].headers["cache-status"]) == (not personal)
    assert len(logged(caplog)) == (2 if personal else 0)


async def test_a_page_that_looks_at_who_asks_is_for_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
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


async def test_request_user_is_the_hosts_user_if_it_has_one_and_else_the_identity_and_never_raises() -> None:
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


async def test_a_call_may_look_at_everything(caplog: pytest.LogCaptureFixture) -> None:
    mizan, ran = reading(LOOKS["dict(scope)"])
    async with http(host(mizan)) as web:
        answer = await web.post("/api/mizan/call/front/")
    assert answer.json() == {"result": "news"}
    assert len(ran) == 1
    assert not logged(caplog)
