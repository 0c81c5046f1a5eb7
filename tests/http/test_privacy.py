"""One visitor never sees what was meant for another (protocol, sections 6 to 8)."""

import pytest
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_core import Identity, build, client
from tests.http.site import KEYS, Clock, Site, hosting, http, refusal, token

STORED, HIT = "mizan; fwd=uri-miss; stored", "mizan; hit"


def by_header(request: Request) -> Identity | None:
    """A host whose session is a header with user and permissions."""
    name = request.headers.get("x-who")
    rights = frozenset(request.headers.get("x-may", "").split())
    return None if name is None else Identity(name, permissions=rights, staff="staff" in rights)


@pytest.mark.asyncio
@pytest.mark.parametrize("context", ["team", "report"])
async def test_a_guarded_hit_is_never_served_to_the_refused(site: Site, context: str) -> None:
    url = f"/api/mizan/ctx/{context}/"
    async with http(site.app(authenticate=by_header)) as web:
        await web.get(url, headers={"x-who": "ada"})
        hit = await web.get(url, headers={"x-who": "ada"})
        assert hit.headers["cache-status"] == HIT
        refusal(await web.get(url), 401, "unauthorized")
        refusal(await web.get(url, headers={"if-none-match": hit.headers["etag"]}), 401, "unauthorized")
    assert site.ran[context] == 1


@pytest.mark.asyncio
async def test_one_guarded_entry_serves_all_that_the_guard_admits(site: Site) -> None:
    async with http(site.app(authenticate=by_header)) as web:
        shown = [
            (await web.get("/api/mizan/ctx/team/", headers={"x-who": name})).headers["cache-status"] for name in "abc"
        ]
    assert shown == [STORED, HIT, HIT]


@pytest.mark.asyncio
async def test_a_guard_is_asked_on_every_hit() -> None:
    allowed = {"ada", "bo"}
    asked: list[str | None] = []

    @client(context="vault", auth=lambda me: asked.append(me.user_id) or me.user_id in allowed, per="all")
    async def vault() -> str:
        return "gold"

    async with http(hosting(Mizan(build([vault]), authenticate=by_header))) as web:
        for name in ("ada", "bo"):
            assert (await web.get("/api/mizan/ctx/vault/", headers={"x-who": name})).json() == {"vault": "gold"}
        allowed.clear()
        refusal(await web.get("/api/mizan/ctx/vault/", headers={"x-who": "bo"}), 403, "forbidden")
    assert asked == ["ada", "bo", "bo"]


@pytest.mark.asyncio
async def test_every_reader_of_a_bundle_is_guarded_on_every_request() -> None:
    @client(context="mixed")
    async def free() -> str:
        return "free"

    @client(context="mixed", auth="staff", per="all")
    async def guarded() -> str:
        return "guarded"

    async with http(hosting(Mizan(build([free, guarded]), authenticate=by_header))) as web:
        boss = {"x-who": "ada", "x-may": "staff"}
        assert (await web.get("/api/mizan/ctx/mixed/", headers=boss)).json() == {"free": "free", "guarded": "guarded"}
        refusal(await web.get("/api/mizan/ctx/mixed/", headers={"x-who": "bo"}), 403, "forbidden")
        refusal(await web.get("/api/mizan/ctx/mixed/"), 401, "unauthorized")


@pytest.mark.asyncio
async def test_each_user_has_an_entry_of_their_own(site: Site) -> None:
    async with http(site.app(authenticate=by_header)) as web:
        answers = [await web.get("/api/mizan/ctx/inbox/", headers={"x-who": name}) for name in ("a", "b", "a")]
    assert [answer.json()["messages"] for answer in answers] == [["for a"], ["for b"], ["for a"]]
    assert [answer.headers["cache-status"] for answer in answers] == [STORED, STORED, HIT]


@pytest.mark.asyncio
async def test_a_changed_permission_set_shares_no_old_entry(site: Site) -> None:
    async with http(site.app(authenticate=by_header)) as web:
        shown = [
            (await web.get("/api/mizan/ctx/inbox/", headers={"x-who": "a", "x-may": rights})).headers["cache-status"]
            for rights in ("read write", "read", "write read")
        ]
    assert shown == [STORED, STORED, HIT]


@pytest.mark.asyncio
@pytest.mark.parametrize("cache", ["memory", None])
async def test_two_visitors_never_share_a_cart(cache: str | None) -> None:
    @client(context="cart", per="user")
    async def cart(request: Request) -> str:
        return request.cookies.get("cart", "empty")

    async with http(hosting(Mizan(build([cart]), cache=cache))) as web:  # type: ignore[arg-type]
        answers = [
            await web.get("/api/mizan/ctx/cart/", headers={"cookie": f"cart={what}"}) for what in ("apple", "pear")
        ]
    assert [answer.json() for answer in answers] == [{"cart": "apple"}, {"cart": "pear"}]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


@pytest.mark.asyncio
async def test_equal_permissions_share_and_others_do_not(site: Site) -> None:
    async with http(site.app(authenticate=by_header)) as web:
        shown = [
            (await web.get("/api/mizan/ctx/report/", headers={"x-who": name, "x-may": rights})).headers["cache-status"]
            for name, rights in (
                ("a", "read"),
                ("b", "read"),
                ("c", "read write"),
                ("d", "write read read"),
                ("e", ""),
                ("f", "staff"),
                ("g", "read staff"),
            )
        ]
    assert shown == [STORED, HIT, STORED, HIT, STORED, STORED, STORED]


@pytest.mark.asyncio
async def test_equals_by_token_share_with_equals_by_session(site: Site) -> None:
    app = site.app(authenticate=by_header, mwt_keys=KEYS, clock=Clock())
    equal = token("b", permissions=frozenset({"read"}))
    other = token("c", permissions=frozenset({"write"}))
    async with http(app) as web:
        shown = [
            (await web.get("/api/mizan/ctx/report/", headers=headers)).headers["cache-status"]
            for headers in ({"x-who": "a", "x-may": "read"}, {"x-mizan-token": equal}, {"x-mizan-token": other})
        ]
    assert shown == [STORED, HIT, STORED]


@pytest.mark.asyncio
async def test_a_mutation_purges_every_users_copy_at_once(site: Site) -> None:
    async with http(site.app(authenticate=by_header)) as web:
        for name in "ab":
            await web.get("/api/mizan/ctx/inbox/", headers={"x-who": name})
        await web.post("/api/mizan/call/send/", json={"text": "hi"}, headers={"x-who": "a"})
        shown = [
            (await web.get("/api/mizan/ctx/inbox/", headers={"x-who": name})).headers["cache-status"] for name in "ab"
        ]
    assert shown == [STORED, STORED]
