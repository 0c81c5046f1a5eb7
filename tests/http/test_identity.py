"""The caller's identity: tokens, the host's session, and the permissions that a guard reads (protocol, section 11)."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mizan_asgi import Mizan
from mizan_core import Identity, build, client, issue_mwt, verify_mwt
from tests.http.site import KEYS, PUBLIC, Clock, Site, hosting, http, logged, raw, refusal, token

WHO = "/api/mizan/call/who/"


@client
async def who(me: Identity) -> str | None:
    return me.user_id


def asking(**options: Any) -> Starlette:
    """A host where the session belongs to "session"."""
    settings = {"mwt_keys": KEYS, "clock": Clock(), "authenticate": lambda request: Identity("session")} | options
    return hosting(Mizan(build([who]), **settings))


@pytest.mark.asyncio
async def test_a_token_header_precedes_bearer_and_the_session() -> None:
    header, bearer = {"x-mizan-token": token("header")}, {"authorization": f"Bearer {token('bearer')}"}
    async with http(asking()) as web:
        answers = [
            (await web.post(WHO, headers=headers)).json()["result"]
            for headers in (header | bearer, header, bearer, {"authorization": f"bEARER   {token('b2')} "}, {})
        ]
    assert answers == ["header", "header", "bearer", "b2", "session"]


@pytest.mark.asyncio
async def test_other_authorization_schemes_are_the_hosts_business() -> None:
    async with http(asking(), authorization="Basic dTpw") as web:
        assert (await web.post(WHO)).json() == {"result": "session"}


BAD_TOKENS = {
    "garbage": [(b"x-mizan-token", b"garbage")],
    "nothing": [(b"x-mizan-token", b"")],
    "two headers": [(b"x-mizan-token", token("a").encode())] * 2,
    "two in one header": [(b"x-mizan-token", f"{token('a')}, {token('a')}".encode())],
    "too long": [(b"x-mizan-token", b"a" * 5000)],
    "not ASCII": [(b"x-mizan-token", b"\xff\xfe.\xff.\xff")],
    "expired": [(b"x-mizan-token", token("a", now=1_800_000_000 - 306).encode())],
    "not yet valid": [(b"x-mizan-token", token("a", now=1_800_000_000 + 7).encode())],
    "a bad bearer": [(b"authorization", b"Bearer garbage")],
    "an empty bearer": [(b"authorization", b"Bearer")],
    "two bearers": [(b"authorization", f"Bearer {token('a')}".encode())] * 2,
    "a bad header beside a good bearer": [
        (b"x-mizan-token", b"garbage"),
        (b"authorization", f"Bearer {token('a')}".encode()),
    ],
}


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_a_token_that_is_not_valid_never_falls_back(site: Site, headers: list[tuple[bytes, bytes]]) -> None:
    app = site.app(mwt_keys=KEYS, clock=Clock(), authenticate=lambda request: Identity("session"))
    json = (b"content-type", b"application/json")
    for answer in (
        await raw(app, "POST", "/api/mizan/call/", headers=[*headers, json], chunks=[b'{"fn":"echo","args":{}}']),
        await raw(app, "GET", "/api/mizan/ctx/user/", query=b"user_id=5", headers=headers),
        await raw(app, "GET", "/profile/5/", headers=headers),
        await raw(app, "POST", "/rename/", headers=headers),
    ):
        refusal(answer, 401, "unauthorized")
    assert not site.ran


@pytest.mark.asyncio
async def test_a_token_is_believed_within_the_leeway_of_five_seconds() -> None:
    clock = Clock()
    async with http(asking(clock=clock), x_mizan_token=token("a")) as web:
        statuses = []
        for now in (-6, -5, 0, 304, 305):
            clock.now = 1_800_000_000 + now
            statuses.append((await web.post(WHO)).status_code)
    assert statuses == [401, 200, 200, 200, 401]


@pytest.mark.asyncio
async def test_the_reason_of_a_refused_token_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "mizan")
    async with http(asking(), x_mizan_token=token("a", now=0)) as web:
        answer = await web.post(WHO)
    assert "expired" not in answer.text
    assert [(one.levelno, "expired" in one.getMessage()) for one in logged(caplog)] == [(logging.DEBUG, True)]


@pytest.mark.asyncio
async def test_a_token_without_configured_keys_is_refused_and_warned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for headers in ({"x-mizan-token": token("a")}, {"authorization": f"Bearer {token('a')}"}):
        async with http(asking(mwt_keys=None)) as web:
            refusal(await web.post(WHO, headers=headers), 401, "unauthorized")
    assert [one.levelno for one in logged(caplog)] == [logging.WARNING] * 2


def known_to_the_host(request: Request) -> Identity | None:
    """The host's user: by its own token, else by its session or a cookie."""
    _scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if key.startswith("key-of-"):
        return Identity(key.removeprefix("key-of-"))
    name = request.session.get("name") if "session" in request.scope else request.cookies.get("who")
    return None if name is None else Identity(name)


