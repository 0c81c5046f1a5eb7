"""One spelling for every value (protocol, section 2)."""

import datetime
import enum
import io
import json
import os
import random
import shutil
import struct
import subprocess
import uuid
import zoneinfo
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, TypeAdapter

from mizan_core import DeclarationError, canonical
from mizan_core.errors import InvalidValue, MizanError
from mizan_core.protocol.values import NAME_PATTERN, canonical_json, check_name, jsonable, utf16_order

UTC = datetime.UTC


class Color(enum.Enum):
    RED = "red"


class Price(enum.Enum):
    LOW = Decimal("1.50")


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


class Shouted(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Point(BaseModel):
    y: float
    x: int


@dataclass
class Pair:
    b: str
    a: None


class Row(NamedTuple):
    first: int
    second: float


class Nowhere(datetime.tzinfo):
    """A time zone that does not say how far from UTC it is, which makes a moment naive."""

    def utcoffset(self, when: datetime.datetime | None) -> None:
        return None

    dst = utcoffset

    def tzname(self, when: datetime.datetime | None) -> None:
        return None


# Plain JSON values, with integers and floats of every size.
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
# A time zone that was read from a file: the header of one with a single rule, the rule, and its name.
NAMELESS_ZONE = zoneinfo.ZoneInfo.from_file(io.BytesIO(struct.pack(">4s32x2l6x4s", b"TZif", 1, 4, b"UTC")))

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
moments = st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31), timezones=offsets)
decimals = st.decimals(allow_nan=False, allow_infinity=False)


