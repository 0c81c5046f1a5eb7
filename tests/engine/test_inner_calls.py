"""Mutations that the body of another function calls: what they make stale is told, held and purged with its answer."""

import asyncio
import contextvars
import functools
import inspect
import pickle
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field

from mizan_core import (
    ANONYMOUS,
    Answer,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    GraphError,
    Identity,
    Invalidation,
    Me,
    MemoryCache,
    Result,
    build,
    client,
    invalidate,
)
from mizan_core.engine import mutations
from mizan_core.engine.answers import Failure, ended_of
from mizan_core.graph.types.snapshots import copied, snapshot
from tests import declaring

TICKETS, ORG = Context("tickets"), Context("org")


class Ticket(BaseModel):
    id: int


@client(context=TICKETS)
async def ticket(ticket_id: int) -> int:
    return ticket_id


@client(context=ORG)
async def org(org_id: int) -> int:
    return org_id


@client(affects=TICKETS)
async def close(ticket_id: int, note: str = "") -> Ticket:
    """Close a ticket."""
    return Ticket(id=ticket_id)


@client(affects=TICKETS)
def reopen(ticket_id: int) -> int:
    return ticket_id


READERS = (ticket, org)
FIVE = Invalidation("tickets", {"ticket_id": 5})
ONE = Invalidation("org", {"org_id": 1})


def outer(body: Callable[..., Any], affects: Any = ORG) -> Callable[..., Any]:
    """A mutation of this body, which affects the organisation that it is called for."""

    @client(affects=affects)
    async def close_all(org_id: int) -> Any:
        result = body()
        return await result if inspect.isawaitable(result) else result

    return close_all


def engine_of(*functions: Callable[..., Any], **options: Any) -> Engine:
    return Engine(build([*READERS, close, reopen, *functions]), cache=MemoryCache(), **options)


def told(*functions: Callable[..., Any], identity: Identity = ANONYMOUS, **options: Any) -> tuple[Invalidation, ...]:
    """What the answer of the last of these functions says, called for organisation 1; also if it failed."""

    async def story() -> tuple[Invalidation, ...]:
        engine = engine_of(*functions, **options)
        ended = await ended_of(engine.begin(functions[-1].__name__, {"org_id": 1}, identity=identity))
        assert isinstance(ended, Answer | Failure)
        return ended.invalidations

    return asyncio.run(story())


class TestWrapper:
    def test_outside_of_an_engine_a_mutation_is_the_function(self) -> None:
        assert asyncio.run(close(5)) == Ticket(id=5)
        assert reopen(ticket_id=5) == 5

    def test_it_has_the_functions_signature_name_and_document(self) -> None:
        assert list(inspect.signature(close).parameters) == ["ticket_id", "note"]
        assert (close.__name__, close.__doc__, close.__module__) == ("close", "Close a ticket.", __name__)
        assert inspect.iscoroutinefunction(close)
        assert not inspect.iscoroutinefunction(reopen)
        assert inspect.unwrap(close) is close.__wrapped__

    def test_it_is_pickled_by_name_and_may_be_a_static_method(self) -> None:
        class Desk:
            close = staticmethod(close)

        assert pickle.loads(pickle.dumps(close)) is close
        assert asyncio.run(Desk.close(5)) == Ticket(id=5)

    def test_two_clients_on_one_function_are_refused(self) -> None:
        for options in ({"context": "tickets"}, {"affects": "tickets"}, {}):
            with pytest.raises(DeclarationError, match=r"^close: it is marked with @client already.*one @client"):
                client(**options)(close)
        with pytest.raises(DeclarationError, match="marked with @client already"):
            client(ticket)

    def test_another_decorator_above_it_is_still_refused(self) -> None:
        @functools.wraps(close)
        async def logged(*args: Any) -> Any:
            return await close(*args)

        with pytest.raises(GraphError, match="another decorator stands above @client"):
            build([ticket, logged])

    def test_an_engine_calls_the_function_itself(self) -> None:
        assert build([ticket, close]).functions["close"].call is close.__wrapped__


async def in_a_task() -> Any:
    return await asyncio.create_task(close(5))


async def gathered() -> Any:
    return (await asyncio.gather(reopen_in_thread(), close(5)))[1]


async def reopen_in_thread() -> Any:
    return await asyncio.to_thread(reopen, 5)


def of_a_service() -> Any:
    return close(ticket_id=5)


