"""The seam for everything that watches an engine: what is told, when, and that nothing is where nobody observes."""

import asyncio
import contextlib
import logging
import re
from typing import Any

import pytest

from mizan_core import (
    ANONYMOUS,
    Conflict,
    Context,
    Engine,
    Identity,
    Invalidation,
    MemoryCache,
    RedisCache,
    build,
    client,
    invalidate,
)
from mizan_core.engine.observers import (
    CacheChanged,
    Called,
    Calling,
    DebugLog,
    Fetched,
    FetchFailed,
    Observer,
    Purged,
    Refused,
)
from mizan_core.errors import InvalidInput, NotFound, Unauthorized
from mizan_core.testing.redis_server import RedisServer
from tests.cache.holding_cache import HoldingCache

Rows = Context("rows")


class Site:
    """A row that is read, written, and refused."""

    def __init__(self, **options: Any) -> None:
        self.rows = {1: "old"}
        self.seen = Seen()
        self.engine = Engine(build([self.row(), self.write(), self.look()]), observers=[self.seen], **options)

    def row(self) -> Any:
        @client(context=Rows)
        async def row(number: int) -> str:
            if number not in self.rows:
                raise NotFound
            return self.rows[number]

        return row

    def write(self) -> Any:
        @client(affects=Rows)
        async def write(number: int, text: str = "new", refuse: bool = False) -> None:
            if refuse:
                raise Conflict
            await asyncio.sleep(0)
            self.rows[number] = text

        return write

    def look(self) -> Any:
        @client
        async def look(name_it: bool = False) -> int:
            if name_it:
                invalidate(Rows, number=1)
            return 1

        return look


