"""`by_account`: identities from an account reader, kept in the cache and purged by mutations of roles."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from mizan_asgi import Mizan
from mizan_asgi.accounts import by_account
from mizan_core import Account, Context, DeclarationError, Identity, Me, RedisCache, build, client
from mizan_core.testing.redis_server import RedisServer
from tests.http.site import http

Accounts, Desk = Context("account"), Context("desk")
SECRET = "the same in every process, 32 bytes"


class People:
    """The rows of users, and the functions over them."""

    def __init__(self) -> None:
        self.rows: dict[int, Account] = {
            5: Account(staff=True, permissions=["write"], claims={"org": 1}),
            6: Account(permissions=[], claims={"org": 2}),
        }
        self.asked: list[int] = []
        self.is_down = False

        @client(context=Accounts, private=True)
        async def account(user_id: int) -> Account | None:
            self.asked.append(user_id)
            await asyncio.sleep(0)
            if self.is_down:
                raise OSError("the database is down")
            return self.rows.get(user_id)

        @client(affects=Accounts, auth="staff")
        async def set_permissions(user_id: int, permissions: list[str]) -> None:
            self.rows[user_id] = Account(**{**self.rows[user_id], "permissions": permissions})  # type: ignore[typeddict-item]  # the same fields

        @client(context=Desk, per="user")
        async def desk(me: Identity) -> dict[str, Any]:
            return {"user": me.user_id, "may": sorted(me.permissions or ()), "org": me.claims.get("org")}

        @client(auth="staff")
        async def secrets_of_staff(user_id: Annotated[int, Me]) -> int:
            return user_id

        self.account = account
        self.functions: list[Callable[..., Any]] = [account, set_permissions, desk, secrets_of_staff]

    def app(self, **settings: Any) -> Mizan:
        return Mizan(build(self.functions), authenticate=by_account(self.account, user_of), **settings)


def user_of(request: Request) -> str | None:
    return request.headers.get("x-user")


def call(name: str, **args: object) -> dict[str, Any]:
    return {"url": "/call/", "json": {"fn": name, "args": args}}


class TestIdentity:
    @pytest.mark.asyncio
    async def test_the_account_is_asked_once_until_a_mutation_purges_it(self) -> None:
        people = People()
        async with http(people.app()) as web:
            for _ in range(3):
                answer = await web.get("/ctx/desk/", headers={"x-user": "6"})
                assert answer.json()["desk"] == {"user": "6", "may": [], "org": 2}
            assert people.asked == [6]
            changed = await web.post(
                **call("set_permissions", user_id=6, permissions=["read"]), headers={"x-user": "5"}
            )
            assert changed.headers["x-mizan-invalidate"] == "account;user_id=6"
            after = await web.get("/ctx/desk/", headers={"x-user": "6"})
            assert after.json()["desk"]["may"] == ["read"]
            assert people.asked == [6, 5, 6]

    @pytest.mark.asyncio
    async def test_guards_and_identity_parameters_go_by_it(self) -> None:
        people = People()
        async with http(people.app()) as web:
            statuses = [
                (await web.post(**call("secrets_of_staff"), headers=headers)).status_code
                for headers in ({"x-user": "5"}, {"x-user": "6"}, {"x-user": "7"}, {"x-user": "x"}, {})
            ]
        assert statuses == [200, 403, 401, 401, 401]

    @pytest.mark.asyncio
    async def test_a_user_that_appears_is_seen_once_it_is_purged(self) -> None:
        people = People()
        app = people.app()
        async with http(app) as web:
            assert (await web.get("/ctx/desk/", headers={"x-user": "7"})).json()["desk"]["user"] is None
            people.rows[7] = Account()
            await app.engine.invalidate(Accounts, user_id=7)
            assert (await web.get("/ctx/desk/", headers={"x-user": "7"})).json()["desk"]["user"] == "7"

    @pytest.mark.asyncio
    async def test_an_error_of_the_reader_is_the_requests(self) -> None:
        people = People()
        people.is_down = True
        async with http(people.app()) as web:
            assert (await web.get("/ctx/desk/", headers={"x-user": "5"})).status_code == 500
            people.is_down = False
            assert (await web.get("/ctx/desk/", headers={"x-user": "5"})).json()["desk"]["user"] == "5"

    @pytest.mark.asyncio
    async def test_many_requests_at_once_ask_once_and_are_not_mixed(self) -> None:
        people = People()
        async with http(people.app()) as web:
            asking = [web.get("/ctx/desk/", headers={"x-user": str(5 + number % 2)}) for number in range(40)]
            found = [answer.json()["desk"]["user"] for answer in await asyncio.gather(*asking)]
        assert found == ["5", "6"] * 20
        assert sorted(people.asked) == [5, 6]

    @pytest.mark.asyncio
    async def test_no_client_can_ask_for_an_account(self) -> None:
        async with http(People().app()) as web:
            fetched = await web.get("/ctx/account/?user_id=5", headers={"x-user": "5"})
            called = await web.post(**call("account", user_id=5), headers={"x-user": "5"})
        assert (fetched.status_code, called.status_code) == (404, 403)

    @pytest.mark.asyncio
    async def test_a_purge_is_seen_by_every_process(self, redis: RedisServer) -> None:
        people = People()
        apps = [people.app(cache=RedisCache(redis.url), cache_secret=SECRET) for _ in range(2)]
        async with apps[0].lifespan(), apps[1].lifespan(), http(apps[0]) as one, http(apps[1]) as other:
            for web in (one, other, one, other):
                assert (await web.get("/ctx/desk/", headers={"x-user": "6"})).json()["desk"]["may"] == []
            assert people.asked == [6]
            await one.post(**call("set_permissions", user_id=6, permissions=["read"]), headers={"x-user": "5"})
            for web in (other, one):
                assert (await web.get("/ctx/desk/", headers={"x-user": "6"})).json()["desk"]["may"] == ["read"]

    @pytest.mark.asyncio
    async def test_an_authenticate_of_the_hosts_may_ask_it(self) -> None:
        people = People()
        accounts = by_account(people.account, user_of)

        async def authenticate(request: Request) -> Identity | None:
            found = await accounts(request)
            return found or Identity(None, claims={"org": 9})

        app = Mizan(build(people.functions), authenticate=authenticate)
        with pytest.raises(DeclarationError, match=r"attach\(mizan\.engine\)"):
            await accounts(Request({"type": "http", "headers": [(b"x-user", b"5")]}))
        accounts.attach(app.engine)
        async with http(app) as web:
            assert (await web.get("/ctx/desk/")).json()["desk"] == {"user": None, "may": [], "org": 9}
            assert (await web.get("/ctx/desk/", headers={"x-user": "5"})).json()["desk"]["org"] == 1

    @pytest.mark.asyncio
    async def test_user_ids_may_be_awaited_and_of_any_type(self) -> None:
        people = People()

        async def numbered(request: Request) -> Any:
            return {"five": 5, "list": [5]}.get(request.headers.get("x-user", ""))

        app = Mizan(build(people.functions), authenticate=by_account(people.account, numbered))
        async with http(app) as web:
            found = [
                (await web.get("/ctx/desk/", headers={"x-user": name})).json()["desk"]["user"]
                for name in ("five", "list", "none", "five")
            ]
        assert found == ["5", None, None, "5"]


class Named(BaseModel):
    name: str


def _declared(
    *, returns: Any = Account, parameters: dict[str, Any] | None = None, **options: Any
) -> Callable[..., Any]:
    async def account(**given: Any) -> Any:
        return None

    def standing(user_id: int) -> Any:
        return None

    del account
    standing.__annotations__ = {**({"user_id": int} if parameters is None else parameters), "return": returns}
    return client(**{"context": "account", "private": True, "name": "account", **options})(standing)


class TestDefects:
    @pytest.mark.parametrize(
        ("reader", "words"),
        [
            (_declared(private=False), "private=True and alone"),
            (_declared(cache=False), "cache=False"),
            (_declared(returns=Named), "returns name, and an Account has claims, permissions, staff, superuser"),
            (_declared(returns=int), "returns no fields"),
            (_declared(parameters={"user_id": Annotated[int, Me]}), "has to take the user's id alone"),
            (_declared(parameters={"user_id": Identity}), "has to take the user's id alone"),
        ],
    )
    def test_a_reader_that_cannot_serve_is_refused(self, reader: Callable[..., Any], words: str) -> None:
        with pytest.raises(DeclarationError, match=words):
            Mizan(build([reader]), authenticate=by_account(reader, user_of))

    def test_an_account_that_may_see_the_request_is_refused(self) -> None:
        @client(context="account", private=True)
        async def account(user_id: int, request: Any) -> Account:
            return Account()

        with pytest.raises(DeclarationError, match="asked before there is an identity"):
            Mizan(build([account]), authenticate=by_account(account, user_of))

    def test_a_reader_that_is_not_in_the_graph_is_refused(self) -> None:
        reader = _declared()
        with pytest.raises(DeclarationError, match="the graph has no reader 'account'"):
            Mizan(build([_declared(name="other")]), authenticate=by_account(reader, user_of))
        with pytest.raises(DeclarationError, match="marked with @client"):
            by_account(len, user_of)