OURS_BUT_BAD = token("ada", now=1_800_000_000 - 3600)
OF_ANOTHER_KEY = issue_mwt(Identity("ada"), {"k2": "another-secret-of-the-tests-and-no-more"}, now=1_800_000_000)


class TestHostBearer:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("keys", [KEYS, None], ids=["keys", "no keys"])
    async def test_a_foreign_bearer_is_passed_to_the_host(self, keys: Any) -> None:
        async with http(asking(mwt_keys=keys, authenticate=known_to_the_host)) as web:
            answer = await web.post(WHO, headers={"authorization": "Bearer key-of-ada"})
            assert answer.json() == {"result": "ada"}
            for unknown in ("garbage", "", OF_ANOTHER_KEY):
                refusal(await web.post(WHO, headers={"authorization": f"Bearer {unknown}"}), 401, "unauthorized")

    @pytest.mark.asyncio
    async def test_a_bearer_with_a_known_key_is_not_passed_to_the_host(self) -> None:
        def authenticate(request: Request) -> Identity:
            raise AssertionError("The host was asked.")

        async with http(asking(authenticate=authenticate)) as web:
            refusal(await web.post(WHO, headers={"authorization": f"Bearer {OURS_BUT_BAD}"}), 401, "unauthorized")

    @pytest.mark.asyncio
    @pytest.mark.parametrize("bearer", ["garbage", OF_ANOTHER_KEY, "", "a" * 5000])
    @pytest.mark.parametrize("keys", [KEYS, None], ids=["keys", "no keys"])
    async def test_an_unknown_bearer_is_not_a_session(self, keys: Any, bearer: str) -> None:
        by_cookie = asking(mwt_keys=keys, authenticate=known_to_the_host)
        by_session = with_sign_in(Mizan(build([who]), mwt_keys=keys, authenticate=known_to_the_host))
        by_state = asking(mwt_keys=keys, authenticate=lambda request: Identity(request.headers.get("x-user", "bo")))
        backend = Middleware(AuthenticationMiddleware, backend=Cookies())
        by_middleware = with_sign_in(Mizan(build([who]), mwt_keys=keys), backend)
        for app in (by_cookie, by_session, by_state, by_middleware):
            async with http(app) as web:
                await web.get("/in/bo")
                cookies = "; ".join([f"{name}={value}" for name, value in web.cookies.items()] + ["who=bo"])
                headers = {"authorization": f"Bearer {bearer}", "cookie": cookies}
                refusal(await web.post(WHO, headers=headers), 401, "unauthorized")
                refusal(await web.get("/api/mizan/ctx/nothing/", headers=headers), 401, "unauthorized")
                assert (await web.post(WHO, headers={"cookie": cookies})).json() == {"result": "bo"}

    @pytest.mark.asyncio
    async def test_a_token_beside_a_cookie_counts_and_the_cookie_does_not(self) -> None:
        async with http(with_sign_in(Mizan(build([who]), authenticate=known_to_the_host))) as web:
            await web.get("/in/bo")
            answer = await web.post(WHO, headers={"authorization": "Bearer key-of-ada"})
            assert answer.json() == {"result": "ada"}

    @pytest.mark.asyncio
    async def test_a_middlewares_word_counts_where_no_cookie_is_sent(self, caplog: pytest.LogCaptureFixture) -> None:
        app = hosting(Mizan(build([who])), Middleware(AuthenticationMiddleware, backend=HostKeys()))
        async with http(app, authorization="Bearer key-of-ada") as web:
            assert (await web.post(WHO)).json() == {"result": "ada"}
            refusal(await web.post(WHO, headers={"cookie": "a=b"}), 401, "unauthorized")
        assert "authenticate=" in logged(caplog)[0].getMessage()

    @pytest.mark.asyncio
    async def test_an_identity_in_the_requests_state_counts(self) -> None:
        def authenticate(request: Request) -> Identity:
            return Identity(request.state.name)

        app = hosting(Mizan(build([who]), authenticate=authenticate), Middleware(NameInState))
        async with http(app) as web:
            answer = await web.post(WHO, headers={"authorization": "Bearer key-of-ada"})
            assert answer.json() == {"result": "ada"}

    @pytest.mark.asyncio
    async def test_authenticate_answering_anonymous_refuses_a_bearer(self) -> None:
        async with http(asking(authenticate=lambda request: Identity(None))) as web:
            refusal(await web.post(WHO, headers={"authorization": "Bearer garbage"}), 401, "unauthorized")

    @pytest.mark.asyncio
    async def test_only_cookies_need_the_cross_site_check(self) -> None:
        cross_site = {"authorization": "Bearer key-of-ada", "sec-fetch-site": "cross-site"}
        async with http(asking(authenticate=known_to_the_host)) as web:
            assert (await web.post(WHO, headers=cross_site)).json() == {"result": "ada"}
            refusal(await web.post(WHO, headers=cross_site | {"cookie": "who=bo"}), 403, "forbidden")

    @pytest.mark.asyncio
    async def test_a_public_bundle_is_refused_to_an_unknown_bearer(self, site: Site) -> None:
        url = "/api/mizan/ctx/user/?user_id=5"
        async with http(site.app(authenticate=known_to_the_host)) as web:
            assert (await web.get(url)).status_code == 200
            assert (await web.get(url, headers={"authorization": "Bearer key-of-ada"})).status_code == 200
            refusal(await web.get(url, headers={"authorization": "Bearer garbage"}), 401, "unauthorized")