class Seen(Observer):
    """Remembers every event."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.fetched = self.fetch_failed = self.calling = self.called = self.purged = self.events.append  # type: ignore[method-assign]
        self.cache_changed = self.events.append  # type: ignore[method-assign]
        self.refused = self.events.append  # type: ignore[method-assign]

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.events if isinstance(one, kind)]


@pytest.mark.asyncio
async def test_a_fetch_says_hit_or_why_it_was_none() -> None:
    site = Site(cache=MemoryCache())
    for _ in range(2):
        await site.engine.fetch("rows", {"number": 1}, identity=Identity(5))
    miss, hit = site.seen.of(Fetched)
    assert (miss.context, miss.params, miss.status, miss.bytes) == ("rows", {"number": "1"}, "miss", len(miss.body))
    assert "uri-miss" in miss.detail
    assert (hit.status, hit.body, hit.identity) == ("hit", miss.body, Identity(5))
    assert miss.seconds >= 0
    assert not miss.inside


@pytest.mark.asyncio
async def test_a_fetch_that_fails_is_told_with_its_error() -> None:
    site = Site()
    with pytest.raises(NotFound):
        await site.engine.fetch("rows", {"number": 9})
    (failed,) = site.seen.events
    assert isinstance(failed, FetchFailed)
    assert isinstance(failed.error, NotFound)


@pytest.mark.parametrize("cache", [MemoryCache, HoldingCache])
@pytest.mark.asyncio
async def test_a_mutation_is_told_with_its_outcome_and_times(cache: Any) -> None:
    site = Site(cache=cache(), cache_secret="s" * 32)
    await site.engine.call("write", {"number": 1})
    with pytest.raises(Conflict):
        await site.engine.call("write", {"number": 1, "refuse": True})
    calling, called, _, refused = site.seen.events
    assert (calling.function, calling.arguments) == ("write", {"number": 1})
    assert (called.function, called.outcome, called.error) == ("write", "returned", None)
    assert [one.params for one in called.invalidations] == [{"number": 1}]
    assert called.seconds >= called.held > 0
    assert called.purge >= 0
    assert (refused.outcome, type(refused.error), refused.invalidations) == ("refused", Conflict, ())


@pytest.mark.asyncio
async def test_a_plain_function_is_told_with_the_scopes_it_names() -> None:
    site = Site(cache=MemoryCache())
    await site.engine.call("look", {})
    await site.engine.call("look", {"name_it": True})
    assert [len(one.invalidations) for one in site.seen.of(Called)] == [0, 1]


@pytest.mark.parametrize("cache", [MemoryCache, HoldingCache])
@pytest.mark.parametrize("affects", [None, Rows.by_body()])
@pytest.mark.asyncio
async def test_what_a_body_names_is_timed_from_then_on(affects: Any, cache: Any) -> None:
    loop = asyncio.get_running_loop()
    named_at: list[float] = []

    async def name(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        named_at.append(loop.time())
        invalidate(Rows, number=1)
        await asyncio.sleep(0)

    function = client(affects=affects)(name) if affects else client(name)
    seen = Seen()
    engine = Engine(build([Site().row(), function]), cache=cache(), cache_secret="s" * 32, observers=[seen])
    await engine.call("name", {"after": 50})
    (called,) = seen.of(Called)
    assert 0 < called.held <= loop.time() - named_at[0]
    assert called.held < called.seconds
    assert called.purge > 0


@pytest.mark.asyncio
async def test_a_function_that_named_nothing_held_nothing() -> None:
    site = Site(cache=MemoryCache())
    await site.engine.call("look", {})
    (called,) = site.seen.of(Called)
    assert (called.held, called.purge) == (0, 0)


@pytest.mark.asyncio
async def test_an_error_of_unknown_outcome_is_told_so() -> None:
    @client(affects=Rows)
    async def breaks() -> None:
        raise LookupError

    seen = Seen()
    engine = Engine(build([Site().row(), breaks]), observers=[seen])
    with pytest.raises(LookupError):
        await engine.call("breaks", {})
    assert seen.events[-1].outcome == "unknown"


@pytest.mark.asyncio
async def test_a_sync_mutation_is_told_as_well() -> None:
    @client(affects=Rows)
    def write() -> int:
        return 1

    seen = Seen()
    engine = Engine(build([Site().row(), write]), observers=[seen])
    await engine.call("write", {})
    assert [type(one) for one in seen.events] == [Calling, Called]


@pytest.mark.asyncio
async def test_a_purge_from_outside_is_told() -> None:
    site = Site(cache=MemoryCache())
    await site.engine.invalidate("rows", number=1)
    (purged,) = site.seen.events
    assert isinstance(purged, Purged)
    assert purged.invalidations[0].context == "rows"


@pytest.mark.asyncio
async def test_a_fetch_by_a_function_is_told_once_as_such() -> None:
    seen = Seen()

    @client(affects="other")
    async def asks() -> None:
        await engine.fetch("rows", {"number": 1})

    @client(context="other")
    async def other() -> int:
        return 1

    engine = Engine(build([Site().row(), other, asks]), observers=[seen])
    await engine.call("asks", {})
    (fetched,) = seen.of(Fetched)
    assert fetched.inside


@pytest.mark.asyncio
async def test_an_observer_that_fails_does_not_reach_the_request(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def fetched(self, event: Fetched) -> None:
            raise LookupError

        async def before_running(self, event: Calling) -> None:
            raise LookupError

        async def before_answer(self, event: Called) -> None:
            raise LookupError

    site = Site()
    site.engine.observe(Broken())
    await site.engine.fetch("rows", {"number": 1})
    await site.engine.call("write", {"number": 1})
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


@pytest.mark.asyncio
async def test_nothing_is_told_after_the_observer_has_left() -> None:
    site = Site(cache=MemoryCache())
    site.engine.observe(other := Observer())
    site.engine.unobserve(site.seen)
    await site.engine.fetch("rows", {"number": 1})
    await site.engine.call("write", {"number": 1})
    await site.engine.invalidate("rows")
    site.engine.unobserve(other)
    await site.engine.fetch("rows", {"number": 1})
    assert site.seen.events == []
    assert "answer" not in vars(site.engine)


def asks_about(me: Identity, number: int) -> bool:
    """A guard that takes an argument: pages and bundles are fetched by then."""
    return me.is_authenticated


class TestRefused:
    """Requests that ended before anything ran for them."""

    def engine(self, seen: Observer, guard: Any) -> Engine:
        @client(context=Rows, auth=guard)
        async def row(number: int) -> int:
            return number

        @client(affects=Rows, auth=guard)
        async def write(number: int) -> None:
            """Change nothing."""

        @client(context="page", auth=guard, route="/page/")
        async def page(number: int) -> str:
            return "page"

        return Engine(build([row, write, page]), observers=[seen])

    @pytest.mark.parametrize("guard", [True, lambda me: me.is_authenticated, asks_about])
    @pytest.mark.asyncio
    async def test_what_a_guard_refuses_is_told(self, guard: Any) -> None:
        seen = Seen()
        engine = self.engine(seen, guard)
        for work in (engine.call, engine.page):
            name = "write" if work == engine.call else "page"
            with pytest.raises(Unauthorized):
                await work(name, {"number": 1})
        with pytest.raises(Unauthorized):
            await engine.admit("write") if guard is True else await engine.call("row", {"number": 1})
        at_a_page = [] if guard is asks_about else ["page"]
        assert [one.name for one in seen.of(Refused)] == ["write", *at_a_page, "write" if guard is True else "row"]
        assert [one.context for one in seen.of(FetchFailed)] == ["page"] * (guard is asks_about)
        assert {type(one.error) for one in seen.of(Refused)} == {Unauthorized}
        assert not seen.of(Calling)

    @pytest.mark.parametrize("guard", [None, True])
    @pytest.mark.asyncio
    async def test_invalid_arguments_are_told(self, guard: Any) -> None:
        seen, me = Seen(), Identity(5)
        engine = self.engine(seen, guard)
        for name in ("write", "row"):
            with pytest.raises(InvalidInput):
                await engine.call(name, {"number": "x"}, identity=me)
        with pytest.raises(InvalidInput):
            await engine.page("page", {"number": "x"}, identity=me)
        assert [(one.function, one.context, one.identity) for one in seen.events] == [
            (name, None, me) for name in ("write", "row", "page")
        ]

    @pytest.mark.asyncio
    async def test_a_bundle_that_is_refused_is_told(self) -> None:
        seen = Seen()
        engine = self.engine(seen, True)
        with pytest.raises(Unauthorized):
            await engine.fetch("rows", {"number": 1})
        with pytest.raises(InvalidInput):
            await engine.fetch("rows", {"number": "x"}, identity=Identity(5))
        assert [(one.function, one.name, type(one.error)) for one in seen.events] == [
            (None, "rows", Unauthorized),
            (None, "rows", InvalidInput),
        ]

    @pytest.mark.asyncio
    async def test_what_is_not_in_the_graph_is_not_told(self) -> None:
        seen = Seen()
        engine = self.engine(seen, None)
        for work in (engine.call, engine.fetch):
            with pytest.raises(NotFound):
                await work("nothing", {})
        assert seen.events == []


class TestPurged:
    """A purge that is not the end of a call says where it comes from."""

    @pytest.mark.asyncio
    async def test_a_script_is_named_by_its_file_and_line(self) -> None:
        site = Site(cache=MemoryCache())
        await site.engine.invalidate("rows")
        (purged,) = site.seen.of(Purged)
        assert re.fullmatch(r"engine/test_observers\.py:\d+", purged.origin)
        assert purged.cause == f"at {purged.origin}"

    @pytest.mark.asyncio
    async def test_where_the_loop_itself_asked_nothing_is_said(self) -> None:
        site = Site(cache=MemoryCache())
        await asyncio.create_task(site.engine.invalidate("rows"))
        (purged,) = site.seen.of(Purged)
        assert (purged.origin, purged.cause) == (None, "")

    @pytest.mark.asyncio
    async def test_a_function_that_asks_for_it_is_named(self) -> None:
        @client
        async def import_rows() -> None:
            await engine.invalidate("rows")

        seen = Seen()
        engine = Engine(build([Site().row(), import_rows]), observers=[seen])
        await engine.call("import_rows", {})
        (purged,) = seen.of(Purged)
        assert (purged.function, purged.cause) == ("import_rows", "by import_rows")

    @pytest.mark.asyncio
    async def test_a_mutation_that_outlives_its_call_is_named(self) -> None:
        gate = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        @client(affects=Rows)
        async def write(number: int) -> None:
            await gate.wait()

        @client
        async def begin() -> None:
            tasks.append(asyncio.create_task(write(1)))

        seen = Seen()
        engine = Engine(build([Site().row(), write, begin]), cache=MemoryCache(), observers=[seen])
        await engine.call("begin", {})
        gate.set()
        await tasks[0]
        await engine.aclose()
        (purged,) = seen.of(Purged)
        assert (purged.function, [one.params for one in purged.invalidations]) == ("write", [{"number": 1}])


@pytest.mark.asyncio
async def test_the_state_of_the_cache_is_told() -> None:
    class Failing(HoldingCache):
        down = False

        async def release(self, *args: Any) -> None:
            if self.down:
                raise ConnectionError
            await super().release(*args)

    cache = Failing()
    site = Site(cache=cache, cache_secret="s" * 32, shutdown=0.1)
    cache.down = True
    await site.engine.call("write", {"number": 1})
    assert CacheChanged("down", 0) in site.seen.events
    assert CacheChanged("down", 1) in site.seen.events
    await site.engine.aclose()


@pytest.mark.asyncio
async def test_bundles_are_computed_again_and_compared(redis: RedisServer) -> None:
    site = Site(cache=RedisCache(redis.url), cache_secret="s" * 32)
    await site.engine.fetch("rows", {"number": 1})
    (fetched,) = site.seen.of(Fetched)
    assert await site.engine.is_stored(fetched.asked, fetched.body)
    site.rows[1] = "changed"
    assert await site.engine.compute_again(fetched.asked) == b'{"row":"changed"}'
    assert await site.engine.is_stored(fetched.asked, fetched.body)
    await site.engine.invalidate("rows")
    assert not await site.engine.is_stored(fetched.asked, fetched.body)
    await site.engine.aclose()


@pytest.mark.asyncio
async def test_what_a_body_names_is_held_and_seen_by_its_own_fetch() -> None:
    seen = Seen()

    @client(affects=Context("other"))
    async def names_and_asks() -> None:
        invalidate(Rows, number=1)
        assert (await engine.fetch("rows", {"number": 1})).status == "bypass"

    @client(context="other")
    async def other() -> int:
        return 1

    engine = Engine(build([Site().row(), other, names_and_asks]), cache=MemoryCache(), observers=[seen])
    await engine.call("names_and_asks", {})
    (called,) = seen.of(Called)
    assert {one.context for one in called.invalidations} == {"rows", "other"}


def _masked(found: re.Match[str]) -> str:
    return "# ms" if found[0].endswith("ms") else "#"


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages at DEBUG, with times left out."""
    return [
        re.sub(r"[\d.]+ ms|(?<=py:)\d+", _masked, one.getMessage())
        for one in caplog.records
        if one.levelno == logging.DEBUG
    ]