class TestTexts:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("", ""),
            ("null", "null"),
            ('say "x"', 'say "x"'),
            (Shouted("ada"), "ada"),
            (True, "true"),
            (False, "false"),
            (None, "null"),
            (5, "5"),
            (-0, "0"),
            (-17, "-17"),
            (2**53 + 1, "9007199254740993"),
            (1.0, "1"),
            (-0.0, "0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e21, "-1.25e+21"),
            (123456789012345680000.0, "123456789012345680000"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            ([1, 2.5, None, True, "é"], '[1,2.5,null,true,"é"]'),
            ((), "[]"),
            (Row(1, 2.0), "[1,2]"),
            ({"b": 1, "a": [{}]}, '{"a":[{}],"b":1}'),
            ({1: "x", False: "y", Color.RED: "z"}, '{"1":"x","false":"y","red":"z"}'),
            (frozenset({10, 9, 2}), "[2,9,10]"),
            ({"b", "a"}, '["a","b"]'),
            ({None, False, 3, 2.5, "b", "\uff5a", "\U0001d4b3", (1,)}, '[false,null,2.5,3,"b","𝒳","ｚ",[1]]'),
            (Color.RED, "red"),
            (Price.LOW, "1.5"),
            (Level.HIGH, "3"),
            (Word.YES, "yes"),
            ([Color.RED], '["red"]'),
            (Decimal("1.50"), "1.5"),
            (Decimal("-0.00"), "0"),
            (Decimal("1E+2"), "100"),
            (Decimal("1E+20"), "100000000000000000000"),
            (Decimal("1E+21"), "1E+21"),
            (Decimal("0.0000001"), "1E-7"),
            (datetime.date(2026, 2, 3), "2026-02-03"),
            (datetime.datetime(2026, 2, 3, 4, 5, 6), "2026-02-03T04:05:06"),
            (datetime.datetime(2026, 2, 3, 4, 5, tzinfo=UTC), "2026-02-03T04:05:00Z"),
            (datetime.datetime(2026, 2, 3, 4, 5, tzinfo=Nowhere()), "2026-02-03T04:05:00"),
            (datetime.time(4, 5), "04:05:00"),
            (datetime.timedelta(hours=1), "PT1H"),
            (uuid.UUID("6BA7B810-9DAD-11D1-80B4-00C04FD430C8"), "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            (Path("/a/b"), "/a/b"),
            (b"abc", "abc"),
            (Point(x=1, y=2.0), '{"x":1,"y":2}'),
            (Pair(b="x", a=None), '{"a":null,"b":"x"}'),
        ],
    )
    def test_a_value_has_this_text(self, value: object, text: str) -> None:
        assert canonical(value) == text
        assert type(canonical(value)) is str

    def test_text_in_a_list_is_escaped_as_json_stringify_does(self) -> None:
        assert canonical(['"\\/\b\f\n\r\t\x01\x7fé\u2028🦀']) == '["\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7fé\u2028🦀"]'

    def test_a_lone_surrogate_is_escaped(self) -> None:
        assert canonical(["\ud83e", "é\udd80"]) == '["\\ud83e","é\\udd80"]'

    @pytest.mark.parametrize("digits", [4300, 4301, 5000])
    @pytest.mark.parametrize("sign", ["", "-"])
    def test_an_integer_keeps_every_digit_however_many(self, digits: int, sign: str) -> None:
        text = sign + ("1234567890" * 500)[:digits]
        assert canonical(int(Decimal(text))) == text
        assert canonical([int(Decimal(text))]) == f"[{text}]"

    def test_object_members_are_sorted_by_utf16_code_unit(self) -> None:
        assert canonical({"\uff5a": 1, "\U0001d4b3": 2, "z": 3}) == '{"z":3,"𝒳":2,"ｚ":1}'

    @pytest.mark.parametrize(
        "value",
        [
            float("nan"),
            float("inf"),
            float("-inf"),
            Decimal("NaN"),
            Decimal("sNaN"),
            Decimal("-Infinity"),
            b"\xff",
            object(),
            SecretStr("x"),
            NAMELESS_ZONE,
            [{"a": {float("nan")}}],
            datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            datetime.datetime(9999, 12, 31, 23, tzinfo=datetime.timezone(datetime.timedelta(hours=-2))),
        ],
    )
    def test_values_without_a_text_are_refused_with_one_error(self, value: object) -> None:
        with pytest.raises(InvalidValue) as refused:
            canonical(value)
        assert isinstance(refused.value, MizanError)
        assert isinstance(refused.value, ValueError)

    def test_jsonable_returns_a_copy(self) -> None:
        given_value: Any = {"a": [1, {"b": 2}]}
        plain: Any = jsonable(given_value)
        plain["a"][1]["b"] = 3
        plain["a"].append(4)
        assert given_value == {"a": [1, {"b": 2}]}


class TestOneSpelling:
    @given(plain_values)
    def test_canonical_json_is_read_back_to_the_same_text(self, value: object) -> None:
        text = canonical_json(value)
        assert canonical_json(json.loads(text)) == text

    @given(plain_values)
    def test_making_a_value_plain_first_does_not_change_its_text(self, value: object) -> None:
        assert canonical(jsonable(value)) == canonical(value)

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_the_text_of_a_float_is_that_float(self, value: float) -> None:
        assert float(canonical(value)) == value

    @given(decimals)
    def test_the_text_of_a_decimal_is_that_decimal(self, value: Decimal) -> None:
        assert Decimal(canonical(value)) == value

    @given(decimals, st.integers(0, 30))
    def test_decimals_that_compare_equal_have_one_text(self, value: Decimal, zeros: int) -> None:
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        longer = Decimal((sign, (*digits, *[0] * zeros), exponent - zeros))
        assert longer == value
        assert canonical(longer) == canonical(value)

    @given(moments, offsets)
    def test_moments_that_compare_equal_have_one_text(
        self, moment: datetime.datetime, elsewhere: datetime.timezone
    ) -> None:
        assert canonical(moment.astimezone(elsewhere)) == canonical(moment)
        assert datetime.datetime.fromisoformat(canonical(moment)) == moment

    @given(st.lists(st.none() | st.text() | decimals) | st.lists(st.none() | st.integers()), st.randoms())
    def test_a_sets_text_does_not_depend_on_its_order(self, members: list[Any], chance: random.Random) -> None:
        shuffled = chance.sample(members, len(members))
        assert canonical(frozenset(shuffled)) == canonical(frozenset(members))

    @given(st.dictionaries(st.text(), st.integers()))
    def test_the_order_of_an_objects_members_does_not_matter(self, value: dict[str, int]) -> None:
        assert canonical(dict(reversed(value.items()))) == canonical(value)


def ask_node(script: str, question: object) -> Any:
    """The JSON that Node prints when it runs `script` with `question` in the variable `asked`."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Node is not on PATH, and in CI canonical text has to be held against its own.")
        pytest.skip("Node is not on PATH, so there is nothing to hold canonical text against.")
    program = f"const asked = JSON.parse(require('fs').readFileSync(0, 'utf8'));{script}"
    answer = subprocess.run(
        [node, "-e", program], input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(answer.stdout)


def some_floats() -> list[float]:
    """Floats of all magnitudes, every power of ten and its neighbours, and plain decimals."""
    chooser = random.Random(20260101)
    bits = (struct.unpack(">d", chooser.randbytes(8))[0] for _ in range(3000))
    powers = (float(f"1e{exponent}") for exponent in range(-30, 31))
    nearby = (value * (1 + step * 2**-52) for value in powers for step in (-1, 0, 1))
    short = (chooser.randrange(-(10**9), 10**9) / 10 ** chooser.randrange(12) for _ in range(1000))
    return [value for value in (*bits, *nearby, *short, 0.0, -0.0, 5e-324, 2.0**1023) if abs(value) < float("inf")]


class TestAgainstNode:
    def test_floats_are_written_as_ecmascript_writes_them(self) -> None:
        floats = some_floats()
        assert len(floats) > 4000
        script = """
            const read = (hex) => Buffer.from(hex, 'hex').readDoubleBE(0);
            console.log(JSON.stringify(asked.map((hex) => [String(read(hex)), JSON.stringify(read(hex))])));
        """
        written = ask_node(script, [struct.pack(">d", value).hex() for value in floats])
        assert [[canonical(value), canonical_json(value)] for value in floats] == written

    def test_texts_are_quoted_as_json_stringify_quotes_them(self) -> None:
        chooser = random.Random(7)
        edges = (*range(0x100), 0x2028, 0x2029, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xFFFF, 0x10000)
        texts = [chr(point) for point in edges]
        texts += ["".join(chr(chooser.randrange(0xD800)) for _ in range(20)) for _ in range(200)]
        # JSON.parse undoes exactly what json.dumps does, so that any text arrives in Node as it is here.
        assert [canonical_json(text) for text in texts] == ask_node(
            "console.log(JSON.stringify(asked.map((text) => JSON.stringify(text))));", texts
        )

    def test_names_are_sorted_as_ecmascript_sorts_them(self) -> None:
        chooser = random.Random(8)
        points = [*range(0x20, 0x7F), 0xE9, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFF5A, 0xFFFD, 0x10000, 0x1D4B3, 0x10FFFF]
        names = ["".join(chr(chooser.choice(points)) for _ in range(chooser.randrange(5))) for _ in range(800)]
        assert sorted(names, key=utf16_order) == ask_node("console.log(JSON.stringify(asked.sort()));", names)


GOOD_NAMES = ["user", "_", "A", "user.profile", "user-profile", "u5", "a" * 64]
BAD_NAMES = [
    "",
    "5user",
    ".user",
    "-user",
    "user*",
    "[user]",
    "a,b",
    "a;b",
    "a:b",
    "a/b",
    "a b",
    "a%b",
    "user\n",
    "user\r\nSet-Cookie: a=b",
    "\nuser",
    "café",
    "пользователь",
    "ｕｓｅｒ",
    "user٣",
    "a" * 65,
]


class TestNames:
    @pytest.mark.parametrize("name", GOOD_NAMES)
    def test_a_name_of_letters_digits_and_few_signs_is_taken(self, name: str) -> None:
        check_name("context", name)

    @pytest.mark.parametrize("name", [*BAD_NAMES, None, 5, b"user"])
    def test_any_other_name_is_refused_with_the_rule(self, name: object) -> None:
        with pytest.raises(DeclarationError) as refused:
            check_name("context", name)
        assert repr(name) in str(refused.value)
        assert "cannot name a context" in str(refused.value)
        assert "at most 64 characters, all ASCII" in str(refused.value)

    @given(st.text(max_size=70))
    def test_accepted_names_have_no_special_character(self, name: str) -> None:
        if NAME_PATTERN.fullmatch(name):
            assert not set(name) & set("*[]?,;:/=% \r\n\t")
            assert name.isascii()
            assert 1 <= len(name) <= 64


offsets = st.integers(-1439, 1439).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
aware_times = st.times(timezones=offsets)


@given(aware_times, aware_times)
def test_aware_times_have_one_text_exactly_if_they_are_equal(one: datetime.time, other: datetime.time) -> None:
    assert TypeAdapter(datetime.time).validate_python(canonical(one)) == one
    assert (canonical(one) == canonical(other)) == (one == other)


@given(aware_times, offsets)
def test_a_time_told_with_another_offset_keeps_its_text(one: datetime.time, offset: datetime.timezone) -> None:
    there = datetime.datetime.combine(datetime.date(2026, 1, 2), one).astimezone(offset).timetz()
    if there == one:  # neither fell on another day
        assert canonical(there) == canonical(one)
