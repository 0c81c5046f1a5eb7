"""Hosts with sessions, pages with headers of their own, `outermost`, and what stands in front of all of it."""

from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount

from mizan_asgi.doctor.deployment import examined
from mizan_asgi.doctor.examination import Unreachable
from mizan_asgi.edge import HeaderOnly, outermost
from mizan_core import Identity, client, no_store

from . import sites
from .sites import IGNORING, Front, Site, deployed, doctored, token_of
from .test_public import SESSION, Opening

SESSIONS = Middleware(SessionMiddleware, secret_key="s" * 32)


def by_cookie(request: Request) -> Identity | None:
    """The host's own accounts: a cookie that names its user."""
    user = request.cookies.get("user")
    return None if user is None else Identity(int(user))


def people(first: int = 7, second: int = 8) -> list[str]:
    return [f"Cookie: theme=dark; user={first}", f"Cookie: user={second}"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("front", "edge"),
    [(None, ()), (sites.varnish_by_mizan, HeaderOnly()), (sites.nginx_by_mizan, HeaderOnly())],
    ids=["alone", "varnish", "nginx"],
)
async def test_people_by_cookie_are_asked_as(front: Front | None, edge: Any) -> None:
    found = await doctored(Site(edge=edge, authenticate=by_cookie), front, people=people())
    assert found.codes == set(), found.text
    assert found.report.exit_code == 0, found.text


@pytest.mark.asyncio
async def test_people_by_cookie_share_what_an_edge_keeps() -> None:
    found = await doctored(Site(authenticate=by_cookie), sites.nginx(f"{IGNORING} Vary;"), people=people())
    assert len(found.by_code["private-kept"]) == 3, found.text
    assert "user=7" not in found.text


@pytest.mark.asyncio
async def test_a_cookie_that_is_lost_or_old_is_told() -> None:
    found = await doctored(Site(authenticate=by_cookie), sites.nginx('proxy_set_header Cookie "";'), people=people())
    assert found.codes == set(), found.text
    assert "as the 1st --as: it is refused, as nobody is: its session has ended, or its header is lost" in found.text
    assert found.report.exit_code == 2


@pytest.mark.asyncio
async def test_a_rolling_session_is_found() -> None:
    """It sets a cookie for those alone who have a session."""
    async with deployed(Site(middleware=[SESSION, Middleware(Opening)])) as url:
        opened = (await examined(Site().examination(url))).findings
    assert any(one.wrong.code == "cookie" for one in opened)

    class Rolling:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def rolled(message: Any) -> None:
                if message["type"] == "http.response.start" and "user" in Request(scope).cookies:
                    message = {**message, "headers": [*message["headers"], (b"set-cookie", b"user=secret; Path=/")]}
                await send(message)

            await self.app(scope, receive, rolled if scope["type"] == "http" else send)

    site = Site(middleware=[Middleware(Rolling)], authenticate=by_cookie)
    found = await doctored(site, people=people())
    assert found.codes == {"cookie"}, found.text
    assert "asked as the 1st --as: Set-Cookie: user=..." in found.text
    assert "secret" not in found.text
    behind = Site(edge=HeaderOnly(), middleware=[Middleware(Rolling)], authenticate=by_cookie)
    found = await doctored(behind, sites.nginx_by_mizan, people=people())
    assert found.codes == set(), "the node asks without cookies"


@client(context="own", route="/own/")
async def own_page() -> HTMLResponse:
    return HTMLResponse("", headers={"Cache-Control": "private, max-age=9"})


@client(context="own", route="/cookie/")
async def cookie_page() -> HTMLResponse:
    response = HTMLResponse("")
    response.set_cookie("seen", "1")
    return response


@client(context="declined")
async def declined() -> int:
    no_store("the test")
    return 1


@client(context="mine", route="/mine/", per="user")
async def mine_page(me: Identity) -> HTMLResponse:
    return HTMLResponse(f"{me.user_id}", headers={"Cache-Control": "no-cache"})


@client(context="moved", route="/moved/")
async def moved_page() -> RedirectResponse:
    return RedirectResponse("/users/5/")


@pytest.mark.asyncio
@pytest.mark.parametrize("edge", [(), HeaderOnly()], ids=["alone", "node"])
async def test_what_the_application_chose_is_right(edge: Any) -> None:
    site = Site(edge=edge, functions=[own_page, cookie_page, declined, mine_page])
    found = await doctored(site, sites.varnish_by_mizan if edge else None)
    assert found.codes == set(), found.text
    for path in ("/own/", "/cookie/", "/api/mizan/ctx/declined/"):
        assert f"{path} is kept nowhere, for the application says so: fwd=bypass" in found.text


@pytest.mark.asyncio
async def test_a_page_that_redirects_by_itself_is_told() -> None:
    found = await doctored(Site(functions=[moved_page]))
    assert found.codes == set(), found.text
    assert "/moved/: answered 307" in found.text


