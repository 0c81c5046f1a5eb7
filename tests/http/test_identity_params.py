"""Parameters that the caller's identity fills in, over HTTP: calls, forms, views, pages, and what comes along."""

import enum
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import pytest
from pydantic import Field, StrictInt
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mizan_asgi import Mizan
from mizan_core import ANONYMOUS, Arg, Claim, Conflict, Context, Identity, Me, Result, build, client, invalidate
from tests.http.site import KEYS, Clock, hosting, http, refusal, token

Cart, Tickets, Basket, Feed = Context("cart"), Context("tickets"), Context("basket"), Context("feed")

CTX, CALL = "/api/mizan/ctx/", "/api/mizan/call/"

UserId = Annotated[int, Me]


@dataclass
class Shop:
    """Carts of users and tickets of organisations."""

    lines: dict[Any, list[str]] = field(default_factory=lambda: defaultdict(list))

    def app(self, *more: Callable[..., Any]) -> Any:
        mizan = Mizan(
            build([*self.readers(), *self.mutations(), *self.views(), *more]),
            authenticate=who,
            mwt_keys=KEYS,
            clock=Clock(),
        )
        return hosting(mizan, Middleware(SessionMiddleware, secret_key="of the tests"))

    def readers(self) -> list[Callable[..., Any]]:
        @client(context=Cart)
        async def cart_lines(user_id: UserId) -> list[str]:
            return list(self.lines[user_id])

        @client(context=Tickets)
        async def ticket_list(org_id: Annotated[int, Claim("org")], status: str = "open") -> list[str]:
            return [f"{status} {one}" for one in self.lines["org", org_id]]

        @client(context=Basket)
        async def basket(user_id: Annotated[int | None, Me]) -> list[str]:
            return list(self.lines["basket", user_id])

        return [cart_lines, ticket_list, basket]

    def mutations(self) -> list[Callable[..., Any]]:
        @client(affects=Cart)
        async def add_line(user_id: UserId, sku: str) -> str:
            self.lines[user_id].append(sku)
            return sku

        @client(affects=Cart.where(user_id=Arg("to")))
        async def send_to(to: list[int], sku: str) -> None:
            for one in to:
                self.lines[one].append(sku)

        @client(affects=Cart)
        async def explode(user_id: UserId) -> None:
            self.lines[user_id].append("half")
            raise RuntimeError("the password is hunter2")

        @client(affects=Cart)
        async def refuse(user_id: UserId) -> None:
            invalidate(Cart, user_id=user_id + 1)
            invalidate(Cart, user_id=user_id)
            raise Conflict("Not now.")

        @client(affects=Tickets)
        async def open_ticket(org_id: Annotated[int, Claim("org")], title: str) -> None:
            self.lines["org", org_id].append(title)

        @client(affects=Tickets.where(org_id=Claim("org")))
        async def move(org: int, request: Request) -> None:
            request.session["org"] = org

        @client(affects=Cart.where(user_id=Result("user_id")))
        async def sign_in(request: Request) -> dict[str, int]:
            request.session["user"] = 9
            self.lines[9].append("welcome")
            return {"user_id": 9}

        @client(affects=Basket)
        async def drop_in(user_id: Annotated[int | None, Me], sku: str) -> None:
            self.lines["basket", user_id].append(sku)

        return [add_line, send_to, explode, refuse, open_ticket, move, sign_in, drop_in]

    def views(self) -> list[Callable[..., Any]]:
        @client(context=Cart, route="/my/cart/")
        async def cart_page(user_id: UserId) -> HTMLResponse:
            return HTMLResponse(",".join(self.lines[user_id]))

        @client(affects=Cart, route="/my/cart/add/")
        async def add_by_form(user_id: UserId, sku: str) -> HTMLResponse:
            self.lines[user_id].append(sku)
            return HTMLResponse("added")

        @client(affects=Cart, route="/hooks/paid/", methods=["POST"])
        async def paid(user_id: int) -> Response:
            self.lines[user_id].clear()
            return Response(status_code=204)

        return [cart_page, add_by_form, paid]


async def who(request: Request) -> Identity:
    """The session's user, and the organisation of the session or of the sub-domain."""
    host = request.headers.get("x-tenant")
    org = request.session.get("org", None if host is None else int(host))
    claims = {} if org is None else {"org": org}
    return Identity(request.session.get("user"), claims=claims) if claims or request.session else ANONYMOUS


