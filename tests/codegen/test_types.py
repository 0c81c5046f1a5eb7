"""Each Python type as TypeScript, as an argument and as a result."""

import datetime
import enum
import ipaddress
import math
import pathlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import (
    AliasPath,
    AllowInfNan,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FiniteFloat,
    HttpUrl,
    Json,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    WithJsonSchema,
    create_model,
    model_serializer,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from mizan_asgi.codegen.api import Api, api_of
from mizan_asgi.codegen.names import Names, literal, member, type_name
from mizan_asgi.codegen.openapi import openapi
from mizan_asgi.codegen.types import Types, tsdoc
from mizan_core import File, build, client


def described(annotation: Any, name: str = "f") -> Api:
    """The API of one function that takes and returns it."""

    @client(name=name)
    async def f(value: annotation) -> annotation: ...

    return api_of(build([f]), base_url="")


def argument(annotation: Any) -> str:
    api = described(annotation)
    return Types(api.definitions).of(api.calls[0].arguments[0].schema)


def result(annotation: Any) -> str:
    api = described(annotation)
    return Types(api.definitions).of(api.calls[0].result)


def definition(model: Any, *, sent: bool = False) -> str:
    """How the model's definition reads."""
    api = described(model)
    name = result(model) if sent else argument(model)
    return Types(api.definitions).definition(name)


class Size(enum.Enum):
    SMALL = 1
    HUGE = math.inf


@pytest.mark.parametrize(
    ("annotation", "taken", "sent"),
    [
        (int, "number", "number"),
        (str, "string", "string"),
        (bytes, "string", "string"),
        (None, "null", "null"),
        (Any, "unknown", "unknown"),
        (Optional[Any], "unknown", "unknown"),  # noqa: UP045
        (None | int, "number | null", "number | null"),
        (list[int | None], "(number | null)[]", "(number | null)[]"),
        (dict[str, list[int]], "{ [key: string]: number[] }", "{ [key: string]: number[] }"),
        (tuple[int, ...], "number[]", "number[]"),
        (tuple[()], "[]", "[]"),
        (list[tuple[int | str, None]], "[number | string, null][]", "[number | string, null][]"),
        (Literal["a", 1, None], '"a" | 1 | null', '"a" | 1 | null'),
        (Literal['it\'s "so"\n'], '"it\'s \\"so\\"\\n"', '"it\'s \\"so\\"\\n"'),
        (datetime.timedelta, "string", "string"),
        (ipaddress.IPv4Address, "string", "string"),
        (pathlib.PurePosixPath, "string", "string"),
        (re.Pattern[str], "string", "string"),
        (HttpUrl, "string", "string"),
        (SecretStr, "string", "string"),
        (SecretBytes | None, "string | null", "string | null"),
        (Secret[int], "number", "string"),
        (list[Secret[list[int]]], "number[][]", "string[]"),
        (Annotated[float, AllowInfNan(True)], "number", "number | null"),
        (FiniteFloat, "number", "number"),
        (Base64Bytes, "string", "string"),
        (ByteSize, "string | number", "number"),
        (Json[dict[str, int]], "string", "{ [key: string]: number }"),
        (Sequence[int], "number[]", "number[]"),
        (Mapping[str, int], "{ [key: string]: number }", "{ [key: string]: number }"),
        (defaultdict[str, int], "{ [key: string]: number }", "{ [key: string]: number }"),
        (Annotated[int, PlainSerializer(lambda value: str(value))], "number", "unknown"),
        (Annotated[int, PlainSerializer(str, return_type=str)], "number", "string"),
    ],
)
def test_a_type_is_taken_and_sent_as(annotation: Any, taken: str, sent: str) -> None:
    assert argument(annotation) == taken
    assert result(annotation) == sent


def test_a_flag_is_a_number_for_its_members_can_be_combined() -> None:
    class Rights(enum.Flag):
        READ, WRITE = 1, 2

    class Bits(enum.IntFlag):
        """Some of them."""

        A, B = 1, 2

    assert definition(Rights) == "export type Rights = number;"
    assert definition(Bits, sent=True) == "/** Some of them. */\nexport type Bits = number;"


@pytest.mark.parametrize("config", [ConfigDict(allow_inf_nan=True), ConfigDict(ser_json_inf_nan="strings")])
def test_a_model_that_may_hold_infinities_sends_null_for_them(config: ConfigDict) -> None:
    class Endless(BaseModel):
        model_config = config

        ratio: float
        part: FiniteFloat

    assert definition(Endless, sent=True) == "export interface Endless {\n  ratio: number | null;\n  part: number;\n}"


def test_nested_discriminated_unions_are_one_union() -> None:
    class Siamese(BaseModel):
        kind: Literal["cat"]
        breed: Literal["siamese"]

    class Persian(BaseModel):
        kind: Literal["cat"]
        breed: Literal["persian"]

    class Dog(BaseModel):
        kind: Literal["dog"]

    cats = Annotated[Siamese | Persian, Field(discriminator="breed")]
    pet = Annotated[cats | Dog, Field(discriminator="kind")]
    assert result(list[pet]) == "(Siamese | Persian | Dog)[]"

    @client
    async def f(value: pet) -> None: ...

    schema = openapi(build([f]), base_url="", title="", version="")["paths"]["/call/f/"]["post"]["requestBody"]
    argument = schema["content"]["application/json"]["schema"]["properties"]["value"]
    assert "discriminator" not in argument
    assert argument["oneOf"][0]["discriminator"]["mapping"] == {
        "persian": "#/components/schemas/Persian",
        "siamese": "#/components/schemas/Siamese",
    }


def test_a_type_without_json_is_unknown() -> None:
    @client
    async def f() -> Callable[[], int]: ...

    assert Types({}).of(api_of(build([f]), base_url="").calls[0].result) == "unknown"


@pytest.mark.parametrize(
    ("schema", "read"),
    [
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "object"}, "{ [key: string]: unknown }"),
        ({"type": "object", "additionalProperties": False}, "{ [key: string]: never }"),
        ({"type": "object", "properties": {"a-b": {"type": "null"}}}, '{\n  "a-b"?: null;\n}'),
        ({"type": "object", "properties": {"a": True}, "required": ["a"]}, "{\n  a: unknown;\n}"),
        ({"type": "array"}, "unknown[]"),
        ({"type": "array", "prefixItems": [{"type": "null"}], "minItems": 0, "maxItems": 1}, "[null?]"),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": False}, "[null?]"),
        ({"type": "array", "prefixItems": [{}], "items": {"type": "string"}, "minItems": 1}, "[unknown, ...string[]]"),
        ({"allOf": [{"type": "string"}, {"enum": ["a", "b"]}]}, 'string & ("a" | "b")'),
        ({"type": "string", "anyOf": [{"const": "a"}, {}]}, "string"),
        ({"anyOf": [True, {"type": "string"}]}, "unknown"),
        ({"oneOf": [False, {"type": "string"}]}, "string"),
        ({"anyOf": [False]}, "never"),
        ({"enum": [["a", 1], {"b": None}]}, '["a", 1] | { b: null; }'),
        ({"enum": []}, "never"),
        ({"type": "whatever"}, "unknown"),
        ({"type": "object", "propertyNames": False, "additionalProperties": True}, "{ [key: string]: unknown }"),
    ],
)
def test_a_hand_written_schema_is_read(schema: dict[str, Any], read: str) -> None:
    assert argument(Annotated[Any, WithJsonSchema(schema)]) == read


