"""What an error that an engine raises carries, and which errors are told as which."""

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mizan_core import (
    CallError,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Identity,
    Invalidation,
    MemoryCache,
    NotFound,
    Unavailable,
    build,
    client,
    encode_header,
    invalidate,
    invalidations_of,
)
from mizan_core.engine import runner as running
from mizan_core.engine.answers import Failure, ended_of
from mizan_core.engine.failures import ErrorMapping, blamed


@client(context="page")
async def page(number: int) -> int:
    return number


def scope(number: int) -> tuple[Invalidation, ...]:
    return (Invalidation("page", {"number": number}),)


class Slotted(Exception):
    __slots__ = ("place",)


@dataclass(frozen=True)
class Frozen(Exception):
    place: int


class Particular(Exception):
    """Cannot be made of its args, so it cannot be copied."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)


class Changing(Exception):
    """A copy of it is another error."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ValueError, ("other",)


class Taken(Exception):
    """Has a meaning of its own for the name."""

    invalidations = "mine"


def engine_of(error: BaseException, **options: Any) -> Engine:
    @client(affects="page")
    async def fail(number: int) -> None:
        if isinstance(error, CallError):
            invalidate("page", number=number)
        raise error

    return Engine(build([page, fail]), cache=MemoryCache(), **options)


async def raised(engine: Engine, number: int, way: str = "call") -> Exception:
    try:
        await getattr(engine, way)("fail", {"number": number})
    except Exception as error:  # noqa: BLE001  # it is what is asked for
        return error
    raise AssertionError


class TestCarriedInvalidations:
    @pytest.mark.parametrize("way", ["call", "run"])
    @pytest.mark.parametrize("error", [Conflict(), ValueError(), Slotted(), Frozen(1), Particular(1, 2)], ids=repr)
    def test_an_error_carries_its_calls_invalidations(self, error: Exception, way: str) -> None:
        found = asyncio.run(raised(engine_of(error), 5, way))
        assert found is error
        assert invalidations_of(found) == found.invalidations == scope(5)  # type: ignore[attr-defined]  # on any error
        assert encode_header(invalidations_of(found)) == "page;number=5"

    def test_an_error_keeps_its_own_attribute_of_that_name(self) -> None:
        found = asyncio.run(raised(engine_of(Taken()), 5))
        assert isinstance(found, Taken)
        assert (found.invalidations, invalidations_of(found)) == ("mine", scope(5))

    def test_an_error_raised_by_no_call_carries_nothing(self) -> None:
        assert invalidations_of(ValueError()) == Conflict().invalidations == ()

    @pytest.mark.parametrize("error", [Conflict("No."), ValueError("x"), Slotted(1), Taken()], ids=repr)
    def test_one_error_that_two_calls_raise_is_never_mixed_up(self, error: Exception) -> None:
        async def story() -> None:
            engine = engine_of(error)
            found = await asyncio.gather(*(raised(engine, number) for number in (5, 6, 6)))
            assert [invalidations_of(one) for one in found] == [scope(5), scope(6), scope(6)]
            assert all(type(one) is type(error) and one.args == error.args for one in found)
            assert all(one.__traceback__ is not None for one in found)

        asyncio.run(story())

    @pytest.mark.parametrize("error", [Particular(1, 2), Changing()])
    def test_an_error_that_cannot_be_copied_carries_both(self, error: Exception) -> None:
        async def story() -> None:
            engine = engine_of(error)
            first, second = [await raised(engine, number) for number in (5, 6)]
            assert first is second
            assert invalidations_of(second) == (*scope(5), *scope(6))

        asyncio.run(story())

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
    def test_carried_invalidations_survive_pickle_and_copy(self, again: Callable[[Exception], Exception]) -> None:
        found = again(asyncio.run(raised(engine_of(Conflict()), 5)))
        assert isinstance(found, Conflict)
        assert found.invalidations == invalidations_of(found) == scope(5)

    def test_causes_and_group_members_count(self) -> None:
        first, second = (asyncio.run(raised(engine_of(ValueError()), number)) for number in (5, 6))
        assert invalidations_of(ExceptionGroup("both", [first, second])) == (*scope(5), *scope(6))
        for explicitly, carried in ((True, scope(5)), (False, scope(5)), (None, ())):
            with pytest.raises(KeyError) as caught:
                raise_from(first, explicitly)
            assert invalidations_of(caught.value) == carried

    def test_an_error_through_two_calls_carries_both_invalidations(self) -> None:
        async def story() -> None:
            @client(affects="page")
            async def outer(number: int) -> None:
                await engine.run("fail", {"number": 6})

            @client(affects="page")
            async def fail(number: int) -> None:
                raise ZeroDivisionError

            engine = Engine(build([page, fail, outer]))
            with pytest.raises(ZeroDivisionError) as caught:
                await engine.call("outer", {"number": 5})
            assert invalidations_of(caught.value) == (*scope(5), *scope(6))

        asyncio.run(story())