CALLS: list[Callable[[], Any]] = [
    lambda: close(5),
    lambda: close(ticket_id=5, note="n"),
    lambda: reopen(5),
    of_a_service,
    in_a_task,
    gathered,
    reopen_in_thread,
]


class TestJoining:
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("affects", [ORG, None])
    def test_a_called_mutations_effects_join_the_answer(self, call: Callable[[], Any], affects: Any) -> None:
        assert told(outer(call, affects)) == ((ONE, FIVE) if affects else (FIVE,))

    def test_a_sync_function_calls_in_its_thread(self) -> None:
        @client(affects=ORG)
        def close_all(org_id: int) -> int:
            return reopen(org_id + 4)

        @client(affects=ORG)
        def close_in_a_loop(org_id: int) -> Ticket:
            return asyncio.run(close(org_id + 4))

        assert told(close_all) == told(close_in_a_loop) == (ONE, FIVE)

    def test_calls_nest(self) -> None:
        @client(affects=TICKETS)
        async def archive(ticket_id: int) -> None:
            await close(ticket_id + 1)

        assert told(archive, outer(lambda: archive(5))) == (ONE, FIVE, Invalidation("tickets", {"ticket_id": 6}))

    def test_a_helper_of_another_graph_affects_whole_contexts(self) -> None:
        @client(affects=[TICKETS, "elsewhere"], name="close")
        async def close_twice(ticket_id: int) -> None: ...

        assert told(outer(lambda: close_twice(5))) == (ONE, Invalidation("tickets"))

    def test_a_called_function_names_scopes_for_itself(self) -> None:
        @client(affects=TICKETS.by_body())
        async def close_some() -> None:
            invalidate(TICKETS, ticket_id=5)

        assert told(close_some, outer(close_some)) == (ONE, FIVE)

    def test_scopes_named_by_the_inner_do_not_count_for_the_outer(self) -> None:
        @client(affects=TICKETS.by_body())
        async def close_all(org_id: int) -> None:
            await close(5)

        assert told(close_all) == (Invalidation("tickets"),)

    @pytest.mark.parametrize("way", ["run", "call"])
    @pytest.mark.parametrize("affects", [ORG, None])
    def test_engine_run_inside_a_body_joins_the_answer(self, way: str, affects: Any) -> None:
        async def story() -> None:
            engine = engine_of(outer(lambda: getattr(engine, way)("close", {"ticket_id": 5}), affects))
            answer = await engine.call("close_all", {"org_id": 1})
            assert answer.invalidations == ((ONE, FIVE) if affects else (FIVE,))

        asyncio.run(story())

    def test_another_engines_run_does_not_join(self) -> None:
        other = engine_of()

        async def story() -> None:
            engine = engine_of(outer(lambda: other.run("close", {"ticket_id": 5})))
            assert (await engine.call("close_all", {"org_id": 1})).invalidations == (ONE,)

        asyncio.run(story())


