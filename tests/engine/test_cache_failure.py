"""A cache that fails: refuse or allow, purges that are owed, and what is logged."""

import asyncio

import pytest

from mizan_core import (
    Engine,
    Invalidation,
    MemoryCache,
    Unavailable,
    build,
    client,
)
from mizan_core.cache.shared import breaker as guard
from mizan_core.cache.shared import holds as shared_holds
from mizan_core.cache.shared import owed_purges as debts
from mizan_core.engine.answers import Failure, Health, ended_of
from mizan_core.errors import CacheUnavailable
from tests.engine.engines import ANN, FailingCache, engine_of
from tests.virtual_time import run
from tests.world import World


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

    def test_refuse_waits_for_the_purge_before_it_acknowledges(self, world: World) -> None:
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

    def test_allow_runs_the_mutation_and_purges_later(self, world: World) -> None:
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

    def test_an_owed_purge_bypasses_its_context_until_after_it(
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

    def test_closing_gives_up_purges_that_cannot_be_paid(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        async def story() -> None:
            cache = FailingCache()
            engine = Engine(world.graph, cache=cache, shutdown=0.05)
            cache.broken = True
            await engine.call("update_profile", {"user_id": 5, "name": "x"})
            await engine.aclose()
            assert "Purges that never got through: 1." in caplog.text

        run(story)

    def test_purges_owed_at_closing_are_paid_after_reopening(self, world: World) -> None:
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

    def test_a_mutation_whose_purge_fails_is_no_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_closing_waits_for_owed_purges(self, world: World) -> None:
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
    def test_a_read_is_answered_wherever_the_cache_fails(self, world: World, broken_at: int) -> None:
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
