"""What a browser sends on behalf of another site is refused before its body is read (protocol, section 11)."""

from typing import Any

import pytest

from mizan_asgi import Mizan
from mizan_core import Identity, build, client
from tests.http.site import KEYS, Clock, Site, hosting, http, raw, refusal, token

TRUSTED = "https://app.example.com"


def signed_in(site: Site) -> Any:
    return site.app(
        mwt_keys=KEYS, clock=Clock(), authenticate=lambda request: Identity("ada"), trusted_origins=[TRUSTED]
    )


CASES = [
    ({}, True),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"sec-fetch-site": "same-origin, none"}, False),
    ({"origin": "http://site.test"}, True),
    ({"origin": "http://site.test:80"}, True),
    ({"origin": "http://SITE.test"}, True),
    ({"origin": "http://site.test:8080"}, False),
    ({"origin": "https://site.test:80"}, False),
    ({"origin": "http://evil.test"}, False),
    ({"origin": "http://site.test.evil.test"}, False),
    ({"origin": "http://evilsite.test"}, False),
    ({"origin": "http://sub.site.test"}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "site.test"}, False),
    ({"origin": "http://[::1"}, False),
    ({"origin": "http://site.test:99999"}, False),
    ({"origin": "http://"}, False),
    ({"origin": TRUSTED}, True),
    ({"origin": f"{TRUSTED}:443"}, True),
    ({"origin": "http://app.example.com"}, False),
    ({"origin": f"{TRUSTED}:8443"}, False),
    ({"origin": f"{TRUSTED}.evil.test"}, False),
    ({"origin": TRUSTED, "sec-fetch-site": "cross-site"}, True),
    ({"origin": TRUSTED, "sec-fetch-site": "same-site"}, True),
    ({"origin": "http://site.test", "sec-fetch-site": "cross-site"}, False),
    ({"origin": "http://site.test", "sec-fetch-site": "same-site"}, False),
    ({"origin": "http://evil.test", "sec-fetch-site": "same-origin"}, True),
    ({"origin": "null", "sec-fetch-site": "same-origin"}, True),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("headers", "allowed"), CASES)
async def test_calls_and_mutation_views_need_a_trusted_origin(
    site: Site, headers: dict[str, str], allowed: bool
) -> None:
    sent = {"user_id": 5, "name": "x"}
    async with http(signed_in(site)) as web:
        answers = [
            await web.post("/api/mizan/call/update_profile/", json=sent, headers=headers),
            await web.post("/api/mizan/call/", json={"fn": "update_profile", "args": sent}, headers=headers),
            await web.post("/rename/", json=sent, headers=headers),
        ]
    if allowed:
        assert [answer.status_code for answer in answers] == [200, 200, 303]
        assert site.ran.total() == 3
    else:
        for answer in answers:
            refusal(answer, 403, "forbidden")
        assert not site.ran


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("site.test:80", "http://site.test", True),
        ("site.test:443", "https://site.test", True),
        ("site.test", "https://site.test", True),  # a proxy took the TLS off
        ("site.test:8000", "http://site.test:8000", True),
        ("site.test:8000", "http://site.test", False),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("[::1]", "http://[::2]", False),
        ("site.test:x", "http://site.test", False),
        ("", "http://site.test", False),
    ],
)
async def test_an_origin_names_the_requests_own_host_and_port(
    site: Site, host: str, origin: str, allowed: bool
) -> None:
    async with http(signed_in(site), host=host, origin=origin) as web:
        answer = await web.post("/api/mizan/call/update_profile/", json={"user_id": 5})
    assert answer.status_code == (200 if allowed else 403)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "headers",
    [
        [(b"origin", b"http://site.test"), (b"origin", b"http://site.test")],
        [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"same-origin")],
        [(b"origin", b"http://site.test"), (b"host", b"site.test")],
    ],
    ids=["two origins", "two sites", "two hosts"],
)
async def test_a_repeated_origin_header_is_refused(site: Site, headers: list[tuple[bytes, bytes]]) -> None:
    refusal(await raw(signed_in(site), "POST", "/api/mizan/call/echo/", headers=headers), 403, "forbidden")


@pytest.mark.asyncio
@pytest.mark.parametrize("header", ["x-mizan-token", "authorization"])
async def test_a_token_in_a_header_is_proof_enough(site: Site, header: str) -> None:
    sent = {header: token("ada") if header == "x-mizan-token" else f"Bearer {token('ada')}"}
    async with http(signed_in(site), sec_fetch_site="cross-site", origin="https://evil.test") as web:
        answers = [
            await web.post("/api/mizan/call/update_profile/", json={"user_id": 5}, headers=sent),
            await web.post("/rename/", data={"user_id": "5", "name": "x"}, headers=sent),
        ]
    assert [answer.status_code for answer in answers] == [200, 303]


@pytest.mark.asyncio
async def test_a_bundle_and_a_page_may_be_asked_for_from_anywhere(site: Site) -> None:
    async with http(signed_in(site), sec_fetch_site="cross-site", origin="https://evil.test") as web:
        for url in ("/api/mizan/ctx/user/?user_id=5", "/profile/5/", "/api/mizan/ctx/inbox/"):
            assert (await web.get(url)).status_code == 200


@pytest.mark.asyncio
async def test_the_origin_is_checked_for_visitors_too(site: Site) -> None:
    async with http(site.app(), sec_fetch_site="cross-site") as web:
        refusal(await web.post("/api/mizan/call/update_profile/", json={"user_id": 5}), 403, "forbidden")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/api/mizan/call/", "/api/mizan/call/update_profile/", "/rename/"])
async def test_the_origin_is_checked_before_the_body_is_read(site: Site, path: str) -> None:
    asked = 0
    app = signed_in(site)

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def receiving() -> Any:
            nonlocal asked
            asked += 1
            return await receive()

        await app(scope, receiving, send)

    for headers in ([(b"sec-fetch-site", b"cross-site")], [(b"x-mizan-token", b"garbage")]):
        answer = await raw(counting, "POST", path, headers=[*headers, (b"content-type", b"application/json")])
        assert answer.status_code in (401, 403)
    assert asked == 0


@pytest.mark.asyncio
async def test_a_plain_functions_route_is_checked_unless_it_reads() -> None:
    @client(route="/plain/", methods=["GET", "POST"])
    async def plain() -> str:
        return "here"

    async with http(hosting(Mizan(build([plain]))), sec_fetch_site="cross-site") as web:
        assert (await web.get("/plain/")).json() == "here"
        refusal(await web.post("/plain/"), 403, "forbidden")