class TestOutcomes:
    """An inner mutation that refuses or fails counts as it does alone."""

    @pytest.mark.parametrize(
        ("error", "stale"), [(Conflict("No."), ()), (ValueError("x"), (Invalidation("tickets", {"ticket_id": 5}),))]
    )
    @pytest.mark.parametrize("caught", [True, False])
    def test_an_inner_error_counts_for_the_inner_alone(
        self, error: Exception, stale: tuple[Invalidation, ...], caught: bool
    ) -> None:
        @client(affects=TICKETS)
        async def fail(ticket_id: int) -> None:
            raise error

        async def body() -> None:
            try:
                await fail(5)
            except type(error):
                if not caught:
                    raise

        refused = not caught and isinstance(error, Conflict)
        assert told(fail, outer(body)) == (*([] if refused else [ONE]), *stale)

    def test_an_inner_call_that_is_cancelled_is_an_unknown_outcome(self) -> None:
        @client(affects=TICKETS.by_body())
        async def slow() -> None:
            await asyncio.Event().wait()

        async def body() -> None:
            task = asyncio.create_task(slow())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        assert told(slow, outer(body)) == (ONE, Invalidation("tickets"))

    def test_an_inner_calls_effects_stay_where_the_outer_refuses(self) -> None:
        async def body() -> None:
            await close(5)
            raise Conflict

        assert told(outer(body)) == (FIVE,)

    def test_a_field_of_the_inner_result_narrows(self) -> None:
        @client(affects=TICKETS.where(ticket_id=Result("id")))
        async def add(number: str) -> Ticket:
            return {"id": number}  # type: ignore[return-value]

        assert told(add, outer(lambda: add("5"))) == (ONE, FIVE)
        assert told(add, outer(lambda: add("x"))) == (ONE, Invalidation("tickets"))

    def test_an_inner_call_still_running_is_stale_now_and_at_its_end(self) -> None:
        async def story() -> None:
            gate = asyncio.Event()
            tasks: list[asyncio.Task[None]] = []

            @client(affects=TICKETS.by_body())
            async def slow() -> None:
                await gate.wait()
                invalidate(TICKETS, ticket_id=5)

            async def body() -> None:
                tasks.append(asyncio.create_task(slow()))
                await asyncio.sleep(0)

            engine = engine_of(slow, outer(body))
            assert (await engine.call("close_all", {"org_id": 1})).invalidations == (ONE, Invalidation("tickets"))
            await engine.fetch("tickets", {"ticket_id": 5})
            assert (await engine.fetch("tickets", {"ticket_id": 5})).status == "hit"
            gate.set()
            await tasks[0]
            while len(engine._mutations):
                await asyncio.sleep(0)
            assert (await engine.fetch("tickets", {"ticket_id": 5})).status == "miss"

        asyncio.run(story())

    @pytest.mark.parametrize("way", ["function", "engine"])
    def test_a_call_by_a_task_that_outlives_its_function_is_purged(self, way: str) -> None:
        async def story() -> None:
            gate = asyncio.Event()
            tasks: list[asyncio.Task[None]] = []

            async def later() -> None:
                await gate.wait()
                await (close(5) if way == "function" else engine.run("close", {"ticket_id": 5}))

            async def body() -> None:
                tasks.append(asyncio.create_task(later()))

            engine = engine_of(outer(body))
            assert (await engine.call("close_all", {"org_id": 1})).invalidations == (ONE,)
            await engine.fetch("tickets", {"ticket_id": 5})
            gate.set()
            await tasks[0]
            while len(engine._mutations):
                await asyncio.sleep(0)
            assert (await engine.fetch("tickets", {"ticket_id": 5})).status == "miss"

        asyncio.run(story())

    def test_an_engine_run_that_has_not_ended_is_stale(self) -> None:
        async def story() -> None:
            gate = asyncio.Event()

            @client(affects=TICKETS)
            async def slow(ticket_id: int) -> None:
                await gate.wait()

            async def body() -> None:
                waiting = asyncio.create_task(engine.run("slow", {"ticket_id": 5}))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting

            engine = engine_of(slow, outer(body))
            assert (await engine.call("close_all", {"org_id": 1})).invalidations == (ONE, FIVE)
            gate.set()

        asyncio.run(story())


async def asked(ticket_id: Any, affects: Any = TICKETS, annotation: Any = int) -> tuple[Invalidation, ...]:
    """What a mutation of this parameter makes stale that is called with this value."""

    async def touch(ticket_id: Any) -> None: ...

    touch.__annotations__["ticket_id"] = annotation
    marked = client(affects=affects)(touch)
    engine = engine_of(marked, outer(lambda: marked(ticket_id), None))
    return (await engine.call("close_all", {"org_id": 1})).invalidations


