"""`engine.blocking`: an engine without an event loop of the caller's, from scripts, threads and forked processes."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from mizan_core import (
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Identity,
    Invalidation,
    InvalidInput,
    MemoryCache,
    RedisCache,
    Unavailable,
    build,
    client,
    invalidations_of,
)
from mizan_core.engine.hosts import blocking, own_loop
from mizan_core.engine.observers import Calling, Computing, Observer, running
from mizan_core.testing.redis_server import RedisServer

Orders, Log = Context("orders"), Context("log")
ORDERS_OF_5 = (Invalidation("orders", {"customer_id": 5}),)


class Shop:
    def __init__(self) -> None:
        self.rows: dict[int, list[str]] = {}

        @client(context=Orders)
        async def order_list(customer_id: int) -> list[str]:
            return list(self.rows.get(customer_id, ()))

        @client(context=Log)
        async def log_size() -> int:
            return sum(map(len, self.rows.values()))

        @client(affects=Orders)
        async def add(customer_id: int, title: str) -> int:
            await asyncio.sleep(0)
            if title == "taken":
                raise Conflict
            self.rows.setdefault(customer_id, []).append(title)
            return len(self.rows[customer_id])

        @client(affects=Orders)
        def add_in_thread(customer_id: int, title: str) -> None:
            self.rows.setdefault(customer_id, []).append(title)

        @client(auth=True)
        async def whoami(me: Identity) -> str | None:
            return me.user_id

        self.add_in_thread = add_in_thread
        self.graph = build([order_list, log_size, add, add_in_thread, whoami])

    def engine(self, **settings: Any) -> Engine:
        return Engine(self.graph, **{"cache": MemoryCache(), **settings})


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def engine(shop: Shop) -> Iterator[Engine]:
    engine = shop.engine()
    yield engine
    engine.blocking.close()


def status(engine: Engine, customer_id: int = 5) -> str:
    return engine.blocking.fetch("orders", {"customer_id": customer_id}).status


class TestMethods:
    def test_each_does_what_the_engines_own_does(self, engine: Engine) -> None:
        blocking = engine.blocking
        assert [status(engine) for _ in range(2)] == ["miss", "hit"]
        answer = blocking.call("add", {"customer_id": 5, "title": "A lamp"})
        assert (answer.result, answer.invalidations) == (1, ORDERS_OF_5)
        assert blocking.fetch("orders", {"customer_id": 5}).body == b'{"order_list":["A lamp"]}'
        assert blocking.run("add", {"customer_id": 5, "title": "A chair"}).result == 2
        assert blocking.invalidate(Orders, customer_id=5) == ORDERS_OF_5
        assert blocking.invalidate(Orders.of(customer_id=5)) == ORDERS_OF_5
        assert blocking.call("whoami", {}, identity=Identity(7)).result == "7"

    def test_errors_come_out_as_they_are(self, engine: Engine) -> None:
        with pytest.raises(Conflict):
            engine.blocking.call("add", {"customer_id": 5, "title": "taken"})
        with pytest.raises(InvalidInput):
            engine.blocking.fetch("orders", {"customer_id": "x"})
        with pytest.raises(DeclarationError, match="no context or reader"):
            engine.blocking.invalidate("orderz")

    def test_many_threads_may_call_at_once(self, engine: Engine, shop: Shop) -> None:
        def one(number: int) -> str:
            engine.blocking.call("add", {"customer_id": number % 5, "title": str(number)})
            return status(engine, number % 5)

        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(one, range(200))) <= {"miss", "hit", "bypass"}
        assert sum(map(len, shop.rows.values())) == 200
        for customer_id in range(5):
            body = engine.blocking.fetch("orders", {"customer_id": customer_id}).body
            assert body.count(b',"') + 1 == 40

    @pytest.mark.asyncio
    async def test_within_a_running_loop_it_says_so(self, shop: Shop) -> None:
        blocking = shop.engine().blocking
        with pytest.raises(DeclarationError, match="await the engine's own method"):
            blocking.fetch("orders", {"customer_id": 5})
        with pytest.raises(DeclarationError, match="running event loop"), blocking.changing(Orders):
            pass

    @pytest.mark.asyncio
    async def test_threads_of_an_application_use_its_loop(self, shop: Shop) -> None:
        async with shop.engine() as engine:
            answer = await asyncio.to_thread(engine.blocking.call, "add", {"customer_id": 5, "title": "A lamp"})
            assert answer.invalidations == ORDERS_OF_5
            assert (await engine.fetch("orders", {"customer_id": 5})).body == b'{"order_list":["A lamp"]}'
            assert engine.home is asyncio.get_running_loop()

    def test_a_thread_that_waits_for_a_sync_function_gets_one_more(self, shop: Shop) -> None:
        @client(affects=Orders)
        def deep(customer_id: int, depth: int) -> int:
            if not depth:
                return 0
            answer = engine.blocking.run("deep", {"customer_id": customer_id, "depth": depth - 1})
            return 1 + int(str(answer.result))

        engine = Engine(build([*shop.graph.sources, deep]), cache=MemoryCache(), threads=1)
        assert engine.blocking.run("deep", {"customer_id": 5, "depth": 3}).result == 3
        engine.blocking.close()

    def test_context_variables_of_the_caller_are_seen(self, shop: Shop) -> None:
        tenant: ContextVar[str] = ContextVar("tenant", default="none")

        @client
        async def who() -> str:
            return tenant.get()

        engine = Engine(build([*shop.graph.sources, who]))
        tenant.set("acme")
        assert engine.blocking.call("who", {}).result == "acme"
        engine.blocking.close()

    def test_closed_it_begins_again_when_it_is_used(self, engine: Engine) -> None:
        assert [status(engine), status(engine)] == ["miss", "hit"]
        engine.blocking.close()
        engine.blocking.close()
        assert engine.home is not None
        assert engine.home.is_closed()
        assert status(engine) == "hit"

    def test_its_thread_ends_when_the_engine_is_collected(self, shop: Shop) -> None:
        engine = shop.engine()
        status(engine)
        home = engine.home
        assert home is not None
        del engine
        gc.collect()
        while not home.is_closed():
            threading.Event().wait(0.001)

    def test_what_cannot_be_closed_is_logged(self, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
        class Stubborn(MemoryCache):
            async def aclose(self) -> None:
                raise OSError

        engine = shop.engine(cache=Stubborn())
        status(engine)
        engine.blocking.close()
        assert caplog.messages == ["Closing failed."]


class TestHome:
    """The event loop to which calls from threads go."""

    @pytest.mark.asyncio
    async def test_a_running_loop_stays_the_home_of_an_engine(self, shop: Shop) -> None:
        engine = shop.engine()
        await engine.fetch("orders", {"customer_id": 5})
        await asyncio.to_thread(asyncio.run, engine.fetch("orders", {"customer_id": 5}))
        assert engine.home is asyncio.get_running_loop()

    @pytest.mark.asyncio
    async def test_an_application_takes_it_from_a_thread_of_its_own(self, shop: Shop) -> None:
        engine = shop.engine()
        assert await asyncio.to_thread(status, engine) == "miss"
        assert engine.home is not asyncio.get_running_loop()
        async with engine:
            assert engine.home is asyncio.get_running_loop()
            assert await asyncio.to_thread(status, engine) == "hit"
            assert engine.home is asyncio.get_running_loop()
            await asyncio.to_thread(engine.blocking.close)

    def test_a_loop_that_has_ended_is_not_waited_for(self, shop: Shop) -> None:
        engine = shop.engine()
        asyncio.run(engine.fetch("orders", {"customer_id": 5}))
        assert status(engine) == "hit"
        engine.blocking.close()

    def test_a_loop_that_was_closed_in_that_moment_is_told(self, engine: Engine) -> None:
        loop = asyncio.new_event_loop()
        loop.close()
        with pytest.raises(Unavailable, match="has ended"):
            blocking._submit(engine.aclose, loop)

    def test_a_call_that_its_loop_cancelled_at_its_end_is_told(self) -> None:
        future: Future[None] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        with asyncio.Runner() as runner, pytest.raises(Unavailable, match="has ended"):
            blocking._result(future, runner.get_loop())

    def test_the_end_of_the_interpreter_closes_all(self, engine: Engine) -> None:
        status(engine)
        own_loop._close_all()
        assert engine.home is not None
        assert engine.home.is_closed()

    def test_what_begins_anew_leaves_the_parents_alone(self, engine: Engine) -> None:
        engine.blocking.invalidate(Orders)
        parents, end_parents = engine.home, engine.blocking._own._end
        assert parents is engine.blocking._own.running()
        engine.begin_anew()
        engine.blocking._own.begin_anew()
        assert status(engine) == "miss"
        assert engine.home is not parents
        assert parents.is_running()
        end_parents()

    def test_a_call_whose_loop_ends_is_told(self, shop: Shop) -> None:
        begun, told = threading.Event(), []

        @client
        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        engine = Engine(build([*shop.graph.sources, wait]))

        def ask() -> None:
            try:
                engine.blocking.call("wait", {})
            except Unavailable as error:
                told.append(error.detail)

        async def main() -> None:
            await engine.fetch("orders", {"customer_id": 5})
            thread.start()
            await asyncio.to_thread(begun.wait)

        thread = threading.Thread(target=ask)
        asyncio.run(main())
        thread.join()
        assert told == ["The event loop of the engine has ended."]

    def test_a_loop_that_stands_still_is_given_up(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(blocking, "_LOOK_SECONDS", 0.01)
        monkeypatch.setattr(blocking, "_STANDSTILL_SECONDS", 0.05)
        engine, told = shop.engine(), []

        def ask() -> None:
            try:
                engine.blocking.fetch("orders", {"customer_id": 5})
            except Unavailable as error:
                told.append(error.detail)

        asked = threading.Event()
        query = engine.fetch

        async def fetch(*args: Any, **options: Any) -> Any:
            return await query(*args, **options)

        def noted(*args: Any, **options: Any) -> Any:
            asked.set()
            return fetch(*args, **options)

        thread = threading.Thread(target=ask)
        with asyncio.Runner() as runner:
            runner.run(engine.fetch("orders", {"customer_id": 5}))
            monkeypatch.setattr(engine, "fetch", noted)
            runner.get_loop().call_soon(thread.start)
            runner.get_loop().call_soon(asked.wait)
            runner.run(asyncio.sleep(0))
            thread.join()
        assert told == ["The event loop of the engine has ended."]

    def test_a_change_whose_loop_has_ended_purges_on_another(self, shop: Shop) -> None:
        engine = shop.engine(hold=60.0)
        entered, over = threading.Event(), threading.Event()

        def write() -> None:
            with engine.blocking.changing(Orders.of(customer_id=5)) as change:
                change.also(Log)
                entered.set()
                over.wait()
                shop.rows[5] = ["A lamp"]

        async def main() -> None:
            await engine.fetch("orders", {"customer_id": 5})
            thread.start()
            await asyncio.to_thread(entered.wait)

        thread = threading.Thread(target=write)
        asyncio.run(main())
        over.set()
        thread.join()
        assert engine.blocking.fetch("orders", {"customer_id": 5}).body == b'{"order_list":["A lamp"]}'
        engine.blocking.close()


class TestChanging:
    def test_what_it_names_is_held_and_then_purged(self, engine: Engine, shop: Shop) -> None:
        status(engine)
        with engine.blocking.changing(Orders.of(customer_id=5)) as change:
            shop.rows[5] = ["A lamp"]
            assert status(engine) == "bypass"
            assert status(engine, 6) == "miss"
            change.also(Log, Orders.of(customer_id=6))
            assert status(engine, 6) == "bypass"
        assert change.header == "orders;customer_id=5, log, orders;customer_id=6"
        assert [one.context for one in change.invalidations] == ["orders", "log", "orders"]
        assert (status(engine), status(engine, 6)) == ("miss", "miss")

    @pytest.mark.parametrize("error", [ValueError("x"), Conflict(), StopIteration(), KeyboardInterrupt(), SystemExit()])
    def test_it_purges_however_it_ends(self, engine: Engine, error: BaseException) -> None:
        status(engine)
        with pytest.raises(type(error)), engine.blocking.changing(Orders):
            raise error
        assert [status(engine) for _ in range(2)] == ["miss", "hit"]

    def test_an_error_raised_twice_carries_each_times_own(self, engine: Engine) -> None:
        error = ValueError("x")
        carried = []
        for named in (Orders, Log):
            with pytest.raises(ValueError, match="x") as raised, engine.blocking.changing(named):
                raise error
            carried.append(invalidations_of(raised.value))
        assert carried == [(Invalidation("orders"),), (Invalidation("log"),)]

    def test_a_mutation_in_its_body_joins(self, engine: Engine, shop: Shop) -> None:
        status(engine)
        with engine.blocking.changing(Log) as change:
            shop.add_in_thread(5, "A lamp")
        assert change.invalidations == (Invalidation("log"), *ORDERS_OF_5)
        assert status(engine) == "miss"

    def test_twenty_threads_at_once_hold_until_the_last_has_ended(self, engine: Engine, shop: Shop) -> None:
        status(engine)
        entered, gates = threading.Barrier(21), [threading.Event() for _ in range(20)]

        def write(gate: threading.Event) -> None:
            with engine.blocking.changing(Orders.of(customer_id=5)):
                entered.wait()
                gate.wait()
                shop.rows.setdefault(5, []).append("A lamp")

        threads = [threading.Thread(target=write, args=(gate,)) for gate in gates]
        for thread in threads:
            thread.start()
        entered.wait()
        for thread, gate in zip(threads, gates, strict=True):
            assert status(engine) == "bypass"
            gate.set()
            thread.join()
        assert [status(engine), status(engine)] == ["miss", "hit"]
        assert engine.blocking.fetch("orders", {"customer_id": 5}).body.count(b"A lamp") == 20

    def test_its_body_sees_what_observers_set_around_it(self, shop: Shop) -> None:
        within: ContextVar[str] = ContextVar("within")

        class Watch(Observer):
            def around(self, event: Calling | Computing) -> Any:
                return self._around(event) if isinstance(event, Calling) else None

            @contextlib.contextmanager
            def _around(self, event: Calling) -> Iterator[None]:
                token = within.set(event.function)
                yield
                within.reset(token)

        engine = shop.engine(observers=[Watch()])
        with engine.blocking.changing(Orders, name="import"):
            assert (within.get(), running()) == ("import", ("import",))
        assert (within.get(""), running()) == ("", ())
        engine.blocking.close()

    @pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when it is held already"])
    def test_interrupted_while_entering_it_leaves_no_hold(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, late: bool
    ) -> None:
        gate = threading.Event()

        class Gated(MemoryCache):
            async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
                await asyncio.to_thread(gate.wait)
                return await super().set(key, value, ttl, if_absent=if_absent)

        engine = shop.engine(cache=Gated(), deadline=60.0)
        result = blocking._result

        def interrupted(future: Any, loop: Any) -> Any:
            monkeypatch.setattr(blocking, "_result", result)
            if late:
                gate.set()
                result(future, loop)
            raise KeyboardInterrupt

        monkeypatch.setattr(blocking, "_result", interrupted)
        with pytest.raises(KeyboardInterrupt), engine.blocking.changing(Orders):
            pytest.fail("the body ran")
        gate.set()
        engine.blocking.run("whoami", {})
        status(engine)
        assert status(engine) == "hit"
        engine.blocking.close()

    def test_names_are_checked_before_anything_runs(self, engine: Engine) -> None:
        with pytest.raises(DeclarationError, match="did you mean 'orders'"), engine.blocking.changing("order"):
            pass

    @pytest.mark.asyncio
    async def test_in_a_sync_mutation_its_answer_tells(self, shop: Shop) -> None:
        @client(affects=Orders)
        def import_all(customer_id: int) -> None:
            with engine.blocking.changing(Log):
                shop.rows[customer_id] = ["A lamp"]

        engine = Engine(build([*shop.graph.sources, import_all]), cache=MemoryCache())
        async with engine:
            answer = await engine.call("import_all", {"customer_id": 5})
        assert set(answer.invalidations) == {*ORDERS_OF_5, Invalidation("log")}

    def test_where_it_cannot_be_held_it_is_refused(self, shop: Shop) -> None:
        dead = RedisCache("redis://127.0.0.1:1")
        engine = shop.engine(cache=dead, cache_secret="s" * 32, on_cache_failure="refuse")
        ran = []
        with pytest.raises(Unavailable), engine.blocking.changing(Orders):
            ran.append(1)
        assert ran == []
        engine.blocking.close()


SCRIPT = """
import asyncio, os, sys, threading
from mizan_core import Context, Engine, RedisCache, build, client

