"""Bundles over HTTP: their headers, their one canonical URL, ETag and HEAD (protocol, sections 3 and 8)."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from mizan_asgi import Mizan
from mizan_asgi.edge import HeaderOnly
from mizan_core import Context, Identity, build, client
from tests.http.site import KEPT, KEYS, PUBLIC, VARY, Clock, Site, hosting, http, raw, refusal, token

USER = "/api/mizan/ctx/user/?user_id=5"


@pytest.mark.asyncio
async def test_a_bundle_is_compact_json_with_sorted_keys(site: Site) -> None:
    async with http(site.app()) as web:
        answer = await web.get(USER)
    assert answer.content == b'{"user_badges":["Ada-1"],"user_profile":{"name":"Ada","user_id":5}}'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("url", "control", "varies"),
    [
        (USER, KEPT, False),
        ("/api/mizan/ctx/orders/?customer_id=1", KEPT.replace("31536000", "60"), False),
        ("/api/mizan/ctx/weather/", "no-store", False),
        ("/api/mizan/ctx/inbox/", "private, no-cache", True),
        ("/api/mizan/ctx/report/", "private, no-cache", True),
        ("/api/mizan/ctx/team/", "private, no-cache", True),
    ],
)
async def test_cache_control_follows_from_the_declaration(site: Site, url: str, control: str, varies: bool) -> None:
    for edge, told in ((HeaderOnly(), control), ([], control.partition(", s-maxage")[0])):
        app = site.app(mwt_keys=KEYS, clock=Clock(), edge=edge)
        async with http(app, x_mizan_token=token("5")) as web:
            for _ in range(2):
                answer = await web.get(url)
                assert answer.status_code == 200
                assert answer.headers["cache-control"] == told
                assert answer.headers.get("vary") == (VARY if varies else None)


@pytest.mark.asyncio
async def test_a_public_bundle_is_public_for_signed_in_users(site: Site) -> None:
    async with http(site.app(mwt_keys=KEYS, clock=Clock()), authorization=f"Bearer {token('5')}") as web:
        answer = await web.get(USER)
    assert answer.headers["cache-control"] == PUBLIC
    assert "vary" not in answer.headers


@pytest.mark.asyncio
async def test_visitors_share_what_is_kept_per_user(site: Site) -> None:
    async with http(site.app()) as web:
        answers = [await web.get("/api/mizan/ctx/inbox/") for _ in range(2)]
    assert {answer.headers["cache-control"] for answer in answers} == {"private, no-cache"}
    assert answers[1].headers["cache-status"] == "mizan; hit"
    assert site.ran["messages"] == 1


@pytest.mark.asyncio
async def test_a_bundle_whose_scope_is_held_is_not_stored_and_not_hit() -> None:
    going, ended = asyncio.Event(), asyncio.Event()
    value = "old"

    @client(context="thing")
    async def thing(thing_id: int) -> str:
        return value

    @client(affects="thing")
    async def change(thing_id: int) -> None:
        nonlocal value
        going.set()
        await ended.wait()
        value = "new"

    async with http(hosting(Mizan(build([thing, change])))) as web:
        one, other = "/api/mizan/ctx/thing/?thing_id=1", "/api/mizan/ctx/thing/?thing_id=2"
        await web.get(one)
        await web.get(other)
        changing = asyncio.create_task(web.post("/api/mizan/call/change/", json={"thing_id": 1}))
        await going.wait()
        held, free = await web.get(one), await web.get(other)
        ended.set()
        await changing
        fresh = await web.get(one)
    assert (held.headers["cache-control"], held.headers["cache-status"]) == (
        "no-store",
        "mizan; fwd=bypass; detail=held",
    )
    assert (free.headers["cache-control"], free.headers["cache-status"]) == (PUBLIC, "mizan; hit")
    assert (fresh.headers["cache-control"], fresh.json()) == (PUBLIC, {"thing": "new"})


@pytest.mark.asyncio
async def test_a_bundle_purged_while_computed_is_not_stored() -> None:
    thing_context = Context("thing")
    reading, purged = asyncio.Event(), asyncio.Event()

    @client(context=thing_context)
    async def thing() -> str:
        reading.set()
        await purged.wait()
        return "slow"

    mizan = Mizan(build([thing]))
    async with http(hosting(mizan)) as web:
        slow = asyncio.create_task(web.get("/api/mizan/ctx/thing/"))
        await reading.wait()
        await mizan.engine.invalidate(thing_context)
        purged.set()
        answer, after = await slow, await web.get("/api/mizan/ctx/thing/")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cache-status"] == "mizan; fwd=bypass; detail=purged"
    assert after.headers["cache-status"] == "mizan; fwd=uri-miss; stored"


@pytest.mark.asyncio
async def test_cache_status_says_miss_then_hit_and_never_a_key(site: Site) -> None:
    async with http(site.app()) as web:
        answers = [await web.get(USER) for _ in range(2)]
    assert [answer.headers["cache-status"] for answer in answers] == ["mizan; fwd=uri-miss; stored", "mizan; hit"]
    assert answers[0].content == answers[1].content
    assert site.ran["user_profile"] == 1


@pytest.mark.asyncio
async def test_cache_status_does_not_claim_a_store_that_does_not_exist(site: Site) -> None:
    async with http(site.app(cache=None)) as web:
        answers = [await web.get(USER) for _ in range(2)]
    assert [answer.headers["cache-status"] for answer in answers] == ["mizan; fwd=uri-miss"] * 2
    assert [answer.headers["cache-control"] for answer in answers] == [PUBLIC] * 2


@pytest.mark.asyncio
async def test_a_hit_sends_the_seconds_that_remain(site: Site) -> None:
    clock = Clock()
    async with http(site.app(clock=clock, edge=HeaderOnly())) as web:
        sent = []
        for passed in (0, 1.5, 30, 27.9, 5):
            clock.now += passed
            sent.append((await web.get("/api/mizan/ctx/orders/?customer_id=1")).headers["cache-control"])
    assert sent == [KEPT.replace("31536000", str(left)) for left in (60, 58, 28, 0, 60)]
    assert site.ran["orders"] == 2


OTHER_SPELLINGS = [
    "/api/mizan/ctx/user?user_id=5",
    "/api/mizan/ctx/user/?user_id=05",
    "/api/mizan/ctx/user/?user_id=%35",
    "/api/mizan/ctx/user/?user_id=+5",
    "/api/mizan/ctx/user/?user_id=5.0",
    "/api/mizan/ctx/user/?user_id=5&page=1",
    "/api/mizan/ctx/user/?user_id=5&",
    "/api/mizan/ctx/user/?%75ser_id=5",
    "/api/mizan/ctx/us%65r/?user_id=5",
    "/api/miz%61n/ctx/user/?user_id=5",
    "/api/mizan%2Fctx/user/?user_id=5",
    "/api/mizan/%63tx/user/?user_id=5",
]


@pytest.mark.asyncio
@pytest.mark.parametrize("url", OTHER_SPELLINGS)
async def test_another_spelling_hits_the_entry_and_is_not_kept(site: Site, url: str) -> None:
    async with http(site.app()) as web:
        await web.get(USER)
        answer = await web.get(url)
    assert answer.headers["cache-status"] == "mizan; hit"
    assert answer.headers["cache-control"] == "no-store"
    assert site.ran["user_profile"] == 1


@pytest.mark.asyncio
async def test_the_canonical_url_has_its_parameters_in_name_order(site: Site) -> None:
    async with http(site.app()) as web:
        ordered = await web.get("/api/mizan/ctx/user/?page=2&user_id=5")
        other = await web.get("/api/mizan/ctx/user/?user_id=5&page=2")
    assert (ordered.headers["cache-control"], other.headers["cache-control"]) == (PUBLIC, "no-store")
    assert other.headers["cache-status"] == "mizan; hit"


@pytest.mark.asyncio
async def test_a_list_in_the_canonical_url_is_repeated(site: Site) -> None:
    async with http(site.app(clock=Clock())) as web:
        url = "/api/mizan/ctx/orders/?customer_id=1&tags=b%20c&tags=a%2Fb"
        canonical = await web.get(url)
        others = [await web.get(url.replace("%20", "+")), await web.get(url.replace("%2F", "/"))]
    assert canonical.json() == {"orders": ["1:b c", "1:a/b"]}
    assert canonical.headers["cache-control"] == PUBLIC
    assert [(o.headers["cache-status"], o.headers["cache-control"]) for o in others] == [("mizan; hit", "no-store")] * 2


@pytest.mark.asyncio
async def test_another_spelling_gets_content_location(site: Site) -> None:
    async with http(site.app()) as web:
        for query, canonical in (("?page=01&user_id=05", "?user_id=5"), ("?user_id=5&page=2", "?page=2&user_id=5")):
            answer = await web.get(f"/api/mizan/ctx/user/{query}")
            assert answer.headers["content-location"] == canonical
            assert "content-location" not in (await web.get(f"/api/mizan/ctx/user/{canonical}")).headers


@pytest.mark.asyncio
async def test_only_one_path_to_a_mount_is_canonical(site: Site) -> None:
    async with http(site.app()) as web:
        refusal(await web.get("/api/mizan/api/mizan/ctx/user/?user_id=5"), 404, "not_found")
        refusal(await web.get("/api/mizan//ctx/user/?user_id=5"), 404, "not_found")


@pytest.mark.asyncio
async def test_alone_it_is_reached_with_and_without_base_url(site: Site) -> None:
    async with http(site.mizan()) as web:
        for url in (USER, "/ctx/user/?user_id=5"):
            assert (await web.get(url)).headers["cache-control"] == PUBLIC


@pytest.mark.asyncio
async def test_an_encoded_mount_path_has_one_canonical_spelling(site: Site) -> None:
    app = Starlette(routes=[Mount("/café @1", site.mizan(base_url="/café @1"))])
    async with http(app) as web:
        controls = [
            (await web.get(f"{mount}/ctx/user/?user_id=5")).headers["cache-control"]
            for mount in ("/caf%C3%A9%20@1", "/caf%C3%A9%20%401", "/caf%c3%a9%20@1")
        ]
    assert controls == [PUBLIC, "no-store", "no-store"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("{etag}", 304),
        ("{strong}", 304),
        ("*", 304),
        ('"other", {etag}', 304),
        ('W/"a,b" ,{strong},"c"', 304),
        ('"other"', 200),
        ('W/"other"', 200),
        ("", 200),
        ("{bare}", 200),
        ('"*"', 200),
    ],
)
async def test_if_none_match_compares_weakly_in_lists_and_with_a_star(site: Site, sent: str, status: int) -> None:
    async with http(site.app()) as web:
        first = await web.get(USER)
        etag = first.headers["etag"]
        line = sent.format(etag=etag, strong=etag.removeprefix("W/"), bare=etag.removeprefix("W/").strip('"'))
        answer = await web.get(USER, headers={"if-none-match": line})
    assert etag.startswith('W/"')
    assert answer.status_code == status
    assert answer.content == (b"" if status == 304 else first.content)


@pytest.mark.asyncio
async def test_if_none_match_may_come_as_several_lines(site: Site) -> None:
    async with http(site.app()) as web:
        etag = (await web.get(USER)).headers["etag"]
        answer = await web.get(USER, headers=[("if-none-match", '"other"'), ("if-none-match", etag)])
    assert answer.status_code == 304


@pytest.mark.asyncio
@pytest.mark.parametrize("url", [USER, "/api/mizan/ctx/user?user_id=5", "/api/mizan/ctx/inbox/"])
async def test_a_304_carries_the_headers_of_the_200(site: Site, url: str) -> None:
    async with http(site.app(mwt_keys=KEYS, clock=Clock()), x_mizan_token=token("5")) as web:
        await web.get(url)
        full = await web.get(url)
        short = await web.get(url, headers={"if-none-match": full.headers["etag"]})
    assert short.status_code == 304
    about_the_body = ("content-type", "content-length")
    assert dict(short.headers) == {name: full.headers[name] for name in full.headers if name not in about_the_body}


@pytest.mark.asyncio
async def test_an_etag_depends_on_the_data_alone(site: Site) -> None:
    async with http(site.app()) as web, http(Site().app()) as elsewhere:
        etags = [(await one.get(USER)).headers["etag"] for one in (web, elsewhere)]
        other = (await web.get("/api/mizan/ctx/user/?user_id=7")).headers["etag"]
    assert etags[0] == etags[1] != other


@pytest.mark.asyncio
@pytest.mark.parametrize("url", [USER, "/api/mizan/ctx/nothing/", "/api/mizan/ctx/user/", "/profile/5/", "/api/mizan/"])
async def test_head_has_the_headers_of_get_and_no_body(site: Site, url: str) -> None:
    app, (path, _, query) = site.app(), url.partition("?")
    _, got, head = [await raw(app, method, path, query=query.encode()) for method in ("GET", "GET", "HEAD")]
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers == got.headers
    assert int(head.headers["content-length"]) == len(got.content)


@pytest.mark.asyncio
async def test_a_bundle_does_not_see_the_body_of_a_get() -> None:
    @client(context="echo")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    async with http(hosting(Mizan(build([echo])))) as web:
        answer = await web.request("GET", "/api/mizan/ctx/echo/", content=b"poison")
    assert (answer.json(), answer.headers["cache-control"]) == ({"echo": ""}, PUBLIC)


@pytest.mark.asyncio
async def test_twenty_requests_of_a_cold_bundle_run_its_readers_once() -> None:
    ran, waiting = 0, asyncio.Event()

    @client(context="slow")
    async def slow() -> int:
        nonlocal ran
        ran += 1
        await waiting.wait()
        return ran

    async with http(hosting(Mizan(build([slow])))) as web:
        asked = [asyncio.create_task(web.get("/api/mizan/ctx/slow/")) for _ in range(20)]
        while not ran:
            await asyncio.sleep(0)
        waiting.set()
        answers = await asyncio.gather(*asked)
    assert ran == 1
    assert {answer.content for answer in answers} == {b'{"slow":1}'}
    assert sorted({answer.headers["cache-status"] for answer in answers}) == [
        "mizan; fwd=uri-miss; stored",
        "mizan; fwd=uri-miss; stored; collapsed",
    ]


@pytest.mark.asyncio
async def test_a_failing_reader_fails_the_whole_bundle(site: Site) -> None:
    fails = True

    @client(context="user")
    async def moody(user_id: int) -> str:
        if fails:
            raise RuntimeError("not in the mood")
        return "fine"

    async with http(hosting(Mizan(build([*site.functions, moody])))) as web:
        refusal(await web.get(USER), 500, "internal_error")
        fails = False
        answer = await web.get(USER)
    assert answer.json()["moody"] == "fine"
    assert answer.headers["cache-status"] == "mizan; fwd=uri-miss; stored"


@pytest.mark.asyncio
async def test_a_private_reader_and_a_page_are_in_no_bundle(site: Site) -> None:
    @client(context="user", private=True)
    async def secret(user_id: int) -> str:
        return "secret"

    @client(context="hidden", private=True)
    async def hidden() -> str:
        return "hidden"

    async with http(hosting(Mizan(build([*site.functions, secret, hidden])))) as web:
        assert (await web.get(USER)).json().keys() == {"user_badges", "user_profile"}
        private = refusal(await web.get("/api/mizan/ctx/hidden/"), 404, "not_found")
        unknown = refusal(await web.get("/api/mizan/ctx/unknown/"), 404, "not_found")
    assert private == unknown


@pytest.mark.asyncio
async def test_after_a_mutation_every_page_of_a_bundle_is_fresh(site: Site) -> None:
    async with http(site.app()) as web:
        urls = ["/api/mizan/ctx/user/?page=2&user_id=5", USER, "/api/mizan/ctx/user/?user_id=7"]
        before = [await web.get(url) for url in urls]
        await web.post("/api/mizan/call/update_profile/", json={"user_id": "05", "name": "Eve"})
        after = [await web.get(url) for url in urls]
    assert [answer.headers["cache-status"] for answer in after] == [*["mizan; fwd=stale; stored"] * 2, "mizan; hit"]
    assert [answer.json()["user_profile"]["name"] for answer in after] == ["Eve", "Eve", "Bo"]
    assert before[2].content == after[2].content


@pytest.mark.asyncio
async def test_a_bundle_is_kept_per_user_of_the_host(site: Site) -> None:
    app = site.app(authenticate=lambda request: Identity(request.headers["x-who"]))
    async with http(app) as web:
        seen: list[httpx.Response] = [
            await web.get("/api/mizan/ctx/inbox/", headers={"x-who": who}) for who in ("a", "b", "a", "", "")
        ]
    assert [answer.json()["messages"] for answer in seen] == [["for a"], ["for b"], ["for a"], ["for "], ["for "]]
    assert [answer.headers["cache-status"] == "mizan; hit" for answer in seen] == [False, False, True, False, True]