class TestArguments:
    """The body has its values unvalidated, so only values of a certain meaning narrow."""

    @pytest.mark.parametrize("value", [5, "5", 5.0])
    def test_a_value_in_another_spelling_narrows(self, value: object) -> None:
        assert asyncio.run(asked(value)) == (FIVE,)

    @pytest.mark.parametrize("value", [None, "x", object(), iter([5])])
    def test_a_value_of_another_type_does_not_narrow(self, value: object) -> None:
        assert asyncio.run(asked(value)) == (Invalidation("tickets"),)

    def test_a_value_that_a_validator_changes_does_not_narrow(self) -> None:
        lower = Annotated[str, AfterValidator(str.lower)]

        @client(context="teams")
        async def team(team_id: lower) -> str:
            return team_id

        @client(affects="teams")
        async def touch(team_id: lower) -> None: ...

        assert told(team, touch, outer(lambda: touch("A"), None)) == (Invalidation("teams"),)
        assert told(team, touch, outer(lambda: touch("a"), None)) == (Invalidation("teams", {"team_id": "a"}),)

    def test_a_default_that_was_not_given_does_not_narrow(self) -> None:
        @client(affects=TICKETS)
        async def touch(ticket_id: int = 5) -> None: ...

        assert told(touch, outer(touch)) == (ONE, Invalidation("tickets"))
        assert told(touch, outer(lambda: touch(5))) == (ONE, FIVE)

    def test_an_alias_narrows_by_its_python_argument(self) -> None:
        @client(affects=TICKETS)
        async def touch(number: Annotated[int, Field(alias="ticket_id")]) -> None: ...

        assert told(touch, outer(lambda: touch(number=5))) == (ONE, FIVE)

    @pytest.mark.parametrize("handed", [True, False])
    def test_the_inner_caller_is_the_given_or_the_outer_one(self, handed: bool) -> None:
        @client(context="inbox")
        async def inbox(user_id: str) -> str:
            return user_id

        @client(affects=Context("inbox").where(user_id=Me))
        async def read_all(me: Identity | None = None) -> None: ...

        call = functools.partial(read_all, Identity("7")) if handed else read_all
        stale = Invalidation("inbox", {"user_id": "7" if handed else "2"})
        assert told(inbox, read_all, outer(call), identity=Identity("2")) == (ONE, stale)

    def test_an_iterator_consumed_by_the_body_narrows(self) -> None:
        @client(affects=TICKETS.where(ticket_id=Result("id")))
        async def other(number: int) -> Ticket:
            return Ticket(id=number)

        @client(affects=TICKETS)
        async def close_many(ticket_id: list[int]) -> None:
            while ticket_id:
                await other(ticket_id.pop())

        assert told(other, close_many, outer(lambda: close_many([5]))) == (ONE, FIVE)


class TestHolding:
    @pytest.mark.parametrize("way", ["function", "engine", "thread", "sync"])
    def test_an_inner_calls_scopes_are_held_until_the_outer_end(self, way: str) -> None:
        async def story() -> None:
            inner, done, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()
            go_on = threading.Event()

            @client(affects=TICKETS)
            async def touch(ticket_id: int) -> None:
                inner.set()
                await gate.wait()

            @client(affects=TICKETS)
            def touch_in_thread(ticket_id: int) -> None:
                loop.call_soon_threadsafe(inner.set)
                assert go_on.wait(30)

            async def body() -> None:
                if way == "function":
                    await touch(5)
                elif way == "engine":
                    await engine.run("touch", {"ticket_id": 5})
                else:
                    await asyncio.to_thread(touch_in_thread, 5)
                inner.clear()
                done.set()
                await inner.wait()

            @client(affects=ORG)
            def in_thread(org_id: int) -> None:
                touch_in_thread(5)
                loop.call_soon_threadsafe(done.set)

            engine = engine_of(touch, touch_in_thread, outer(body), in_thread)
            for _ in range(2):
                await engine.fetch("tickets", {"ticket_id": 5})
            name = "in_thread" if way == "sync" else "close_all"
            running = asyncio.create_task(engine.call(name, {"org_id": 1}))
            await inner.wait()
            assert (await engine.fetch("tickets", {"ticket_id": 5})).cache_status.endswith("held")
            gate.set()
            go_on.set()
            await done.wait()
            if way != "sync":
                assert (await engine.fetch("tickets", {"ticket_id": 5})).cache_status.endswith("held")
            inner.set()
            assert (await running).invalidations == (ONE, FIVE)
            assert (await engine.fetch("tickets", {"ticket_id": 5})).status == "miss"
            assert (await engine.fetch("tickets", {"ticket_id": 5})).status == "hit"

        asyncio.run(story())

    def test_a_thread_that_the_loop_waits_for_does_not_deadlock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mutations, "THREAD_WAITS_SECONDS", 0.01)

        def body() -> int:
            with ThreadPoolExecutor() as pool:
                return pool.submit(contextvars.copy_context().run, reopen, 5).result()

        assert told(outer(body)) == (ONE, FIVE)
        refused = told(outer(body), on_cache_failure="refuse")
        assert refused == (ONE,)  # the outer function had begun, and fails with a 503

    @pytest.mark.parametrize("mode", ["allow", "refuse"])
    @pytest.mark.parametrize("call", [lambda: close(5), lambda: asyncio.to_thread(reopen, 5)])
    def test_an_unholdable_inner_call_runs_only_if_allowed(self, mode: Any, call: Callable[[], Any]) -> None:
        cache = Breaking()

        async def body() -> None:
            cache.is_broken = True
            try:
                await call()
            finally:
                cache.is_broken = False

        async def story() -> None:
            async with Engine(build([*READERS, close, reopen, outer(body)]), cache=cache, on_cache_failure=mode) as one:
                ended = await ended_of(one.begin("close_all", {"org_id": 1}))
                assert isinstance(ended, Failure) == (mode == "refuse")
                assert ended.invalidations == ((ONE,) if mode == "refuse" else (ONE, FIVE))

        asyncio.run(story())