@client(context="orders")
async def order_list(customer_id: int) -> int:
    return customer_id

@client(context="threads")
def in_thread() -> int:
    return threading.get_ident()

@client(affects="orders")
async def slow(customer_id: int) -> None:
    started.set()
    await asyncio.sleep(0.2)
    print("written", flush=True)

started = threading.Event()
cache = RedisCache(sys.argv[1], prefix="blocking:")
engine = Engine(build([order_list, in_thread, slow]), cache=cache, cache_secret="s" * 32)
"""


def run(body: str, redis: RedisServer) -> str:
    program = SCRIPT + textwrap.dedent(body)
    ran = subprocess.run(
        [sys.executable, "-c", program, redis.url], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


class TestProcesses:
    def test_the_end_of_a_script_waits_for_what_has_begun(self, redis: RedisServer) -> None:
        said = run(
            """
            threading.Thread(target=engine.blocking.run, args=("slow", {"customer_id": 5}), daemon=True).start()
            started.wait(10)
            """,
            redis,
        )
        assert said == "written\n"

    def test_a_forked_process_uses_nothing_of_its_parents(self, redis: RedisServer) -> None:
        said = run(
            """
            import gc
            for _ in range(2):
                engine.blocking.fetch("orders", {"customer_id": 6})
                engine.blocking.call("in_thread", {})
            child = os.fork()
            if child == 0:
                print(engine.blocking.fetch("orders", {"customer_id": 6}).status, flush=True)
                engine.blocking.call("in_thread", {})
                gc.collect()
                os._exit(0)
            os.waitpid(child, 0)
            print(engine.blocking.fetch("orders", {"customer_id": 6}).cache_status, engine.health().cache, flush=True)
            """,
            redis,
        )
        assert said == "hit\nmizan; hit up\n"

    def test_a_forked_process_has_a_loop_of_its_own(self, redis: RedisServer) -> None:
        said = run(
            """
            print(engine.blocking.fetch("orders", {"customer_id": 5}).status, flush=True)
            child = os.fork()
            if child == 0:
                print(engine.blocking.fetch("orders", {"customer_id": 5}).status, flush=True)
                engine.blocking.invalidate("orders")
                os._exit(0)
            os.waitpid(child, 0)
            print(engine.blocking.fetch("orders", {"customer_id": 5}).status, flush=True)
            """,
            redis,
        )
        assert said.split() == ["miss", "hit", "miss"]
