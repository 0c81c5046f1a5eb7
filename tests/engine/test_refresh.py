"""Refresh in the same answer: the mounted header, which of its bundles are stale, and how much is sent along."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator

from mizan_core import BadRequest, Context, Engine, Forbidden, Invalidation, build, client
from mizan_core.engine.answers import Answer, Refreshed
from mizan_core.engine.refresh import MAXIMUM_BUNDLES, MAXIMUM_DATA_BYTES, MAXIMUM_SECONDS, Stale, refresh
from mizan_core.graph.model import Graph
from mizan_core.protocol.headers import MAXIMUM_HEADER_BYTES
from mizan_core.protocol.mounted import Mounted, read_mounted
from mizan_core.protocol.urls import Pairs, encode_text
from tests.counting import calls
from tests.virtual_time import run, stall


def broken(value: int) -> int:
    if value == 13:
        raise RuntimeError("a defect of the developer's")
    return value


@client(context="user")
async def profile(user_id: int, page: int = 1, team: str | None = None) -> str:
    return f"{user_id} {page} {team}"


@client(context="tagged")
async def tagged(tags: tuple[str, ...] = ()) -> list[str]:
    return list(tags)


@client(context="odd")
async def odd(number: Annotated[int, AfterValidator(broken)] = 0) -> int:
    return number


@client(context="pages", private=True)
async def hidden(page: int = 1) -> int:
    return page


GRAPH = build([profile, tagged, odd, hidden])
WHOLE = [Invalidation(context) for context in ("user", "tagged", "odd", "pages", "gone")]


async def refreshed(
    mounted: str,
    invalidations: Iterable[Invalidation] = WHOLE,
    get: Callable[[Stale], Awaitable[bytes]] | None = None,
    *,
    graph: Graph = GRAPH,
    **options: Any,
) -> list[Refreshed]:
    async def name(stale: Stale) -> bytes:
        return json.dumps(stale.query).encode()

    answer = Answer(None, b"null", tuple(invalidations))
    line = read_mounted([mounted])
    assert line is not None
    ended = await refresh(graph, answer, line, get or name, **options)
    assert (ended.result_json, ended.invalidations) == (b"null", tuple(invalidations))
    return list(ended.refreshed or ())


async def queries(mounted: str, *invalidations: Invalidation) -> list[str]:
    return [f"{one.context}?{json.loads(one.data)}" for one in await refreshed(mounted, invalidations or WHOLE)]


def named(line: str, *contexts: str) -> list[tuple[str, Pairs]]:
    """What a line says of these contexts."""
    mounted = read_mounted([line])
    assert mounted is not None
    return [*mounted.of(contexts)]


class TestMountedHeader:
    def test_it_names_contexts_with_their_canonical_queries(self) -> None:
        line = "user?user_id=5, inbox ,\torders?customer_id=7&tag=a&tag=b"
        assert named(line, "user", "inbox", "orders") == [
            ("user", Pairs([("user_id", "5")])),
            ("inbox", Pairs()),
            ("orders", Pairs([("customer_id", "7"), ("tag", "a"), ("tag", "b")])),
        ]

    def test_refreshed_reads_only_the_asked_contexts(self) -> None:
        line = "user?inbox=1, users, box, in%62ox?a=user, user%2Ename, username, user"
        assert named(line, "user", "inbox") == [
            ("user", Pairs([("inbox", "1")])),
            ("inbox", Pairs([("a", "user")])),
            ("user", Pairs()),
        ]
        assert [context for context, _ in named("user%2ename,userxname,user.name", "user.name")] == ["user.name"] * 2

    def test_absent_and_empty_are_two_things(self) -> None:
        assert read_mounted([]) is None
        assert named("", "user") == []
        assert named(" , ,", "user") == []

    def test_a_bundle_named_twice_counts_once(self) -> None:
        line = "inbox, user?user_id=5,inbox"
        assert named(line, "user", "inbox") == named("inbox,user?user_id=5", "user", "inbox")

    def test_it_has_at_most_4096_bytes(self) -> None:
        assert read_mounted(["a" * MAXIMUM_HEADER_BYTES])
        with pytest.raises(BadRequest, match="4096"):
            read_mounted(["a" * (MAXIMUM_HEADER_BYTES + 1)])

    def test_it_comes_once(self) -> None:
        with pytest.raises(BadRequest, match="one line"):
            read_mounted(["inbox", "inbox"])

    @pytest.mark.parametrize(
        "line",
        [
            *("?", "?a=1", "user?", "user?a", "user?=1", "user?a=1&", "user?&a=1", "user?a=1?", "user?a=b=c"),
            *("user id", "us\u00e9r", "user;a=1", "user?a=1+2", "user?a=%", "user?a=%zz", "user?a=%ff", "user/x"),
            *("user?a b=1", 'user?a="1"', "inbox, user?a", "%c3", "user?%ff=1", "user?a=1\x00"),
        ],
    )
    def test_a_malformed_mounted_member_is_refused(self, line: str) -> None:
        with pytest.raises(BadRequest, match="X-Mizan-Mounted has a member"):
            read_mounted([line])

    @given(
        st.lists(
            st.tuples(st.text(min_size=1, max_size=9), st.lists(st.tuples(st.text(min_size=1), st.text()))),
            min_size=1,
            max_size=64,
        )
    )
    def test_every_text_comes_through(self, bundles: list[tuple[str, list[tuple[str, str]]]]) -> None:
        distinct = list({str(one): one for one in bundles}.values())
        members = [
            encode_text(context) + ("?" if pairs else "") + "&".join("=".join(map(encode_text, one)) for one in pairs)
            for context, pairs in distinct
        ]
        line = ", ".join(members)
        if len(line) <= MAXIMUM_HEADER_BYTES:
            expected = [(context, Pairs(pairs)) for context, pairs in distinct]
            assert named(line, *{context for context, _ in distinct}) == expected

    @given(st.text())
    def test_any_other_mounted_header_is_read_or_refused(self, line: str) -> None:
        with suppress(BadRequest):
            read_mounted([line])


class TestStaleBundles:
    @pytest.mark.parametrize(
        ("mounted", "invalidation", "stale"),
        [
            ("user?user_id=5", Invalidation("user"), True),
            ("user?user_id=5", Invalidation("user", {"user_id": 5}), True),
            ("user?user_id=05", Invalidation("user", {"user_id": 5}), True),
            ("user?user_id=5&page=2", Invalidation("user", {"user_id": 5}), True),
            ("user?user_id=5", Invalidation("user", {"user_id": 5}, "profile"), True),
            ("user?user_id=5", Invalidation("user", {"page": 1}), True),
            ("user?user_id=5&team=a", Invalidation("user", {"team": "a"}), True),
            ("user?user_id=5&page=2", Invalidation("user", {"page": 1}), False),
            ("user?user_id=5", Invalidation("user", {"user_id": 7}), False),
            ("user?user_id=5", Invalidation("user", {"team": "a"}), False),
            ("user?user_id=5", Invalidation("users"), False),
            ("tagged?tags=a&tags=b", Invalidation("tagged", {"tags": ["a", "b"]}), True),
            ("tagged?tags=a", Invalidation("tagged", {"tags": ["a", "b"]}), False),
        ],
    )
    def test_stale_bundles_are_found_with_defaults_filled_in(
        self, mounted: str, invalidation: Invalidation, stale: bool
    ) -> None:
        async def story() -> None:
            assert len(await queries(mounted, invalidation)) == stale

        run(story)

    def test_bundles_come_in_header_order_by_canonical_queries(self) -> None:
        async def story() -> None:
            assert await queries("tagged?tags=b&tags=a, user?user_id=07&page=1, user?page=2&user_id=5") == [
                "tagged?tags=b&tags=a",
                "user?user_id=7",
                "user?page=2&user_id=5",
            ]

        run(story)

    def test_params_are_those_that_were_named_as_json_values(self) -> None:
        async def story() -> None:
            found = await refreshed("user?user_id=05&page=1, tagged, tagged?tags=a, user?user_id=" + "9" * 30)
            assert [one.params for one in found] == [
                {"user_id": 5, "page": 1},
                {},
                {"tags": ["a"]},
                {"user_id": int("9" * 30)},
            ]

        run(story)

    @pytest.mark.parametrize(
        "passed_over",
        ["gone", "nowhere", "user", "user?user_id=x", "user?user_id=5&user_id=6", "user?user_id=5&x=1", "pages?page=1"],
    )
    def test_unknown_or_refused_bundles_are_passed_over(
        self, passed_over: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def story() -> None:
            assert await queries(f"{passed_over}, user?user_id=5") == ["user?user_id=5"]

        run(story)
        assert caplog.records == []

    def test_a_type_whose_own_code_fails_is_passed_over_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def story() -> None:
            assert await queries("odd?number=13, odd?number=1") == ["odd?number=1"]

        run(story)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]


def shown(count: int, context: str = "user") -> str:
    return ",".join(f"{context}?user_id={number}" for number in range(count))


class TestCost:
    """A sender decides how long the mounted header is. Bundles that a call did not affect cost nothing."""

    def test_a_header_line_is_checked_in_a_constant_number_of_calls(self) -> None:
        one, many = shown(1), shown(240)
        assert len(many) > 3800
        assert calls(lambda: read_mounted([one])) == calls(lambda: read_mounted([many]))
        encoded = ["user?user_id=" + "%41" * count for count in (1, 1300)]
        assert calls(lambda: read_mounted(encoded[:1])) == calls(lambda: read_mounted(encoded[1:]))

    @pytest.mark.parametrize("pieces", [["a", "%41"], ["a,"], [" "], ["a?b=c&"], ["a ", ","], ["a?b=", "%zz"]])
    def test_a_grammar_error_is_found_without_backtracking(self, pieces: list[str]) -> None:
        line = ("".join(pieces) * MAXIMUM_HEADER_BYTES)[: MAXIMUM_HEADER_BYTES - 1] + '"'
        with pytest.raises(BadRequest):
            read_mounted([line])

    def test_bundles_of_other_contexts_cost_no_calls(self) -> None:
        few, many = (Mounted(f"inbox, {shown(count)}") for count in (1, 200))
        assert calls(lambda: [*few.of(["inbox"])]) == calls(lambda: [*many.of(["inbox"])])

    @pytest.mark.parametrize(
        ("affected", "validated"),
        [
            ([], 0),
            ([Invalidation("user")], 0),
            ([Invalidation("noted")], 16),
            ([Invalidation("noted", {"user_id": -1})], 64),
        ],
    )
    def test_the_number_of_validated_bundles_is_bounded(self, affected: list[Invalidation], validated: int) -> None:
        looked_at: list[int] = []

        @client(context="noted")
        async def noted(user_id: Annotated[int, AfterValidator(lambda one: looked_at.append(one) or one)]) -> int:
            return user_id

        async def story() -> None:
            await refreshed(shown(200, "noted"), affected, graph=build([noted, profile]))
            assert [*dict.fromkeys(looked_at)] == [*range(validated)]
            assert len(looked_at) <= 2 * validated  # once more from its text, where a validator may read that otherwise

        run(story)


class TestLimits:
    def test_at_most_16_bundles_are_looked_at(self) -> None:
        asked: list[str] = []

        async def get(stale: Stale) -> bytes:
            asked.append(stale.query)
            if stale.query == "user_id=3":
                raise Forbidden
            return b"1"

        async def story() -> None:
            mounted = ",".join(f"user?user_id={number}" for number in range(40))
            found = await refreshed(mounted, get=get)
            assert asked == [f"user_id={number}" for number in range(MAXIMUM_BUNDLES)]
            assert len(found) == MAXIMUM_BUNDLES - 1

        run(story)

    def test_only_stale_bundles_count(self) -> None:
        async def story() -> None:
            mounted = ",".join(f"user?user_id={number}" for number in range(40))
            assert await queries(mounted, Invalidation("user", {"user_id": 39})) == ["user?user_id=39"]

        run(story)

    def test_refreshed_data_is_at_most_256_kilobytes_together(self) -> None:
        sizes = {"1": MAXIMUM_DATA_BYTES - 10, "2": 11, "3": 10, "4": 1}

        async def get(stale: Stale) -> bytes:
            return b"1" * sizes[stale.query.removeprefix("user_id=")]

        async def story() -> None:
            found = await refreshed(",".join(f"user?user_id={one}" for one in sizes), get=get)
            assert [one.params["user_id"] for one in found] == [1, 3]
            assert sum(len(one.data) for one in found) == MAXIMUM_DATA_BYTES

        run(story)

    def test_after_so_many_seconds_the_rest_is_left_to_the_client(self) -> None:
        asked: list[str] = []

        async def get(stale: Stale) -> bytes:
            asked.append(stale.query)
            if len(asked) == 2:
                await asyncio.Event().wait()
            return b"1"

        async def story() -> None:
            async with asyncio.timeout(MAXIMUM_SECONDS):
                found = await refreshed("user?user_id=1,user?user_id=2,user?user_id=3", get=get, seconds=0.01)
            assert [one.params for one in found] == [{"user_id": 1}]
            assert asked == ["user_id=1", "user_id=2"]

        run(story)

    def test_the_time_is_looked_at_where_nothing_waits(self) -> None:
        async def get(stale: Stale) -> bytes:
            stall(0.4)
            return b"1"

        async def story() -> None:
            found = await refreshed(shown(10), get=get, seconds=1.0)
            assert [one.params["user_id"] for one in found] == [0, 1, 2]

        run(story)


class TestFailures:
    def test_a_failing_bundle_is_left_out_and_logged_if_unexpected(self, caplog: pytest.LogCaptureFixture) -> None:
        errors = {"user_id=1": Forbidden(), "user_id=2": RuntimeError("a defect"), "user_id=3": TimeoutError()}

        async def get(stale: Stale) -> bytes:
            if stale.query in errors:
                raise errors[stale.query]
            return b"1"

        async def story() -> None:
            found = await refreshed(",".join(f"user?user_id={number}" for number in range(1, 5)), get=get)
            assert [one.params for one in found] == [{"user_id": 4}]

        run(story)
        assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [*errors.values()][1:]


class TestRefreshedBody:
    def test_its_members_are_sorted_and_data_is_copied_byte_for_byte(self) -> None:
        answer = Answer(None, b'{"z": 1}', (), (Refreshed("user", {"user_id": 2**70, "a": [1]}, b'{"b": 1.0,"a":2}'),))
        assert answer.body == (
            b'{"refreshed":[{"context":"user","data":{"b": 1.0,"a":2},"params":{"a":[1],"user_id":%d}}],'
            b'"result":{"z": 1}}' % 2**70
        )
        assert Answer(None, b"1", (Invalidation("user"),), ()).body == (
            b'{"invalidate":["user"],"refreshed":[],"result":1}'
        )

    def test_a_refreshed_bundle_equals_a_fetch(self) -> None:
        names = {5: "Ada"}
        user = Context("user")

        @client(context=user)
        async def name(user_id: int) -> str:
            return names[user_id]

        @client(affects=user)
        async def rename(user_id: int, new: str) -> None:
            names[user_id] = new

        async def story() -> None:
            engine = Engine(build([name, rename]))

            async def get(stale: Stale) -> bytes:
                return (await engine.fetch(stale.context, stale.params)).body

            answer = await engine.call("rename", {"user_id": 5, "new": "Eve"})
            answer = await refresh(engine.graph, answer, Mounted("user?user_id=5"), get)
            assert answer.refreshed == (Refreshed("user", {"user_id": 5}, b'{"name":"Eve"}'),)

        run(story)