def raise_from(error: Exception, explicitly: bool | None) -> None:
    try:
        raise error  # noqa: TRY301  # it is what is asked for
    except Exception as caught:
        if explicitly is None:
            raise KeyError from None
        if explicitly:
            raise KeyError from caught
        raise KeyError  # noqa: B904  # it is what is asked for


class Database(Exception):
    pass


class Integrity(Database):
    pass


def broken(error: object) -> CallError:
    raise ZeroDivisionError


def refusing(error: object) -> CallError:
    raise NotFound("Raised.")


class TestMapping:
    @pytest.mark.parametrize(
        ("told", "detail"),
        [
            (Conflict, Conflict.DETAIL),
            (Conflict("Told."), "Told."),
            (lambda: Conflict("Made."), "Made."),
            (lambda error: Conflict(f"Of {error}."), "Of x."),
            (refusing, "Raised."),
        ],
    )
    def test_an_error_is_mapped_by_its_nearest_class(self, told: Any, detail: str) -> None:
        error = Integrity("x")
        engine = engine_of(error, errors={Database: NotFound, Integrity: told})
        found = asyncio.run(raised(engine, 5))
        assert isinstance(found, CallError)
        assert (found.detail, found.__cause__) == (detail, error)
        assert invalidations_of(found) == ()

    def test_errors_of_readers_and_guards_are_mapped(self) -> None:
        def guard(_: object) -> bool:
            raise Integrity

        @client(context="broken")
        async def reader() -> int:
            raise Integrity

        @client(context="fine")
        async def fine() -> int:
            raise KeyError

        @client(auth=guard)
        async def act() -> int:
            return 1

        async def story() -> None:
            engine = Engine(build([reader, fine, act]), errors={Database: Conflict})
            for work in (engine.fetch("broken", {}), engine.call("reader", {}), engine.call("act", {})):
                with pytest.raises(Conflict):
                    await work
            with pytest.raises(KeyError):
                await engine.fetch("fine", {})

        asyncio.run(story())

    @pytest.mark.parametrize("told", [lambda error: None, lambda: "x"])
    def test_a_mapping_function_without_a_result_means_unexpected(self, told: Any) -> None:
        error = Integrity("x")
        assert asyncio.run(raised(engine_of(error, errors={Database: told}), 5)) is error

    def test_a_function_that_fails_leaves_the_error_unexpected(self, caplog: pytest.LogCaptureFixture) -> None:
        error = Integrity("x")
        for told in (broken, iter):  # Python does not tell what the latter takes
            assert ErrorMapping({Database: told}).told(error) is error
        assert "What errors= maps Integrity to failed" in caplog.text

    def test_a_mapping_function_may_set_the_cause(self) -> None:
        def told(error: object) -> CallError:
            raise Conflict from ZeroDivisionError()

        found = ErrorMapping({Database: told}).told(Database())
        assert isinstance(found.__cause__, ZeroDivisionError)

    def test_the_only_member_of_a_group_counts_as_itself(self) -> None:
        error, mapping = Database(), ErrorMapping({Database: Conflict})
        assert isinstance(mapping.told(ExceptionGroup("a", [ExceptionGroup("b", [error])])), Conflict)
        several = ExceptionGroup("a", [error, error])
        assert mapping.told(several) is several

    def test_the_same_instance_is_not_told_twice(self) -> None:
        mapping = ErrorMapping({Database: Conflict("x")})
        assert mapping.told(Database()) is not mapping.told(Database())

    @pytest.mark.parametrize(
        ("errors", "words"),
        [
            ([Database], "is no mapping such as {IntegrityError: Conflict}"),
            ({"Database": Conflict}, "no class of exceptions"),
            ({asyncio.CancelledError: Conflict}, "no class of exceptions"),
            ({Exception: Conflict}, "every defect would be a refusal"),
            ({Conflict: NotFound}, "it is told as it is"),
            ({Database: ValueError}, "ValueError is no CallError"),
            ({Database: CallError}, r"CallError\(\) needs arguments; give a function, lambda error: CallError"),
            ({Database: 409}, "409 is neither a class of CallErrors nor a function"),
        ],
    )
    def test_a_mapping_that_cannot_work_is_refused(self, errors: Any, words: str) -> None:
        with pytest.raises(DeclarationError, match=words):
            Engine(build([page]), errors=errors)