@pytest.mark.asyncio
@pytest.mark.parametrize("user_id", ["0", ""])
async def test_the_user_ids_zero_and_empty_are_authenticated(site: Site, user_id: str) -> None:
    by_session = site.app(authenticate=lambda request: Identity(user_id))
    by_token = site.app(mwt_keys=KEYS, clock=Clock())
    async with http(by_session) as web:
        session = [(await web.get("/api/mizan/ctx/team/")), (await web.get("/api/mizan/ctx/inbox/"))]
    async with http(by_token, x_mizan_token=token(user_id)) as web:
        tokens = [(await web.get("/api/mizan/ctx/team/")), (await web.get("/api/mizan/ctx/inbox/"))]
    for team, inbox in (session, tokens):
        assert team.status_code == 200
        assert inbox.json() == {"messages": [f"for {user_id}"]}
        assert inbox.headers["cache-status"] == "mizan; fwd=uri-miss; stored"


@pytest.mark.asyncio
async def test_a_guard_gets_a_tokens_permissions_loaded() -> None:
    asked: list[str | None] = []

    @client(auth=lambda me: "ship" in (me.permissions or ()))
    async def ship() -> str:
        return "shipped"

    async def permissions(identity: Identity) -> list[str]:
        asked.append(identity.user_id)
        return ["ship"] if identity.user_id == "a" else []

    app = hosting(Mizan(build([ship]), mwt_keys=KEYS, clock=Clock(), permissions=permissions))
    async with http(app) as web:
        allowed = await web.post("/api/mizan/call/ship/", headers={"x-mizan-token": token("a")})
        refused = await web.post("/api/mizan/call/ship/", headers={"x-mizan-token": token("b")})
    assert allowed.json() == {"result": "shipped"}
    refusal(refused, 403, "forbidden")
    assert asked == ["a", "b"]


@pytest.mark.asyncio
async def test_a_guard_of_permissions_without_a_loader_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @client(auth=lambda me: "ship" in me.permissions)
    async def ship() -> str:
        return "shipped"

    @client(context="stock", auth=lambda me: "ship" in me.permissions)
    async def stock() -> int:
        return 1

    app = hosting(Mizan(build([ship, stock]), mwt_keys=KEYS, clock=Clock()))
    async with http(app, x_mizan_token=token("a", permissions=frozenset({"ship"}))) as web:
        refusal(await web.post("/api/mizan/call/ship/"), 500, "internal_error")
        refusal(await web.get("/api/mizan/ctx/stock/"), 500, "internal_error")
    told = [str(one.exc_info) for one in logged(caplog)]
    assert len(told) == 2
    assert "The guard of ship" in told[0]
    assert "permissions=" in told[0]
    assert "The guard of stock" in told[1]


@pytest.mark.asyncio
async def test_a_guard_without_permissions_needs_no_loader() -> None:
    @client(auth=lambda me: me.user_id == "a")
    async def ship() -> str:
        return "shipped"

    app = hosting(Mizan(build([ship]), mwt_keys=KEYS, clock=Clock()))
    async with http(app) as web:
        assert (await web.post("/api/mizan/call/ship/", headers={"x-mizan-token": token("a")})).status_code == 200
        refusal(await web.post("/api/mizan/call/ship/", headers={"x-mizan-token": token("b")}), 403, "forbidden")
        refusal(await web.post("/api/mizan/call/ship/"), 401, "unauthorized")


