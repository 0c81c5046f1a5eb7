"""A parameter's alias is its one name for everyone but the function itself."""

import warnings
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, computed_field
from typing_extensions import TypeAliasType

from mizan_core import (
    Arg,
    Context,
    DeclarationError,
    Engine,
    GraphError,
    Identity,
    Invalidation,
    InvalidInput,
    Result,
    build,
    build_manifest,
    client,
)
from tests.declaring import function, mutation, reader

UserId = Annotated[int, Field(alias="userId")]
User = Context("user")


@pytest.mark.asyncio
async def test_clients_use_the_alias_and_the_function_its_argument() -> None:
    @client(context=User)
    def profile(user_id: UserId, page_size: Annotated[int, Field(validation_alias="per-page")] = 10) -> list[int]:
        return [user_id, page_size]

    @client(affects=User)
    async def rename(me: Identity, user_id: UserId, to: str = "") -> int:
        return user_id

    graph = build([profile, rename])
    async with Engine(graph) as engine:
        bundle = await engine.fetch("user", {"userId": "5", "per-page": 3})
        assert (bundle.body, bundle.canonical_query) == (b'{"profile":[5,3]}', "per-page=3&userId=5")
        answer = await engine.call("rename", {"userId": 5})
        assert answer.body == b'{"invalidate":[{"context":"user","params":{"userId":5}}],"result":5}'
        for sent, location in [({"userId": 5, "user_id": 5}, "user_id"), ({"userId": "x"}, "userId"), ({}, "userId")]:
            with pytest.raises(InvalidInput) as refused:
                await engine.call("rename", sent)
            assert refused.value.errors[0]["loc"] == ["args", location]
        assert await engine.invalidate(User, userId=7) == (Invalidation("user", {"userId": 7}),)
    manifest = build_manifest(graph)
    assert manifest["contexts"]["user"]["params"] == ["per-page", "userId"]
    assert manifest["mutations"]["rename"]["auto_scoped_params"] == ["userId"]


@pytest.mark.asyncio
async def test_a_marked_function_is_still_called_as_it_was_written() -> None:
    @client
    def swap(a: Annotated[int, Field(alias="b")], b: Annotated[int, Field(alias="a")]) -> list[int]:
        return [a, b]

    assert swap(1, b=2) == [1, 2]
    assert (await Engine(build([swap])).call("swap", {"a": 1, "b": 2})).result == [2, 1]


def test_a_fields_other_settings_stay() -> None:
    named = Annotated[int, Field(alias="n", gt=1, description="How many.")]
    compiled = build([client(function("f", n=named, m=TypeAliasType("M", UserId)))]).functions["f"].inputs
    assert list(compiled) == ["n", "userId"]
    assert compiled["n"].adapter.json_schema() == {"type": "integer", "exclusiveMinimum": 1, "description": "How many."}
    assert compiled["userId"].input.annotation is int


def test_aliases_cause_no_pydantic_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build([reader("r", User, user_id=UserId), mutation("m", User, user_id=(UserId, 5))])


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Annotated[int, Field(validation_alias=AliasPath("a", 0))], "one name everywhere"),
        (Annotated[int, Field(validation_alias=AliasChoices("a", "b"))], "one name everywhere"),
        (Annotated[int, Field(alias="a", serialization_alias="b")], "read by another name"),
        (Annotated[int, Field(serialization_alias="b")], "read by another name"),
        (Annotated[int, Field(alias="user id")], "'user id' cannot name a parameter"),
        (Annotated[int, Field(alias="")], "'' cannot name a parameter"),
        (UserId | None, "names the whole parameter"),
        (list[UserId], "names the whole parameter"),
        (Annotated[int, Field(alias="request")], "the host fills in"),
        (Annotated[int, Field(alias="me")], "the host fills in"),
        (Annotated[int, Field(alias="other")], "'x' and 'other' are both called 'other'"),
    ],
)
def test_an_alias_that_cannot_be_the_one_name_is_refused(annotation: Any, reason: str) -> None:
    def f(request, me: Identity, x, other: int = 0) -> int: ...  # type: ignore[no-untyped-def]

    f.__annotations__["x"] = annotation
    with pytest.raises(DeclarationError, match=reason):
        client(f)


@pytest.mark.parametrize("other", [{"user_id": int}, {"user_id": Annotated[int, Field(alias="uid")]}])
def test_readers_of_one_context_call_a_thing_by_one_name(other: Any) -> None:
    with pytest.raises(GraphError, match="'user_id' of a is 'userId' to clients, and 'user_id' of b is"):
        build([reader("a", User, user_id=UserId), reader("b", User, **other)])


def test_an_alias_is_no_other_readers_argument() -> None:
    crossed = Annotated[int, Field(alias="user_id")]
    with pytest.raises(GraphError, match="give both the same alias"):
        build([reader("a", User, user_id=UserId), reader("b", User, item=crossed)])
    build([reader("a", User, user_id=UserId), reader("b", User, userId=int), reader("c", User, uid=UserId)])


def test_bindings_and_routes_say_the_alias() -> None:
    bound = User.where(userId=Arg("target"))
    target = Annotated[int, Field(alias="target")]
    shown = reader("a", User, user_id=UserId, options={"route": "/users/{userId}/"})
    graph = build([shown, mutation("m", bound, to=target)])
    assert build_manifest(graph)["mutations"]["m"]["targets"] == [
        {"context": "user", "params": {"userId": {"arg": "target"}}}
    ]
    with pytest.raises(GraphError, match="no argument 'to'"):
        build([shown, mutation("m", User.where(userId=Arg("to")), to=target)])


class Shipped(BaseModel):
    customer_id: int = Field(serialization_alias="customerId")

    @computed_field(alias="nextDay")
    def next_day(self) -> int:
        return 8


@pytest.mark.asyncio
@pytest.mark.parametrize("called", ["customer_id", "customerId"])
async def test_a_result_field_is_known_by_name_and_alias(called: str) -> None:
    @client(affects=Context("orders").where(customer=Result(called), day=Result("nextDay")))
    async def ship() -> Shipped:
        return Shipped(customer_id=3)

    graph = build([ship, reader("r", "orders", customer=int, day=int)])
    async with Engine(graph) as engine:
        answer = await engine.call("ship", {})
    assert answer.invalidations == (Invalidation("orders", {"customer": 3, "day": 8}),)
    (target,) = build_manifest(graph)["mutations"]["ship"]["targets"]
    assert target["params"] == {"customer": {"result": "customerId"}, "day": {"result": "nextDay"}}
