"""Resources: opened once for a bundle and once for a mutation, committed before the purge, replaced in tests."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from mizan_core import (
    Conflict,
    Context,
    DeclarationError,
    Engine,
    GraphError,
    Identity,
    MemoryCache,
    Provide,
    build,
    client,
)
from mizan_core.engine.observers import Called, Observer
from mizan_core.resources import opened

Orders = Context("orders")


class Session:
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


_log: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    _log.clear()


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[Session]:
    _log.append("open")
    try:
        yield Session()
    except BaseException as error:
        _log.append(f"rollback {type(error).__name__}")
        raise
    _log.append("commit")


class AsyncManager:
    def __init__(self, *, hides: bool = False) -> None:
        self.hides = hides

    async def __aenter__(self) -> Session:
        _log.append("open")
        return Session()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        _log.append("commit" if kind is None else f"rollback {kind.__name__}")
        return self.hides


class SyncManager:
    def __enter__(self) -> Session:
        _log.append("open")
        return Session()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert threading.current_thread() is not threading.main_thread()
        _log.append("commit" if kind is None else f"rollback {kind.__name__}")


async def async_generator() -> AsyncIterator[Session]:
    async with AsyncManager() as session:
        yield session


def generator() -> Iterator[Session]:
    with SyncManager() as session:
        yield session


FACTORIES: dict[str, Callable[[], Any]] = {
    "asynccontextmanager": open_session,
    "async context manager": AsyncManager,
    "sync context manager": SyncManager,
    "contextmanager": contextlib.contextmanager(generator),
    "async generator": async_generator,
    "generator": generator,
    "one that hides errors": lambda: AsyncManager(hides=True),
}


@client(context=Orders)
async def order_list(session: Session, customer_id: int) -> list[int]:
    _log.append(f"list {id(session)}")
    return [customer_id]


@client(context=Orders)
def order_count(customer_id: int, session: Session) -> int:
    _log.append(f"count {id(session)}")
    return customer_id


@client(affects=Orders)
async def add(session: Session, customer_id: int, fails: str = "") -> int:
    assert isinstance(session, Session)
    _log.append("add")
    if fails == "refuse":
        raise Conflict("It is there already.")
    if fails:
        raise ValueError(fails)
    return customer_id


@client(affects=Orders)
def add_in_thread(session: Session, customer_id: int) -> int:
    assert isinstance(session, Session)
    _log.append("add")
    return customer_id


@client
async def look(session: Session) -> None:
    _log.append("look")


FUNCTIONS = [order_list, order_count, add, add_in_thread, look]


def engine(factory: Callable[[], Any] | None = open_session, **settings: Any) -> Engine:
    return Engine(build(FUNCTIONS, provide={Session: factory}), cache=MemoryCache(), **settings)


class Telling(Observer):
    def called(self, event: Called) -> None:
        _log.append(f"told {event.outcome}")


@pytest.mark.asyncio
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
class TestKinds:
    async def test_one_serves_all_readers_of_a_bundle(self, factory: Callable[[], Any]) -> None:
        one = engine(factory)
        assert (await one.fetch("orders", {"customer_id": 5})).body == b'{"order_count":5,"order_list":[5]}'
        opened, first, second, closed = _log
        assert (opened, closed) == ("open", "commit")
        assert first.split()[1] == second.split()[1]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"
        assert len(_log) == 4

    async def test_a_mutation_is_committed_before_its_purge(self, factory: Callable[[], Any]) -> None:
        one = engine(factory, observers=[Telling()])
        await one.fetch("orders", {"customer_id": 5})
        _log.clear()
        await one.call("add", {"customer_id": 5})
        assert _log == ["open", "add", "commit", "told returned"]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "miss"

    async def test_an_error_is_thrown_into_it_and_told(self, factory: Callable[[], Any]) -> None:
        one = engine(factory)
        with pytest.raises(ValueError, match="broken"):
            await one.call("add", {"customer_id": 5, "fails": "broken"})
        assert _log == ["open", "add", "rollback ValueError"]

    async def test_a_refusal_rolls_back_and_purges_nothing(self, factory: Callable[[], Any]) -> None:
        one = engine(factory)
        await one.fetch("orders", {"customer_id": 5})
        _log.clear()
        with pytest.raises(Conflict):
            await one.call("add", {"customer_id": 5, "fails": "refuse"})
        assert _log == ["open", "add", "rollback Conflict"]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"

    async def test_sync_functions_and_plain_calls_have_one_too(self, factory: Callable[[], Any]) -> None:
        one = engine(factory)
        await one.call("add_in_thread", {"customer_id": 5})
        await one.call("look", {})
        await one.call("order_list", {"customer_id": 5})
        assert [word.split()[0] for word in _log] == [
            *("open", "add", "commit"),
            *("open", "look", "commit"),
            *("open", "list", "commit"),
        ]


class TestFailures:
    @pytest.mark.asyncio
    async def test_a_commit_that_fails_purges_all_that_is_declared(self) -> None:
        @contextlib.asynccontextmanager
        async def failing() -> AsyncIterator[Session]:
            yield Session()
            raise OSError("the commit failed")

        one = engine(failing)
        with pytest.raises(OSError, match="the commit failed") as failed:
            await one.call("add", {"customer_id": 5})
        assert [stale.params for stale in failed.value.invalidations] == [{"customer_id": 5}]  # type: ignore[attr-defined]  # the engine notes them

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["add", "add_in_thread"])
    async def test_a_commit_that_fails_is_no_refusal(self, name: str) -> None:
        @contextlib.asynccontextmanager
        async def failing() -> AsyncIterator[Session]:
            yield Session()
            if fails:
                raise ConnectionError("it may have been committed")

        one = engine(failing, errors={ConnectionError: Conflict})
        fails = False
        await one.fetch("orders", {"customer_id": 5})
        fails = True
        with pytest.raises(Conflict) as failed:
            await one.call(name, {"customer_id": 5})
        fails = False
        assert [stale.params for stale in failed.value.invalidations] == [{"customer_id": 5}]
        assert (await one.fetch("orders", {"customer_id": 5})).status == "miss"

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["add", "add_in_thread", "look"])
    async def test_one_that_cannot_be_opened_changes_nothing(self, name: str) -> None:
        @contextlib.asynccontextmanager
        async def down() -> AsyncIterator[Session]:
            if is_down:
                raise OSError("the database is down")
            yield Session()

        is_down = False
        one = engine(down)
        await one.fetch("orders", {"customer_id": 5})
        is_down = True
        with pytest.raises(OSError, match="the database is down"):
            await one.call(name, {} if name == "look" else {"customer_id": 5})
        assert (await one.fetch("orders", {"customer_id": 5})).status == "hit"

    @pytest.mark.asyncio
    async def test_a_caller_that_goes_does_not_stop_the_commit(self) -> None:
        going, on = asyncio.Event(), asyncio.Event()

        @client(affects=Orders)
        async def slow(session: Session, customer_id: int) -> None:
            going.set()
            await on.wait()

        one = Engine(build([*FUNCTIONS, slow], provide={Session: open_session}), cache=MemoryCache())
        call = asyncio.create_task(one.call("slow", {"customer_id": 5}))
        await going.wait()
        call.cancel()
        await asyncio.wait([call])
        on.set()
        await one.aclose()
        assert _log == ["open", "commit"]

    @pytest.mark.asyncio
    async def test_a_reader_out_of_time_leaves_what_it_entered(self) -> None:
        @client(context="stuck")
        async def stuck(session: Session) -> int:
            await asyncio.Event().wait()
            return 1

        for factory in (open_session, SyncManager):
            _log.clear()
            one = Engine(build([stuck], provide={Session: factory}), cache=MemoryCache(), reader_timeout=0.01)
            with pytest.raises(Exception, match="took too long"):
                await one.fetch("stuck", {})
            assert _log == ["open", "rollback CancelledError"]

    @pytest.mark.asyncio
    async def test_one_that_is_entered_too_late_is_left_again(self) -> None:
        entering, on = threading.Event(), threading.Event()

        class Slow(SyncManager):
            def __enter__(self) -> Session:
                entering.set()
                assert on.wait(5)
                return super().__enter__()

        opening = opened(Slow, asyncio.to_thread)
        entry = asyncio.create_task(opening.__aenter__())
        await asyncio.to_thread(entering.wait, 5)
        entry.cancel()
        on.set()
        with pytest.raises(asyncio.CancelledError):
            await entry
        assert _log == ["open", "rollback CancelledError"]

    @pytest.mark.asyncio
    async def test_one_that_fails_to_enter_too_late_is_not_left(self) -> None:
        entering, on = threading.Event(), threading.Event()

        class Failing(SyncManager):
            def __enter__(self) -> Session:
                entering.set()
                assert on.wait(5)
                raise OSError

        entry = asyncio.create_task(opened(Failing, asyncio.to_thread).__aenter__())
        await asyncio.to_thread(entering.wait, 5)
        entry.cancel()
        on.set()
        with pytest.raises(asyncio.CancelledError):
            await entry
        assert _log == []


class TestDeclared:
    @pytest.mark.asyncio
    async def test_a_value_that_nothing_closes_will_do(self) -> None:
        async def awaited() -> Session:
            return Session()

        for factory in (Session, awaited):
            await engine(factory).call("add", {"customer_id": 5})
        assert _log == ["add", "add"]

    def test_a_factory_without_a_signature_is_taken(self) -> None:
        @client
        async def scoped(sizes: Annotated[dict[str, int], Provide(dict)]) -> None: ...

        assert build([scoped]).functions["scoped"].inputs == {}

    @pytest.mark.asyncio
    async def test_provide_names_the_factory_of_one_parameter(self) -> None:
        @client(context=Orders)
        async def readers_own(it: Annotated[Session, Provide(open_session)], customer_id: int) -> int:
            return customer_id

        graph = build([readers_own])
        assert list(graph.functions["readers_own"].inputs) == ["customer_id"]
        await Engine(graph).fetch("orders", {"customer_id": 5})
        assert _log == ["open", "commit"]
        _log.clear()
        await Engine(graph, provide={open_session: SyncManager}).fetch("orders", {"customer_id": 5})
        assert _log == ["open", "commit"]

    @pytest.mark.asyncio
    async def test_readers_side_by_side_have_one_each(self) -> None:
        beside = Context("beside", concurrent=True)

        @client(context=beside)
        async def one(session: Session) -> int:
            return id(session)

        @client(context=beside)
        def other(session: Session) -> int:
            return id(session)

        await Engine(build([one, other], provide={Session: open_session})).fetch("beside", {})
        assert _log.count("open") == _log.count("commit") == 2

    @pytest.mark.asyncio
    async def test_an_engine_replaces_one(self) -> None:
        await engine(provide={Session: AsyncManager}).call("add", {"customer_id": 5})
        assert _log == ["open", "add", "commit"]

    def test_an_engine_without_a_factory_does_not_start(self) -> None:
        with pytest.raises(DeclarationError, match=r"order_list takes 'session', a Session, and no factory"):
            engine(None)
        assert engine(None, provide={Session: open_session})

    def test_a_type_that_is_not_provided_is_an_argument(self) -> None:
        with pytest.raises(
            GraphError,
            match=r"Pydantic cannot validate Session .*; if the server opens it: build\(\.\.\., provide={Session",
        ):
            build(FUNCTIONS)

    @pytest.mark.parametrize(
        ("provide", "words"),
        [
            ([Session], "maps no types to factories"),
            ({Session: 5}, "cannot be called"),
            ({Session: lambda request: request}, "takes request, and is called without arguments"),
        ],
    )
    def test_what_opens_nothing_is_refused(self, provide: Any, words: str) -> None:
        with pytest.raises(DeclarationError, match=words):
            build(FUNCTIONS, provide=provide)

    def test_an_engine_is_told_of_one_that_nothing_takes(self) -> None:
        with pytest.raises(DeclarationError, match="names Identity, which no function"):
            engine(provide={Identity: AsyncManager})

    def test_provide_itself_is_no_mark(self) -> None:
        @client
        async def marked(session: Annotated[Session, Provide]) -> None: ...

        with pytest.raises(GraphError, match=r"marked: parameter 'session' is marked with the class Provide"):
            build([marked])

    def test_a_route_and_a_guard_cannot_take_one(self) -> None:
        def may(me: Identity, session: Session) -> bool:
            return True

        @client(auth=may)
        async def guarded(session: Session) -> None: ...

        with pytest.raises(GraphError, match="guarded: its guard takes session"):
            build([guarded], provide={Session: open_session})

        @client(context="page", route="/{session}/")
        async def page(session: Session) -> int:
            return 1

        with pytest.raises(GraphError, match=r"page: its route has \{session\}, which the server provides"):
            build([page], provide={Session: open_session})