@pytest.mark.asyncio
@pytest.mark.parametrize("case", ["idle", "written", "listed"])
async def test_outermost_is_right_or_says_what_spoils(case: str) -> None:
    middleware = {
        "idle": [SESSIONS],
        "written": [SESSION, Middleware(Opening)],
        "listed": [Middleware(CORSMiddleware, allow_origins=["https://a.example"])],
    }[case]
    site = Site(edge=HeaderOnly(), middleware=middleware)
    site.app = outermost(site.app, site.mizan)
    found = await doctored(site, sites.varnish_by_mizan)
    assert found.codes == (set() if case == "idle" else {"not-public"}), found.text
    assert ("Set-Cookie: session=...;" in found.text) is (case == "written")


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403, 429, 502, 503])
async def test_what_stands_in_front_is_no_finding(status: int) -> None:
    with pytest.raises(Unreachable, match=f"is answered {status}, and not by Mizan"):
        await doctored(Site(), sites.nginx(f"return {status};"))


@pytest.mark.asyncio
async def test_a_host_that_answers_any_method_is_no_open_purge() -> None:
    site = Site()
    everything = Mount("", PlainTextResponse("a page for every path and method"))
    site.app.router.routes.append(everything)
    found = await doctored(site)
    assert found.codes == set(), found.text


@pytest.mark.asyncio
async def test_no_cookie_of_an_answer_is_sent_again() -> None:
    """A session that was opened for one request would make people of nobody."""
    site = Site(middleware=[SESSION, Middleware(Opening)])
    inner, cookies = site.app, []

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        cookies.extend(value for name, value in scope.get("headers", ()) if name == b"cookie")
        await inner(scope, receive, send)

    site.app = recording
    assert "cookie" in (await doctored(site)).codes
    assert cookies == []


@pytest.mark.asyncio
async def test_a_site_for_one_host_alone_is_told() -> None:
    """The program keeps answers of `--host` alone, and the doctor asks at another name."""

    def elsewhere(site: Site, origin: str) -> Any:
        return sites.nodes.nginx_of(sites.build_manifest(site.mizan.graph), origin, host="example.com")

    found = await doctored(Site(edge=HeaderOnly()), elsewhere)
    assert found.codes == {"no-edge"}, found.text
    assert token_of(7) not in found.text


@pytest.mark.asyncio
async def test_a_node_with_the_program_of_before_is_found() -> None:
    """Its program takes a context for public that is kept per user since."""

    def outdated(site: Site, origin: str) -> Any:
        manifest = sites.build_manifest(site.mizan.graph)
        manifest["contexts"]["greeting"]["public"] = True
        return sites.nodes.nginx_of(manifest, origin, host=None)

    found = await doctored(Site(edge=HeaderOnly()), outdated)
    assert found.codes == {"identity-lost"}, found.text
    assert found.by_code["identity-lost"][0].endswith("/ctx/greeting/")
    assert "takes it for public, and asks as nobody" in found.text


@pytest.mark.asyncio
async def test_what_is_hung_up_on_is_told_and_the_rest_asked() -> None:
    """444 closes the connection without an answer: of methods that a firewall does not know, and of one page."""
    settings = "if ($request_method !~ ^(GET|POST)$) { return 444; } if ($uri ~ users) { return 444; }"
    found = await doctored(Site(), sites.nginx(settings))
    assert found.codes == set(), found.text
    assert found.report.exit_code == 2
    (hung_up,) = found.report.unasked
    assert "/users/5/ got no answer: " in hung_up
    assert len(found.report.asked) == 5


@pytest.mark.asyncio
async def test_a_bound_of_requests_is_kept_and_told() -> None:
    found = await doctored(Site(), requests=30)
    assert found.report.requests == 30
    assert found.report.asked == ("/api/mizan/ctx/news/",), "and what was found there is judged"
    assert found.report.exit_code == 2
    assert "/ctx/user/?user_id=5: The bound of requests or of time was reached" in found.text


@pytest.mark.asyncio
async def test_an_answer_that_is_told_by_its_request_id_is_found() -> None:
    """A cache that refuses unknown tokens by itself, and repeats the answers of each person."""

    class Repeating:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            person = Request(scope).headers.get("x-mizan-token", "")[-8:] if scope["type"] == "http" else ""

            async def marked(message: Any) -> None:
                if message["type"] == "http.response.start":
                    own = f"of {person} at {scope['query_string']!r}".encode()
                    message = {**message, "headers": [*message["headers"], (b"x-request-id", own)]}
                await send(message)

            await self.app(scope, receive, marked)

    found = await doctored(Site(middleware=[Middleware(Repeating)]))
    assert found.codes == {"private-kept"}, found.text
    assert "asked as the 1st --as: the same x-request-id 2 times" in found.text
