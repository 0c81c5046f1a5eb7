"""Values of columns are spelled as arguments are: what a row makes stale is what `invalidate` with its value does."""

import datetime as dt
import enum
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import Field

from mizan_core import Context, Graph, Invalidation, build, client
from mizan_core.errors import DeclarationError
from mizan_core.graph.narrowing import named
from mizan_core.integrations.postgresql import Purge, Table, Triggers
from mizan_core.integrations.postgresql.listener import understood
from mizan_core.integrations.postgresql.payloads import payloads_of, read_payload
from mizan_core.protocol.invalidation import spelled
from mizan_core.testing.postgres_server import PostgresServer
from tests.integrations.postgresql.heard import database

Things = Context("things")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database for all values: making one takes longer than each test."""
    with postgres.database() as url:
        yield url


def things(*columns: str) -> list[str]:
    return ["DROP TABLE IF EXISTS things", f"CREATE TABLE things ({', '.join(columns)})"]


def graph_of(kind: Any) -> Graph:
    async def thing(one: Any, other: int | None = None) -> str:
        return ""

    thing.__annotations__["one"] = kind
    return build([client(context=Things)(thing)])


UTC = dt.UTC
HEX = "5f0c1e0a-8a2c-4d2e-9a55-0a0a0a0a0a0a"
CASES: list[tuple[Any, str, str, object]] = [
    (int, "int", "5", 5),
    (int, "bigint", "9007199254740993", 9007199254740993),
    (int, "numeric", "5", 5),
    (Annotated[int, Field(gt=0)], "int", "5", 5),
    (str, "text", "'a b;c=\"ü\"'", 'a b;c="ü"'),
    (str, "text", "'5'", "5"),
    (str, "int", "5", "5"),
    (str, "char(5)", "'ab'", "ab"),
    (str, "varchar(9)", "'x'", "x"),
    (str, "uuid", f"'{HEX.upper()}'", HEX),
    (UUID, "uuid", f"'{HEX}'", UUID(HEX)),
    (UUID, "text", f"'{HEX.upper()}'", UUID(HEX)),
    (bool, "bool", "true", True),
    (bool, "int", "1", True),
    (float, "float8", "0.1", 0.1),
    (float, "float4", "0.5", 0.5),
    (float, "float8", "1e300", 1e300),
    (Decimal, "numeric", "12.50", Decimal("12.5")),
    (Decimal, "numeric", "1234567890123456789.123456789", Decimal("1234567890123456789.123456789")),
    (Colour, "colour", "'red'", Colour.RED),
    (Level, "int", "3", Level.HIGH),
    (Literal["a", "b"], "text", "'b'", "b"),
    (Literal[1, 2], "int", "2", 2),
    (dt.date, "date", "'2026-02-28'", dt.date(2026, 2, 28)),
    (dt.datetime, "timestamp", "'2026-02-28 10:00:00.5'", dt.datetime(2026, 2, 28, 10, 0, 0, 500000)),
    (dt.datetime, "timestamptz", "'2026-02-28 10:00+02'", dt.datetime(2026, 2, 28, 8, tzinfo=UTC)),
    (dt.time, "time", "'10:30'", dt.time(10, 30)),
    (dt.timedelta, "interval", "'1 day 2 hours'", dt.timedelta(days=1, hours=2)),
    (list[int], "int[]", "'{1,2}'", [1, 2]),
]


@pytest.mark.parametrize(("kind", "column", "value", "argument"), CASES, ids=lambda one: str(one)[:30])
def test_a_column_names_what_its_value_does(url: str, kind: Any, column: str, value: str, argument: object) -> None:
    graph = graph_of(kind)
    enum_type = ["DROP TYPE IF EXISTS colour CASCADE", "CREATE TYPE colour AS ENUM ('red')"]
    with database(url, graph, *enum_type, *things("id int", f"one {column}")) as base:
        base.create(Triggers(graph, Table("things", Purge(Things, by="one"))))
        for setting in ("TimeZone = 'Asia/Tokyo'", "DateStyle = 'German'", "IntervalStyle = 'sql_standard'"):
            base.writer.execute(f"SET {setting}")
        expected = {spelled(one) for one in named(graph, Things, {"one": argument})}
        assert expected != {"things"}
        assert base.write(f"INSERT INTO things VALUES (1, {value.replace('2026-02-28', '28.02.2026')})") == expected


@pytest.mark.parametrize(
    ("kind", "column", "value"),
    [
        (bytes, "bytea", "'\\x6162'"),
        (int, "text", "'five'"),
        (float, "float8", "'NaN'"),
        (dt.date, "date", "'infinity'"),
    ],
)
def test_a_value_that_does_not_fit_widens(url: str, kind: Any, column: str, value: str) -> None:
    graph = graph_of(kind)
    with database(url, graph, *things("id int", f"one {column}")) as base:
        base.create(Triggers(graph, Table("things", Purge(Things, by="one"))))
        assert base.write(f"INSERT INTO things VALUES (1, {value})") == {"things"}


def test_each_member_of_an_array_is_named(url: str) -> None:
    graph = graph_of(str)
    with database(url, graph, *things("id int", "tags text[]")) as base:
        base.create(Triggers(graph, Table("things", Purge(Things, by={"one": "tags"}))))
        assert base.write("INSERT INTO things VALUES (1, '{a,b}')") == {"things;one=a", "things;one=b"}


class TestPayloads:
    @pytest.mark.parametrize(("kind", "argument"), [(case[0], case[3]) for case in CASES], ids=str)
    def test_an_invalidation_comes_back_from_its_payload(self, kind: Any, argument: object) -> None:
        graph = graph_of(kind)
        invalidations = named(graph, Things, {"one": argument, "other": None})
        [payload] = payloads_of(invalidations)
        assert read_payload(graph, payload) == invalidations

    def test_readers_and_contexts_have_payloads_of_their_own(self) -> None:
        graph = graph_of(int)
        invalidations = [Things.of(one=1), Invalidation("things", {"one": 1}, "thing"), Things.of(one=2)]
        assert [json.loads(one) for one in payloads_of(invalidations)] == [
            {"context": "things", "scopes": [{"one": 1}, {"one": 2}]},
            {"context": "things", "function": "thing", "scopes": [{"one": 1}]},
        ]
        assert [one for text in payloads_of(invalidations) for one in read_payload(graph, text)] == [
            *(invalidations[0], invalidations[2], invalidations[1])
        ]

    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            ('{"context": "things", "scopes": [{"one": 1, "new": 2}]}', "things;one=1"),
            ('{"context": "things", "function": "gone", "scopes": [{"one": 1}]}', "things;one=1"),
            ('{"context": "things", "function": 5, "scopes": [{}]}', "things"),
            ('{"context": "things", "scopes": [{"one": {"nested": 1}}]}', "things"),
            ('{"context": "things", "scopes": [{"new": 2}]}', "things"),
        ],
    )
    def test_what_another_version_says_widens(self, payload: str, expected: str) -> None:
        assert [spelled(one) for one in read_payload(graph_of(int), payload)] == [expected]

    def test_a_context_that_is_not_known_is_an_error(self) -> None:
        with pytest.raises(DeclarationError, match="no context 'gone'"):
            read_payload(graph_of(int), '{"context": "gone", "scopes": [{}]}')

    @pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"context": "things"}', '{"context": 1, "scopes": []}'])
    def test_a_text_that_is_no_payload_is_an_error(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"names no context|Expecting value"):
            read_payload(graph_of(int), text)

    def test_one_unread_notification_leaves_the_others(self, caplog: pytest.LogCaptureFixture) -> None:
        heard = ["nonsense", '{"context": "gone", "scopes": [{}]}', '{"context": "things", "scopes": [{"one": 1}]}']
        assert [spelled(one) for one in understood(graph_of(int), heard)] == ["things;one=1"]
        assert [record.getMessage()[:32] for record in caplog.records] == ["A notification was passed over: "] * 2