class Breaking(MemoryCache):
    """A cache elsewhere, which fails while it is told to."""

    is_broken = False

    async def set(self, *args: Any, **options: Any) -> bool:
        if self.is_broken:
            raise ConnectionError
        return await super().set(*args, **options)


class TestReaders:
    @pytest.mark.parametrize("call", [lambda engine: close(5), lambda engine: engine.run("close", {"ticket_id": 5})])
    def test_a_reader_that_a_mutation_fetches_may_call_none(self, call: Callable[[Engine], Awaitable[Any]]) -> None:
        @client(context="page")
        async def page() -> int:
            await call(engines[0])
            return 1

        engines: list[Engine] = []

        async def story() -> None:
            engines.append(engine_of(page, outer(lambda: engines[0].fetch("page", {}))))
            with pytest.raises(DeclarationError, match="close changes something, and was called by a function"):
                await engines[0].call("close_all", {"org_id": 1})

        asyncio.run(story())

    def test_a_reader_may_run_a_function_without_effects(self) -> None:
        @client
        async def count() -> int:
            return 7

        @client(context="page")
        async def page() -> Any:
            return (await engines[0].run("count", {})).result

        engines: list[Engine] = []

        async def story() -> None:
            engines.append(engine_of(page, count, outer(lambda: engines[0].fetch("page", {}))))
            answer = await engines[0].call("close_all", {"org_id": 1})
            assert answer.result.body == b'{"page":7}'  # type: ignore[attr-defined]  # it is a bundle

        asyncio.run(story())


class TestMutatedArguments:
    """Arguments that resolve invalidations are not the objects that the body holds."""

    class Move(BaseModel):
        targets: list[int]

    @pytest.mark.parametrize("way", ["call", "error"])
    def test_a_list_emptied_by_the_body_narrows_by_all_of_it(self, way: str) -> None:
        @client(affects=TICKETS)
        async def close_many(ticket_id: list[int]) -> None:
            while ticket_id:
                ticket_id.pop()
            invalidate(ORG, org_id=1)
            if way == "error":
                raise ValueError

        async def story() -> None:
            ended = await ended_of(engine_of(close_many).begin("close_many", {"ticket_id": [5, 6]}))
            assert isinstance(ended, Answer | Failure)
            assert ended.invalidations == (FIVE, Invalidation("tickets", {"ticket_id": 6}), ONE)

        asyncio.run(story())

    @pytest.mark.parametrize("is_async", [True, False])
    def test_each_reader_of_a_bundle_gets_its_own_arguments(self, is_async: bool) -> None:
        @client(context="tags")
        async def first(tag: list[str]) -> int:
            return len([tag.pop() for _ in list(tag)])

        @client(context="tags")
        def second(tag: list[str]) -> int:
            return len([tag.pop() for _ in list(tag)])

        @client(context="tags")
        async def third(tag: list[str]) -> int:
            return len(tag)

        async def story() -> None:
            engine = engine_of(first, *([] if is_async else [second]), third)
            body = (await engine.fetch("tags", {"tag": ["a", "b"]})).body
            assert body == (b'{"first":2,"third":2}' if is_async else b'{"first":2,"second":2,"third":2}')

        asyncio.run(story())

    @pytest.mark.parametrize(
        ("annotation", "mutable"),
        [
            *(
                (one, False)
                for one in (int, str, UUID, date, int | None, Literal["a"], tuple[int, ...], frozenset[str])
            ),
            *((one, True) for one in (list[int], set[int], dict[str, int], Move, list[int] | None, Any)),
            (Annotated[int, Field(gt=0)], False),
        ],
    )
    def test_only_mutable_arguments_are_copied(self, annotation: Any, mutable: bool) -> None:
        function = build([declaring.mutation("act", "org", value=annotation), org]).functions["act"]
        assert (function.mutable_inputs, function.mutable_narrowing_inputs) == ((("value",) if mutable else ()), ())

    def test_an_uncopyable_argument_is_passed_and_does_not_narrow(self) -> None:
        lock = threading.Lock()
        assert snapshot({"a": lock, "b": [1]}, ["a", "b", "c"]) == {"a": None, "b": [1]}
        assert copied({"a": lock, "b": 1}, ["a", "c"]) == {"a": lock, "b": 1}
