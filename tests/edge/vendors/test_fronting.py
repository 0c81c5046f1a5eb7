"""What caches in front are sent: lifetimes, tags by profile, targeted fields and groups; and that they are told."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import HTMLResponse

from mizan_asgi import Mizan
from mizan_asgi.edge import Cloudflare, Fastly, HeaderOnly, Nodes
from mizan_asgi.edge.front import InFront
from mizan_core import Context, DeclarationError, build, client
from mizan_core.edge import EDGE_CACHE_TAG, READABLE
from tests.edge.vendors.apis import TOKEN, ZONE, NodeApi
from tests.http.servers import listening

User, Inbox = Context("user"), Context("inbox")
KEPT = "public, max-age=0, must-revalidate, s-maxage="


class Blog:
    def __init__(self, edge: Any) -> None:
        self.name = "Ann"

        @client(context=User)
        async def profile(user_id: int, short: bool = False) -> str:
            return f"{self.name} {user_id} {short}"

        @client(context=User, route="/users/{user_id}/")
        async def page(user_id: int) -> HTMLResponse:
            return HTMLResponse(f"{self.name} {user_id}")

        @client(context=User, route="/numbers/{user_id}/")
        async def number(user_id: int) -> int:
            return user_id

        @client(context=User, route="/all/")
        async def everyone() -> HTMLResponse:
            return HTMLResponse(self.name)

        @client(context=Inbox, auth=True)
        async def messages() -> list[str]:
            return []

        @client(context="minute", cache=60)
        async def minute() -> int:
            return 1

        @client(affects=User)
        async def rename(user_id: int, name: str) -> None:
            self.name = name

        self.mizan = Mizan(
            build([profile, page, number, everyone, messages, minute, rename]), edge=edge, clock=lambda: 1e9
        )

    async def get(self, path: str, base: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.mizan)
        async with httpx.AsyncClient(transport=transport, base_url=base) as http:
            return await http.get(path)


def answer(edge: Any, path: str, base: str = "http://test/api/mizan") -> httpx.Response:
    async def asked() -> tuple[httpx.Response, httpx.Response]:
        blog = Blog(edge)
        return await blog.get(path, base), await blog.get(path, base)

    miss, hit = asyncio.run(asked())
    caching = ("cache-control", "etag", "surrogate-key", "cache-tag", "cache-groups", "cdn-cache-control")
    assert [miss.headers.get(one) for one in caching] == [hit.headers.get(one) for one in caching]
    return hit


@pytest.mark.parametrize(
    ("lifetime", "path", "seconds"), [(600, "user/?user_id=5", 600), (30, "minute/", 30), (90, "minute/", 60)]
)
def test_a_lifetime_is_the_shorter_of_two(lifetime: int, path: str, seconds: int) -> None:
    assert answer(HeaderOnly(lifetime), f"/ctx/{path}").headers["cache-control"] == f"{KEPT}{seconds}"


@pytest.mark.parametrize(
    ("edge", "header", "tags"),
    [
        (Fastly("a", TOKEN), "surrogate-key", "user user;user_id=5"),
        (Cloudflare(ZONE, TOKEN), "cache-tag", "user,user;user_id=5"),
        (HeaderOnly(profiles=[EDGE_CACHE_TAG]), "edge-cache-tag", "user,pvmfpsjafiqdxx"),
        (HeaderOnly(profiles=[READABLE]), "x-mizan-tags", "user, user;user_id=5"),
    ],
)
def test_a_public_answer_has_the_tags_of_its_profile(edge: InFront, header: str, tags: str) -> None:
    assert answer(edge, "/ctx/user/?user_id=5").headers[header] == tags


@pytest.mark.parametrize("path", ["/users/5/", "/numbers/5/"])
def test_a_page_is_sent_as_bundles_are(path: str) -> None:
    headers = answer(Fastly("a", TOKEN, lifetime=60), path, base="http://test").headers
    assert headers["cache-control"] == f"{KEPT}60"
    assert headers["surrogate-key"] == "user user;user_id=5"


def test_a_page_without_a_parameter_has_the_tag_of_all() -> None:
    assert answer(Fastly("a", TOKEN), "/all/", base="http://test").headers["surrogate-key"] == "user user/*"


def test_several_caches_in_front_each_have_their_tags() -> None:
    headers = answer([Fastly("a", TOKEN), Cloudflare(ZONE, TOKEN, lifetime=60)], "/ctx/user/?user_id=5").headers
    assert headers["surrogate-key"] == "user user;user_id=5"
    assert headers["cache-tag"] == "user,user;user_id=5"
    assert headers["cache-control"] == f"{KEPT}60"


@pytest.mark.parametrize("path", ["/ctx/inbox/", "/ctx/user/?user_id=05", "/ctx/user/"])
def test_an_answer_that_is_not_public_has_no_tags(path: str) -> None:
    headers = answer(Fastly("a", TOKEN, targeted="CDN-Cache-Control"), path).headers
    assert "surrogate-key" not in headers
    assert "cdn-cache-control" not in headers
    assert "s-maxage" not in headers["cache-control"]


def test_a_targeted_field_takes_the_place_of_s_maxage() -> None:
    headers = answer(HeaderOnly(600, targeted="CDN-Cache-Control"), "/ctx/user/?user_id=5").headers
    assert headers["cache-control"] == "public, max-age=0, must-revalidate"
    assert headers["cdn-cache-control"] == "max-age=600"


def test_a_chain_of_caches_has_a_lifetime_for_each_field() -> None:
    edges = [
        Nodes("http://varnish", lifetime=900),
        Cloudflare(ZONE, TOKEN, 60, targeted="Cloudflare-CDN-Cache-Control"),
    ]
    headers = answer(edges, "/ctx/user/?user_id=5").headers
    assert headers["cache-control"] == f"{KEPT}900"
    assert headers["cloudflare-cdn-cache-control"] == "max-age=60"
    short = answer(edges, "/ctx/minute/").headers
    assert (short["cache-control"], short["cloudflare-cdn-cache-control"]) == (f"{KEPT}60", "max-age=60")


def test_a_call_tells_every_node_before_it_is_answered() -> None:
    async def story() -> None:
        nodes = [NodeApi(), NodeApi()]
        async with listening(nodes[0].app) as first, listening(nodes[1].app) as second:
            blog = Blog(Nodes(*(f"http://{host}:{port}" for host, port in (first, second))))
            async with blog.mizan.engine as engine:
                while engine.health().owed_to_edges:
                    await asyncio.sleep(0.01)
                assert sorted(nodes[0].heard[0].split(", ")) == ["inbox", "minute", "user"]
                await engine.call("rename", {"user_id": 5, "name": "Bea"})
                assert [node.heard[-1] for node in nodes] == ["user;user_id=5"] * 2

    asyncio.run(story())


@pytest.mark.parametrize("edge", ["http://varnish-1:8611", [object()], None])
def test_what_is_no_cache_is_refused(edge: Any) -> None:
    with pytest.raises(DeclarationError, match="edge="):
        Blog(edge)