def test_a_number_that_is_not_finite_is_typed_as_its_json() -> None:
    class Endless(BaseModel):
        ratio: float = math.inf
        more: dict[str, list[float]] = {"a": [math.nan]}

    assert definition(Size) == "export type Size = 1 | null;"
    assert "@defaultValue" not in definition(Endless)
    assert all("default" not in field for field in described(Endless).definitions["Endless"]["properties"].values())


def test_a_model_serializer_needs_an_annotation() -> None:
    class Said(BaseModel):
        x: int

        @model_serializer
        def serialize(self) -> list[int]:
            return [self.x]

    class Unsaid(BaseModel):
        x: int

        @model_serializer
        def serialize(self):  # type: ignore[no-untyped-def]
            return [self.x]

    assert definition(Said, sent=True) == "export type Said = number[];"
    assert definition(Unsaid, sent=True) == "export type Unsaid = unknown;"


def test_a_model_without_fields_and_extra_forbid_is_empty() -> None:
    class Nobody(BaseModel):
        model_config = ConfigDict(extra="forbid")

    assert definition(Nobody) == "export type Nobody = { [key: string]: never };"


def test_equal_names_of_two_modules_get_the_shortest_prefix() -> None:
    def model(module: str, *, field: str) -> Any:
        return create_model("Item", __module__=module, **{field: (int, ...)})

    def called(*modules: str, alike: bool = False) -> list[str]:
        models = [model(module, field="x" if alike else f"x{place}") for place, module in enumerate(modules)]

        @client
        async def f(value: tuple[tuple(models)]) -> None: ...  # type: ignore[misc]

        return list(api_of(build([f]), base_url="").definitions)

    assert called("shop.a") == ["Item"]
    assert called("shop.a", "shop.b") == ["AItem", "BItem"]
    assert called("one.models", "other.models") == ["OneModelsItem", "OtherModelsItem"]
    assert called("same", "same") == ["Item", "Item2"]
    assert called("shop.a", "shop.b", alike=True) == ["Item"]