class TestCancelledErrors:
    """A function's own CancelledError is its failure; a cancelled caller is no failure."""

    @pytest.mark.parametrize("kind", ["mutation", "sync", "plain"])
    def test_a_functions_own_is_its_failure(self, kind: str) -> None:
        @client(affects="page")
        async def mutation(number: int) -> None:
            raise asyncio.CancelledError

        @client(affects="page")
        def sync(number: int) -> None:
            raise asyncio.CancelledError

        @client
        async def plain(number: int) -> None:
            invalidate("page", number=number)
            task = asyncio.create_task(asyncio.sleep(9))
            task.cancel()
            await task

        async def story() -> None:
            engine = Engine(build([page, mutation, sync, plain]))
            for _ in range(2):
                with pytest.raises(RuntimeError, match=f"{kind} raised CancelledError") as caught:
                    await engine.call(kind, {"number": 5})
                assert invalidations_of(caught.value) == scope(5)
                assert blamed(caught.value) == kind

        asyncio.run(story())

    @pytest.mark.parametrize("concurrent", [True, False])
    @pytest.mark.parametrize("kind", ["prompt", "waiting", "sync"])
    def test_a_readers_own_is_its_failure(self, kind: str, concurrent: bool) -> None:
        context = Context("reading", concurrent=concurrent)

        @client(context=context)
        async def prompt() -> int:
            raise asyncio.CancelledError

        @client(context=context)
        async def waiting() -> int:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

        @client(context=context)
        def sync() -> int:
            raise asyncio.CancelledError

        async def story() -> None:
            reader = {"prompt": prompt, "waiting": waiting, "sync": sync}[kind]
            engine = Engine(build([reader]), cache=MemoryCache())
            for work in (engine.fetch("reading", {}), engine.call(kind, {})):
                with pytest.raises(RuntimeError, match=f"{kind} raised CancelledError") as caught:
                    await work
                assert blamed(caught.value) == kind

        asyncio.run(story())

    def test_a_cancelled_caller_cancels_its_own_computation(self) -> None:
        ended: list[BaseException] = []

        @client(context="reading", cache=False)
        async def reading() -> int:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                ended.append(error)
                raise
            return 1

        async def story() -> None:
            asking = asyncio.create_task(Engine(build([reading])).fetch("reading", {}))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

        asyncio.run(story())
        assert len(ended) == 1

    @pytest.mark.parametrize("affects", ["page", None])
    @pytest.mark.parametrize("caller_has_gone", [True, False])
    def test_a_task_that_is_cancelled_from_outside_stays_cancelled(
        self, affects: str | None, caller_has_gone: bool
    ) -> None:
        tasks: list[asyncio.Task[Any]] = []

        @client(affects=affects)
        async def act(number: int) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await asyncio.sleep(0)
            await asyncio.Event().wait()

        async def story() -> None:
            engine = Engine(build([page, act]))
            calling = asyncio.create_task(engine.call("act", {"number": 5}))
            while not tasks:
                await asyncio.sleep(0)
            if caller_has_gone:
                calling.cancel()
                await asyncio.wait([calling])
            tasks[0].cancel()
            await asyncio.wait([tasks[0]])
            with pytest.raises(asyncio.CancelledError):
                await calling

        asyncio.run(story())


