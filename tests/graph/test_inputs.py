"""Types of arguments and parameters: what they accept, what a URL can spell, what fits a context's parameter."""

import collections
import datetime
import enum
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    JsonValue,
    SecretStr,
    Strict,
    StrictInt,
    StrictStr,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import core_schema
from typing_extensions import TypeAliasType

from mizan_core import InvalidInput, build
from mizan_core.graph.inputs import (
    MAXIMUM_ERRORS,
    MAXIMUM_LOCATION_LENGTH,
    Mixed,
    Parameter,
    Validator,
    compile_input,
    compile_type,
    compile_validator,
    same_type,
)
from mizan_core.graph.signature import Input
from mizan_core.graph.types.json_types import Kinds, kinds_of
from mizan_core.protocol.urls import Pairs
from tests.declaring import reader


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Size(enum.Enum):
    SMALL, LARGE = 1, 2


class Halves(enum.Enum):
    WORD = "half"
    NUMBER = 0.5


class Point(BaseModel):
    x: int
    beside: "Point | None" = None


Nested = TypeAliasType("Nested", "list[Nested] | int")
Chain = TypeAliasType("Chain", "list[Chain | int]")


class WithoutSchema(str):
    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.str_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        raise RuntimeError("There is none.")


def broken(value: str) -> str:
    raise KeyError(value)


def kinds(*own: str, items: str = "") -> Kinds:
    return Kinds(frozenset(own), frozenset(items.split()))


def parameter(annotation: Any) -> Parameter:
    return build([reader("r", "c", x=annotation)]).contexts["c"].parameters["x"]


def validator(**inputs: Any) -> Validator:
    """A validator of these inputs, each an annotation, or that and a default."""
    given = [
        Input(name, one[0], required=False, default=one[1])
        if isinstance(one, tuple)
        else Input(name, one, required=True)
        for name, one in inputs.items()
    ]
    required = frozenset(one.name for one in given if one.required)
    return compile_validator("args", map(compile_input, given), required)


class TestKinds:
    @pytest.mark.parametrize(
        ("annotation", "found", "in_a_url"),
        [
            (str, kinds("string"), True),
            (int, kinds("integer"), True),
            (float, kinds("number"), True),
            (bool, kinds("boolean"), True),
            (Decimal, kinds("string", "number"), True),
            (datetime.datetime, kinds("string"), True),
            (uuid.UUID, kinds("string"), True),
            (bytes, kinds("string"), True),
            (Color, kinds("string"), True),
            (Level, kinds("integer"), True),
            (Halves, kinds("string", "number"), True),
            (Literal["a", "b"], kinds("string"), True),
            (Literal["a", 1, True, None], kinds("string", "integer", "boolean", "null"), True),
            (int | None, kinds("integer", "null"), True),
            (int | str, kinds("integer", "string"), True),
            (Annotated[int, Field(gt=0)], kinds("integer"), True),
            (list[int], kinds("array", items="integer"), True),
            (set[Color], kinds("array", items="string"), True),
            (frozenset[bool], kinds("array", items="boolean"), True),
            (tuple[int, str], kinds("array", items="integer string"), True),
            (tuple[float, ...], kinds("array", items="number"), True),
            (collections.deque[int], kinds("array", items="integer"), True),
            (list[int] | None, kinds("array", "null", items="integer"), True),
            (None, kinds("null"), False),
            (list[int] | int, kinds("array", "integer", items="integer"), False),
            (list, kinds("array", items="any"), False),
            (list[int | None], kinds("array", items="integer null"), False),
            (list[list[int]], kinds("array", items="array"), False),
            (tuple[()], kinds("array", items="any"), False),
            (dict[str, int], kinds("object"), False),
            (Point, kinds("object"), False),
            (list[Point], kinds("array", items="object"), False),
            (Any, kinds("any"), False),
            (object, kinds("any"), False),
            (JsonValue, kinds("any"), False),
            (Callable[[int], int], kinds("any"), False),
            (WithoutSchema, kinds("any"), False),
            (Annotated[int, WithJsonSchema({"type": ["integer", "null"]})], kinds("integer", "null"), True),
            (Annotated[int, WithJsonSchema({"allOf": [{"type": "integer"}]})], kinds("integer"), True),
            (Annotated[int, WithJsonSchema({"anyOf": [True, {"type": "integer"}]})], kinds("any", "integer"), False),
            (Nested, kinds("array", "integer", items="any"), False),
            (Chain, kinds("array", items="any integer"), False),
        ],
    )
    def test_a_type_is_of_these_kinds(self, annotation: Any, found: Kinds, in_a_url: bool) -> None:
        assert kinds_of(TypeAdapter(annotation)) == found
        assert found.fits_a_url == in_a_url

    def test_mixed_literals_have_a_kind_for_each_value(self) -> None:
        assert kinds_of(TypeAdapter(Literal[1, "a"])) == kinds("integer", "string")

    def test_serialized_kinds_may_differ_from_validated_ones(self) -> None:
        assert kinds_of(TypeAdapter(Decimal), serialized=True) == kinds("string")

    @pytest.mark.parametrize(
        ("source", "target", "can"),
        [
            (int, int, True),
            (int, float, True),
            (int, bool, True),
            (float, int, True),
            (bool, int, True),
            (str, int, True),
            (str, bool, True),
            (int, str, False),
            (bool, str, False),
            (Level, str, False),
            (int | None, int, True),
            (None, int, False),
            (list[int], int, True),
            (list[int], list[str], True),
            (int, list[int], False),
            (dict[str, int], int, False),
            (Point, str, False),
            (list[Point], str, False),
            (list[Any], int, True),
            (Any, list[int], True),
            (Any, int, True),
            (Point, Any, True),
            (Nested, bool, True),
        ],
    )
    def test_some_kinds_can_become_others(self, source: Any, target: Any, can: bool) -> None:
        assert kinds_of(TypeAdapter(source)).can_become(kinds_of(TypeAdapter(target))) is can


