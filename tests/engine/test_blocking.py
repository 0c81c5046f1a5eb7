"""`engine.blocking`: an engine without an event loop of the caller's, from scripts, threads and forked processes."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
            await engine.fetch("orders", {"customer_id": 5})
            names = {thread.name for thread in threading.enumerate()}
            answer = await asyncio.to_thread(engine.blocking.call, "add", {"customer_id": 5, "title": "A lamp"})
            assert answer.invalidations == ORDERS_OF_5
            assert (await engine.fetch("orders", {"customer_id": 5})).body == b'{"order_list":["A lamp"]}'
            assert "mizan-blocking" not in {thread.name for thread in threading.enumerate()} - names


class TestClosing:
    def test_closing_waits_and_a_later_call_begins_again(self, engine: Engine) -> None:
        assert status(engine) == "miss"
        engine.blocking.close()
        engine.blocking.close()
        assert [status(engine) for _ in range(2)] == ["hit", "hit"]


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

@client(affects="orders")
async def slow(customer_id: int) -> None:
    started.set()
    await asyncio.sleep(0.2)
    print("written", flush=True)

started = threading.Event()
engine = Engine(build([order_list, slow]), cache=RedisCache(sys.argv[1], prefix="blocking:"), cache_secret="s" * 32)
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