@pytest.fixture
def shop() -> Shop:
    return Shop()


def by(app: Any, user: object = None, mounted: str | None = None, **claims: Any) -> httpx.AsyncClient:
    headers = {} if user is None else {"x_mizan_token": token(str(user), claims=claims)}
    return http(app, **headers, **({} if mounted is None else {"x_mizan_mounted": mounted}))


class TestBundles:
    @pytest.mark.asyncio
    async def test_callers_of_one_value_share_what_no_cache_beyond_keeps(self, shop: Shop) -> None:
        app = shop.app()
        shop.lines["org", 1] = ["broken"]
        async with by(app, 5, org=1) as ada, by(app, 6, org=1) as bo, by(app, 5, org=2) as moved:
            first = await ada.get(f"{CTX}tickets/")
            assert (first.json(), first.headers["cache-control"]) == (
                {"ticket_list": ["open broken"]},
                "private, no-cache",
            )
            assert first.headers["vary"] == "Authorization, Cookie, X-Mizan-Token"
            again = await bo.get(f"{CTX}tickets/")
            assert (again.content, again.headers["cache-status"]) == (first.content, "mizan; hit")
            assert (await moved.get(f"{CTX}tickets/")).json() == {"ticket_list": []}

    @pytest.mark.asyncio
    async def test_one_in_a_query_a_form_or_json_is_refused(self, shop: Shop) -> None:
        async with by(shop.app(), 5) as web:
            refusal(await web.get(f"{CTX}cart/?user_id=6"), 422, "invalid_input")
            refusal(await web.post(f"{CALL}add_line/", json={"sku": "x", "user_id": 6}), 422, "invalid_input")
            refusal(await web.post(f"{CALL}add_line/", data={"sku": "x", "user_id": "6"}), 422, "invalid_input")
            refusal(
                await web.post(CALL, json={"fn": "add_line", "args": {"sku": "x", "user_id": 6}}), 422, "invalid_input"
            )
        assert not shop.lines

    @pytest.mark.asyncio
    async def test_a_page_ignores_one_in_its_query(self, shop: Shop) -> None:
        shop.lines |= {5: ["pen"], 6: ["secret"]}
        async with by(shop.app(), 5) as web:
            page = await web.get("/my/cart/?user_id=6")
        assert (page.text, page.headers["cache-control"]) == ("pen", "no-store")

    @pytest.mark.asyncio
    async def test_a_caller_without_one_is_401_everywhere(self, shop: Shop) -> None:
        async with http(shop.app()) as web:
            for path in (f"{CTX}cart/", f"{CTX}tickets/", "/my/cart/"):
                refusal(await web.get(path), 401, "unauthorized")
            refusal(await web.post(f"{CALL}add_line/", json={"sku": "x"}), 401, "unauthorized")
            refusal(await web.post(f"{CALL}add_line/", data={"sku": "x"}), 401, "unauthorized")
            refusal(await web.post(CALL, json={"fn": "cart_lines"}), 401, "unauthorized")
            refusal(await web.post("/my/cart/add/", data={"sku": "x"}), 401, "unauthorized")
        assert not shop.lines

    @pytest.mark.asyncio
    async def test_a_visitor_of_a_tenant_sees_that_tenant(self, shop: Shop) -> None:
        shop.lines["org", 1] = ["broken"]
        async with http(shop.app(), x_tenant="1") as one, http(shop.app(), x_tenant="2") as two:
            assert (await one.get(f"{CTX}tickets/")).json() == {"ticket_list": ["open broken"]}
            assert (await two.get(f"{CTX}tickets/")).json() == {"ticket_list": []}

    @pytest.mark.asyncio
    async def test_a_page_of_ones_own_is_private(self, shop: Shop) -> None:
        shop.lines[5] = ["pen"]
        async with by(shop.app(), 5) as web:
            page = await web.get("/my/cart/")
        assert (page.text, page.headers["cache-control"]) == ("pen", "private, no-cache")


