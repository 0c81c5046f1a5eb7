"""The fast path of hits in memory: what it remembers changes no answer, and is bounded."""

import itertools
from collections.abc import Iterable
from typing import Annotated, Any

import httpx
import pytest
from pydantic import AfterValidator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from mizan_asgi import Mizan, app
from mizan_asgi.edge import HeaderOnly
from mizan_asgi.http import routing, service
from mizan_core import Identity, MemoryCache, build, client
from tests.http.site import KEPT, KEYS, PUBLIC, Clock, Site, http, token

USER = "/api/mizan/ctx/user/?user_id=5"
SECRET = "a-secret-of-the-caches-and-of-nothing-else"


@pytest.fixture
def routings(monkeypatch: pytest.MonkeyPatch) -> list[routing.Routing]:
    """The routing of each application that the test makes, which holds what the fast path remembers."""
    made = []

    class Recorded(routing.Routing):
        def __init__(self, service: service.Service, more: Iterable[service.Endpoint] = ()) -> None:
            super().__init__(service, more)
            made.append(self)

    monkeypatch.setattr(app, "Routing", Recorded)
    return made


async def hits(web: httpx.AsyncClient, url: str = USER, **headers: str) -> httpx.Response:
    """The second answer to a request, which is a hit."""
    await web.get(url)
    answer = await web.get(url, headers=headers)
    assert answer.headers["cache-status"] == "mizan; hit"
    return answer


@pytest.mark.asyncio
@pytest.mark.parametrize("header", ["x-mizan-token", "authorization"])
async def test_a_token_that_is_not_valid_is_refused_before_any_hit(site: Site, header: str) -> None:
    async with http(site.app(mwt_keys=KEYS, clock=Clock())) as web:
        await hits(web)
        for _ in range(2):
            assert (await web.get(USER, headers={header: "Bearer x.y.z"})).status_code == 401
        assert await hits(web, **{header: f"Bearer {token('5')}" if header == "authorization" else token("5")})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "status"),
    [("{etag}", 304), ('"other"', 200), ('"other", {etag}', 304), ("*", 304), ("{strong}", 304), ("", 200)],
)
async def test_a_hit_with_a_matching_etag_is_304(site: Site, sent: str, status: int) -> None:
    async with http(site.app()) as web:
        etag = (await hits(web)).headers["etag"]
        known = sent.format(etag=etag, strong=etag.removeprefix("W/"))
        answer = await web.get(USER, headers={"if-none-match": known})
        last = await web.get(USER, headers=[("if-none-match", '"other"'), ("if-none-match", known)])
        first = await web.get(USER, headers=[("if-none-match", known), ("if-none-match", '"other"')])
    assert (answer.status_code, last.status_code, first.status_code) == (status, status, status)
    assert answer.headers["etag"] == etag
    assert answer.headers["cache-control"] == PUBLIC
    assert bool(answer.content) == (status == 200)
    assert ("content-type" in answer.headers) == (status == 200)


@pytest.mark.asyncio
async def test_head_gets_the_headers_of_a_hit_and_no_body(site: Site) -> None:
    async with http(site.app()) as web:
        hit = await hits(web)
        head = await web.head(USER)
    assert head.headers == hit.headers
    assert head.content == b""


@pytest.mark.asyncio
async def test_remaining_seconds_are_counted_down(site: Site) -> None:
    clock = Clock()
    url = "/api/mizan/ctx/orders/?customer_id=1"
    async with http(site.app(clock=clock, edge=HeaderOnly())) as web:
        await web.get(url)
        for passed, left in [(0.0, 60), (0.5, 59), (1.0, 59), (1.5, 58), (59.5, 0)]:
            clock.now = Clock().now + passed
            answer = await web.get(url)
            assert answer.headers["cache-status"] == "mizan; hit"
            assert answer.headers["cache-control"] == KEPT.replace("31536000", str(left))
        clock.now = Clock().now + 60
        assert (await web.get(url)).headers["cache-status"] == "mizan; fwd=stale; stored"