@pytest.mark.asyncio
async def test_a_session_buys_a_token_that_works_and_a_token_buys_none() -> None:
    clock = Clock()
    ada = Identity("ada", staff=True, permissions=frozenset({"ship"}))
    signed_in = hosting(
        Mizan(build([who]), mwt_keys=KEYS, mwt_ttl=60, audience="shop", clock=clock, authenticate=lambda request: ada)
    )
    async with http(signed_in) as web:
        bought = await web.post("/api/mizan/call/mwt_obtain/")
        assert bought.headers["cache-control"] == "no-store"
        issued = bought.json()["result"]
        assert issued.keys() == {"token", "expires_in"}
        assert issued["expires_in"] == 60
        header = {"x-mizan-token": issued["token"]}
        assert (await web.post(WHO, headers=header)).json() == {"result": "ada"}
        refusal(await web.post("/api/mizan/call/mwt_obtain/", headers=header), 403, "forbidden")
        clock.now += 66
        refusal(await web.post(WHO, headers=header), 401, "unauthorized")
    told = verify_mwt(issued["token"], KEYS, audience="shop", now=clock.now - 66)
    assert (told.user_id, told.staff, told.superuser) == ("ada", True, False)


@pytest.mark.asyncio
async def test_claims_too_long_for_a_token_are_403_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    ada = Identity("ada", claims={"essay": "x" * 4_000})
    async with http(asking(authenticate=lambda request: ada)) as web:
        answer = await web.post("/api/mizan/call/mwt_obtain/")
    refusal(answer, 403, "forbidden")
    assert answer.json()["detail"] == "This session has too many claims for a token. Use the session."
    (line,) = logged(caplog)
    assert (line.levelno, "no token may have more than 4096" in line.getMessage()) == (logging.ERROR, True)
    assert "xxx" not in caplog.text


@pytest.mark.asyncio
async def test_an_anonymous_caller_gets_no_token() -> None:
    async with http(asking(authenticate=None)) as web:
        refusal(await web.post("/api/mizan/call/mwt_obtain/"), 401, "unauthorized")


@pytest.mark.asyncio
async def test_there_is_no_mwt_obtain_without_keys() -> None:
    async with http(asking(mwt_keys=None)) as web:
        refusal(await web.post("/api/mizan/call/mwt_obtain/"), 404, "not_found")


class Cookies(AuthenticationBackend):
    """The signed-in user, from the session of `SessionMiddleware`."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        name = conn.session.get("name")
        return None if name is None else (AuthCredentials(["authenticated", "ship"]), SimpleUser(name))


class HostKeys(AuthenticationBackend):
    """The user of a key of the host's own."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        _scheme, _, key = conn.headers.get("authorization", "").partition(" ")
        return (AuthCredentials(), SimpleUser(key.removeprefix("key-of-"))) if key.startswith("key-of-") else None