class TestTold:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("way", ["json", "data"])
    async def test_an_answer_names_ones_own_without_the_value(self, shop: Shop, way: str) -> None:
        async with by(shop.app(), 5) as web:
            answer = await web.post(f"{CALL}add_line/", **{way: {"sku": "pen"}})  # type: ignore[arg-type]
        assert answer.json() == {"invalidate": ["cart"], "result": "pen"}
        assert answer.headers["x-mizan-invalidate"] == "cart;user_id=5"

    @pytest.mark.asyncio
    async def test_what_concerns_others_comes_in_no_body(self, shop: Shop) -> None:
        async with by(shop.app(), 5, mounted="cart, basket") as web:
            answer = await web.post(f"{CALL}send_to/", json={"to": [6, 7], "sku": "pen"})
            assert answer.json() == {"refreshed": [], "result": None}
            assert answer.headers["x-mizan-invalidate"] == "cart;user_id=6, cart;user_id=7"
            mixed = await web.post(f"{CALL}send_to/", json={"to": [6, 5], "sku": "cup"})
        assert mixed.json() == {
            "invalidate": ["cart"],
            "refreshed": [{"context": "cart", "params": {}, "data": {"cart_lines": ["cup"]}}],
            "result": None,
        }

    @pytest.mark.asyncio
    async def test_ones_own_comes_along_and_goes_through_the_cache(self, shop: Shop) -> None:
        app = shop.app()
        shop.lines["org", 2] = ["theirs"]
        async with by(app, 5, mounted="tickets, tickets?status=done, cart", org=1) as ada, by(app, 6, org=1) as bo:
            answer = await ada.post(f"{CALL}open_ticket/", json={"title": "broken"})
            assert answer.json() == {
                "invalidate": ["tickets"],
                "refreshed": [
                    {"context": "tickets", "params": {}, "data": {"ticket_list": ["open broken"]}},
                    {"context": "tickets", "params": {"status": "done"}, "data": {"ticket_list": ["done broken"]}},
                ],
                "result": None,
            }
            assert (await bo.get(f"{CTX}tickets/")).headers["cache-status"] == "mizan; hit"

    @pytest.mark.asyncio
    async def test_a_mounted_bundle_of_somebody_else_is_passed_over(self, shop: Shop) -> None:
        async with by(shop.app(), 5, mounted="cart?user_id=6, cart?user_id=5") as web:
            answer = await web.post(f"{CALL}send_to/", json={"to": [5, 6], "sku": "pen"})
        assert answer.json() == {"invalidate": ["cart"], "refreshed": [], "result": None}

    @pytest.mark.asyncio
    async def test_a_visitor_is_told_of_visitors(self, shop: Shop) -> None:
        async with http(shop.app(), x_mizan_mounted="basket") as web:
            answer = await web.post(f"{CALL}drop_in/", json={"sku": "pen"})
        assert answer.json() == {
            "invalidate": ["basket"],
            "refreshed": [{"context": "basket", "params": {}, "data": {"basket": ["pen"]}}],
            "result": None,
        }

    @pytest.mark.asyncio
    async def test_after_a_change_of_the_session_one_gets_what_is_ones_now(self, shop: Shop) -> None:
        shop.lines |= {("org", 1): ["old"], ("org", 2): ["new"]}
        async with http(shop.app(), x_tenant="1", x_mizan_mounted="tickets") as web:
            assert (await web.get(f"{CTX}tickets/")).json() == {"ticket_list": ["open old"]}
            answer = await web.post(f"{CALL}move/", json={"org": 2})
            assert answer.json() == {
                "invalidate": ["tickets"],
                "refreshed": [{"context": "tickets", "params": {}, "data": {"ticket_list": ["open new"]}}],
                "result": None,
            }

    @pytest.mark.asyncio
    async def test_a_call_is_told_about_as_who_made_it(self, shop: Shop) -> None:
        async with http(shop.app(), x_mizan_mounted="cart") as web:
            answer = await web.post(f"{CALL}sign_in/")
            assert answer.json() == {"refreshed": [], "result": {"user_id": 9}}
            assert answer.headers["x-mizan-invalidate"] == "cart;user_id=9"
            assert (await web.get(f"{CTX}cart/")).json() == {"cart_lines": ["welcome"]}

    @pytest.mark.asyncio
    async def test_a_failure_names_all_in_its_header(self, shop: Shop) -> None:
        async with by(shop.app(), 5, mounted="cart") as web:
            failed = await web.post(f"{CALL}explode/")
            refused = await web.post(f"{CALL}refuse/")
        assert refusal(failed, 500, "internal_error").keys().isdisjoint({"invalidate", "refreshed"})
        assert failed.headers["x-mizan-invalidate"] == "cart;user_id=5"
        assert refusal(refused, 409, "conflict")
        assert refused.headers["x-mizan-invalidate"] == "cart;user_id=6, cart;user_id=5"

    @pytest.mark.asyncio
    async def test_views_and_webhooks_name_the_values_in_the_header(self, shop: Shop) -> None:
        app = shop.app()
        shop.lines |= {5: ["pen"], 6: ["cup"]}
        async with by(app, 5) as ada, by(app, 6) as bo, http(app) as hook:
            for web in (ada, bo):
                await web.get(f"{CTX}cart/")
            added = await ada.post("/my/cart/add/", data={"sku": "ink"})
            assert added.headers["x-mizan-invalidate"] == "cart;user_id=5"
            assert (await bo.get(f"{CTX}cart/")).headers["cache-status"] == "mizan; hit"
            assert (await ada.get(f"{CTX}cart/")).json() == {"cart_lines": ["pen", "ink"]}
            told = await hook.post("/hooks/paid/", json={"user_id": 6})
            assert told.headers["x-mizan-invalidate"] == "cart;user_id=6"
            assert (await bo.get(f"{CTX}cart/")).json() == {"cart_lines": []}
            assert (await ada.get(f"{CTX}cart/")).headers["cache-status"] == "mizan; hit"


