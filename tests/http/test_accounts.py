"""`by_account`: identities from an account reader, kept in the cache and purged by mutations of roles."""

import asyncio
import secrets
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


class Slow:
    """A look at a row whose answer is awaited for as long as a test wants."""

    def __init__(self) -> None:
        self.has_read, self.may_go_on = asyncio.Event(), asyncio.Event()


class People:
    """The rows of users, and the functions over them."""

    def __init__(self) -> None:
        self.rows: dict[int, Account] = {
            5: Account(staff=True, permissions=["write"], claims={"org": 1}),
            6: Account(permissions=[], claims={"org": 2}),
        }
        self.asked: list[int] = []
        self.is_down = False
        self.slow: dict[int, Slow] = {}  # the next look at a user's row, which takes until it is let go on

        @client(context=Accounts, private=True)
        async def account(user_id: int) -> Account | None:
            self.asked.append(user_id)
            await asyncio.sleep(0)
            if self.is_down:
                raise OSError("the database is down")
            row = self.rows.get(user_id)
            if slow := self.slow.pop(user_id, None):
                slow.has_read.set()
                await slow.may_go_on.wait()
            return row

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


class Rows(dict[int, Account]):
    """A resource: the rows that one transaction sees."""


def processes(people: People, redis: RedisServer) -> list[Mizan]:
    """Two processes over Redis, with a secret of their own, so that they find nothing of another test."""
    secret = secrets.token_hex()
    return [people.app(cache=RedisCache(redis.url), cache_secret=secret) for _ in range(2)]


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
        people.rows[5] = people.rows[6]  # equal accounts are still two users
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
        apps = processes(people, redis)
        async with apps[0].lifespan(), apps[1].lifespan(), http(apps[0]) as one, http(apps[1]) as other:
            for web in (one, other, one, other):
                assert (await web.get("/ctx/desk/", headers={"x-user": "6"})).json()["desk"]["may"] == []
            assert people.asked == [6]
            await one.post(**call("set_permissions", user_id=6, permissions=["read"]), headers={"x-user": "5"})
            for web in (other, one):
                assert (await web.get("/ctx/desk/", headers={"x-user": "6"})).json()["desk"]["may"] == ["read"]

    @pytest.mark.parametrize("is_shared", [False, True])
    @pytest.mark.asyncio
    async def test_a_role_changed_while_the_account_is_read_holds(self, redis: RedisServer, is_shared: bool) -> None:
        people, slow = People(), Slow()
        one, other = processes(people, redis) if is_shared else [people.app()] * 2
        people.slow[6] = slow
        async with one.lifespan(), other.lifespan(), http(one) as reading, http(other) as writing:
            before = asyncio.ensure_future(reading.get("/ctx/desk/", headers={"x-user": "6"}))
            await slow.has_read.wait()
            changed = call("set_permissions", user_id=6, permissions=["read"])
            assert (await writing.post(**changed, headers={"x-user": "5"})).status_code == 200
            after = await reading.get("/ctx/desk/", headers={"x-user": "6"})
            slow.may_go_on.set()
            await before
            later = await reading.get("/ctx/desk/", headers={"x-user": "6"})
        assert [answer.json()["desk"]["may"] for answer in (after, later)] == [["read"], ["read"]]
        assert people.asked == [6, 5, 6]

    @pytest.mark.asyncio
    async def test_a_bearer_token_of_the_hosts_names_the_user(self) -> None:
        people = People()

        def user_by_token(request: Request) -> str | None:
            return request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get("user")

        app = Mizan(build(people.functions), authenticate=by_account(people.account, user_by_token))
        async with http(app) as web:
            answers = [
                await web.get("/ctx/desk/", headers={"authorization": f"Bearer {token}", "cookie": "user=5"})
                for token in ("6", "7", "6")
            ]
            by_cookie = await web.get("/ctx/desk/", headers={"cookie": "user=5"})
        assert [answer.status_code for answer in answers] == [200, 401, 200]
        assert [one.json()["desk"]["user"] for one in (answers[0], answers[2], by_cookie)] == ["6", "6", "5"]
        assert people.asked == [6, 7, 5]

    @pytest.mark.asyncio
    async def test_the_account_reader_may_take_resources(self) -> None:
        people, opened = People(), []

        def rows() -> Rows:
            opened.append(None)
            return Rows(people.rows)

        @client(context=Accounts, private=True)
        async def account(user_id: int, rows: Rows) -> Account | None:
            return rows.get(user_id)

        functions = [account, *people.functions[1:]]
        app = Mizan(build(functions, provide={Rows: rows}), authenticate=by_account(account, user_of))
        async with http(app) as web:
            for _ in range(2):
                assert (await web.get("/ctx/desk/", headers={"x-user": "6"})).json()["desk"]["org"] == 2
        assert len(opened) == 1

    def test_the_accounts_of_one_engine_are_no_other_engines(self) -> None:
        people = People()
        accounts = by_account(people.account, user_of)
        app = Mizan(build(people.functions), authenticate=accounts)
        accounts.attach(app.engine)
        with pytest.raises(DeclarationError, match="a by_account of its own"):
            Mizan(build(people.functions), authenticate=accounts)

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
            (_declared(auth="staff"), "auth=, and there is no identity yet"),
            (_declared(route="/accounts/{user_id}/"), "a route, by which clients"),
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