class NameInState:
    """A middleware that puts the user that it found into the request's state."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        (sent,) = [value for name, value in scope["headers"] if name == b"authorization"]
        scope.setdefault("state", {})["name"] = sent.decode().removeprefix("Bearer key-of-")
        await self.app(scope, receive, send)


async def sign_in(request: Request) -> PlainTextResponse:
    request.session["name"] = request.path_params["name"]
    return PlainTextResponse("welcome")


async def sign_out(request: Request) -> PlainTextResponse:
    request.session.clear()
    return PlainTextResponse("goodbye")


def with_sign_in(mizan: Mizan, *middleware: Middleware) -> Starlette:
    routes = [Route("/in/{name}", sign_in), Route("/out", sign_out), Mount("/api/mizan", mizan), *mizan.routes]
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="s" * 32), *middleware])


@pytest.mark.asyncio
async def test_starlettes_authentication_middleware_identifies(site: Site) -> None:
    @client(auth=lambda me: "ship" in me.permissions)
    async def ship() -> str:
        return "shipped"

    mizan = Mizan(build([*site.functions, ship]))
    async with http(with_sign_in(mizan, Middleware(AuthenticationMiddleware, backend=Cookies()))) as web:
        refusal(await web.post("/api/mizan/call/send/", json={"text": "hi"}), 401, "unauthorized")
        await web.get("/in/ada")
        assert (await web.post("/api/mizan/call/send/", json={"text": "hi"})).json()["result"] == 2
        assert (await web.post("/api/mizan/call/ship/")).json() == {"result": "shipped"}
        refusal(await web.post("/api/mizan/call/sack/", json={"user_id": 5}), 403, "forbidden")
        assert (await web.get("/api/mizan/ctx/inbox/")).json() == {"messages": ["for ada"]}
        await web.get("/out")
        refusal(await web.post("/api/mizan/call/send/", json={"text": "hi"}), 401, "unauthorized")


@pytest.mark.asyncio
async def test_authenticate_may_read_starlettes_session(site: Site) -> None:
    def authenticate(request: Request) -> Identity | None:
        name = request.session.get("name")
        return None if name is None else Identity(name, staff=name == "ada")

    mizan = site.mizan(authenticate=authenticate)
    async with http(with_sign_in(mizan)) as web:
        refusal(await web.post("/api/mizan/call/sack/", json={"user_id": 5}), 401, "unauthorized")
        await web.get("/in/bo")
        refusal(await web.post("/api/mizan/call/sack/", json={"user_id": 5}), 403, "forbidden")
        await web.get("/in/ada")
        assert (await web.post("/api/mizan/call/sack/", json={"user_id": 5})).status_code == 200
        assert (await web.get("/api/mizan/ctx/inbox/")).json() == {"messages": ["for ada"]}


@pytest.mark.asyncio
async def test_a_public_answer_reads_no_session_and_has_no_vary(site: Site) -> None:
    @client(context="front", route="/")
    async def front() -> str:
        return "news"

    mizan = Mizan(build([*site.functions, front]), authenticate=lambda request: Identity(request.session["name"]))
    async with http(with_sign_in(mizan)) as web:
        await web.get("/in/ada")
        for url in ("/api/mizan/ctx/user/?user_id=5", "/profile/5/", "/api/mizan/ctx/front/", "/"):
            answer = await web.get(url)
            assert answer.headers["cache-control"] == PUBLIC
            assert "vary" not in answer.headers
        assert "cookie" in (await web.get("/api/mizan/ctx/inbox/")).headers["vary"].lower()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, None),
        (Identity("i"), "i"),
        (SimpleUser("simple"), "simple"),
        (SimpleNamespace(is_authenticated=False, id=5), None),
        (SimpleNamespace(id=5), None),
        (SimpleNamespace(is_authenticated=True, id=0), "0"),
        (SimpleNamespace(is_authenticated=True, id=None, pk=7), "7"),
        (SimpleNamespace(is_authenticated=True, username=""), ""),
    ],
)
async def test_the_hosts_user_is_read_from_the_scope(user: object, expected: str | None) -> None:
    mizan = Mizan(build([who]))

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await mizan(scope | {"user": user}, receive, send)

    async with http(host) as web:
        assert (await web.post(WHO)).json() == {"result": expected}


@pytest.mark.asyncio
async def test_the_rights_of_the_hosts_user_are_read_too() -> None:
    @client
    async def rights(me: Identity) -> tuple[bool, bool, set[str] | None]:
        return me.staff, me.superuser, None if me.permissions is None else set(me.permissions)

    mizan = Mizan(build([rights]))
    user = SimpleNamespace(is_authenticated=True, id=1, is_staff=True, is_superuser=True)

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await mizan(scope | {"user": user, "auth": AuthCredentials(["a"])}, receive, send)

    async with http(host) as web:
        assert (await web.post("/api/mizan/call/rights/")).json() == {"result": [True, True, ["a"]]}


class Nameless(BaseUser):
    @property
    def is_authenticated(self) -> bool:
        return True


@pytest.mark.asyncio
async def test_a_user_without_an_id_is_an_error_that_names_the_remedy(caplog: pytest.LogCaptureFixture) -> None:
    mizan = Mizan(build([who]))

    async def host(scope: Any, receive: Any, send: Any) -> None:
        await mizan(scope | {"user": Nameless()}, receive, send)

    async with http(host) as web:
        refusal(await web.post(WHO), 500, "internal_error")
    assert "authenticate=" in str(logged(caplog)[0].exc_info)


@pytest.mark.asyncio
async def test_authenticate_may_be_async_and_returns_an_identity(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def later(request: Request) -> Identity | None:
        return Identity("later")

    async with http(asking(authenticate=later)) as web:
        assert (await web.post(WHO)).json() == {"result": "later"}
    async with http(asking(authenticate=lambda request: None)) as web:
        assert (await web.post(WHO)).json() == {"result": None}
    async with http(asking(authenticate=lambda request: "ada")) as web:
        refusal(await web.post(WHO), 500, "internal_error")
    assert "returned a str" in str(logged(caplog)[0].exc_info)