class TestSameType:
    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            (int, int, True),
            (Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], True),
            (Annotated[str, Field(max_length=3)], Annotated[str, Field(max_length=3)], True),
            (Point, Point, True),
            (int, str, False),
            (int, int | None, False),
            (Annotated[int, Field(gt=0)], int, False),
            (Annotated[int, Field(gt=0)], Annotated[int, Field(gt=1)], False),
            (Annotated[str, AfterValidator(str.upper)], Annotated[str, AfterValidator(str.lower)], False),
        ],
    )
    def test_types_are_the_same_if_they_accept_the_same(self, first: Any, second: Any, same: bool) -> None:
        compiled = [compile_input(Input("x", annotation, required=True)) for annotation in (first, second)]
        assert same_type(*compiled) is same


class TestCompiling:
    def test_a_default_is_validated_before_its_text_is_taken(self) -> None:
        for annotation, default, text in [
            (int, "05", "5"),
            (float, 1, "1"),
            (Color, "red", "red"),
            (set[int], (), "[]"),
        ]:
            assert compile_input(Input("x", annotation, required=False, default=default)).default_text == text

    def test_a_null_or_missing_default_has_no_text(self) -> None:
        assert compile_input(Input("x", int | None, required=False, default=None)).default_text is None
        assert compile_input(Input("x", int, required=True)).default_text is None

    def test_a_model_completed_later_can_be_used(self) -> None:
        class Later(BaseModel):
            inner: "Inner"

        class Inner(BaseModel):
            x: int

        Later.model_rebuild(_types_namespace={"Inner": Inner})
        assert compile_type(list[Later]).validate_python([{"inner": {"x": "5"}}])[0].inner.x == 5


