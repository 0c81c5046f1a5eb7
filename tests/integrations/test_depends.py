"""FastAPI's `Depends(...)` in functions: solved by FastAPI, entered once for a bundle, closed before a purge."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import fastapi
import httpx
import pytest
import pytest_asyncio
import typing_extensions
from fastapi import Depends, FastAPI, Header, HTTPException, Response, Security
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.security import SecurityScopes
from packaging.requirements import Requirement
from packaging.version import Version
from sqlalchemy import AsyncAdaptedQueuePool, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from mizan_asgi import Mizan
from mizan_core import Conflict, Context, DeclarationError, Engine, MemoryCache, Provide, build, client

from .shop import Base, Customer

Orders = Context("orders")
SECRET = "a secret of at least thirty-two bytes"

_log: list[str] = []
_in_dependency: ContextVar[str] = ContextVar("_in_dependency", default="")


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    _log.clear()


class Session:
    """Notes what happens to it."""


async def get_connection() -> AsyncIterator[Session]:
    _log.append("connect")
    _in_dependency.set("connected")
    try:
        yield Session()
    finally:
        _log.append("disconnect")


async def get_session(connection: Annotated[Session, Depends(get_connection)]) -> AsyncIterator[Session]:
    _log.append("open")
    try:
        yield connection
    except BaseException as error:
        _log.append(f"rollback {type(error).__name__}")
        raise
    _log.append("commit")


OneSession = Annotated[Session, Depends(get_session)]


@client(context=Orders)
async def order_list(session: OneSession, customer_id: int) -> list[int]:
    _log.append(f"list {id(session)}")
    return [customer_id]


@client(context=Orders)
def order_count(customer_id: int, session: Session = Depends(get_session)) -> int:  # noqa: B008
    _log.append(f"count {id(session)}")
    return customer_id


@client(affects=Orders)
async def add(session: OneSession, customer_id: int, fails: str = "") -> int:
    assert isinstance(session, Session)
    _log.append(f"add {_in_dependency.get()}")
    match fails:
        case "http":
            raise HTTPException(409, {"reason": "taken"}, headers={"retry-after": "5"})
        case "refuse":
            raise Conflict("It is there already.")
        case "break":
            raise ValueError(fails)
    return customer_id


@client(affects=Orders)
def add_in_thread(customer_id: int, session=Depends(get_session)) -> int:  # type: ignore[no-untyped-def]  # noqa: B008
    assert isinstance(session, Session)
    _log.append("add")
    return customer_id


@client
async def look(session: OneSession) -> None:
    _log.append("look")


FUNCTIONS = [order_list, order_count, add, add_in_thread, look]


class Backend:
    """A cache that notes when something is purged."""

    def __init__(self) -> None:
        self._cache = MemoryCache()

    async def get(self, *keys: str) -> list[bytes | None]:
        return await self._cache.get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        return await self._cache.set(key, value, ttl, if_absent=if_absent)

    async def delete(self, *keys: str) -> int:
        _log.append("purge")
        return await self._cache.delete(*keys)

    async def delete_by_prefix(self, prefix: str) -> int:
        return await self._cache.delete_by_prefix(prefix)

    async def clear(self) -> None:
        await self._cache.clear()


def serving(functions: list[Any] = FUNCTIONS, app: FastAPI | None = None, **settings: Any) -> Mizan:
    return Mizan(build(functions), fastapi=app or FastAPI(), **settings)


def engine(functions: list[Any] = FUNCTIONS, app: FastAPI | None = None, **settings: Any) -> Engine:
    return serving(functions, app, **settings).engine


def asking(mizan: Mizan) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(mizan), base_url="http://test")


OPENED, CLOSED = ["connect", "open"], ["commit", "disconnect"]


@pytest.mark.asyncio
class TestLifetime:
    async def test_one_session_serves_all_readers_of_a_bundle(self) -> None:
        one = engine()
        assert (await one.fetch("orders", {"customer_id": 5})).body == b'{"order_count":5,"order_list":[5]}'
        assert (_log[:2], _log[-2:]) == (OPENED, CLOSED)
        first, second = _log[2:-2]
        assert first.split()[1] == second.split()[1]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"
        assert len(_log) == 6

    async def test_a_mutation_is_committed_before_its_purge(self) -> None:
        one = engine(cache=Backend(), cache_secret=SECRET)
        await one.fetch("orders", {"customer_id": 5})
        _log.clear()
        await one.call("add", {"customer_id": 5})
        own = [word for word in _log if word != "purge"]
        assert own == [*OPENED, "add connected", *CLOSED]
        assert _log.index("purge") > _log.index("disconnect")
        assert (await one.fetch("orders", {"customer_id": 5})).status == "miss"

    async def test_sync_functions_and_plain_calls_have_one_too(self) -> None:
        one = engine()
        await one.call("add_in_thread", {"customer_id": 5})
        await one.run("look", {})
        await one.call("order_list", {"customer_id": 5})
        assert [word.split()[0] for word in _log] == [
            *(*OPENED, "add", *CLOSED),
            *(*OPENED, "look", *CLOSED),
            *(*OPENED, "list", *CLOSED),
        ]

    async def test_readers_side_by_side_have_one_each(self) -> None:
        beside = Context("beside", concurrent=True)

        @client(context=beside)
        async def one(session: OneSession) -> int:
            return 1

        @client(context=beside)
        def other(session: OneSession) -> int:
            return 2

        assert (await engine([one, other]).fetch("beside", {})).body == b'{"one":1,"other":2}'
        assert _log.count("open") == _log.count("commit") == 2

    async def test_resources_of_both_kinds_close_around_each_other(self) -> None:
        @contextlib.asynccontextmanager
        async def lock() -> AsyncIterator[str]:
            _log.append("lock")
            yield "locked"
            _log.append("unlock")

        @client
        async def both(held: Annotated[str, Provide(lock)], session: OneSession) -> str:
            return held

        assert (await engine([both]).call("both", {})).result == "locked"
        assert _log == ["lock", *OPENED, *CLOSED, "unlock"]

    async def test_threads_without_a_loop_have_one_too(self) -> None:
        one = engine()
        assert (await asyncio.to_thread(lambda: one.blocking.run("add", {"customer_id": 5}))).result == 5
        assert _log == [*OPENED, "add connected", *CLOSED]


@pytest.mark.asyncio
class TestFailures:
    async def test_an_error_is_thrown_in_and_told(self) -> None:
        with pytest.raises(ValueError, match="break"):
            await engine().call("add", {"customer_id": 5, "fails": "break"})
        assert _log == [*OPENED, "add connected", "rollback ValueError", "disconnect"]

    @pytest.mark.parametrize(("fails", "error"), [("refuse", "Conflict"), ("http", "HTTPException")])
    async def test_a_refusal_rolls_back_and_purges_nothing(self, fails: str, error: str) -> None:
        one = engine()
        await one.fetch("orders", {"customer_id": 5})
        _log.clear()
        with pytest.raises(Exception, match=r"already|taken"):
            await one.call("add", {"customer_id": 5, "fails": fails})
        assert _log == [*OPENED, "add connected", f"rollback {error}", "disconnect"]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"

    async def test_an_http_exception_is_the_answer_it_means(self) -> None:
        async def nobody() -> Session:
            raise HTTPException(401, "Sign in.", headers={"www-authenticate": "Bearer"})

        app = FastAPI()
        async with asking(serving(app=app)) as web:
            answer = await web.post("/call/add/", json={"customer_id": 5, "fails": "http"})
            assert (answer.status_code, answer.json()["detail"]) == (409, {"reason": "taken"})
            assert answer.headers["retry-after"] == "5"
            app.dependency_overrides[get_session] = nobody
            answer = await web.post("/call/add/", json={"customer_id": 5})
            assert (answer.status_code, answer.json()["detail"]) == (401, "Sign in.")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "x-mizan-invalidate" not in answer.headers
            answer = await web.get("/ctx/orders/", params={"customer_id": 5})
            assert (answer.status_code, answer.json()["detail"]) == (401, "Sign in.")

    @pytest.mark.parametrize("name", ["add", "add_in_thread", "look"])
    async def test_one_that_cannot_be_opened_changes_nothing(self, name: str) -> None:
        async def down() -> Session:
            raise OSError("the database is down")

        app = FastAPI()
        one = engine(app=app)
        await one.fetch("orders", {"customer_id": 5})
        app.dependency_overrides[get_session] = down
        with pytest.raises(OSError, match="the database is down"):
            await one.call(name, {} if name == "look" else {"customer_id": 5})
        app.dependency_overrides.clear()
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"

    async def test_a_commit_that_fails_purges_all_that_is_declared(self) -> None:
        async def failing() -> AsyncIterator[Session]:
            yield Session()
            raise OSError("the commit failed")

        app = FastAPI()
        one = engine(app=app)
        await one.fetch("orders", {"customer_id": 5})
        app.dependency_overrides[get_session] = failing
        with pytest.raises(OSError, match="the commit failed"):
            await one.call("add", {"customer_id": 5})
        app.dependency_overrides.clear()
        assert (await one.fetch("orders", {"customer_id": 5})).status == "miss"

    @pytest.mark.parametrize("scope", ["function", "request"])
    async def test_a_dependency_cannot_hide_an_error(self, scope: Any) -> None:
        async def hiding() -> AsyncIterator[int]:
            with contextlib.suppress(ValueError):
                yield 5

        @client(affects=Orders)
        async def fail(value: Annotated[int, Depends(hiding, scope=scope)], customer_id: int) -> None:
            raise ValueError("hidden")

        with pytest.raises(ValueError, match="hidden"):
            await engine([*FUNCTIONS, fail]).call("fail", {"customer_id": 5})

    async def test_a_dependency_may_raise_another_error(self) -> None:
        async def translating() -> AsyncIterator[int]:
            try:
                yield 5
            except ValueError as error:
                raise HTTPException(409, "Taken.") from error

        @client
        async def fail(value: Annotated[int, Depends(translating)]) -> None:
            raise ValueError("hidden")

        async with asking(serving([fail])) as web:
            answer = await web.post("/call/fail/", json={})
        assert (answer.status_code, answer.json()["detail"]) == (409, "Taken.")

    async def test_an_error_of_fastapi_itself_is_told(self) -> None:
        def broken() -> None:
            raise FastAPIError("not what it seems")

        @client
        async def one(value: Annotated[None, Depends(broken)]) -> None: ...

        @client
        async def other(session: OneSession) -> None:
            raise RequestValidationError([{"loc": ("body",), "msg": "of its own", "type": "own"}])

        with pytest.raises(FastAPIError, match="not what it seems"):
            await engine([one]).call("one", {})
        with pytest.raises(RequestValidationError):
            await engine([other]).call("other", {})

    async def test_a_caller_that_goes_does_not_stop_the_commit(self) -> None:
        going, on = asyncio.Event(), asyncio.Event()

        @client(affects=Orders)
        async def slow(session: OneSession, customer_id: int) -> None:
            going.set()
            await on.wait()

        one = engine([*FUNCTIONS, slow])
        call = asyncio.create_task(one.call("slow", {"customer_id": 5}))
        await going.wait()
        call.cancel()
        await asyncio.wait([call])
        on.set()
        await one.aclose()
        assert _log == [*OPENED, *CLOSED]

    async def test_a_reader_out_of_time_is_thrown_in(self) -> None:
        @client(context="stuck")
        async def stuck(session: OneSession) -> int:
            await asyncio.Event().wait()
            return 1

        with pytest.raises(Exception, match="took too long"):
            await engine([stuck], reader_timeout=0.01).fetch("stuck", {})
        assert _log == [*OPENED, "rollback CancelledError", "disconnect"]


class Counter:
    def __init__(self, session: OneSession) -> None:
        self.session = session


class Called:
    def __call__(self, session: OneSession) -> Session:
        return session


def generator() -> Iterator[Session]:
    _log.append("open")
    yield Session()
    _log.append("commit")


async def awaited(session: OneSession) -> Session:
    return session


def returned(session: OneSession) -> Session:
    return session


def scoped(session: OneSession, scopes: SecurityScopes) -> list[str]:
    return scopes.scopes


Aliased = typing_extensions.TypeAliasType("Aliased", Annotated[Session, Depends(get_session)])

KINDS: dict[str, Any] = {
    "class": Annotated[Counter, Depends()],
    "callable object": Annotated[Session, Depends(Called())],
    "generator": Annotated[Session, Depends(generator)],
    "coroutine": Annotated[Session, Depends(awaited)],
    "function": Annotated[Session, Depends(returned)],
    "security": Annotated[list[str], Security(scoped, scopes=["orders"])],
    "alias": Aliased,
}


@pytest.mark.asyncio
class TestSolvedByFastAPI:
    @pytest.mark.parametrize("annotation", KINDS.values(), ids=KINDS)
    async def test_every_kind_of_dependency_is_solved(self, annotation: Any) -> None:
        async def take(it: Any) -> str:
            _log.append("take")
            return str(it) if isinstance(it, list) else type(it).__name__

        take.__annotations__["it"] = annotation
        result = (await engine([client(take)]).call("take", {})).result
        assert result in ("Counter", "Session", "['orders']")
        assert [word for word in _log if word in ("open", "take", "commit")] == ["open", "take", "commit"]

    async def test_one_dependency_is_solved_once_unless_told_otherwise(self) -> None:
        @client
        async def shared(first: OneSession, second: Annotated[Session, Depends(returned)]) -> bool:
            return first is second

        @client
        async def alone(
            first: OneSession, second: Annotated[Session, Depends(get_connection, use_cache=False)]
        ) -> bool:
            return first is second

        one = engine([shared, alone])
        assert (await one.call("shared", {})).result is True
        assert _log.count("connect") == 1
        assert (await one.call("alone", {})).result is False

    async def test_overrides_of_the_application_count(self) -> None:
        ours = Session()
        app = FastAPI()
        one = engine(app=app)
        app.dependency_overrides[get_connection] = lambda: ours
        await one.fetch("orders", {"customer_id": 5})
        assert _log == ["open", f"list {id(ours)}", f"count {id(ours)}", "commit"]
        _log.clear()
        app.dependency_overrides = {get_session: lambda: ours}
        await one.call("look", {})
        assert _log == ["look"]
        app.dependency_overrides = {}
        await one.call("look", {})
        assert _log[1:] == [*OPENED, "look", *CLOSED]

    async def test_clients_can_send_none(self) -> None:
        async with asking(serving()) as web:
            answer = await web.post("/call/add/", json={"customer_id": 5, "session": {}})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["args", "session"])
        assert _log == []

    async def test_its_errors_are_logged_for_the_function(self, caplog: pytest.LogCaptureFixture) -> None:
        async def down() -> Session:
            raise OSError("the database is down")

        app = FastAPI()
        app.dependency_overrides[get_session] = down
        with caplog.at_level(logging.ERROR, "mizan"):
            async with asking(serving(app=app)) as web:
                assert (await web.post("/call/add/", json={"customer_id": 5})).status_code == 500
        assert "add" in caplog.text
        assert "the database is down" in caplog.text


class TestDeclared:
    def test_without_the_application_nothing_starts(self) -> None:
        graph = build(FUNCTIONS)
        for start in (Engine, Mizan):
            with pytest.raises(DeclarationError, match=r"'session' has Depends\(\.\.\.\).*Mizan\(graph, fastapi=app\)"):
                start(graph)  # type: ignore[operator]  # either class

    def test_what_is_no_application_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="fastapi=5 is no FastAPI application"):
            Mizan(build(FUNCTIONS), fastapi=5)

    def test_they_are_no_inputs(self) -> None:
        functions = build(FUNCTIONS).functions
        assert {name: [*one.inputs] for name, one in functions.items()} == {
            "order_list": ["customer_id"],
            "order_count": ["customer_id"],
            "add": ["customer_id", "fails"],
            "add_in_thread": ["customer_id"],
            "look": [],
        }

    def test_refusals_of_fastapi_are_told_together(self) -> None:
        @client
        async def twice(session: OneSession = Depends(get_session)) -> None: ...  # noqa: B008

        def answering(response: Response) -> None: ...

        @client
        async def answered(value: Annotated[None, Depends(answering)]) -> None: ...

        with pytest.raises(DeclarationError) as refused:
            serving([twice, *FUNCTIONS, answered])
        first, second = str(refused.value).splitlines()
        assert first.startswith("twice: FastAPI refuses its dependencies: Cannot specify `Depends` in `Annotated` and")
        assert first.endswith("together for 'session'")
        assert second.startswith("answered takes 'value' by Depends(")


CONNECTIONS = 10


@pytest_asyncio.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    pool = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'names.db'}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=60,
    )
    async with pool.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, tables=[Base.metadata.tables["customers"]])
    yield async_sessionmaker(pool, expire_on_commit=False)
    await pool.dispose()


def application(sessions: async_sessionmaker[AsyncSession]) -> FastAPI:
    """An application as FastAPI's documentation has it, with Mizan mounted."""

    async def get_db() -> AsyncIterator[AsyncSession]:
        async with sessions.begin() as session:
            yield session

    db = Annotated[AsyncSession, Depends(get_db)]

    async def get_user(session: db, authorization: Annotated[str, Header()]) -> Customer:
        user = await session.scalar(select(Customer).where(Customer.name == authorization))
        if user is None:
            raise HTTPException(401, "Who?")
        return user

    names = Context("names")

    @client(context=names)
    async def name_list(session: db) -> list[str]:
        return list(await session.scalars(select(Customer.name).order_by(Customer.id)))

    @client(context=names)
    async def name_count(session: db) -> int:
        return await session.scalar(select(func.count()).select_from(Customer)) or 0

    @client
    async def whoami(user: Annotated[Customer, Depends(get_user)], session: db) -> int:
        return await session.scalar(select(Customer.id).where(Customer.name == user.name)) or 0

    @client(affects=names)
    async def add_name(session: db, name: str, refused: bool = False) -> int:
        session.add(Customer(name=name))
        await session.flush()
        if refused:
            raise HTTPException(409, "It is taken.")
        return await session.scalar(select(func.count()).select_from(Customer)) or 0

    @client(affects=names)
    async def rename(user: Annotated[Customer, Depends(get_user)], session: db, name: str) -> str:
        before, user.name = user.name, name
        return before

    app = FastAPI()
    app.mount("/api/mizan", Mizan(build([name_list, name_count, add_name, rename, whoami]), fastapi=app))
    return app