class TestNamedReader:
    @pytest.mark.parametrize("concurrent", [True, False])
    @pytest.mark.parametrize("failing", ["first", "second", "third"])
    def test_the_reader_that_failed_is_named(self, failing: str, concurrent: bool) -> None:
        context = Context("reading", concurrent=concurrent)

        def fail(name: str) -> int:
            if name == failing:
                raise KeyError(name)
            return 1

        @client(context=context)
        async def first(request: object) -> int:
            await asyncio.sleep(0)
            return fail("first")

        @client(context=context)
        def second() -> int:
            return fail("second")

        @client(context=context)
        def third() -> int:
            return fail("third")

        async def story() -> None:
            with pytest.raises(KeyError) as caught:
                await Engine(build([first, second, third]), cache=MemoryCache()).fetch("reading", {})
            assert blamed(caught.value) == failing

        asyncio.run(story())


class TestUnheardErrors:
    @pytest.mark.parametrize("affects", ["page", None])
    @pytest.mark.parametrize(("error", "level"), [(ValueError("x"), logging.ERROR), (Conflict(), logging.INFO)])
    def test_an_error_is_logged_with_the_functions_name(
        self, affects: str | None, error: Exception | None, level: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="mizan")

        async def story() -> None:
            gate, begun = asyncio.Event(), asyncio.Event()

            @client(affects=affects)
            async def act(fails: bool) -> None:
                begun.set()
                await gate.wait()
                if fails:
                    raise error

            async with Engine(build([page, act])) as engine:
                for fails in (True, False):
                    calling = asyncio.create_task(engine.call("act", {"fails": fails}))
                    await begun.wait()
                    calling.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await calling
                gate.set()

        asyncio.run(story())
        assert [(one.levelno, one.getMessage()) for one in caplog.records if one.name == "mizan"] == [
            (level, "act failed, and its caller had gone.")
        ]

    @pytest.mark.parametrize("error", [ValueError("x"), Conflict()])
    @pytest.mark.parametrize("looks", [True, False])
    def test_a_readers_error_is_logged_too(
        self, error: Exception, looks: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story() -> None:
            gate, begun = asyncio.Event(), asyncio.Event()

            @client(context="reading", per="permissions")
            async def reading(me: Identity) -> int:
                if looks:
                    assert me.user_id == "1"
                begun.set()
                await gate.wait()
                raise error

            async with Engine(build([reading]), cache=MemoryCache()) as engine:
                asking = asyncio.create_task(engine.fetch("reading", {}, identity=Identity("1")))
                await begun.wait()
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                gate.set()
                for _ in range(9):
                    await asyncio.sleep(0)

        asyncio.run(story())
        said = [one.getMessage() for one in caplog.records if one.name == "mizan" and one.exc_info]
        assert said == (["reading failed, and its caller had gone."] if isinstance(error, ValueError) else [])


class TestRefusedThreads:
    def test_a_mutation_refused_a_thread_makes_nothing_stale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(running, "_WAITING_PER_THREAD", 0)

        @client(affects="page")
        def act(number: int) -> None: ...

        async def story() -> None:
            ended = await ended_of(Engine(build([page, act])).begin("act", {"number": 5}))
            assert isinstance(ended, Failure)
            assert isinstance(ended.error, Unavailable)
            assert ended.invalidations == ()

        asyncio.run(story())