class TestValidating:
    def test_values_come_out_in_their_declared_types(self) -> None:
        checks = validator(user_id=int, tags=list[str], when=(datetime.date | None, None))
        assert checks.validate({"user_id": "5", "tags": ["a"], "when": "2026-01-02"}) == {
            "user_id": 5,
            "tags": ["a"],
            "when": datetime.date(2026, 1, 2),
        }

    def test_only_given_arguments_come_out(self) -> None:
        assert validator(a=int, b=(int, 5), _c=(int, 6)).validate({"a": 1}) == {"a": 1}

    @pytest.mark.parametrize(
        ("given", "location", "kind"),
        [
            ({}, ["args", "a"], "missing"),
            ({"a": "x"}, ["args", "a"], "int_parsing"),
            ({"a": None}, ["args", "a"], "int_type"),
            ({"a": 1, "c": 1}, ["args", "c"], "extra_forbidden"),
            ({"a": 1, 5: 1}, ["args", 5], "invalid_key"),
            ({"a": 1, "b": [1, float("nan")]}, ["args", "b", 1], "finite_number"),
            ({"a": 1, "b": ["inf"]}, ["args", "b", 0], "finite_number"),
        ],
    )
    def test_invalid_input_is_refused_with_its_place_only(
        self, given: dict[Any, Any], location: list[object], kind: str
    ) -> None:
        with pytest.raises(InvalidInput) as refused:
            validator(a=int, b=(list[float], [])).validate(given)
        (error,) = refused.value.errors
        assert (error["loc"], error["type"]) == (location, kind)
        assert set(error) == {"loc", "msg", "type"}

    def test_all_errors_are_told_at_once_and_bounded(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            validator(a=list[int]).validate({"a": ["x"] * 1000})
        assert len(refused.value.errors) == MAXIMUM_ERRORS
        assert refused.value.errors[-1]["loc"] == ["args", "a", MAXIMUM_ERRORS - 1]

    def test_a_name_that_the_caller_made_up_is_cut(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            validator().validate({"x" * 1000: 1})
        assert refused.value.errors[0]["loc"] == ["args", "x" * MAXIMUM_LOCATION_LENGTH]

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (uuid.UUID, "zebra"),
            (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "zebra"}),
            (Literal["cat", "dog"], "zebra"),
            (datetime.date, "zebra"),
            (Decimal, "zebra"),
            (Color, "zebra"),
        ],
    )
    def test_no_message_repeats_the_input(self, annotation: Any, value: object) -> None:
        with pytest.raises(InvalidInput) as refused:
            validator(pet=annotation).validate({"pet": value})
        assert not any("z" in str(error["msg"]) for error in refused.value.errors)

    @pytest.mark.parametrize("span", ["P9999999999D", "-P999999999DT1S"])  # for the latter it raises OverflowError
    def test_a_timedelta_too_large_for_pydantic_is_refused(self, span: str) -> None:
        with pytest.raises(InvalidInput):
            validator(span=datetime.timedelta).validate({"span": span})

    def test_validation_leaves_the_input_unchanged(self) -> None:
        given = {"a": "5"}
        validator(a=int).validate(given)
        assert given == {"a": "5"}

    def test_a_value_can_be_refused_by_hand(self) -> None:
        refusal = validator(a=int).refuse("a", "Is no good", "no_good")
        assert refusal.errors == ({"loc": ["args", "a"], "msg": "Is no good", "type": "no_good"},)
        assert refusal.status == 422


