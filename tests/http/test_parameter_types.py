"""What Pydantic offers as a parameter's type: one value by URL, by form and by JSON, or a refusal at start-up."""

import datetime
import enum
import ipaddress
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import pytest
from pydantic import (
    UUID4,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FilePath,
    ImportString,
    InstanceOf,
    IPvAnyAddress,
    Json,
    JsonValue,
    NaiveDatetime,
    PastDate,
    Secret,
    SecretBytes,
    SecretStr,
    Strict,
    StrictBool,
    StrictBytes,
    StrictFloat,
    StrictInt,
    TypeAdapter,
)

from mizan_asgi import Mizan
from mizan_core import GraphError, build, client
from tests.declaring import function, reader
from tests.http.site import PUBLIC, hosting, http


class Size(enum.Enum):
    SMALL, LARGE = 1, 2


class Ratio(enum.Enum):
    HALF, TWICE = 0.5, 2.0


class Answer(enum.Enum):
    YES, NO = True, False


class Either(enum.Enum):
    NUMBER, WORD = 1, "one"


class Level(enum.IntEnum):
    LOW, HIGH = 1, 2


class Color(enum.StrEnum):
    RED = "red"


class Rights(enum.Flag):
    READ, WRITE = 1, 2


class Bits(enum.IntFlag):
    A, B = 1, 2


class Corner(enum.Enum):
    LEFT = (0, 0)


class Found(enum.Enum):
    LEFT = (0, 0)

    @classmethod
    def _missing_(cls, value: object) -> "Found | None":
        return cls.LEFT if value == "left" else None


class Point(NamedTuple):
    size: Size
    name: str


class Strictly(BaseModel):
    model_config = ConfigDict(strict=True)

    when: datetime.date
    ids: tuple[uuid.UUID, ...] = ()


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    held: re.Scanner = None  # type: ignore[name-defined]


ID, DAY = uuid.UUID(int=5, version=4), datetime.date(2026, 1, 2)
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)

# A type, a value of it, and what of that is sent as JSON where that is not what Pydantic dumps.
SCALARS: list[Any] = [
    (Literal[1, 2], 2),
    (Literal[True], True),
    (Literal["a", 1], 1),
    (Literal["a", 1], "a"),
    (Literal[Level.HIGH], Level.HIGH),
    (Literal[Color.RED], Color.RED),
    (Literal[1] | None, 1),
    (Size, Size.LARGE),
    (Size | None, Size.LARGE),
    (Annotated[Size, Strict()], Size.LARGE),
    (Ratio, Ratio.HALF),
    (Ratio, Ratio.TWICE),
    (Answer, Answer.YES),
    (Either, Either.NUMBER),
    (Either, Either.WORD),
    (Level, Level.HIGH),
    (Annotated[Level, Strict()], Level.HIGH),
    (Color, Color.RED),
    (Annotated[Color, Strict()], Color.RED),
    (Rights, Rights.READ | Rights.WRITE),
    (Bits, Bits.A | Bits.B),
    (StrictInt, 5),
    (Annotated[int, Strict(), Field(ge=1)], 5),
    (StrictFloat, 1.5),
    (StrictBool, True),
    (StrictBytes, b"a"),
    (StrictInt | None, 5),
    (Annotated[datetime.date, Strict()], DAY),
    (Annotated[datetime.datetime, Strict()], NOON),
    (Annotated[datetime.timedelta, Strict()], datetime.timedelta(1)),
    (Annotated[uuid.UUID, Strict()], ID),
    (Annotated[Decimal, Strict()], Decimal("1.5")),
    (Annotated[pathlib.PurePosixPath, Strict()], pathlib.PurePosixPath("a.txt")),
    (Annotated[ipaddress.IPv4Address, Strict()], ipaddress.IPv4Address("1.2.3.4")),
    (pathlib.Path, pathlib.Path("a.txt")),
    (pathlib.PurePosixPath, pathlib.PurePosixPath("a.txt")),
    (FilePath, pathlib.Path("pyproject.toml")),
    (zoneinfo.ZoneInfo, zoneinfo.ZoneInfo("UTC")),
    (ipaddress.IPv6Address, ipaddress.IPv6Address("::1")),
    (IPvAnyAddress, ipaddress.IPv4Address("1.2.3.4")),
    (AnyUrl, AnyUrl("http://a/")),
    (uuid.UUID, ID),
    (UUID4, ID),
    (Decimal, Decimal("1.5")),
    (datetime.timedelta, datetime.timedelta(1, 2)),
    (datetime.time, datetime.time(1, 2)),
    (PastDate, datetime.date(2020, 1, 1)),
    (AwareDatetime, NOON),
    (NaiveDatetime, datetime.datetime(2026, 1, 2)),
    (bytes, b"a"),
    (Base64Bytes, b"a"),
    (ByteSize, ByteSize(5)),
    (complex, 1 + 2j),
    (re.Pattern[str], re.compile("a")),
    (Json[int], 5, "5"),
    (float, 1.5),
    (bool, True),
]
LISTS: list[Any] = [
    (list[Size], [Size.LARGE, Size.SMALL]),
    (list[Literal[1, 2]], [2, 1]),
    (list[StrictInt], [1, 2]),
    (Annotated[tuple[int, ...], Strict()], (1, 2)),
    (Annotated[set[int], Strict()], {1, 2}),
    (frozenset[Rights], frozenset({Rights.READ})),
    (tuple[Size, str], (Size.SMALL, "a")),
    (Point, Point(Size.SMALL, "a")),
]