class Role(enum.Enum):
    OWNER = "owner"
    GUEST = "guest"


class Level(enum.IntEnum):
    ONE = 1


TEAM = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


class TestTypes:
    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("annotation", "claim", "told"),
        [
            (StrictInt, 1, 1),
            (int, "1", 1),
            (str, "x", "x"),
            (bool, True, True),
            (uuid.UUID, TEAM, TEAM),
            (Role, "guest", "guest"),
            (Level, 1, 1),
            (list[int], [2, 1], [2, 1]),
            (list[uuid.UUID], [TEAM], [TEAM]),
            (set[int], [2, 1], [1, 2]),
            (tuple[Role, ...], ["owner"], ["owner"]),
        ],
    )
    async def test_a_claim_of_any_type_fills_in_narrows_and_is_told(
        self, annotation: Any, claim: Any, told: Any
    ) -> None:
        value = Annotated[annotation, Claim("given")]
        runs: list[Any] = []

        @client(context="typed")
        async def typed(given: value) -> list[Any]:  # type: ignore[valid-type]
            runs.append(given)
            return [len(runs)]

        @client(context="typed")
        async def shown(given: value) -> annotation:  # type: ignore[valid-type]
            return given

        @client(affects="typed")
        async def change(given: value) -> None: ...  # type: ignore[valid-type]

        app = Mizan(build([typed, shown, change]), mwt_keys=KEYS, clock=Clock())
        async with by(app, 5, given=claim) as web, by(app, 6, given=claim) as same:
            first = await web.get("/ctx/typed/")
            assert first.json() == {"shown": told, "typed": [1]}
            assert (await same.get("/ctx/typed/")).headers["cache-status"] == "mizan; hit"
            answer = await web.post("/call/change/")
            assert answer.json()["invalidate"] == ["typed"]
            assert ";given=" in answer.headers["x-mizan-invalidate"]
            assert (await same.get("/ctx/typed/")).json()["typed"] == [2]

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("annotation", "claim"),
        [(StrictInt, 1.5), (int, "x"), (uuid.UUID, "x"), (Role, "king"), (list[int], ["x"]), (list[int], 1)],
    )
    async def test_a_claim_of_another_type_is_401(self, annotation: Any, claim: Any) -> None:
        @client(context="typed")
        async def typed(given: Annotated[annotation, Claim("given")]) -> str:
            return str(given)

        async with by(Mizan(build([typed]), mwt_keys=KEYS, clock=Clock()), 5, given=claim) as web:
            refusal(await web.get("/ctx/typed/"), 401, "unauthorized")

    @pytest.mark.asyncio
    async def test_an_alias_is_the_name(self) -> None:
        @client(context="typed")
        async def typed(user_id: Annotated[int, Me, Field(alias="userId")]) -> int:
            return user_id

        @client(affects="typed")
        async def change(whose: Annotated[int, Field(alias="userId"), Me]) -> int:
            return whose

        async with by(Mizan(build([typed, change]), mwt_keys=KEYS, clock=Clock()), 5) as web:
            assert (await web.get("/ctx/typed/")).json() == {"typed": 5}
            answer = await web.post("/call/change/")
            assert answer.json() == {"invalidate": ["typed"], "result": 5}
            assert answer.headers["x-mizan-invalidate"] == "typed;userId=5"
            refusal(await web.get("/ctx/typed/?userId=5"), 422, "invalid_input")


