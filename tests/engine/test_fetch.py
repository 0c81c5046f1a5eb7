"""How a bundle is fetched: one entry for one value, which callers share it, and for how long it is kept."""

import json
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from mizan_core import (
    ANONYMOUS,
    Engine,
    Forbidden,
    Identity,
    InvalidInput,
    MemoryCache,
    RedisCache,
    Unauthorized,
    client,
)
from tests.cache.holding_cache import HoldingCache
from tests.engine.engines import ANN, BOB, Clock, engine_of
from tests.virtual_time import run
from tests.world import World


class TestSpelling:
    @pytest.mark.parametrize("spelling", ["5", "05", "5.0", "+5", " 5", 5, 5.0])
    def test_one_value_has_one_entry_in_every_spelling(self, world: World, spelling: object) -> None:
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

    def test_an_omitted_nullable_parameter_is_null(self) -> None:
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


class TestPrivacy:
    """Which callers one stored answer serves."""

    def test_visitors_share_a_per_user_bundle(self, world: World) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            for status in ("miss", "hit"):
                bundle = await engine.fetch("inbox", {}, identity=ANONYMOUS)
                assert (bundle.status, bundle.policy) == (status, "private, no-cache")
            assert world.ran["my_messages"] == 1

        run(story)

    @pytest.mark.parametrize("user_id", ["0", ""])
    def test_falsy_user_ids_are_authenticated(self, world: World, user_id: str) -> None:
        async def story() -> None:
            engine = Engine(world.graph, cache=MemoryCache())
            assert (await engine.fetch("inbox", {}, identity=Identity(user_id))).status == "miss"
            assert (await engine.fetch("inbox", {}, identity=Identity(user_id))).status == "hit"
            assert (await engine.call("ship", {"order_id": 10}, identity=Identity(user_id))).invalidations

        run(story)

    def test_a_changed_permission_set_shares_no_old_entry(self) -> None:
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
    def test_a_per_permissions_bundle_reading_the_user_is_unstored(
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

    def test_a_guard_is_asked_on_every_request_also_on_a_hit(self) -> None:
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

    def test_a_reader_of_an_unwatchable_request_is_not_stored(self) -> None:
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


class TestPolicies:
    def test_seconds_bound_the_cache_and_a_hit_sends_the_rest(self, world: World) -> None:
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

    def test_cache_false_is_never_kept_and_may_read_the_request(self) -> None:
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

    def test_without_a_cache_everything_is_computed(self, world: World) -> None:
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


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["memory", "shared", "redis"])
async def test_a_purged_bundle_is_stale_and_a_new_one_is_a_uri_miss(kind: str, request: pytest.FixtureRequest) -> None:
    @client(context="row")
    async def row(number: int) -> int:
        return number

    @client(affects="row")
    async def write(number: int) -> None: ...

    caches = {
        "memory": MemoryCache,
        "shared": HoldingCache,
        "redis": lambda: RedisCache(request.getfixturevalue("redis").url),
    }
    async with engine_of(row, write, cache=caches[kind](), cache_secret="s" * 32) as engine:
        told = [(await engine.fetch("row", {"number": 1})).cache_status for _ in range(2)]
        await engine.call("write", {"number": 1})
        told += [(await engine.fetch("row", {"number": number})).cache_status for number in (1, 1, 2)]
    new, stale, hit = "mizan; fwd=uri-miss; stored", "mizan; fwd=stale; stored", "mizan; hit"
    assert told == [new, hit, stale, hit, new]