@pytest.mark.asyncio
class TestSessions:
    async def test_what_a_mutation_wrote_is_read_after_its_purge(
        self, sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        at = "http://test/api/mizan"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application(sessions)), base_url=at) as web:
            assert (await web.get("/ctx/names/")).json()["name_list"] == []
            assert (await web.post("/call/add_name/", json={"name": "Ada"})).json()["result"] == 1
            assert (await web.get("/ctx/names/")).json()["name_list"] == ["Ada"]
            refused = await web.post("/call/add_name/", json={"name": "Eve", "refused": True})
            assert refused.status_code == 409
            found = await web.get("/ctx/names/")
            assert (found.json()["name_list"], "hit" in found.headers["cache-status"]) == (["Ada"], True)
            renamed = await web.post("/call/rename/", json={"name": "Bo"}, headers={"authorization": "Ada"})
            assert renamed.json()["result"] == "Ada"
            assert (await web.get("/ctx/names/")).json()["name_list"] == ["Bo"]
            unknown = await web.post("/call/rename/", json={"name": "Cy"}, headers={"authorization": "Eve"})
            assert (unknown.status_code, unknown.json()["detail"]) == (401, "Who?")

    @pytest.mark.parametrize("callers", [40, 400])
    async def test_more_callers_than_connections_all_get_theirs(
        self, callers: int, sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        async with sessions.begin() as session:
            session.add_all(Customer(name=f"user {number}") for number in range(callers))
        at = "http://test/api/mizan"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application(sessions)), base_url=at) as web:

            async def one(number: int) -> Any:
                answer = await web.post(
                    "/call/whoami/", json={}, headers={"authorization": f"user {number}"}, timeout=60
                )
                return answer.json()["result"]

            assert await asyncio.gather(*map(one, range(callers))) == [*range(1, callers + 1)]


def test_this_fastapi_is_one_that_the_extra_allows() -> None:
    extra = [one for one in map(Requirement, metadata.requires("mizan-asgi") or ()) if one.name == "fastapi"]
    assert {str(one.specifier) for one in extra} == {">=0.135"}
    assert Version(fastapi.__version__) in extra[0].specifier