def id_of(case: Any) -> str:
    return re.sub(r"\W+", "_", f"{case[0]} {case[1]}".replace("typing.", ""))


class Doors:
    """A function of one parameter behind every door; what it was given by each."""

    def __init__(self, annotation: Any) -> None:
        self.given: list[Any] = []

        @client(context="c", cache=False)
        async def read(x: annotation) -> None:
            self.given.append(x)

        @client
        async def call(x: annotation) -> None:
            self.given.append(x)

        @client(route="/by-path/{x}/")
        async def path(x: annotation) -> None:
            self.given.append(x)

        @client(route="/by-query/")
        async def query(x: annotation, more: Strictly) -> None:
            assert more.when == DAY
            self.given.append(x)

        self.app = hosting(Mizan(build([read, call, path, query])))

    async def give(self, sent: Any) -> list[Any]:
        """Send it through each door; what was given there."""
        texts = [one if isinstance(one, str) else str(one).lower() for one in (sent if type(sent) is list else [sent])]
        pairs = [("x", text) for text in texts]
        form = {"content-type": "application/x-www-form-urlencoded"}
        fields = "&".join(f"x={quote(text)}" for text in texts)
        async with http(self.app) as web:
            answers = [
                await web.get("/api/mizan/ctx/c/", params=pairs),
                await web.post("/api/mizan/call/call/", content=fields, headers=form),
                await web.post("/api/mizan/call/call/", json={"x": sent}),
                await web.post("/api/mizan/call/", json={"fn": "call", "args": {"x": sent}}),
                await web.post("/by-query/", params=pairs, json={"more": {"when": str(DAY)}}),
            ]
            if type(sent) is not list and "/" not in texts[0]:
                answers.append(await web.post(f"/by-path/{quote(texts[0])}/"))
        assert [answer.status_code for answer in answers] == [200] * len(answers), [one.text for one in answers]
        return self.given


@pytest.mark.asyncio
@pytest.mark.parametrize("case", [*SCALARS, *LISTS], ids=id_of)
async def test_a_value_is_one_by_url_form_and_json(case: Any) -> None:
    annotation, value, *other = case
    sent = other[0] if other else TypeAdapter(annotation).dump_python(value, mode="json")
    for given in await Doors(annotation).give(sent):
        assert given == value
        assert type(given) is type(value)


@pytest.mark.asyncio
@pytest.mark.parametrize("annotation", [SecretStr, SecretBytes, Secret[str]])
async def test_a_secret_is_an_argument_but_no_parameter(annotation: Any) -> None:
    given: list[Any] = []

    @client
    async def f(x: annotation) -> None:
        given.append(x.get_secret_value())

    async with http(hosting(Mizan(build([f])))) as web:
        await web.post("/api/mizan/call/f/", json={"x": "hush"})
        await web.post("/api/mizan/call/f/", data={"x": "hush"})
    assert given in (["hush"] * 2, [b"hush"] * 2)
    for asked in (annotation, annotation | None, list[annotation]):
        with pytest.raises(GraphError, match=r"'x' of context 'c' is a .*take it in a mutation"):
            build([reader("r", "c", x=asked)])