def test_double_underscores_in_a_models_name_are_no_module() -> None:
    class My__Model(BaseModel):  # noqa: N801
        model_config = ConfigDict(title="Something else")

    assert list(described(My__Model).definitions) == ["MyModel"]


class Raising(int):
    """A type whose own code fails when it is asked to describe itself."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.int_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        raise ZeroDivisionError


def test_a_type_without_a_schema_is_unknown_and_spoils_no_other() -> None:
    @client
    async def f(broken: list[Raising], whole: list[int]) -> Raising: ...

    api = api_of(build([f]), base_url="")
    types = Types(api.definitions)
    assert [types.of(one.schema) for one in api.calls[0].arguments] == ["unknown", "number[]"]
    assert types.of(api.calls[0].result) == "unknown"


def test_types_that_fail_only_together_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: object, inputs: list[Any]) -> Any:
        if len(inputs) > 1:
            raise ZeroDivisionError
        return {}, {}

    monkeypatch.setattr(GenerateJsonSchema, "generate_definitions", failing)
    with pytest.raises(ZeroDivisionError):
        described(int)


def test_data_that_looks_like_a_reference_is_data() -> None:
    class Example(BaseModel):
        x: dict[str, str] = Field(default={"$ref": "elsewhere"}, examples=[{"$ref": "nowhere"}])

    assert '@defaultValue {"$ref":"elsewhere"}' in definition(Example)


def test_an_alias_path_is_no_name_that_a_client_can_send() -> None:
    class Deep(BaseModel):
        x: int = Field(validation_alias=AliasPath("outer", 0))

    assert "x: number;" in definition(Deep, sent=True)


def test_a_dataclass_has_no_generated_docstring() -> None:
    @dataclass
    class Plain:
        x: int

    assert definition(Plain) == "export interface Plain {\n  x: number;\n}"


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("update_profile", "UpdateProfile"),
        ("update-profile.v2", "UpdateProfileV2"),
        ("Page[list[int]]", "PageListInt"),
        ("_private", "Private"),
        ("1st", "T1st"),
        ("__", "T"),
        ("größe", "Größe"),
    ],
)
def test_a_name_as_that_of_a_type(name: str, called: str) -> None:
    assert type_name(name) == called


def test_the_later_of_two_equal_names_is_renamed() -> None:
    names = Names({"Taken"})
    taken = [names.take(*wanted) for wanted in [("A",), ("A",), ("A",), ("Taken", "Free"), ("Taken", "Free"), ("A2",)]]
    assert taken == ["A", "A2", "A3", "Free", "Taken2", "A22"]


def test_members_and_literals() -> None:
    assert [member(name) for name in ("a", "class", "a-b", "$", "1", "__proto__", "ß")] == [
        *("a", "class", '"a-b"', "$", '"1"', '["__proto__"]', '"ß"'),
    ]
    assert literal({"b": [1.0, None], "a": "\ud800"}) == '{"a":"\\ud800","b":[1,null]}'


def test_comments() -> None:
    assert tsdoc("") == ""
    assert tsdoc("one */ line") == "/** one *\\/ line */\n"
    assert tsdoc("two\n\nlines") == "/**\n * two\n *\n * lines\n */\n"


def test_a_file_is_a_blob_and_bytes_are_a_text() -> None:
    def takes(annotation: Any) -> str:
        @client
        async def f(value: annotation) -> None: ...

        api = api_of(build([f]), base_url="")
        return Types(api.definitions).of(api.calls[0].arguments[0].schema)

    assert takes(File) == "Blob | File"
    assert takes(File | None) == "Blob | File | null"
    assert takes(list[File]) == "(Blob | File)[]"
    assert takes(bytes) == "string"