class TestPairs:
    CHECKS = validator(user_id=int, ids=(list[int], []), tags=(frozenset[str] | None, None))

    def test_a_list_is_given_by_repeating_its_name(self) -> None:
        pairs = Pairs([("ids", "1"), ("user_id", "5"), ("ids", "2"), ("tags", "a")])
        assert self.CHECKS.validate(pairs) == {"user_id": 5, "ids": [1, 2], "tags": frozenset({"a"})}

    @pytest.mark.parametrize("again", ["user_id", "unknown"])
    def test_a_scalar_given_twice_is_refused(self, again: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            self.CHECKS.validate(Pairs([("user_id", "5"), (again, "6"), (again, "6")]))
        assert refused.value.errors == (
            {"loc": ["args", again], "msg": "Given twice; it takes one value", "type": "repeated"},
        )

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            self.CHECKS.validate(Pairs([("user_id", "5"), ("page", "6")]))
        assert refused.value.errors[0]["type"] == "extra_forbidden"


class TestMixed:
    CHECKS = validator(size=Literal[1, 2], when=Annotated[datetime.date, Strict()], note=(str, ""))

    def test_texts_are_read_and_json_is_left_strict(self) -> None:
        mixed = Mixed(Pairs([("size", "2")]), {"when": "2026-01-02"})
        assert self.CHECKS.validate(mixed) == {"size": 2, "when": datetime.date(2026, 1, 2)}

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        with pytest.raises(InvalidInput) as refused:
            self.CHECKS.validate(Mixed(Pairs([("size", "3"), ("note", "x")]), {"other": 1}))
        assert [(one["loc"], one["type"]) for one in refused.value.errors] == [
            (["args", "size"], "literal_error"),
            (["args", "other"], "extra_forbidden"),
            (["args", "when"], "missing"),
        ]

    @pytest.mark.parametrize("text", ["", "big", "3", "2.5"])
    def test_a_text_that_is_none_of_the_numbers_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            self.CHECKS.validate(Pairs([("size", text), ("when", "2026-01-02")]))
        assert refused.value.errors[0]["type"] == "literal_error"

    def test_texts_and_json_values_are_validated_together(self) -> None:
        assert validator(a=int, b=int).validate(Mixed(Pairs([("a", "1")]), {"b": 2})) == {"a": 1, "b": 2}


class TestStrict:
    def test_the_server_may_pass_python_values_or_json(self) -> None:
        checks = validator(when=Annotated[datetime.date, Strict()], notes=(Any, None))
        day = datetime.date(2026, 1, 2)
        for when, notes in [(day, []), ("2026-01-02", [{"a": 1.5}]), (day, SecretStr("x")), (day, {1: 2})]:
            assert checks.validate({"when": when, "notes": notes}) == {"when": day, "notes": notes}

    def test_values_without_json_are_taken_as_python(self) -> None:
        assert validator(a=StrictStr, b=StrictInt).validate({"a": "x", "b": 2**70}) == {"a": "x", "b": 2**70}
        with pytest.raises(InvalidInput):
            validator(a=StrictStr, b=float).validate({"a": "x", "b": float("inf")})
        with pytest.raises(InvalidInput):
            validator(a=StrictInt, b=str).validate({"a": "5", "b": "\ud83e"})


class TestChoices:
    @pytest.mark.parametrize(
        ("annotation", "value", "choices"),
        [
            (int, "05", [5]),
            (int, 5.0, [5]),
            (int, True, [1]),
            (int, Decimal(5), [5]),
            (int, Level.HIGH, [3]),
            (float, 1, [1.0]),
            (bool, "yes", [True]),
            (str, "null", ["null"]),
            (str, uuid.UUID(int=5), [str(uuid.UUID(int=5))]),
            (str, Color.RED, ["red"]),
            (str, datetime.date(2026, 1, 2), ["2026-01-02"]),
            (Color, "red", ["red"]),
            (Color, Color.RED, ["red"]),
            (uuid.UUID, str(uuid.UUID(int=5)).upper(), [str(uuid.UUID(int=5))]),
            (datetime.date, datetime.date(2026, 1, 2), ["2026-01-02"]),
            (Decimal, "1.50", ["1.5"]),
            (int | None, "5", [5]),
            (int, [3, "1", 3, True], [3, 1]),
            (int, ("2", 1), [2, 1]),
            (int, {10, 9, 2}, [2, 9, 10]),
            (list[int], ("1", 2), [[1, 2]]),
            (list[int], [], [[]]),
            (set[int], [3, "1", 3], [[1, 3]]),
            (StrictInt, "5", [5]),
            (Annotated[datetime.date, Strict()], datetime.date(2026, 1, 2), ["2026-01-02"]),
            (Size, "2", [2]),
            (Size, Size.LARGE, [2]),
            (Literal[1, 2], ["1", 2], [1, 2]),
        ],
    )
    def test_a_value_stands_for_these_in_the_parameters_type(
        self, annotation: Any, value: object, choices: list[object]
    ) -> None:
        found = parameter(annotation).choices(value, at_most=3)
        assert found == choices
        assert list(map(type, found)) == list(map(type, choices))

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (int, None),
            (int | None, None),
            (int, "x"),
            (int, 5.5),
            (int, []),
            (int, [1, None]),
            (int | None, [1, None]),
            (str | None, [None, "null"]),
            (int, [1, "x"]),
            (int, [[1]]),
            (int, [{}]),
            (int, object()),
            (int, {float("nan"), 1.0}),
            (int, Color.RED),
            (int, [Color.RED]),
            (str, 5),
            (str, "\ud83e"),
            (str, b"\xff"),
            (str, SecretStr("x")),
            (float, "nan"),
            (float, float("inf")),
            (bool | int, [True, 1]),  # as in a URL, 1 is read as true
            (list[int], 5),
            (list[int], [1, "x"]),
            (list[float], [1, float("nan")]),
            (int | None, "null"),
            (Annotated[int, Field(gt=0)], 0),
            (Annotated[str, AfterValidator(broken)], "x"),
            (datetime.datetime, "0001-01-01T00:00:00+02:00"),
        ],
    )
    def test_an_invalid_or_textless_value_is_left_out(self, annotation: Any, value: object) -> None:
        assert parameter(annotation).choices(value, at_most=3) == []

    def test_too_many_members_are_left_out_unread(self) -> None:
        looked_at: list[int] = []
        noted = parameter(Annotated[int, AfterValidator(lambda number: looked_at.append(number) or number)])
        assert noted.choices([3, 1, 2] * 1000, at_most=3) == [3, 1, 2]
        assert noted.choices(range(1000), at_most=3) == []
        assert noted.choices(list(range(1000)), at_most=3) == []
        assert looked_at == [3, 3, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 3, 3]  # read, and read back as from a URL

    def test_a_list_longer_than_any_page_needs_stands_for_nothing(self) -> None:
        looked_at: list[int] = []
        noted = parameter(Annotated[int, AfterValidator(lambda number: looked_at.append(number) or number)])
        for kind in (list, tuple):
            assert noted.choices(kind([3] * 4097), at_most=64) == []
        assert noted.choices(set(range(4097)), at_most=64) == []
        assert looked_at == []
        assert noted.choices([3] * 4096, at_most=64) == [3]
        assert parameter(list[int]).choices([3] * 1000, at_most=64) == [[3] * 1000]
        assert parameter(list[int]).choices([3] * 1001, at_most=64) == []

    def test_members_are_told_apart_by_their_texts_and_types(self) -> None:
        alike = [2**61, 1, "1", True, 1, 2**61, 1.0]
        found = [*parameter(str)._members(alike, as_is=False)]
        assert [(type(one), one) for one in found] == [(type(one), one) for one in [2**61, 1, "1", True, 1.0]]

    @pytest.mark.parametrize("kind", [list, tuple, set])
    def test_validated_members_are_not_validated_again(self, kind: Any) -> None:
        once = Annotated[str, AfterValidator(lambda text: text if text.startswith("org-") else f"org-{text}")]
        each = Annotated[str, AfterValidator(lambda text: f"org-{text}")]
        texts = kind(["org-a", "org-b"])
        assert parameter(once).choices(texts, at_most=3, as_is=True) == ["org-a", "org-b"]
        assert parameter(each).choices(texts, at_most=3, as_is=True) == []  # a URL cannot spell them
        times = kind([datetime.time(10, tzinfo=datetime.UTC), datetime.time(9, tzinfo=datetime.UTC)])
        told = parameter(datetime.time).choices(times, at_most=3, as_is=True)
        assert told == ["09:00:00Z", "10:00:00Z"][:: 1 if kind is set else -1]

    def test_an_iterator_is_left_to_the_function(self) -> None:
        given = validator(ids=Iterable[int]).validate({"ids": ["1", "2"]})
        assert parameter(int).choices(given["ids"], at_most=3) == []
        assert list(given["ids"]) == [1, 2]

    def test_whether_it_is_a_list_is_known(self) -> None:
        assert [parameter(one).is_list for one in (int, list[int], set[str], int | None)] == [False, True, True, False]