@pytest.mark.parametrize(
    ("annotation", "remedy"),
    [
        (Literal[Size.SMALL], "StrEnum or IntEnum"),
        (Literal["a", Size.SMALL], "StrEnum or IntEnum"),
        (Literal[b"a"], "texts, numbers"),
        (list[Literal[b"a"]], "texts, numbers"),
        (Corner, "texts or numbers for values"),
        (dict[str, Corner] | None, "texts or numbers for values"),
        (Callable[[], int], "look the function up"),
        (type[int], "look the class up"),
        (InstanceOf[re.Scanner], "a model, a text or a number"),  # type: ignore[attr-defined]
        (tuple[int, type[int]], "look the class up"),
        (re.Pattern[bytes], "a model, a text or a number"),
    ],
)
def test_types_that_no_json_gives_are_refused_at_start_up(annotation: Any, remedy: str) -> None:
    with pytest.raises(GraphError, match=rf"f: parameter 'x' is a .*{remedy}"):
        build([client(function("f", x=annotation))])
    build([client(private=True)(function("f", x=annotation))])


@pytest.mark.parametrize(
    "annotation", [Holder, Found, int | type[int], JsonValue, Any, Iterable[int], InstanceOf[Strictly]]
)
def test_types_that_some_json_gives_are_accepted(annotation: Any) -> None:
    build([client(function("f", x=annotation))])


@pytest.mark.parametrize("annotation", [Iterable[int], ImportString])
def test_types_without_a_cache_key_are_no_parameters(annotation: Any) -> None:
    with pytest.raises(GraphError, match="'x' of context 'c' is a"):
        build([reader("r", "c", x=annotation)])


class Twice(enum.Enum):
    NUMBER, TEXT = 1, "1"


@pytest.mark.parametrize("annotation", [Twice, Literal[1, "1"], Literal["true", True] | None, list[Twice]])
def test_one_text_for_two_values_is_refused_in_a_context(annotation: Any) -> None:
    with pytest.raises(GraphError, match="is a text and a number alike"):
        build([reader("r", "c", x=annotation)])
    build([client(function("f", x=annotation))])


@pytest.mark.asyncio
async def test_a_bundle_of_a_number_is_public_cached_and_purged() -> None:
    @client(context="c")
    async def read(x: Size) -> str:
        return x.name

    @client(affects="c")
    async def write(x: Size) -> None: ...

    async with http(hosting(Mizan(build([read, write])))) as web:
        for expected in ("mizan; fwd=uri-miss; stored", "mizan; hit"):
            answer = await web.get("/api/mizan/ctx/c/?x=2")
            assert (answer.headers["cache-control"], answer.headers["cache-status"]) == (PUBLIC, expected)
        written = await web.post("/api/mizan/call/write/", data={"x": "2"})
        assert written.headers["x-mizan-invalidate"] == "c;x=2"
        assert (await web.get("/api/mizan/ctx/c/?x=2")).headers["cache-status"] == "mizan; fwd=stale; stored"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("annotation", "sent"),
    [(StrictInt, "5"), (StrictBool, "true"), (Annotated[datetime.date, Strict()], 5), (Size, "1"), (Literal[1], "1")],
)
async def test_json_is_no_less_strict_than_pydantic_is(annotation: Any, sent: Any) -> None:
    async with http(Doors(annotation).app) as web:
        by_body = await web.post("/api/mizan/call/call/", json={"x": sent})
        beside_a_query = await web.post("/by-query/?x=1", json={"more": {"when": 5}})
    assert by_body.status_code == beside_a_query.status_code == 422


@pytest.mark.asyncio
async def test_a_strict_model_is_validated_as_json() -> None:
    told: list[Strictly] = []

    @client
    async def f(x: Strictly) -> None:
        told.append(x)

    sent = {"when": "2026-01-02", "ids": [str(ID)]}
    async with http(hosting(Mizan(build([f])))) as web:
        assert (await web.post("/api/mizan/call/", json={"fn": "f", "args": {"x": sent}})).status_code == 200
        assert (await web.post("/api/mizan/call/", json={"fn": "f", "args": {"x": {"when": 5}}})).status_code == 422
    assert told == [Strictly(when=DAY, ids=(ID,))]
