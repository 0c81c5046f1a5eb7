"""Two versions of a program over one cache: neither keeps what the other purged."""

import json

import pytest

from mizan_core import (
    Arg,
    Context,
    Engine,
    Invalidation,
    MemoryCache,
    build,
    client,
)
from tests.cache.holding import begin, end
from tests.engine.engines import Elsewhere
from tests.virtual_time import run


@pytest.mark.parametrize("cache", [MemoryCache, Elsewhere])
class TestVersions:
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

    def test_a_new_versions_narrow_purge_reaches_old_entries(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            for _ in range(2):
                await old.fetch("orders", {"customer_id": 1})
            assert (await old.fetch("orders", {"customer_id": 1})).status == "hit"
            await new.call("change_page", {"page": 1})
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)

    def test_a_purge_without_a_mutation_reaches_old_entries(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            await old.fetch("orders", {"customer_id": 1})
            rows["value"] += 1
            await new.invalidate("orders", page=1)
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)

    def test_while_a_new_version_mutates_the_old_stores_nothing(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, _ = self.versions(cache)
            await old.fetch("orders", {"customer_id": 1})
            hold = new._store.hold(new._cache_keys.purged([Invalidation("orders", {"page": 1})]))
            await begin(hold)
            assert (await old.fetch("orders", {"customer_id": 1})).cache_status.endswith("detail=held")
            await end(hold)
            assert (await old.fetch("orders", {"customer_id": 1})).status == "miss"

        run(story)

    def test_no_version_serves_another_versions_readers(self, cache: type[MemoryCache]) -> None:
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

    def test_a_mutation_claims_a_cold_context_for_its_version(self, cache: type[MemoryCache]) -> None:
        async def story() -> None:
            old, new, rows = self.versions(cache)
            hold = new._store.hold(new._cache_keys.purged([Invalidation("orders", {"page": 1})]))
            await begin(hold)
            old_bundle = await old.fetch("orders", {"customer_id": 1})
            assert old_bundle.cache_status.endswith("detail=other-version")
            rows["value"] += 1
            await end(hold)
            assert json.loads((await old.fetch("orders", {"customer_id": 1})).body) == {"listed": rows["value"]}

        run(story)