@pytest.mark.asyncio
async def test_another_spelling_is_never_public_after_any_hits(site: Site) -> None:
    async with http(site.app()) as web:
        await hits(web)
        for _ in range(3):
            other = await web.get("/api/mizan/ctx/user/?user_id=05")
            assert other.headers["cache-status"] == "mizan; hit"
            assert other.headers["cache-control"] == "no-store"
            assert other.headers["content-location"] == "?user_id=5"
            assert (await web.get(USER)).headers["cache-control"] == PUBLIC


@pytest.mark.asyncio
async def test_headers_added_by_middleware_stay_with_their_answer(site: Site) -> None:
    mizan = site.mizan()

    async def adding(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-added", b"1"))
            await send(message)

        await mizan(scope, receive, sending)

    async with http(adding) as web:
        for _ in range(4):
            assert (await web.get(USER)).headers.get_list("x-added") == ["1"]


@pytest.mark.asyncio
async def test_two_applications_on_one_cache_send_their_own_policy() -> None:
    cache = MemoryCache()

    def mizan(auth: Any) -> Mizan:
        @client(context="user", auth=auth, per="all")
        async def user_profile(user_id: int) -> int:
            return user_id

        return Mizan(build([user_profile]), cache=cache, cache_secret=SECRET, authenticate=lambda _: Identity(1))

    async with http(mizan(None)) as everyone, http(mizan(True)) as guarded:
        for _ in range(3):
            assert (await everyone.get(USER)).headers["cache-control"] == PUBLIC
            assert (await guarded.get(USER)).headers["cache-control"] == "private, no-cache"


@pytest.mark.asyncio
async def test_two_applications_write_their_own_lifetime() -> None:
    cache = MemoryCache()

    def mizan(lifetime: Any) -> Mizan:
        @client(context="user", cache=lifetime)
        async def user_profile(user_id: int) -> int:
            return user_id

        return Mizan(build([user_profile]), cache=cache, cache_secret=SECRET, edge=HeaderOnly())

    async with http(mizan(True)) as long, http(mizan(60)) as short:
        for _ in range(3):
            assert (await long.get(USER)).headers["cache-control"] == KEPT
            assert (await short.get(USER)).headers["cache-control"] == KEPT.replace("31536000", "60")


@pytest.mark.asyncio
async def test_a_functions_own_route_takes_precedence() -> None:
    @client(context="user")
    async def user_profile(user_id: int) -> int:
        return user_id

    @client(context="page", route="/api/mizan/ctx/{rest}/")
    async def page(request: Request, rest: str) -> PlainTextResponse:
        return PlainTextResponse("page")

    mizan = Mizan(build([user_profile, page]))
    host = Starlette(routes=[Mount("/api/mizan", mizan)])
    async with http(host) as mounted, http(mizan) as alone:
        for _ in range(2):
            assert (await mounted.get(USER)).json() == {"user_profile": 5}
            assert (await alone.get(USER)).text == "page"


@pytest.mark.asyncio
async def test_remembered_paths_are_bounded(
    site: Site, routings: list[routing.Routing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "REMEMBERED_PATHS", 2)
    mizan = site.mizan()
    async with http(mizan) as web:
        await web.get("/api/mizan/client.js")
        await web.get("/api/mizan/ctx/weather/")
        assert (await hits(web)).headers["cache-control"] == PUBLIC
    assert len(routings[0].canonical) == 2


@pytest.mark.asyncio
async def test_long_paths_are_answered_and_not_remembered(site: Site, routings: list[routing.Routing]) -> None:
    base_url = f"/{'t' * 300}"
    mizan = site.mizan(base_url=base_url)
    async with http(mizan) as web:
        answer = await hits(web, USER.replace("/api/mizan", base_url))
        assert answer.headers["cache-control"] == PUBLIC
    assert routings[0].canonical == {}


@pytest.mark.asyncio
async def test_remembered_queries_are_bounded_in_memory(
    site: Site, routings: list[routing.Routing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REMEMBERED_QUERIES_BYTES", 300_000)
    mizan = site.mizan(cache=MemoryCache())
    remembered = []
    async with http(mizan) as web:
        await hits(web)
        for number in range(300):
            for _ in range(2):
                await web.get(f"/api/mizan/ctx/user/?user_id={number}&page={number}")
            assert (await web.get(f"/api/mizan/ctx/user/?user_id=5&made_up={number}")).status_code == 422
            assert (await web.get(USER)).headers["cache-status"] == "mizan; hit"
            remembered.append(len(routings[0]._service.queries))
    assert 10 < max(remembered) < 200


@pytest.mark.asyncio
async def test_a_query_is_remembered_when_it_comes_again(site: Site, routings: list[routing.Routing]) -> None:
    async with http(site.mizan()) as web:
        remembered = []
        for _ in range(3):
            assert (await web.get(USER)).status_code == 200
            remembered.append(len(routings[0]._service.queries))
    assert remembered == [0, 1, 1]


@pytest.mark.asyncio
async def test_a_custom_validator_runs_on_every_request() -> None:
    open_to = {5}

    def known(user_id: int) -> int:
        if user_id not in open_to:
            raise ValueError("nobody")
        return user_id

    @client(context="user")
    async def user_profile(user_id: Annotated[int, AfterValidator(known)]) -> int:
        return user_id

    async with http(Mizan(build([user_profile]))) as web:
        await hits(web)
        open_to.clear()
        assert (await web.get(USER)).status_code == 422


@pytest.mark.asyncio
async def test_a_list_changed_by_a_reader_is_whole_for_the_next() -> None:
    numbers = itertools.count()

    @client(context="search", cache=False)
    async def found(tags: list[str]) -> list[str]:
        tags.append(f"changed {next(numbers)}")
        return tags

    async with http(Mizan(build([found]))) as web:
        answers = [(await web.get("/api/mizan/ctx/search/?tags=a&tags=b")).json() for _ in range(2)]
    assert answers == [{"found": ["a", "b", "changed 0"]}, {"found": ["a", "b", "changed 1"]}]


@pytest.mark.asyncio
async def test_one_query_of_two_users_is_two_questions(site: Site) -> None:
    async with http(site.app(mwt_keys=KEYS, clock=Clock())) as web:
        for _ in range(2):
            for user in ("5", "7"):
                answer = await web.get("/api/mizan/ctx/inbox/", headers={"x-mizan-token": token(user)})
                assert answer.json() == {"messages": [f"for {user}"]}
    assert site.ran["messages"] == 2


def signed_in(app: Any, users: dict[str, Any]) -> Any:
    """The application behind middleware that sets the scope's user by the cookie."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            cookie = dict(scope["headers"]).get(b"cookie", b"").decode()
            scope["user"] = users.get(cookie)
        await app(scope, receive, send)

    return middleware


INBOX = "/api/mizan/ctx/inbox/"


class Inbox:
    """An application with a bundle kept per user; `reads` counts the runs of its reader."""

    def __init__(self) -> None:
        self.reads = 0

        @client(context="inbox")
        async def inbox(me: Identity) -> str:
            self.reads += 1
            permissions = me.permission_key or sorted(me.permissions or ())
            return f"{me.user_id} {permissions} {me.staff} {me.superuser} {dict(me.claims)}"

        self.app = Mizan(build([inbox]))


class TestKeptPerUser:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        "other",
        [
            Identity(7),
            Identity(5, staff=True),
            Identity(5, superuser=True),
            Identity(5, permissions={"read"}),
            Identity(5, permissions=None, permission_key="5"),
            Identity(5, claims={"org": 1}),
            Identity(5, claims={"org": True}),
            Identity(None, claims={"org": "5"}),
            None,
        ],
        ids=str,
    )
    async def test_another_identity_is_never_given_a_users_hit(self, other: Identity | None) -> None:
        inbox = Inbox()
        inbox_of = {"a": Identity(5), "b": other, "c": Identity(5, claims={"org": 2})}
        async with http(signed_in(inbox.app, inbox_of)) as web:
            for _ in range(3):
                answers = {name: await web.get(INBOX, headers={"cookie": name}) for name in inbox_of}
        statuses = {answer.headers["cache-status"] for answer in answers.values()}
        shown = {answer.json()["inbox"] for answer in answers.values()}
        assert len(shown) == 3
        assert answers["a"].headers["cache-status"] == "mizan; hit"
        assert statuses <= {"mizan; hit", "mizan; fwd=bypass; detail=personal"}

    @pytest.mark.asyncio
    async def test_a_hit_is_private_and_304_for_who_has_it(self) -> None:
        inbox = Inbox()
        async with http(signed_in(inbox.app, {"a": Identity(5)}), cookie="a") as web:
            hit = await hits(web, INBOX)
            known = await web.get(INBOX, headers={"if-none-match": hit.headers["etag"]})
        assert inbox.reads == 1
        assert known.status_code == 304
        for answer in (hit, known):
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "Cookie" in answer.headers["vary"]

    @pytest.mark.asyncio
    @pytest.mark.parametrize("auth", [True, "staff", "superuser", lambda me: me.superuser])
    @pytest.mark.parametrize("per", ["all", "permissions", "user"])
    async def test_a_guard_is_asked_before_every_hit(self, auth: Any, per: str) -> None:
        @client(context="team", auth=auth, per=per)
        async def team() -> str:
            return "ours"

        allowed = Identity(5, staff=True, superuser=True)
        users: dict[str, Any] = {"a": allowed}
        url = "/api/mizan/ctx/team/"
        async with http(signed_in(Mizan(build([team])), users), cookie="a") as web:
            await hits(web, url)
            users["a"] = None
            assert (await web.get(url)).status_code == 401
            if auth is not True:
                users["a"] = Identity(5)
                assert (await web.get(url)).status_code == 403
            users["a"] = allowed
            assert (await hits(web, url)).headers["cache-control"] == "private, no-cache"

    @pytest.mark.asyncio
    async def test_a_hit_behind_authenticate_is_served_and_told_apart(self) -> None:
        users = {"a": Identity(5), "b": Identity(7)}

        @client(context="inbox")
        async def inbox(me: Identity) -> str:
            return f"for {me.user_id}"

        async with http(Mizan(build([inbox]), authenticate=lambda request: users[request.headers["cookie"]])) as web:
            for _ in range(2):
                answers = [await web.get(INBOX, headers={"cookie": name}) for name in users]
        assert [answer.json() for answer in answers] == [{"inbox": "for 5"}, {"inbox": "for 7"}]
        assert {answer.headers["cache-status"] for answer in answers} == {"mizan; hit"}

    @pytest.mark.asyncio
    async def test_a_user_that_cannot_be_read_is_a_problem_document(self) -> None:
        class Broken:
            @property
            def is_authenticated(self) -> bool:
                raise RuntimeError("The session store is down.")

        inbox = Inbox()
        users: dict[str, Any] = {"a": Identity(5)}
        async with http(signed_in(inbox.app, users), cookie="a") as web:
            await hits(web, INBOX)
            users["a"] = Broken()
            answer = await web.get(INBOX)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.asyncio
    async def test_a_purge_ends_a_users_hits(self) -> None:
        inbox = Inbox()
        async with http(signed_in(inbox.app, {"a": Identity(5)}), cookie="a") as web:
            await hits(web, INBOX)
            await inbox.app.engine.invalidate("inbox")
            assert (await web.get(INBOX)).headers["cache-status"].endswith("; stored")
        assert inbox.reads == 2
