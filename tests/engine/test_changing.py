"""`engine.changing`: a mutation without a function, over a cache in memory and over one elsewhere."""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from mizan_core import (
    CacheBackend,
    Conflict,
    Context,
    DeclarationError,
    Engine,
    Identity,
    Invalidation,
    Me,
    MemoryCache,
    Unavailable,
    build,
    client,
    decode_header,
    invalidate,
    invalidations_of,
)
from mizan_core.cache.shared import holds as shared_holds
from mizan_core.engine.observers import Called, Calling, Observer, running
from mizan_core.errors import CacheUnavailable
from mizan_core.proof import Verify
from tests.engine.engines import Elsewhere, FailingCache
from tests.virtual_time import run

Articles, Feeds = Context("articles", scopes=[("code",)]), Context("feeds")
ONE, TWO = Invalidation("articles", {"code": 1}), Invalidation("articles", {"code": 2})


class Shop:
    """Articles and feeds with rows that a host writes by itself."""

    def __init__(self, *functions: Callable[..., Any], cache: CacheBackend | None = None, **options: Any) -> None:
        self.rows: dict[str, int] = {}

        @client(context=Articles)
        async def article(code: int) -> int:
            return self.rows.get(f"article {code}", 0)

        @client(context=Feeds)
        async def feed(user_id: int) -> int:
            return self.rows.get(f"feed {user_id}", 0)

        @client(affects=Feeds)
        async def post(user_id: int) -> None:
            await asyncio.sleep(0)
            self.write(f"feed {user_id}")

        @client(affects=Feeds.where(user_id=Me))
        async def post_mine() -> None:
            """Posts for the caller."""

        self.article, self.feed, self.post, self.post_mine = article, feed, post, post_mine
        graph = build([article, feed, post, post_mine, *functions])
        self.engine = Engine(graph, cache=MemoryCache() if cache is None else cache, **options)

    def write(self, row: str) -> None:
        self.rows[row] = self.rows.get(row, 0) + 1

    async def read(self, code: int = 1) -> tuple[str, int]:
        """How the cache answers for an article, and the row that it shows."""
        bundle = await self.engine.fetch("articles", {"code": code})
        return bundle.status, int(bundle.body.removeprefix(b'{"article":').removesuffix(b"}"))

    async def read_feed(self, user_id: int = 1) -> tuple[str, int]:
        bundle = await self.engine.fetch("feeds", {"user_id": user_id})
        return bundle.status, int(bundle.body.removeprefix(b'{"feed":').removesuffix(b"}"))

    async def fill(self) -> None:
        for code in (1, 2):
            await self.read(code)
            await self.read_feed(code)

    def held(self) -> asyncio.Task[str]:
        """How a request of nobody's is answered now for article 1."""
        return asyncio.create_task(self._read_elsewhere())

    async def _read_elsewhere(self) -> str:
        return (await self.read())[0]


Kind = Callable[[], CacheBackend]


