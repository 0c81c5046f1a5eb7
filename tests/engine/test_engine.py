"""How calls and bundles are answered: what is cached for whom, what is purged when, and what a hang-up cannot stop."""

import asyncio
import contextvars
import functools
import gc
import json
import logging
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from mizan_core import (
    ANONYMOUS,
    Arg,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Forbidden,
    Identity,
    Invalidation,
    InvalidInput,
    MemoryCache,
    NotFound,
    Result,
    Unauthorized,
    Unavailable,
    build,
    client,
    invalidate,
)
from mizan_core.cache.shared import breaker as guard
from mizan_core.cache.shared import holds as shared_holds
from mizan_core.cache.shared import owed_purges as debts
from mizan_core.engine.answers import Failure, Health
from mizan_core.engine.engine import ended_of
from mizan_core.errors import CacheUnavailable
from tests.cache.holding import begin, end
from tests.virtual_time import run
from tests.world import Profile, World

ANN, BOB = Identity("1"), Identity("2")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def engine_of(*functions: Callable[..., Any], **options: Any) -> Engine:
    options.setdefault("cache", MemoryCache())
    return Engine(build(functions), **options)


class Elsewhere(MemoryCache):
    """A cache that is asked as if it were in another process."""


class TestScopes:
    """A mutation naming `user_id` leaves nothing of that user behind, and touches nobody else."""

    def test_every_page_of_the_user_is_forgotten_and_no_other_user(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            pages = [{"user_id": 5}, {"user_id": 5, "page": 2}, {"user_id": 7}]
            for params in pages:
                await engine.fetch("user", params)
            answer = await engine.call("update_profile", {"user_id": 5, "name": "Eve"})
            assert answer.invalidations == (Invalidation("user", {"user_id": 5}),)
            assert [(await engine.fetch("user", params)).status for params in pages] == ["miss", "miss", "hit"]
            assert b"Eve-2" in (await engine.fetch("user", pages[1])).body

        run(story)

    def test_a_bundle_with_another_rev_and_an_expiry_is_purged_by_the_result(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            mine, other = {"customer_id": 1, "page": 3}, {"customer_id": 2}
            await engine.fetch("orders", mine)
            await engine.fetch("orders", other)
            answer = await engine.call("ship", {"order_id": 10}, identity=ANN)
            assert answer.invalidations == (Invalidation("orders", {"customer_id": 1}), Invalidation("inbox"))
            assert (await engine.fetch("orders", mine)).body == b'{"customer_orders":[11]}'
            assert (await engine.fetch("orders", other)).status == "hit"

        run(story)

    def test_every_users_own_copy_is_forgotten(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            for identity in (ANN, BOB):
                await engine.fetch("inbox", {}, identity=identity)
                assert (await engine.fetch("inbox", {}, identity=identity)).status == "hit"
            await engine.call("ship", {"order_id": 10}, identity=ANN)
            for identity in (ANN, BOB):
                assert (await engine.fetch("inbox", {}, identity=identity)).status == "miss"

        run(story)

    def test_an_argument_that_is_not_declared_is_refused_and_suppresses_no_purge(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            await engine.fetch("user", {"user_id": 5})
            with pytest.raises(InvalidInput) as caught:
                await engine.call("update_profile", {"user_id": 5, "name": "x", "page": 9})
            assert caught.value.errors[0]["loc"] == ["args", "page"]
            assert world.ran["update_profile"] == 0
            assert (await engine.fetch("user", {"user_id": 5})).status == "hit"

        run(story)

    @pytest.mark.parametrize("spelling", ["5", "05", "5.0", "+5", " 5", 5, 5.0])
    def test_one_value_has_one_entry_however_it_is_spelled(self, world: World, spelling: object) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            await engine.fetch("user", {"user_id": 5})
            assert (await engine.fetch("user", {"user_id": spelling})).status == "hit"
            assert (await engine.fetch("user", {"user_id": spelling, "page": "1"})).status == "hit"

        run(story)

    def test_null_and_the_text_null_are_two_bundles(self) -> None:
        @client(context="search")
        async def found(tag: str | None = None) -> list[str | None]:
            return [tag]

        async def story() -> None:
            engine = engine_of(found)
            assert (await engine.fetch("search", {})).body == b'{"found":[null]}'
            assert (await engine.fetch("search", {"tag": "null"})).body == b'{"found":["null"]}'
            assert (await engine.fetch("search", {"tag": None})).status == "hit"

        run(story)

    def test_a_nullable_parameter_without_a_default_is_null_where_it_is_left_out(self) -> None:
        @client(context="search")
        async def found(tag: str | None) -> list[str | None]:
            return [tag]

        async def story() -> None:
            engine = engine_of(found)
            assert (await engine.fetch("search", {})).body == b'{"found":[null]}'
            assert (await engine.fetch("search", {"tag": None})).status == "hit"

        run(story)

    def test_one_and_one_point_nought_are_one_float(self) -> None:
        @client(context="near")
        async def places(lat: float, of: set[int] = frozenset()) -> float:  # type: ignore[assignment]
            return lat

        async def story() -> None:
            engine = engine_of(places)
            first = await engine.fetch("near", {"lat": "1.0", "of": ["10", "9", "9"]})
            assert first.canonical_query == "lat=1&of=9&of=10"
            assert (await engine.fetch("near", {"lat": 1, "of": [9, 10]})).status == "hit"
            with pytest.raises(InvalidInput):
                await engine.fetch("near", {"lat": "nan"})

        run(story)

    def test_a_value_that_has_no_spelling_is_invalid_input(self) -> None:
        @client(context="near")
        async def places(lat: Annotated[float, AfterValidator(lambda value: value * 1e308)]) -> float:
            return lat

        async def story() -> None:
            with pytest.raises(InvalidInput) as caught:
                await engine_of(places).fetch("near", {"lat": 1e9})
            assert caught.value.errors[0]["loc"] == ["params", "lat"]

        run(story)

    def test_a_scope_that_no_mutation_declares_is_purged_by_the_widest_one_around_it(self) -> None:
        orders = Context("orders")

        @client(context=orders)
        async def listed(customer_id: int, page: int = 1) -> list[int]:
            return [customer_id, page]

        async def story() -> None:
            engine = engine_of(listed)
            await engine.fetch("orders", {"customer_id": 1})
            assert await engine.invalidate(orders, customer_id=2) == (Invalidation("orders", {"customer_id": 2}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_a_context_may_declare_the_scopes_that_bodies_name(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        @client(context=orders)
        async def listed(customer_id: int, page: int = 1) -> list[int]:
            return [customer_id, page]

        async def story() -> None:
            engine = engine_of(listed)
            await engine.fetch("orders", {"customer_id": 1})
            await engine.invalidate("orders", customer_id=2)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "hit"
            await engine.invalidate(listed, customer_id="1")
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    @pytest.mark.parametrize(("affected", "params"), [("nothing", {}), ("user", {"nme": 1}), ("update_profile", {})])
    def test_what_the_graph_does_not_know_cannot_be_invalidated(
        self, world: World, affected: str, params: dict[str, object]
    ) -> None:
        async def story() -> None:
            with pytest.raises(DeclarationError):
                await Engine(world.graph).invalidate(affected, **params)

        run(story)


class TestPrivacy:
    """Whom one stored answer serves."""

    def test_two_visitors_never_share_what_is_kept_per_user(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            for _ in range(2):
                bundle = await engine.fetch("inbox", {}, identity=ANONYMOUS)
                assert (bundle.status, bundle.policy) == ("bypass", "no-store")
            assert world.ran["my_messages"] == 2

        run(story)

    @pytest.mark.parametrize("user_id", ["0", ""])
    def test_ids_that_are_falsy_are_somebody(self, world: World, user_id: str) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            assert (await engine.fetch("inbox", {}, identity=Identity(user_id))).status == "miss"
            assert (await engine.fetch("inbox", {}, identity=Identity(user_id))).status == "hit"
            assert (await engine.call("ship", {"order_id": 10}, identity=Identity(user_id))).invalidations

        run(story)

    def test_a_changed_permission_set_does_not_see_what_the_old_one_was_shown(self) -> None:
        @client(context="desk", auth=True)
        async def desk(me: Identity) -> list[str]:
            return sorted(me.permissions or ())

        async def story() -> None:
            engine = engine_of(desk)
            before = Identity("1", permissions=frozenset({"close"}))
            assert (await engine.fetch("desk", {}, identity=before)).body == b'{"desk":["close"]}'
            assert (await engine.fetch("desk", {}, identity=Identity("1"))).body == b'{"desk":[]}'

        run(story)

    def test_equal_permission_sets_share_and_different_ones_do_not(self) -> None:
        @client(context="report", per="permissions")
        async def report(me: Identity) -> list[str]:
            return sorted(me.permissions or ())

        async def story() -> None:
            engine = engine_of(report)
            reads = frozenset({"read"})
            first = await engine.fetch("report", {}, identity=Identity("1", permissions=reads))
            assert (first.policy, first.varies) == ("private, no-cache", True)
            assert (await engine.fetch("report", {}, identity=Identity("2", permissions=reads))).status == "hit"
            assert (await engine.fetch("report", {}, identity=Identity("3"))).body == b'{"report":[]}'

        run(story)

    @pytest.mark.parametrize("attribute", ["user_id", "is_authenticated"])
    def test_a_report_for_a_permission_set_that_looks_at_the_user_is_nobody_elses(
        self, attribute: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        @client(context="report", per="permissions")
        async def report(me: Identity) -> str:
            return str(getattr(me, attribute))

        async def story() -> None:
            engine = engine_of(report)
            for identity in (ANN, BOB):
                bundle = await engine.fetch("report", {}, identity=identity)
                assert (bundle.status, bundle.policy) == ("bypass", "private, no-store")
                assert json.loads(bundle.body) == {"report": str(getattr(identity, attribute))}

        run(story)
        assert len(caplog.records) == 2
        assert "report" in caplog.text
        assert "per='user'" in caplog.text

    def test_a_guard_is_asked_on_every_request_also_where_the_answer_is_cached(self) -> None:
        asked: list[str | None] = []

        def may(identity: Identity) -> bool:
            asked.append(identity.user_id)
            return identity.user_id == "1"

        @client(context="secret", auth=may, per="all")
        async def secret() -> str:
            return "s"

        async def story() -> None:
            engine = engine_of(secret)
            assert (await engine.fetch("secret", {}, identity=ANN)).policy == "private, no-cache"
            assert (await engine.fetch("secret", {}, identity=ANN)).status == "hit"
            with pytest.raises(Forbidden):
                await engine.fetch("secret", {}, identity=BOB)
            with pytest.raises(Unauthorized):
                await engine.fetch("secret", {})

        run(story)
        assert asked == ["1", "1", "2", None]

    def test_a_request_that_cannot_be_watched_is_answered_and_not_stored(self) -> None:
        @client(context="page")
        async def page(request: object) -> str:
            return str(request)

        async def story() -> None:
            engine = engine_of(page)
            for request in ("a", "b"):
                bundle = await engine.fetch("page", {}, request=request)
                assert (bundle.status, bundle.policy) == ("bypass", "no-store")
                assert json.loads(bundle.body) == {"page": request}
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)


class TestGuards:
    @pytest.mark.parametrize(
        ("auth", "identity", "error"),
        [
            (True, ANONYMOUS, Unauthorized),
            (True, ANN, None),
            ("staff", ANONYMOUS, Unauthorized),
            ("staff", ANN, Forbidden),
            ("staff", Identity("1", staff=True), None),
            ("staff", Identity("1", superuser=True), None),
            ("superuser", Identity("1", staff=True), Forbidden),
            ("superuser", Identity("1", superuser=True), None),
            ("superuser", Identity(None, superuser=True), Unauthorized),
        ],
    )
    def test_who_is_let_through(self, auth: Any, identity: Identity, error: type[Exception] | None) -> None:
        @client(auth=auth)
        async def act() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(act)
            if error is None:
                assert (await engine.call("act", {}, identity=identity)).result == 1
            else:
                with pytest.raises(error):
                    await engine.call("act", {}, identity=identity)
            assert (await engine.run("act", {})).result == 1

        run(story)

    def test_authorisation_comes_before_validation(self) -> None:
        @client(auth=True)
        async def act(number: int) -> int:
            return number

        async def story() -> None:
            with pytest.raises(Unauthorized):
                await engine_of(act).call("act", {"number": "x"})

        run(story)

    def test_permissions_of_a_token_are_loaded_when_a_guard_asks_for_them(self) -> None:
        token = Identity("1", permissions=None, permission_key="k")
        loaded: list[str | None] = []

        async def load(identity: Identity) -> list[str]:
            loaded.append(identity.user_id)
            return ["close"]

        async def may_close(identity: Identity) -> bool:
            return identity.permissions is not None and "close" in identity.permissions

        @client(auth=may_close)
        async def close() -> int:
            return 1

        @client(auth=lambda identity: "close" in identity.permissions)
        async def close_bluntly() -> int:
            return 1

        @client(auth=lambda identity: identity.user_id == "1")
        async def own() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(close, close_bluntly, own, permissions=load)
            assert (await engine.call("own", {}, identity=token)).result == 1
            assert loaded == []
            assert (await engine.call("close", {}, identity=token)).result == 1
            assert (await engine.call("close_bluntly", {}, identity=token)).result == 1
            assert loaded == ["1", "1"]
            with pytest.raises(DeclarationError, match=r"close asks for identity\.permissions.*permissions="):
                await engine_of(close).call("close", {}, identity=token)

        run(story)

    def test_permissions_may_be_loaded_by_a_plain_function(self) -> None:
        @client(auth=lambda identity: "close" in identity.permissions)
        async def close() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(close, permissions=lambda identity: {"open"})
            with pytest.raises(Forbidden):
                await engine.call("close", {}, identity=Identity("1", permissions=None, permission_key="k"))

        run(story)

    def test_an_error_in_a_guard_that_asked_for_nothing_is_its_own(self) -> None:
        def broken(identity: Identity) -> bool:
            raise ZeroDivisionError

        @client(auth=broken)
        async def act() -> int:
            return 1

        async def story() -> None:
            with pytest.raises(ZeroDivisionError):
                await engine_of(act).call("act", {}, identity=Identity("1", permissions=None, permission_key="k"))

        run(story)


class TestSharing:
    """Concurrent misses run the readers once, and nobody takes the others along."""

    def test_twenty_at_once_run_the_readers_once(self) -> None:
        ran = 0

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            await asyncio.sleep(0.01)
            return ran

        async def story() -> None:
            bundles = await asyncio.gather(*(engine.fetch("slow", {}) for _ in range(20)))
            assert {bundle.body for bundle in bundles} == {b'{"slow":1}'}
            assert [bundle.cache_status for bundle in bundles].count("mizan; fwd=uri-miss; stored") == 1

        engine = engine_of(slow)
        run(story)

    def test_a_waiter_that_goes_away_does_not_take_the_others_with_it(self) -> None:
        ran = 0
        begun, go_on = asyncio.Event(), asyncio.Event()

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            begun.set()
            await go_on.wait()
            return ran

        async def story() -> None:
            engine = engine_of(slow)
            first = asyncio.create_task(engine.fetch("slow", {}))
            await begun.wait()
            others = [asyncio.create_task(engine.fetch("slow", {})) for _ in range(3)]
            await asyncio.sleep(0)
            first.cancel()
            others[0].cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert [(await other).body for other in others[1:]] == [b'{"slow":1}'] * 2
            assert first.cancelled()
            assert (await engine.fetch("slow", {})).status == "hit"

        run(story)
        assert ran == 1

    def test_an_error_is_everyones_who_waited_and_is_not_kept(self) -> None:
        ran = 0

        @client(context="slow")
        async def slow() -> int:
            nonlocal ran
            ran += 1
            await asyncio.sleep(0.01)
            raise Conflict(f"failed {ran}")

        async def story() -> None:
            engine = engine_of(slow)
            ended = await asyncio.gather(*(engine.fetch("slow", {}) for _ in range(3)), return_exceptions=True)
            assert [str(error) for error in ended] == ["failed 1"] * 3
            with pytest.raises(Conflict, match="failed 2"):
                await engine.fetch("slow", {})

        run(story)

    def test_an_error_that_nobody_waited_for_makes_no_noise(self, caplog: pytest.LogCaptureFixture) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        @client(context="slow")
        async def slow() -> int:
            begun.set()
            await go_on.wait()
            raise Conflict

        async def story() -> None:
            only = asyncio.create_task(engine_of(slow).fetch("slow", {}))
            await begun.wait()
            only.cancel()
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.sleep(0.01)
            gc.collect()

        run(story)
        assert caplog.records == []

    def test_sync_readers_of_a_bundle_share_one_trip_to_one_thread(self) -> None:
        threads: list[str] = []

        @client(context="page")
        def first() -> int:
            threads.append(threading.current_thread().name)
            return 1

        @client(context="page")
        async def second() -> int:
            threads.append(threading.current_thread().name)
            return 2

        @client(context="page")
        def third() -> int:
            threads.append(threading.current_thread().name)
            return 3

        async def story() -> None:
            bundle = await engine_of(first, second, third).fetch("page", {})
            assert bundle.body == b'{"first":1,"second":2,"third":3}'

        run(story)
        assert threads[0] == "MainThread"
        assert threads[1] == threads[2] != "MainThread"

    def test_readers_run_side_by_side_only_where_their_context_says_so(self) -> None:
        meeting = asyncio.Barrier(2)

        @client(context=Context("page", concurrent=True))
        async def first() -> int:
            await meeting.wait()
            return 1

        @client(context="page")
        async def second() -> int:
            await meeting.wait()
            return 2

        @client(context="page")
        def third() -> int:
            return 3

        async def story() -> None:
            assert (await engine_of(first, second, third).fetch("page", {})).status == "miss"

        run(story)

    def test_one_of_several_concurrent_readers_fails_with_its_own_error(self) -> None:
        @client(context=Context("page", concurrent=True))
        async def first() -> int:
            raise NotFound

        @client(context="page")
        async def second() -> int:
            await asyncio.sleep(60)
            return 2

        async def story() -> None:
            with pytest.raises(NotFound):
                await engine_of(first, second).fetch("page", {})

        run(story)


class TestMutations:
    def test_a_purge_waits_for_the_commit_of_a_thread_whose_caller_has_hung_up(self) -> None:
        rows = {"value": 1}
        begun, commit = threading.Event(), threading.Event()

        @client(context="page")
        async def page() -> int:
            return rows["value"]

        @client(affects="page")
        def write() -> None:
            begun.set()
            commit.wait(50)
            rows["value"] = 2

        async def story() -> None:
            async with engine_of(page, write) as engine:
                await engine.fetch("page", {})
                caller = asyncio.create_task(engine.call("write", {}))
                await asyncio.to_thread(begun.wait)
                caller.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await caller
                assert (await engine.fetch("page", {})).status == "bypass"
                commit.set()
            assert (await engine.fetch("page", {})).body == b'{"page":2}'
            assert (await engine.fetch("page", {})).status == "hit"

        run(story)

    def test_cancelling_the_mutation_itself_still_waits_for_its_thread_and_purges(self) -> None:
        rows = {"value": 1}
        begun, commit = threading.Event(), threading.Event()

        @client(context="page")
        async def page() -> int:
            return rows["value"]

        @client(affects="page")
        def write() -> None:
            begun.set()
            commit.wait(50)
            rows["value"] = 2

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await asyncio.to_thread(begun.wait)
            (mutation,) = engine._mutations._tasks._running.values()
            mutation.cancel()
            await asyncio.sleep(0.01)
            assert not mutation.done()
            commit.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).body == b'{"page":2}'

        run(story)

    def test_a_function_that_affects_nothing_and_is_cancelled_has_purged_what_it_named(self) -> None:
        begun = asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> None:
            invalidate("page")
            begun.set()
            await asyncio.sleep(60)

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            (task,) = engine._mutations._tasks._running.values()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).status == "miss"
            assert engine.health().running == 0

        run(story)

    @pytest.mark.parametrize("is_cancelled", [False, True])
    def test_a_mutation_whose_caller_has_gone_away_ends_and_purges_all_the_same(self, is_cancelled: bool) -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        rows = {"value": 1}

        @client(context="page")
        async def page() -> int:
            return rows["value"]

        @client(affects="page")
        async def write() -> None:
            rows["value"] = 2
            begun.set()
            await go_on.wait()

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            (mutation,) = engine._mutations._tasks._running.values()
            if is_cancelled:
                mutation.cancel()
            go_on.set()
            await asyncio.wait([mutation])
            assert mutation.cancelled() == is_cancelled
            assert (await engine.fetch("page", {})).body == b'{"page":2}'
            assert engine.health().running == 0

        run(story)

    def test_an_async_mutation_that_is_cancelled_has_purged_all_it_declared(self) -> None:
        begun = asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects=Context("page").by_body())
        async def write() -> None:
            begun.set()
            await asyncio.sleep(60)

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            caller = asyncio.create_task(engine.call("write", {}))
            await begun.wait()
            (mutation,) = engine._mutations._tasks._running.values()
            mutation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_the_first_of_two_overlapping_mutations_does_not_open_the_scope_for_the_second(self) -> None:
        first_goes, second_goes = asyncio.Event(), asyncio.Event()

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        async def write(first: bool) -> None:
            await (first_goes if first else second_goes).wait()

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            first = asyncio.create_task(engine.call("write", {"first": True}))
            second = asyncio.create_task(engine.call("write", {"first": False}))
            await asyncio.sleep(0.01)
            assert (await engine.fetch("page", {})).policy == "no-store"
            first_goes.set()
            await first
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=bypass; detail=held"
            second_goes.set()
            await second
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=uri-miss; stored"

        run(story)

    def test_a_bundle_that_was_purged_while_it_was_computed_is_for_nobody_else(self) -> None:
        reading, read_on = asyncio.Event(), asyncio.Event()

        @client(context="page")
        async def page() -> int:
            reading.set()
            await read_on.wait()
            return 1

        @client(affects="page")
        async def write() -> None:
            pass

        async def story() -> None:
            engine = engine_of(page, write)
            early = asyncio.create_task(engine.fetch("page", {}))
            await reading.wait()
            joined = asyncio.create_task(engine.fetch("page", {}))
            await asyncio.sleep(0)
            await engine.call("write", {})
            late = asyncio.create_task(engine.fetch("page", {}))
            await asyncio.sleep(0)
            read_on.set()
            assert (await early).cache_status == (await joined).cache_status == "mizan; fwd=bypass; detail=purged"
            assert (await early).policy == "no-store"
            assert (await late).cache_status == "mizan; fwd=uri-miss; stored"

        run(story)

    def test_a_refusal_affects_nothing_but_what_the_body_had_named(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(context="other")
        async def other() -> int:
            return 1

        @client(affects=["other", orders.by_body()])
        async def write(name_it: bool) -> None:
            if name_it:
                invalidate(orders, customer_id=1)
            raise Conflict

        async def story() -> None:
            engine = engine_of(listed, other, write)
            for params in ({"customer_id": 1}, {"customer_id": 2}):
                await engine.fetch("orders", params)
            await engine.fetch("other", {})
            refused = await ended_of(engine.begin("write", {"name_it": True}))
            assert refused.invalidations == (Invalidation("orders", {"customer_id": 1}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"
            assert (await engine.fetch("orders", {"customer_id": 2})).status == "hit"
            assert (await ended_of(engine.begin("write", {"name_it": False}))).invalidations == ()

        run(story)

    def test_an_unexpected_error_leaves_everything_declared_out_of_date(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])

        class Shipped(BaseModel):
            customer_id: int

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(context="by_body")
        async def other(number: int = 0) -> int:
            return number

        @client(affects=[orders.where(customer_id=Result("customer_id")), Context("by_body").by_body()])
        async def write() -> Shipped:
            raise ZeroDivisionError("secret")

        async def story() -> None:
            engine = engine_of(listed, other, write)
            await engine.fetch("orders", {"customer_id": 1})
            failed = await ended_of(engine.begin("write", {}))
            assert failed.invalidations == (Invalidation("orders"), Invalidation("by_body"))
            with pytest.raises(ZeroDivisionError):
                await engine.call("write", {})
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_a_result_that_does_not_fit_its_annotation_is_an_error_after_the_purge(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        async def write() -> Profile:
            return {"user_id": "not a number"}  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(page, write)
            await engine.fetch("page", {})
            ended = await ended_of(engine.begin("write", {}))
            assert ended.invalidations == (Invalidation("page"),)
            with pytest.raises(ValueError, match="validation error"):
                await engine.call("write", {})
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_a_result_that_does_not_fit_says_whose_it_was(self) -> None:
        class Late(BaseModel, defer_build=True):
            page: int

        @client(context="page")
        async def page() -> int:
            return "x"  # type: ignore[return-value]

        @client
        async def late() -> Late:
            return 5  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(page, late)
            with pytest.raises(ValueError, match="1 validation error for the result of page"):
                await engine.fetch("page", {})
            with pytest.raises(ValueError, match="1 validation error for the result of late"):
                await engine.call("late", {})

        run(story)

    def test_results_come_through_the_return_annotation(self) -> None:
        class Row:
            user_id, name, password = 1, "Ada", "secret"

        @client(context="user")
        async def profile() -> Profile:
            return Row()  # type: ignore[return-value]

        async def story() -> None:
            engine = engine_of(profile)
            assert (await engine.fetch("user", {})).body == b'{"profile":{"name":"Ada","user_id":1}}'
            assert (await engine.call("profile", {})).body == b'{"result":{"name":"Ada","user_id":1}}'

        run(story)

    def test_the_scopes_that_a_thread_names_are_held_at_once_and_purged_in_the_end(self) -> None:
        orders = Context("orders", scopes=[("customer_id",)])
        named, go_on = threading.Event(), threading.Event()

        @client(context=orders)
        async def listed(customer_id: int) -> int:
            return customer_id

        @client(affects=orders.by_body())
        def write() -> None:
            invalidate(orders, customer_id=1)
            invalidate(orders, customer_id=1)
            named.set()
            go_on.wait(50)

        async def story() -> None:
            engine = engine_of(listed, write)
            await engine.fetch("orders", {"customer_id": 1})
            writing = asyncio.create_task(engine.call("write", {}))
            await asyncio.to_thread(named.wait)
            await asyncio.sleep(0.01)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "bypass"
            assert (await engine.fetch("orders", {"customer_id": 2})).status == "miss"
            go_on.set()
            assert (await writing).invalidations == (Invalidation("orders", {"customer_id": 1}),)
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "hit"

        run(story)

    def test_a_function_that_declares_no_effects_may_still_name_some(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def act() -> None:
            invalidate("page")

        async def story() -> None:
            engine = engine_of(page, act)
            await engine.fetch("page", {})
            assert (await engine.call("act", {})).body == b'{"invalidate":["page"],"result":null}'
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_readers_name_nothing_also_when_a_mutation_fetches_them(self) -> None:
        engines: list[Engine] = []

        def helper() -> None:
            invalidate("page")

        @client(context="page")
        async def page() -> int:
            helper()
            return 1

        @client(context="fine", cache=False)
        async def fine() -> int:
            return 1

        @client(affects="fine")
        async def write() -> bytes:
            bundle = await engines[0].fetch("fine", {})
            with pytest.raises(DeclarationError, match="outside of a mutation"):
                await engines[0].fetch("page", {})
            invalidate("page")
            return bundle.body

        async def story() -> None:
            engines.append(engine_of(page, fine, write))
            assert (await engines[0].call("write", {})).invalidations == (Invalidation("fine"), Invalidation("page"))
            with pytest.raises(DeclarationError):
                await engines[0].call("page", {})

        run(story)

    def test_a_mutation_that_never_waits_is_not_served_what_it_has_just_changed(self) -> None:
        names = {5: "Ann"}
        engines: list[Engine] = []

        @client(context="user")
        async def user_name(user_id: int) -> str:
            return names[user_id]

        @client(affects="user")
        async def rename(user_id: int, name: str) -> bytes:
            names[user_id] = name
            bundle = await engines[0].fetch("user", {"user_id": user_id})
            assert bundle.cache_status == "mizan; fwd=bypass; detail=held"
            return bundle.body

        async def story() -> None:
            engines.append(engine_of(user_name, rename))
            for name in ("Eve", "Zoe"):
                await engines[0].fetch("user", {"user_id": 5})
                answer = await engines[0].call("rename", {"user_id": 5, "name": name})
                assert json.loads(answer.result) == {"user_name": name}
                assert (await engines[0].fetch("user", {"user_id": 5})).status == "miss"

        run(story)

    @pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
    def test_nor_is_one_served_what_its_body_has_just_named(self, cache: type[MemoryCache]) -> None:
        engines: list[Engine] = []

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> str:
            invalidate("page")
            return (await engines[0].fetch("page", {})).cache_status

        async def story() -> None:
            engines.append(engine_of(page, write, cache=cache(), cache_secret="s" * 32))
            for _ in range(2):
                await engines[0].fetch("page", {})
                assert (await engines[0].call("write", {})).result == "mizan; fwd=bypass; detail=held"
                assert (await engines[0].fetch("page", {})).status == "miss"

        run(story)

    def test_what_a_decorator_makes_of_a_mutation_need_not_be_a_coroutine(self) -> None:
        def in_a_task(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def begin(*args: Any, **options: Any) -> asyncio.Task[Any]:
                return asyncio.ensure_future(function(*args, **options))

            return begin

        @client(context="page")
        async def page() -> int:
            return 1

        @client(affects="page")
        @in_a_task
        async def write() -> int:
            return 1

        @client(affects="page")
        @in_a_task
        async def write_as(me: Identity) -> int:
            return 2

        async def story() -> None:
            engine = engine_of(page, write, write_as)
            assert [(await engine.call(name, {})).result for name in ("write", "write_as")] == [1, 2]

        run(story)

    @pytest.mark.parametrize("affects", ["user", None])
    def test_who_names_scopes_after_the_function_has_ended_is_told_and_holds_nothing(self, affects: str | None) -> None:
        late: list[asyncio.Task[None]] = []

        @client(context="user")
        async def user_name(user_id: int) -> str:
            return "Ann"

        async def name_late() -> None:
            await asyncio.sleep(0)
            with pytest.raises(DeclarationError, match=r"engine\.invalidate"):
                invalidate("user", user_id=5)
            await engines[0].fetch("user", {"user_id": 5})

        @client(affects=affects and Context("user").where(user_id=Arg("number")))
        async def write(number: int) -> None:
            late.append(asyncio.create_task(name_late()))

        engines: list[Engine] = []

        async def story() -> None:
            engines.append(engine_of(user_name, write))
            await engines[0].call("write", {"number": 5})
            await late[0]
            assert (await engines[0].fetch("user", {"user_id": 5})).status == "hit"

        run(story)

    def test_a_function_in_a_thread_that_runs_out_of_an_iterator_fails_as_any_other_does(self) -> None:
        @client(context="page")
        def page() -> int:
            return next(iter(()))

        @client(affects="page")
        def write() -> int:
            return next(iter(()))

        async def story() -> None:
            engine = engine_of(page, write)
            async with asyncio.timeout(5):
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await engine.fetch("page", {})
                ended = await ended_of(engine.begin("write", {}))
            assert isinstance(ended, Failure)
            assert ended.invalidations == (Invalidation("page"),)
            await engine.aclose()
            assert engine.health().running == 0

        run(story)

    def test_what_a_thread_names_while_the_function_ends_is_purged_and_not_held_afterwards(self) -> None:
        @client(context="page")
        async def page() -> int:
            return 1

        @client(context="other")
        async def other() -> int:
            return 1

        @client(affects="other")
        async def write() -> None:
            naming = threading.Thread(target=contextvars.copy_context().run, args=(invalidate, "page"))
            naming.start()
            naming.join()

        async def story() -> None:
            engine = engine_of(page, other, write)
            await engine.fetch("page", {})
            assert (await engine.call("write", {})).invalidations == (Invalidation("other"), Invalidation("page"))
            assert [(await engine.fetch("page", {})).status for _ in range(2)] == ["miss", "hit"]

        run(story)

    def test_a_thread_names_scopes_also_where_another_loop_ran_the_function_before(self) -> None:
        names = False

        @client(context="page")
        async def page() -> int:
            return 1

        @client
        async def write() -> None:
            if names:
                await asyncio.to_thread(invalidate, "page")

        engine = engine_of(page, write)

        async def story() -> None:
            await engine.call("write", {})
            assert (await engine.call("write", {})).invalidations == ((Invalidation("page"),) if names else ())

        run(story)
        names = True
        run(story)

    def test_invalidate_outside_of_a_mutation_says_what_to_use_instead(self) -> None:
        with pytest.raises(DeclarationError, match=r"engine\.invalidate"):
            invalidate("page")

    def test_a_script_purges_what_the_web_process_caches(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            await engine.fetch("orders", {"customer_id": 1})
            answer = await engine.run("import_orders", {"customer_ids": [1, 3]})
            assert answer.result == 2
            assert answer.invalidations == tuple(Invalidation("orders", {"customer_id": n}) for n in (1, 3))
            assert (await engine.fetch("orders", {"customer_id": 1})).body == b'{"customer_orders":[10,11,100]}'

        run(story)

    def test_private_functions_are_for_the_server(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph)
            with pytest.raises(Forbidden):
                await engine.call("import_orders", {"customer_ids": []})
            with pytest.raises(NotFound):
                await engine.call("import", {})
            with pytest.raises(NotFound):
                await engine.fetch("nothing", {})

        run(story)

    def test_closing_waits_for_mutations_and_says_so_when_it_has_waited_long_enough(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        go_on = asyncio.Event()

        @client(affects="page")
        async def write() -> None:
            await go_on.wait()

        @client(context="page")
        async def page() -> int:
            return 1

        async def story() -> None:
            engine = engine_of(page, write, shutdown=0.01)
            writing = asyncio.create_task(engine.call("write", {}))
            await asyncio.sleep(0)
            await engine.aclose()
            assert "1 mutations were still running" in caplog.text
            go_on.set()
            await writing
            await engine.aclose()
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_whole_purges_give_back_the_memory_of_what_they_killed(self, world: World) -> None:
        async def story() -> None:
            cache = MemoryCache()
            engine = Engine(world.graph, cache=cache)
            for number in range(50):
                await engine.fetch("user", {"user_id": number})
            assert len(cache) > 100
            await asyncio.gather(engine.invalidate("user"), engine.invalidate("user"))
            await engine.aclose()
            assert not [key for key in cache._entries if key.startswith("ctx:user:")]

        run(story)


class TestPolicies:
    def test_seconds_bound_the_cache_and_a_hit_sends_what_remains(self, world: World) -> None:
        async def story() -> None:
            clock = Clock()
            engine = Engine(world.graph, cache=MemoryCache(), clock=clock)
            public = "public, max-age=0, must-revalidate, s-maxage="
            assert (await engine.fetch("orders", {"customer_id": 1})).policy == public + "60"
            clock.now += 12.5
            assert (await engine.fetch("orders", {"customer_id": 1})).policy == public + "47"
            clock.now += 47.5
            assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_one_second_is_not_for_ever(self) -> None:
        @client(context="page", cache=1)
        async def page() -> int:
            return 1

        async def story() -> None:
            clock = Clock()
            engine = engine_of(page, clock=clock)
            await engine.fetch("page", {})
            clock.now += 0.9
            assert (await engine.fetch("page", {})).status == "hit"
            clock.now += 0.2
            assert (await engine.fetch("page", {})).status == "miss"

        run(story)

    def test_until_purged_has_an_end_all_the_same(self, world: World) -> None:
        async def story() -> None:
            clock = Clock()
            engine = Engine(world.graph, cache=MemoryCache(), clock=clock, max_age=100)
            await engine.fetch("user", {"user_id": 1})
            clock.now += 99
            assert (await engine.fetch("user", {"user_id": 1})).policy.endswith("s-maxage=31536000")
            clock.now += 1
            assert (await engine.fetch("user", {"user_id": 1})).status == "miss"

        run(story)

    def test_cache_false_is_never_kept_and_its_readers_may_see_who_asks(self) -> None:
        @client(context="cart", cache=False, per="all")
        async def cart(request: object) -> str:
            return str(request)

        async def story() -> None:
            engine = engine_of(cart)
            for request in ("a", "b"):
                bundle = await engine.fetch("cart", {}, request=request)
                assert (bundle.status, bundle.policy) == ("bypass", "no-store")
                assert request.encode() in bundle.body

        run(story)

    def test_without_a_cache_everything_is_computed_and_purges_still_show(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph)
            for _ in range(2):
                bundle = await engine.fetch("user", {"user_id": 5})
                assert (bundle.status, bundle.cache_status) == ("miss", "mizan; fwd=uri-miss")
                assert bundle.policy.startswith("public")
            assert world.ran["user_profile"] == 2

        run(story)

    def test_a_bundle_is_sorted_at_every_level_and_keeps_every_digit(self) -> None:
        @client(context="page")
        async def zebra() -> dict[str, Any]:
            return {"b": {"z": 1, "a": 2**70}, "a": "é\u2028", "n": float("nan")}

        async def story() -> None:
            body = (await engine_of(zebra).fetch("page", {})).body
            digits = str(2**70)
            assert body.decode() == '{"zebra":{"a":"é\u2028","b":{"a":' + digits + ',"z":1},"n":null}}'

        run(story)


class TestSettings:
    @pytest.mark.parametrize(
        "options",
        [
            {"cache_secret": "short"},
            {"cache_secret": 5},
            {"on_cache_failure": "shrug"},
            {"threads": 0},
            {"deadline": 0},
            {"hold": -1.0},
            {"max_age": float("nan")},
            {"max_age": float("inf")},
        ],
    )
    def test_what_cannot_work_is_refused(self, world: World, options: dict[str, Any]) -> None:
        with pytest.raises(DeclarationError):
            Engine(world.graph, **options)

    @pytest.mark.parametrize("functions", [[], "blog"])
    def test_what_is_no_graph_is_refused(self, functions: Any) -> None:
        with pytest.raises(DeclarationError, match=rf"build\(\[...\]\) .* this is a {type(functions).__name__}\."):
            Engine(functions)

    def test_a_shared_cache_needs_a_shared_secret(self, world: World) -> None:
        class Shared(MemoryCache):
            shared = True

        with pytest.raises(DeclarationError, match="cache_secret"):
            Engine(world.graph, cache=Shared())
        assert Engine(world.graph, cache=Shared(), cache_secret="s" * 32).cache_is_shared

    def test_a_cache_of_unknown_reach_without_a_secret_is_warned_about(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Mine:
            get = set = delete = delete_by_prefix = clear = MemoryCache.clear

        with caplog.at_level(logging.WARNING):
            Engine(world.graph, cache=Mine())  # type: ignore[arg-type]
        assert "No cache_secret was given" in caplog.text


class FailingCache(MemoryCache):
    """A cache that fails where it is told to."""

    broken = False

    async def get(self, *keys: str) -> list[bytes | None]:
        self._try()
        return await super().get(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        self._try()
        return await super().set(key, value, ttl, if_absent=if_absent)

    async def delete(self, *keys: str) -> int:
        self._try()
        return await super().delete(*keys)

    def _try(self) -> None:
        if self.broken:
            raise ConnectionError


class TestCacheFailure:
    def test_refuse_answers_503_before_the_function_runs(self, world: World) -> None:
        async def story() -> None:
            cache = FailingCache()
            async with Engine(world.graph, cache=cache, on_cache_failure="refuse", shutdown=0) as engine:
                cache.broken = True
                for name, args in (("update_profile", {"user_id": 5, "name": "x"}), ("ship", {"order_id": 10})):
                    with pytest.raises(Unavailable):
                        await engine.call(name, args, identity=ANN)
                assert world.ran["update_profile"] == world.ran["ship"] == 0
                assert (await engine.fetch("user", {"user_id": 5})).cache_status.endswith("detail=cache-down")

        run(story)

    def test_refuse_acknowledges_nothing_whose_purge_has_not_got_through(self, world: World) -> None:
        async def story() -> None:
            cache = FailingCache()
            async with Engine(world.graph, cache=cache, on_cache_failure="refuse") as engine:
                await engine.fetch("orders", {"customer_id": 1})
                cache.broken = True
                purging = asyncio.create_task(engine.invalidate("orders", customer_id=1))
                await asyncio.sleep(0.05)
                assert not purging.done()
                assert engine.health().owed_purges == 1
                cache.broken = False
                await purging
                assert engine.health().owed_purges == 0

        run(story)

    def test_allow_runs_it_and_purges_as_soon_as_it_can(self, world: World) -> None:
        async def story() -> None:
            cache = FailingCache()
            async with Engine(world.graph, cache=cache) as engine:
                await engine.fetch("user", {"user_id": 5})
                other = {"customer_id": 1}
                cache.broken = True
                await engine.call("update_profile", {"user_id": 5, "name": "x"})
                assert engine.health() == Health(cache="down", owed_purges=1, running=0)
                cache.broken = False
                while engine.health().cache != "settling":
                    await asyncio.sleep(0.01)
                assert (await engine.fetch("orders", other)).cache_status.endswith("detail=cache-settling")
                while engine.health().cache != "up":
                    await asyncio.sleep(0.05)
                assert (await engine.fetch("orders", other)).status == "miss"
                assert b'"x"' in (await engine.fetch("user", {"user_id": 5})).body
                assert engine.health() == Health(cache="up", owed_purges=0, running=0)

        run(story)

    def test_a_context_whose_purge_is_owed_bypasses_the_cache_until_a_second_after(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guard, "SETTLING_SECONDS", 0.0)
        monkeypatch.setattr(debts, "AFTER_PURGE_SECONDS", 0.3)

        async def story() -> None:
            cache = FailingCache()
            async with Engine(world.graph, cache=cache) as engine:
                cache.broken = True
                await engine.call("update_profile", {"user_id": 5, "name": "x"})
                cache.broken = False
                while engine.health().owed_purges or engine.health().cache != "up":
                    await asyncio.sleep(0.01)
                owed = await engine.fetch("user", {"user_id": 7})
                assert owed.cache_status == "mizan; fwd=bypass; detail=purge-owed"
                assert (await engine.fetch("orders", {"customer_id": 1})).status == "miss"
                await asyncio.sleep(0.35)
                assert (await engine.fetch("user", {"user_id": 7})).status == "miss"

        run(story)

    def test_every_change_of_state_is_logged_once(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        async def story() -> None:
            cache = FailingCache()
            async with Engine(world.graph, cache=cache) as engine:
                cache.broken = True
                for _ in range(3):
                    await engine.fetch("user", {"user_id": 5})
                    await engine.call("update_profile", {"user_id": 5, "name": "x"})
                cache.broken = False
                while engine.health().cache != "up":
                    await asyncio.sleep(0.01)

        run(story)
        told = [record.getMessage().split(":")[0].split(".")[0] for record in caplog.records if record.name == "mizan"]
        assert sorted(told) == [
            "A purge did not get through",
            "Every purge that was owed has got through",
            "The cache is down",
            "The cache is up again",
        ]

    def test_closing_gives_up_in_time_what_can_never_be_paid(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story() -> None:
            cache = FailingCache()
            engine = Engine(world.graph, cache=cache, shutdown=0.05)
            cache.broken = True
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            await engine.aclose()
            assert "Purges that never got through: 1." in caplog.text

        run(story)

    def test_what_was_still_owed_when_it_closed_is_paid_once_it_is_used_again(self, world: World) -> None:
        cache = FailingCache()
        engine = Engine(world.graph, cache=cache, shutdown=0.05)

        async def closes() -> None:
            await engine.fetch("user", {"user_id": 5})
            cache.broken = True
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            await engine.aclose()
            cache.broken = False

        async def opens_again() -> None:
            assert engine.health().owed_purges == 1
            fetched = await engine.fetch("user", {"user_id": 5})
            assert fetched.cache_status == "mizan; fwd=bypass; detail=purge-owed"
            while engine.health().owed_purges:
                await asyncio.sleep(0.01)
            await engine.aclose()

        run(closes)
        run(opens_again)

    def test_a_mutation_whose_purge_does_not_get_through_is_not_told_as_a_success(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.05)
        cache = FailingCache()

        @client(context="page")
        async def page(number: int) -> int:
            return number

        @client(affects="page")
        async def write(number: int) -> None:
            cache.broken = True

        async def story() -> None:
            engine = Engine(build([page, write]), cache=cache, on_cache_failure="refuse", shutdown=0.05)
            ended = await ended_of(engine.begin("write", {"number": 5}))
            assert isinstance(ended, Failure)
            assert isinstance(ended.error, CacheUnavailable)
            assert ended.invalidations == (Invalidation("page", {"number": 5}),)
            with pytest.raises(CacheUnavailable):
                await engine.invalidate("page", number=5)
            assert engine.health().owed_purges == 2
            await engine.aclose()

        run(story)

    def test_closing_waits_for_what_can_be_paid(self, world: World) -> None:
        async def story() -> None:
            cache = FailingCache()
            engine = Engine(world.graph, cache=cache)
            cache.broken = True
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            cache.broken = False
            await engine.aclose()
            assert engine.health().owed_purges == 0

        run(story)

    @pytest.mark.parametrize("broken_at", range(1, 6))
    def test_wherever_it_fails_a_read_is_answered_and_is_for_nobody_else(self, world: World, broken_at: int) -> None:
        class FailsLate(MemoryCache):
            calls = 0

            async def get(self, *keys: str) -> list[bytes | None]:
                self._count()
                return await super().get(*keys)

            async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
                self._count()
                return await super().set(key, value, ttl, if_absent=if_absent)

            def _count(self) -> None:
                self.calls += 1
                if self.calls == broken_at:
                    raise ConnectionError

        async def story() -> None:
            async with Engine(world.graph, cache=FailsLate()) as engine:
                bundle = await engine.fetch("user", {"user_id": 5})
                assert b"Ada" in bundle.body
                assert bundle.cache_status == "mizan; fwd=bypass; detail=cache-down"

        run(story)

    def test_a_page_of_a_cache_that_is_down_may_not_be_kept(self) -> None:
        @client(context="page", route="/data/")
        async def data() -> int:
            return 1

        async def story() -> None:
            cache = FailingCache()
            async with engine_of(data, cache=cache) as engine:
                assert (await engine.page("data", {})).keepable
                cache.broken = True
                assert not (await engine.page("data", {})).keepable
                assert not (await engine.page("data", {})).keepable

        run(story)

    def test_a_command_that_hangs_costs_the_deadline_once(self, world: World) -> None:
        class Hangs(MemoryCache):
            async def get(self, *keys: str) -> list[bytes | None]:
                await asyncio.sleep(60)
                return []

        async def story() -> None:
            async with Engine(world.graph, cache=Hangs(), deadline=0.05) as engine:
                loop = asyncio.get_running_loop()
                began = loop.time()
                for _ in range(20):
                    await engine.fetch("user", {"user_id": 5})
                assert 0.05 <= loop.time() - began < 0.2

        run(story)


@pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
class TestVersions:
    """Two versions of a program over one cache: neither keeps what the other purged."""

    def versions(self, kind: type[MemoryCache]) -> tuple[Engine, Engine, dict[str, int]]:
        rows = {"value": 0}
        orders = Context("orders")

        @client(context=orders)
        async def listed(customer_id: int, page: int = 1) -> int:
            return rows["value"]

        @client(affects=orders)
        async def change(customer_id: int) -> None:
            rows["value"] += 1

        @client(affects=orders.where(page=Arg("page")))
        async def change_page(page: int) -> None:
            rows["value"] += 1

        cache = kind()
        old, new = (
            Engine(build(functions), cache=cache, cache_secret="s" * 32)
            for functions in ([listed, change], [listed, change, change_page])
        )
        return old, new, rows

    def test_a_narrow_purge_of_the_new_reaches_what_the_old_has_stored(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            for _ in range(2):
                await old.fetch("orders", {"customer_id": 1})
            assert (await old.fetch("orders", {"customer_id": 1})).status == "hit"
            await new.call("change_page", {"page": 1})
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)

    def test_so_does_a_purge_without_a_mutation(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            await old.fetch("orders", {"customer_id": 1})
            rows["value"] += 1
            await new.invalidate("orders", page=1)
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)

    def test_while_the_new_mutates_the_old_stores_nothing(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, _ = self.versions(cache)
            await old.fetch("orders", {"customer_id": 1})
            hold = new._store.hold(new._addresses.purged([Invalidation("orders", {"page": 1})]))
            await begin(hold)
            assert (await old.fetch("orders", {"customer_id": 1})).cache_status.endswith("detail=held")
            await end(hold)
            assert (await old.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_nothing_is_served_that_other_readers_have_made(self, cache: type[MemoryCache]) -> None:
        user = Context("user")

        @client(context=user)
        async def profile() -> str:
            return "Ada"

        @client(context=user)
        async def letters() -> list[str]:
            return []

        async def story() -> None:
            shared = cache()
            old, new = (
                Engine(build(functions), cache=shared, cache_secret="s" * 32)
                for functions in ([profile], [profile, letters])
            )
            await old.fetch("user", {})
            for _ in range(3):
                assert set(json.loads((await new.fetch("user", {})).body)) == {"profile", "letters"}
                assert set(json.loads((await old.fetch("user", {})).body)) == {"profile"}

        run(story)

    def test_a_version_takes_a_context_over_at_most_once_a_minute(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, _ = self.versions(cache)
            one = {"customer_id": 1}
            await old.fetch("orders", one)
            assert (await new.fetch("orders", one)).cache_status.endswith("detail=other-version")
            assert [(await new.fetch("orders", one)).status for _ in range(2)] == ["miss", "hit"]
            assert (await old.fetch("orders", one)).cache_status.endswith("detail=other-version")
            assert (await old.fetch("orders", one)).status == "miss"
            assert (await new.fetch("orders", one)).cache_status.endswith("detail=other-version")
            assert (await new.fetch("orders", one)).cache_status.endswith("detail=other-version")
            assert (await old.fetch("orders", one)).status == "hit"

        run(story)

    def test_a_mutation_claims_a_cold_context_so_that_no_other_version_stores_what_it_would_miss(
        self, cache: type[MemoryCache]
    ) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            hold = new._store.hold(new._addresses.purged([Invalidation("orders", {"page": 1})]))
            await begin(hold)
            old_bundle = await old.fetch("orders", {"customer_id": 1})
            assert old_bundle.cache_status.endswith("detail=other-version")
            rows["value"] += 1
            await end(hold)
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)


class TestFunctionsThatNeverWaited:
    """They take no task, unless they are mutations."""

    def functions(self, done: list[str], gate: list[asyncio.Event]) -> tuple[Any, ...]:
        async def wrote() -> int:
            if gate:
                await gate[0].wait()
            done.append("written")
            return len(done)

        @client(context="page")
        async def page() -> int:
            return len(done)

        @client(affects="page")
        async def declares() -> int:
            return await wrote()

        @client
        async def names() -> int:
            invalidate("page")
            return await wrote()

        return page, declares, names

    @pytest.mark.parametrize("name", ["declares", "names"])
    def test_what_changes_something_runs_to_its_end_though_it_waits_for_the_first_time(self, name: str) -> None:
        done: list[str] = []
        gate: list[asyncio.Event] = []

        async def story() -> None:
            engine = Engine(build(self.functions(done, gate)), cache=MemoryCache())
            for _ in range(2):
                await engine.call(name, {})
            gate.append(asyncio.Event())
            caller = asyncio.create_task(engine.call(name, {}))
            await asyncio.sleep(0.01)
            assert engine.health().running == 1
            assert (await engine.fetch("page", {})).cache_status == "mizan; fwd=bypass; detail=held"
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            gate[0].set()
            await engine.aclose()
            assert done == ["written"] * 3
            assert json.loads((await engine.fetch("page", {})).body) == {"page": 3}

        run(story)
