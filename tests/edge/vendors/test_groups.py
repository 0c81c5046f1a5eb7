"""Cache groups (RFC 9875): public answers name theirs, and answers to mutations those that are stale."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from mizan_asgi import Mizan
from mizan_asgi.edge import Cloudflare, CloudFront, Fastly, HeaderOnly, Nodes
from mizan_asgi.edge.front import InFront
from mizan_core import Conflict, Context, build, build_manifest, client, invalidate
from mizan_core.edge import CACHE_GROUPS, read_manifest, spelled_tag, tags_of_url
from tests.edge.vendors.apis import TOKEN, ZONE

User = Context("user", scopes=[("day", "user_id")])
Long = Context("a" * 40)


def groups(line: str) -> list[str]:
    """The members of a List of Strings (RFC 9651, 3.1 and 3.3.3), as a strict parser reads it."""
    assert re.fullmatch(r'"[ !#-\[\]-~]*"(?:, "[ !#-\[\]-~]*")*', line), line
    return re.findall(r'"([^"]*)"', line)


class Site:
    """A host with functions, routes of its own that respond by Mizan, and one that changes."""

    def __init__(self, edge: Any) -> None:
        @client(context=User)
        async def profile(user_id: int, day: str = "today") -> int:
            return user_id

        @client(context=User, route="/users/{user_id}/")
        async def user_page(user_id: int) -> HTMLResponse:
            return HTMLResponse("", headers={"Cache-Groups": '"mine"', "Cache-Group-Invalidation": '"user"'})

        @client(context=Long)
        async def long_named(key: str) -> str:
            return key

        @client(affects=User)
        async def rename(user_id: int) -> int:
            return user_id

        @client(affects=User, route="/users/{user_id}/", methods=["POST"])
        async def rename_page(user_id: int) -> HTMLResponse:
            return HTMLResponse("")

        @client(affects=User, route="/broken/", methods=["POST"])
        async def broken() -> HTMLResponse:
            raise RuntimeError

        @client(affects=[User.by_body(), Long.by_body()])
        async def many(count: int, key: str = "") -> None:
            for number in range(count):
                invalidate(User, user_id=number)
            invalidate(Long, key=key)

        @client(affects=User)
        async def refuse(user_id: int) -> None:
            raise HTTPException(409)

        @client(affects=User)
        async def fail(user_id: int) -> None:
            raise HTTPException(503)

        @client(affects=User)
        async def conflict(user_id: int) -> None:
            invalidate(User, user_id=user_id)
            raise Conflict

        @client
        async def nothing() -> int:
            return 1

        async def respond(request: Request) -> Response:
            called: Any = {"rename": rename, "rename_page": rename_page, "fail": fail}[request.path_params["what"]]
            return await self.mizan.respond(request, called, user_id=5)

        async def change(request: Request) -> Response:
            if "fail" in request.url.query:
                raise HTTPException(400)
            return PlainTextResponse("")

        readers = [profile, user_page, long_named]
        mutations = [rename, rename_page, broken, many, refuse, fail, conflict, nothing]
        self.mizan = Mizan(build([*readers, *mutations]), edge=edge)
        changing = self.mizan.changes(User)(change)
        routes = [
            Route("/respond/{what}", respond, methods=["POST"]),
            Route("/change", changing, methods=["POST"]),
            *self.mizan.routes,
            Mount("/api/mizan", self.mizan),
        ]
        self.app = Starlette(routes=routes)
        self.tables = read_manifest(build_manifest(self.mizan.graph))

    def ask(self, method: str, path: str, json: Any = None) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await http.request(method, path, json=json)

        return asyncio.run(asked())

    def call(self, name: str, **args: Any) -> httpx.Response:
        return self.ask("POST", f"/api/mizan/call/{name}/", args)


@pytest.fixture
def site() -> Site:
    return Site(HeaderOnly(groups=True))


EVERY: list[Any] = [
    HeaderOnly(groups=True),
    Nodes("http://127.0.0.1:9", groups=True),
    Cloudflare(ZONE, TOKEN, groups=True),
    Fastly("a", TOKEN, groups=True),
    CloudFront("a", credentials=object(), groups=True),
    [HeaderOnly(), HeaderOnly(groups=True)],
]


@pytest.mark.parametrize("edge", EVERY, ids=lambda edge: type(edge).__name__)
def test_public_answers_name_their_groups_under_every_cache(edge: InFront | Sequence[InFront]) -> None:
    site = Site(edge)
    path = "/api/mizan/ctx/user/?user_id=5"
    sent = groups(site.ask("GET", path).headers["cache-groups"])
    assert sent == [spelled_tag(tag, CACHE_GROUPS) for tag in tags_of_url(site.tables, path) if tag != "*"]
    assert "user;user_id=5" in sent
    assert groups(site.ask("GET", "/users/5/").headers["cache-groups"])[:1] == ["user"]


def test_a_long_group_is_spelled_in_letters(site: Site) -> None:
    """A cache need not take more than 32 characters."""
    [whole] = groups(site.ask("GET", f"/api/mizan/ctx/{'a' * 40}/?key=x").headers["cache-groups"])
    assert re.fullmatch("[a-z]{14}", whole)
    assert whole in groups(site.call("many", count=0, key="x").headers["cache-group-invalidation"])


@pytest.mark.parametrize(
    ("method", "path", "json"),
    [
        ("POST", "/api/mizan/call/rename/", {"user_id": 5}),
        ("POST", "/api/mizan/call/", {"fn": "rename", "args": {"user_id": 5}}),
        ("POST", "/api/mizan/call/conflict/", {"user_id": 5}),
        ("POST", "/users/5/", None),
        ("POST", "/broken/", None),
        ("POST", "/respond/rename", None),
        ("POST", "/respond/rename_page", None),
        ("POST", "/respond/fail", None),
        ("POST", "/change", None),
        ("POST", "/change?fail", None),
    ],
)
def test_what_is_stale_is_told_in_groups_wherever_it_is_told(site: Site, method: str, path: str, json: Any) -> None:
    headers = site.ask(method, path, json).headers
    stale = headers["x-mizan-invalidate"]
    assert groups(headers["cache-group-invalidation"])[0] == stale
    assert len(headers.get_list("cache-group-invalidation")) == 1


def test_a_page_is_told_by_the_group_that_it_has(site: Site) -> None:
    """What an invalidation names as groups, each answer that it concerns has, and no other has all its own of."""
    stale = set(groups(site.call("rename", user_id=5).headers["cache-group-invalidation"]))
    for path, concerned in (
        ("/api/mizan/ctx/user/?user_id=5", True),
        ("/api/mizan/ctx/user/?day=x&user_id=5", True),
        ("/users/5/", True),
        ("/api/mizan/ctx/user/?user_id=6", False),
        ("/users/6/", False),
    ):
        kept = site.ask("GET", path).headers["cache-groups"]
        assert bool(stale & set(groups(kept))) is concerned, path


def test_more_groups_than_a_cache_takes_are_whole_contexts(site: Site) -> None:
    few = groups(site.call("many", count=5).headers["cache-group-invalidation"])
    assert few[:5] == [f"user;user_id={number}" for number in range(5)]
    many = groups(site.call("many", count=50).headers["cache-group-invalidation"])
    assert (many[0], len(many)) == ("user", 2)


def test_nothing_stale_and_no_option_send_no_groups(site: Site) -> None:
    assert "cache-group-invalidation" not in site.call("nothing").headers
    assert "cache-group-invalidation" not in site.call("refuse", user_id=5).headers
    without = Site(HeaderOnly())
    for answer in (without.call("rename", user_id=5), without.ask("GET", "/users/5/"), without.ask("POST", "/change")):
        assert "cache-group-invalidation" not in answer.headers
        assert "cache-groups" not in answer.headers


def test_groups_of_a_response_of_the_functions_own_do_not_pass(site: Site) -> None:
    headers = site.ask("GET", "/users/5/").headers
    assert '"mine"' not in headers["cache-groups"]
    assert "cache-group-invalidation" not in headers


def test_an_answer_that_no_purge_would_reach_is_not_to_be_kept() -> None:
    """A public page at a path that a private page's route matches too has no tags, so no purge by tags reaches it."""

    @client(context="all", route="/p/about/")
    async def about() -> HTMLResponse:
        return HTMLResponse("")

    @client(context="mine", route="/p/{name}/", auth=True)
    async def mine(name: str) -> HTMLResponse:
        return HTMLResponse("")

    for edge, kept in ((Fastly("a", TOKEN), False), (HeaderOnly(groups=True), False), (HeaderOnly(), True)):
        mizan = Mizan(build([about, mine]), edge=edge)

        async def asked(mizan: Mizan = mizan) -> httpx.Response:
            transport = httpx.ASGITransport(Starlette(routes=[*mizan.routes]))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                return await http.get("/p/about/")

        headers = asyncio.run(asked()).headers
        assert headers["cache-control"].startswith("public")
        assert ("s-maxage" in headers["cache-control"]) is kept