@pytest.fixture(params=[MemoryCache, Elsewhere], ids=["memory", "elsewhere"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]  # one of the two above


def outside(work: Callable[[], Awaitable[Any]]) -> "asyncio.Task[Any]":
    """Work of another request, in a context of its own."""

    async def done() -> Any:
        return await work()

    return asyncio.get_running_loop().create_task(done(), context=contextvars.Context())


def test_it_holds_from_its_beginning_and_purges_at_its_end(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        async with shop.engine.changing(Articles.of(code=1)) as change:
            assert await outside(shop.read) == ("bypass", 0)
            shop.write("article 1")
            assert await outside(shop.read) == ("bypass", 1)
            assert await outside(lambda: shop.read(2)) == ("hit", 0)
        assert change.invalidations == (ONE,)
        assert await shop.read() == ("miss", 1)
        assert await shop.read() == ("hit", 1)

    run(story)


def test_it_takes_contexts_names_readers_and_invalidations(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        for affected in (
            Articles,
            "articles",
            shop.article,
            Articles.of(code=1),
            Invalidation("articles", {"code": 1}),
        ):
            await shop.fill()
            async with shop.engine.changing(affected):
                shop.write("article 1")
            assert (await shop.read())[0] == "miss"
            assert (await shop.read_feed())[0] == "hit"
        async with shop.engine.changing() as change:
            """It may find out what it changes."""
        assert change.invalidations == ()
        assert change.header == ""

    run(story)


def test_an_unknown_name_is_refused_with_the_nearest(kind: Kind) -> None:
    shop = Shop(cache=kind())
    for affected, said in (
        ("articels", "There is no context or reader 'articels' to invalidate; did you mean 'articles'?"),
        (
            Articles.of(cod=1),
            "Context 'articles' has no parameter 'cod' to narrow by; it has code; did you mean 'code'?",
        ),
        (shop.post, "'post' is not a reader"),
        (7, "7 is neither"),
    ):
        with pytest.raises(DeclarationError) as refused:
            shop.engine.changing(affected)  # type: ignore[arg-type]  # some are no such thing
        assert said in str(refused.value)


@pytest.mark.parametrize("error", [ValueError("x"), Conflict("taken"), KeyboardInterrupt()])
def test_it_purges_when_the_body_raises(kind: Kind, error: BaseException) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                shop.write("article 1")
                raise error

        with pytest.raises(type(error)) as raised:
            await body()
        assert raised.value is error
        assert invalidations_of(error) == ((ONE,) if isinstance(error, Exception) else ())
        assert await shop.read() == ("miss", 1)

    run(story)


def test_one_error_raised_in_two_bodies_tells_each_ones_own() -> None:
    async def story() -> None:
        shop, error = Shop(), Conflict("taken")
        told = []
        for code in (1, 2):
            with pytest.raises(Conflict) as raised:
                async with shop.engine.changing(Articles.of(code=code)):
                    raise error
            told.append(invalidations_of(raised.value))
        assert told == [(ONE,), (TWO,)]

    run(story)


def test_it_purges_when_the_body_is_cancelled(kind: Kind) -> None:
    async def story() -> None:
        shop, begun = Shop(cache=kind()), asyncio.Event()
        await shop.fill()

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                shop.write("article 1")
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await shop.read() == ("miss", 1)

    run(story)


class Gated(Elsewhere):
    """A cache whose deletions or writes wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()

    async def delete(self, *keys: str) -> int:
        await self._pass()
        return await super().delete(*keys)

    async def set(self, key: str, value: bytes, ttl: float | None, *, if_absent: bool = False) -> bool:
        await self._pass()
        return await super().set(key, value, ttl, if_absent=if_absent)

    async def _pass(self) -> None:
        if not self.gate.is_set():
            self.waiting.set()
            await self.gate.wait()


def test_a_cancelled_caller_hears_of_it_and_the_purge_goes_on() -> None:
    async def story() -> None:
        cache = Gated()
        shop = Shop(cache=cache, deadline=60)
        await shop.fill()

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                shop.write("article 1")
                cache.gate.clear()

        task = asyncio.create_task(body())
        await cache.waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cache.gate.set()
        await shop.engine.aclose()
        assert await shop.read() == ("miss", 1)

    run(story)


def test_cancelled_while_entering_it_leaves_no_hold() -> None:
    entered: list[bool] = []

    async def story(turns: int) -> None:
        """Cancel so many turns of the loop after the cache has let the hold be written."""
        cache = Gated()
        shop = Shop(cache=cache, deadline=60)
        await shop.fill()
        cache.gate.clear()
        entered.append(False)

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                entered[-1] = True

        task = asyncio.create_task(body())
        await cache.waiting.wait()
        if turns:
            cache.gate.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        cache.gate.set()
        await shop.engine.aclose()
        await shop.read()
        assert (await shop.read())[0] == "hit"

    for turns in range(12):
        run(partial(story, turns))
    assert entered[0] is False
    assert entered[-1] is True


def test_where_it_cannot_be_held_refuse_runs_no_body() -> None:
    async def story() -> None:
        cache = FailingCache()
        shop = Shop(cache=cache, on_cache_failure="refuse", shutdown=0)
        cache.broken = True
        with pytest.raises(Unavailable):
            async with shop.engine.changing(Articles.of(code=1)):
                pytest.fail("the body ran")
        with pytest.raises(Unavailable):  # the breaker is open by now
            async with shop.engine.changing(Articles.of(code=1)):
                pytest.fail("the body ran")
        await shop.engine.aclose()

    run(story)


def test_where_it_cannot_be_held_allow_runs_and_purges_later() -> None:
    async def story() -> None:
        cache = FailingCache()
        shop = Shop(cache=cache)
        await shop.fill()
        cache.broken = True
        async with shop.engine.changing(Articles.of(code=1)):
            shop.write("article 1")
        assert shop.engine.health().owed_purges == 1
        assert await shop.read() == ("bypass", 1)
        cache.broken = False
        while shop.engine.health().owed_purges or shop.engine.health().cache != "up":
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.1)
        assert await shop.read() == ("miss", 1)
        await shop.engine.aclose()

    run(story)


@pytest.mark.parametrize("fails", [False, True])
def test_a_purge_that_refuse_waits_for_in_vain_is_told(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.2)

    async def story() -> None:
        cache = FailingCache()
        shop = Shop(cache=cache, on_cache_failure="refuse", shutdown=0)

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                cache.broken = True
                if fails:
                    raise ValueError("own")  # which is not hidden

        with pytest.raises(ValueError if fails else CacheUnavailable, match="own" if fails else "cannot be reached"):
            await body()
        await shop.engine.aclose()

    run(story)


def test_also_holds_more_and_can_be_awaited(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        async with shop.engine.changing(Articles.of(code=1)) as change:
            await change.also(Feeds.of(user_id=1), Articles.of(code=2))
            shop.write("feed 1")
            assert await outside(shop.read_feed) == ("bypass", 1)
            assert await outside(lambda: shop.read_feed(2)) == ("hit", 0)
            assert change.invalidations == (ONE, Invalidation("feeds", {"user_id": 1}), TWO)
            change.also(Articles)  # not awaited, and purged all the same
        assert change.invalidations == (Invalidation("feeds", {"user_id": 1}), Invalidation("articles"))
        assert change.header == "feeds;user_id=1, articles"
        assert await shop.read_feed() == ("miss", 1)
        assert (await shop.read(2))[0] == "miss"
        with pytest.raises(DeclarationError, match=r"^changing: also\(\) was called after its end"):
            change.also(Feeds)

    run(story)


def test_also_is_refused_where_it_cannot_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_holds, "INSIST_SECONDS", 0.2)

    async def story() -> None:
        cache = FailingCache()
        shop = Shop(cache=cache, on_cache_failure="refuse", shutdown=0)

        async def body() -> None:
            async with shop.engine.changing(Articles.of(code=1)) as change:
                cache.broken = True
                await change.also(Feeds)

        with pytest.raises(Unavailable):
            await body()
        await shop.engine.aclose()

    run(story)


def test_also_is_checked_and_holds_nothing_when_refused(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        async with shop.engine.changing() as change:
            with pytest.raises(DeclarationError, match="did you mean 'feeds'"):
                change.also(Articles, "feed_s")
        assert change.invalidations == ()

    run(story)


def test_invalidate_and_mutations_in_its_body_join_it(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        async with shop.engine.changing(identity=Identity("2")) as change:
            invalidate(Articles, code=1)
            await shop.post(1)
            assert await outside(shop.read_feed) == ("bypass", 1)
            await shop.post_mine()
            answer = await shop.engine.run("post", {"user_id": 3})
        feeds = [Invalidation("feeds", {"user_id": one}) for one in (1, 2, 3)]
        assert answer.invalidations == (feeds[2],)
        assert change.invalidations == (ONE, *feeds)
        assert await shop.read_feed() == ("miss", 1)
        with pytest.raises(DeclarationError, match="outside of a mutation"):
            invalidate(Articles)

    run(story)


def test_a_body_reads_its_own_write_and_stores_nothing(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        async with shop.engine.changing(Articles.of(code=1)):
            shop.write("article 1")
            assert await shop.read() == ("bypass", 1)
        assert (await shop.read())[0] == "miss"

    run(story)


def within_a_mutation(shop_of: "list[Shop]", body: Callable[[Shop], Awaitable[None]]) -> Callable[..., Any]:
    @client(affects=Articles, name="outer")
    async def outer(code: int) -> None:
        await body(shop_of[0])

    return outer


def test_in_a_mutation_its_answer_tells_and_its_end_purges(kind: Kind) -> None:
    async def story() -> None:
        at_end: list[tuple[str, int]] = []

        async def body(shop: Shop) -> None:
            async with shop.engine.changing(Feeds.of(user_id=1)) as change:
                await change.also(Feeds.of(user_id=2))
                shop.write("feed 1")
            assert change.invalidations == (
                Invalidation("feeds", {"user_id": 1}),
                Invalidation("feeds", {"user_id": 2}),
            )
            at_end.append(await outside(shop.read_feed))  # the mutation may have yet to commit

        shops: list[Shop] = []
        shops.append(Shop(within_a_mutation(shops, body), cache=kind()))
        await shops[0].fill()
        answer = await shops[0].engine.call("outer", {"code": 1})
        assert at_end == [("bypass", 1)]
        assert answer.invalidations == (
            ONE,
            Invalidation("feeds", {"user_id": 1}),
            Invalidation("feeds", {"user_id": 2}),
        )
        assert await shops[0].read_feed() == ("miss", 1)

    run(story)


def test_it_purges_by_itself_when_it_outlives_the_mutation(kind: Kind) -> None:
    async def story() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()
        tasks = []

        async def later(shop: Shop) -> None:
            async with shop.engine.changing(Feeds.of(user_id=1)):
                begun.set()
                await go_on.wait()
                shop.write("feed 1")

        async def body(shop: Shop) -> None:
            tasks.append(asyncio.create_task(later(shop)))
            await begun.wait()

        shops: list[Shop] = []
        shops.append(Shop(within_a_mutation(shops, body), cache=kind()))
        answer = await shops[0].engine.call("outer", {"code": 1})
        assert Invalidation("feeds", {"user_id": 1}) in answer.invalidations
        await shops[0].fill()
        go_on.set()
        await tasks[0]
        assert await shops[0].read_feed() == ("miss", 1)

    run(story)


def test_begun_after_the_mutations_end_it_is_alone(kind: Kind) -> None:
    async def story() -> None:
        tasks, ended = [], asyncio.Event()

        async def later(shop: Shop) -> None:
            await ended.wait()
            async with shop.engine.changing(Articles.of(code=2)):
                shop.write("article 2")

        async def body(shop: Shop) -> None:
            tasks.append(asyncio.create_task(later(shop)))

        shops: list[Shop] = []
        shops.append(Shop(within_a_mutation(shops, body), cache=kind()))
        answer = await shops[0].engine.call("outer", {"code": 1})
        await shops[0].fill()
        ended.set()
        await tasks[0]
        assert answer.invalidations == (ONE,)
        assert await shops[0].read(2) == ("miss", 1)

    run(story)


def test_one_of_another_engine_is_told_and_purged_by_itself(kind: Kind) -> None:
    async def story() -> None:
        others: list[Engine] = []

        async def body(shop: Shop) -> None:
            async with others[0].changing(Feeds.of(user_id=1)):
                shop.write("feed 1")

        shops: list[Shop] = []
        shops.append(Shop(within_a_mutation(shops, body), cache=kind()))
        others.append(Engine(shops[0].engine.graph, cache=kind(), cache_secret="o" * 32))
        await others[0].fetch("feeds", {"user_id": 1})
        answer = await shops[0].engine.call("outer", {"code": 1})
        assert answer.invalidations == (ONE, Invalidation("feeds", {"user_id": 1}))
        assert (await others[0].fetch("feeds", {"user_id": 1})).status == "miss"

    run(story)


def test_in_a_reader_it_is_refused() -> None:
    async def story() -> None:
        shops: list[Shop] = []

        @client(context=Articles)
        async def other(code: int) -> int:
            async with shops[0].engine.changing(Feeds):
                return 1

        shops.append(Shop(other))
        with pytest.raises(
            DeclarationError, match=r"^changing changes something, and was called by a function that may"
        ):
            await shops[0].engine.fetch("articles", {"code": 1})

    run(story)


def test_where_refused_within_a_mutation_nothing_is_told() -> None:
    async def story() -> None:
        cache = FailingCache()

        async def body(shop: Shop) -> None:
            cache.broken = True
            with pytest.raises(Unavailable):
                async with shop.engine.changing(Feeds):
                    pytest.fail("the body ran")
            cache.broken = False

        shops: list[Shop] = []
        shops.append(Shop(within_a_mutation(shops, body), cache=cache, on_cache_failure="refuse"))
        assert (await shops[0].engine.call("outer", {"code": 1})).invalidations == (ONE,)
        await shops[0].engine.aclose()

    run(story)


def test_nested_ones_purge_at_the_outermost_end(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        async with shop.engine.changing(Feeds.of(user_id=1)) as outer:
            async with shop.engine.changing(Articles.of(code=1)) as inner:
                shop.write("article 1")
            assert inner.invalidations == (ONE,)
            assert await outside(shop.read) == ("bypass", 1)
        assert outer.invalidations == (Invalidation("feeds", {"user_id": 1}), ONE)
        assert await shop.read() == ("miss", 1)

    run(story)


def test_twenty_at_once_hold_until_the_last_has_ended(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()
        gates, entered = [asyncio.Event() for _ in range(20)], asyncio.Barrier(21)

        async def body(gate: asyncio.Event) -> None:
            async with shop.engine.changing(Articles.of(code=1)):
                await entered.wait()
                await gate.wait()
                shop.write("article 1")

        tasks = [asyncio.create_task(body(gate)) for gate in gates]
        await entered.wait()
        for task, gate in zip(tasks, gates, strict=True):
            assert (await shop.read())[0] == "bypass"
            gate.set()
            await task
        assert await shop.read() == ("miss", 20)

    run(story)


def test_it_is_entered_once_and_not_left_before() -> None:
    async def story() -> None:
        shop = Shop()
        changing = shop.engine.changing(Articles)
        with pytest.raises(DeclarationError, match="was not entered"):
            await changing.__aexit__(None, None, None)
        async with changing:
            pass
        with pytest.raises(DeclarationError, match="changing was entered twice; make another"):
            async with changing:
                pass

    run(story)


def test_it_may_be_left_in_another_context(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind(), observers=[_Notes()])
        await shop.fill()
        changing = shop.engine.changing(Articles.of(code=1))

        async def enter() -> None:
            await changing.__aenter__()
            shop.write("article 1")

        async def leave() -> None:
            await changing.__aexit__(None, None, None)

        await outside(enter)
        await outside(leave)
        assert await shop.read() == ("miss", 1)

    run(story)


def test_a_long_one_is_renewed_and_a_dead_ones_hold_expires() -> None:
    async def story() -> None:
        shop = Shop(cache=Elsewhere(), hold=3)
        await shop.fill()
        async with shop.engine.changing(Articles.of(code=1)):
            await asyncio.sleep(10)
            assert (await outside(shop.read))[0] == "bypass"
        assert (await shop.read())[0] == "miss"

    run(story)


class _Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[Any] = []

    def calling(self, event: Calling) -> None:
        self.notes.append((event.function, event.holds, event.identity.user_id))

    def called(self, event: Called) -> None:
        self.notes.append((event.function, event.outcome, event.invalidations, type(event.error)))

    @contextlib.contextmanager
    def _around(self) -> Any:
        self.notes.append("entered")
        try:
            yield
        finally:
            self.notes.append("left")

    def around(self, event: Any) -> Any:
        return self._around() if isinstance(event, Calling) else None


def test_observers_see_it_as_a_mutation(kind: Kind) -> None:
    async def story() -> None:
        watch = _Notes()
        shop = Shop(cache=kind(), observers=[watch])
        async with shop.engine.changing(Articles.of(code=1), name="import", identity=Identity("5")) as change:
            assert running() == ("import",)
            await change.also(Feeds)
            async with shop.engine.changing(Feeds):
                assert running() == ("import", "changing")
        assert running() == ()
        with contextlib.suppress(Conflict):
            async with shop.engine.changing(Articles):
                raise Conflict("taken")
        with contextlib.suppress(ValueError):
            async with shop.engine.changing(Articles):
                raise ValueError("x")
        articles, feeds = Invalidation("articles"), Invalidation("feeds")
        assert watch.notes == [
            *(("import", (ONE,), "5"), "entered"),
            *(("import", "returned", (ONE, feeds), type(None)), "left"),
            *(("changing", (articles,), None), "entered"),
            *(("changing", "refused", (articles,), Conflict), "left"),
            *(("changing", (articles,), None), "entered"),
            *(("changing", "unknown", (articles,), ValueError), "left"),
        ]

    run(story)


def test_observers_are_told_of_one_that_was_refused() -> None:
    async def story() -> None:
        watch, cache = _Notes(), FailingCache()
        shop = Shop(cache=cache, observers=[watch], on_cache_failure="refuse", shutdown=0)
        cache.broken = True
        with pytest.raises(Unavailable):
            async with shop.engine.changing(Articles):
                pytest.fail("the body ran")
        assert watch.notes == [
            ("changing", (Invalidation("articles"),), None),
            ("changing", "refused", (), Unavailable),
        ]
        await shop.engine.aclose()

    run(story)


def test_a_bundle_that_it_forgets_is_proved_stale() -> None:
    async def story() -> None:
        verify = Verify()
        shop = Shop(verify=verify)
        await shop.fill()
        async with shop.engine.changing(Articles.of(code=1), name="import"):
            shop.write("article 1")
            shop.write("feed 1")
        (proof,) = verify.proved
        assert (proof.mutation, proof.context, proof.params) == ("import", "feeds", {"user_id": 1})
        assert await shop.read_feed() == ("miss", 1)

    run(story)


def test_its_header_is_as_short_as_that_of_a_call() -> None:
    async def story() -> None:
        shop = Shop()
        async with shop.engine.changing(
            *(Articles.of(code=code) for code in range(1000)), Feeds.of(user_id=1)
        ) as change:
            pass
        assert len(change.invalidations) == 1001
        assert len(change.header) < 4096
        assert decode_header(change.header) == (Invalidation("articles"), Invalidation("feeds", {"user_id": "1"}))

    run(story)


def test_as_a_dependency_that_yields_it_is_around_the_rest(kind: Kind) -> None:
    async def story() -> None:
        shop = Shop(cache=kind())
        await shop.fill()

        @contextlib.asynccontextmanager
        async def dependency() -> AsyncIterator[None]:
            async with shop.engine.changing(Articles.of(code=1)):
                yield

        async with dependency():
            await asyncio.to_thread(invalidate, Feeds, user_id=1)
            shop.write("article 1")
        assert await shop.read() == ("miss", 1)
        assert (await shop.read_feed())[0] == "miss"

    run(story)