class TestGuards:
    @pytest.mark.asyncio
    async def test_a_guard_is_given_what_the_identity_fills_in(self) -> None:
        asked: list[tuple[object, int, int]] = []

        async def may(me: Identity, org_id: int, ticket: int) -> bool:
            asked.append((me.user_id, org_id, ticket))
            return org_id == ticket

        @client(context="ticket", auth=may)
        async def title(org_id: Annotated[int, Claim("org")], ticket: int) -> str:
            return f"{org_id} {ticket}"

        @client(affects="ticket", auth=may)
        async def retitle(ticket: int, org_id: Annotated[int, Claim("org")]) -> None: ...

        async with by(Mizan(build([title, retitle]), mwt_keys=KEYS, clock=Clock()), 5, org=1) as web:
            for _ in range(2):  # a hit is guarded, too
                assert (await web.get("/ctx/ticket/?ticket=1")).status_code == 200
            refusal(await web.get("/ctx/ticket/?ticket=2"), 403, "forbidden")
            assert (await web.post("/call/retitle/", json={"ticket": 1})).json()["invalidate"] == [
                {"context": "ticket", "params": {"ticket": 1}}
            ]
            refusal(await web.post("/call/retitle/", json={"ticket": 2}), 403, "forbidden")
        assert asked == [("5", 1, 1), ("5", 1, 1), ("5", 1, 2), ("5", 1, 1), ("5", 1, 2)]

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("per", "shared"), [("all", True), ("user", False), ("permissions", False)])
    async def test_per_goes_together_with_values(self, per: Any, shared: bool) -> None:
        @client(context="report", per=per)
        async def report(org_id: Annotated[int, Claim("org")]) -> int:
            return org_id

        @client(affects="report")
        async def change(org_id: Annotated[int, Claim("org")]) -> None: ...

        app = Mizan(build([report, change]), mwt_keys=KEYS, clock=Clock())
        boss = token("6", claims={"org": 1}, permissions={"see"})
        async with by(app, 5, org=1) as ada, http(app, x_mizan_token=boss) as bo, by(app, 5, org=2) as other:
            for web in (ada, other):
                await web.get("/ctx/report/")
            assert (await bo.get("/ctx/report/")).headers["cache-status"].startswith("mizan; hit") is shared
            assert (await ada.get("/ctx/report/")).headers["cache-status"] == "mizan; hit"
            await bo.post("/call/change/")
            assert (await other.get("/ctx/report/")).headers["cache-status"] == "mizan; hit"
            assert (await ada.get("/ctx/report/")).headers["cache-status"] == "mizan; fwd=stale; stored"
            again = (await bo.get("/ctx/report/")).headers["cache-status"]
            assert again == ("mizan; hit" if shared else "mizan; fwd=stale; stored")

    @pytest.mark.asyncio
    async def test_permissions_of_a_token_are_loaded_beside_values(self) -> None:
        @client(context="report", per="permissions")
        async def report(org_id: Annotated[int, Claim("org")], me: Identity) -> list[str]:
            return [str(org_id), *sorted(me.permissions or ())]

        def loaded(identity: Identity) -> set[str]:
            return {f"p{identity.user_id}"}

        app = Mizan(build([report]), mwt_keys=KEYS, clock=Clock(), permissions=loaded)
        async with by(app, 5, org=1) as web:
            assert (await web.get("/ctx/report/")).json() == {"report": ["1", "p5"]}

    @pytest.mark.asyncio
    async def test_a_private_reader_by_name_is_filled_in(self, shop: Shop) -> None:
        @client(context=Cart, private=True)
        async def total(user_id: UserId) -> int:
            return len(shop.lines[user_id])

        @client
        async def counted(user_id: UserId) -> int:
            return await total(user_id)

        async with by(shop.app(total, counted), 5) as web:
            assert (await web.post(f"{CALL}counted/")).json() == {"result": 0}
            refusal(await web.post(f"{CALL}total/"), 403, "forbidden")