@pytest.mark.asyncio
async def test_the_debug_log_names_hits_misses_holds_and_purges(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mizan"):
        engine = Site(cache=MemoryCache()).engine
        for _ in range(2):
            await engine.fetch("rows", {"number": 1})
        await engine.call("write", {"number": 1, "text": "secret"})
        await engine.fetch("rows", {"number": 1})
        await engine.invalidate("rows", number=1)
        for name, arguments in (("write", {"number": 1, "refuse": True}), ("look", {"name_it": True})):
            with contextlib.suppress(Conflict):
                await engine.call(name, arguments)
        with pytest.raises(NotFound):
            await engine.fetch("rows", {"number": 9})
        with pytest.raises(InvalidInput):
            await engine.call("write", {"number": "secret"})
    assert logged(caplog) == [
        "miss rows;number=1 (fwd=uri-miss; stored): 13 bytes in # ms",
        "hit rows;number=1: 13 bytes in # ms",
        "write begins and holds rows;number=1",
        "write returned in # ms and purged rows;number=1 (held for # ms, purged in # ms)",
        "miss rows;number=1 (fwd=stale; stored): 16 bytes in # ms",
        "purged rows;number=1 in # ms, at engine/test_observers.py:#",
        "write begins and holds rows;number=1",
        "write refused (Conflict) in # ms and purged nothing (held for # ms, purged in # ms)",
        "look begins and holds nothing",
        "look returned in # ms and purged rows;number=1 (held for # ms, purged in # ms)",
        "failed rows;number=9: NotFound in # ms",
        "refused write before it began (InvalidInput)",
    ]


@pytest.mark.asyncio
async def test_the_debug_log_tells_of_readers_nulls_and_the_cache(caplog: pytest.LogCaptureFixture) -> None:
    log, stale = DebugLog(), Invalidation("rows", {"number": None}, "row", frozenset({"number"}))
    with caplog.at_level(logging.DEBUG, "mizan"):
        log.cache_changed(CacheChanged("down", 2))
        log.called(Called(Calling("write", {}, ANONYMOUS), "unknown", OSError("secret"), (stale,), 0.0, 0.0, 0.0))
    assert logged(caplog) == [
        "cache down, 2 purges owed",
        "write ended in an error (OSError) in # ms and purged rows/row;number=null (held for # ms, purged in # ms)",
    ]


@pytest.mark.asyncio
async def test_an_engine_made_without_debug_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @client(context="page")
    async def page() -> int:
        return 1

    with caplog.at_level(logging.INFO, "mizan"):
        engine = Engine(build([page]), cache=MemoryCache())
    with caplog.at_level(logging.DEBUG, "mizan"):
        await engine.fetch("page", {})
    assert logged(caplog) == []


@pytest.mark.asyncio
async def test_a_bundle_that_is_kept_nowhere_is_not_stored() -> None:
    seen = Seen()

    @client(context="never", cache=False)
    async def never() -> int:
        return 1

    engine = Engine(build([never]), cache=MemoryCache(), observers=[seen])
    await engine.fetch("never", {})
    (fetched,) = seen.of(Fetched)
    assert not await engine.is_stored(fetched.asked, fetched.body)


def test_an_observer_puts_nothing_around_a_run_by_default() -> None:
    assert Observer().around(Calling("write", {}, Identity(5))) is None
