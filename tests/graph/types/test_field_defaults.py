"""A default inside `Annotated` is the same as `= 1`: for clients, manifests, narrowing, and the function itself."""

import asyncio
import itertools
import uuid
from typing import Annotated, Any, NewType

import pytest
from pydantic import Field
from typing_extensions import TypeAliasType

from mizan_asgi.codegen.openapi import openapi_json
from mizan_core import Arg, Context, Engine, Graph, GraphError, Invalidation, MemoryCache, build, client, manifest_json
from mizan_core.errors import DeclarationError, InvalidInput
from tests.declaring import mutation, reader

USER = Context("user")

FIRST = Annotated[int, Field(default=1)]
DEFAULTS = [
    Annotated[int, Field(default=1)],
    Annotated[int, Field(1)],
    Annotated[int, Field(default_factory=lambda: 1)],
    Annotated[int, Field(default=2), Field(default=1)],
    TypeAliasType("Page", FIRST),  # type: ignore[misc]  # a name for the parametrised type
    (Annotated[int, Field(default=2)], 1),
]


def graph(page: Any) -> Graph:
    return build([reader("profile", USER, user_id=int, page=page), mutation("m", USER, user_id=page, page=page)])


@pytest.mark.parametrize("page", DEFAULTS, ids=map(str, range(len(DEFAULTS))))
def test_a_field_default_is_the_same_for_all_readers_of_it(page: Any) -> None:
    found, expected = graph(page), graph((int, 1))
    assert manifest_json(found) == manifest_json(expected)
    told = [openapi_json(one, base_url="/m", title="t", version="1") for one in (found, expected)]
    assert told[0] == told[1]
    assert found.contexts["user"].fingerprint == expected.contexts["user"].fingerprint


def test_a_field_defaults_other_settings_stay() -> None:
    profile = graph(Annotated[int, Field(gt=0, default=1, description="of the list")]).functions["profile"]
    schema = profile.inputs["page"].adapter.json_schema()
    assert schema == {"type": "integer", "exclusiveMinimum": 0, "description": "of the list"}
    with pytest.raises(InvalidInput):
        profile.validator.validate({"user_id": 5, "page": 0})
    with pytest.raises(GraphError, match="its default 0 is not a"):
        graph(Annotated[int, Field(gt=0, default=0)])


def test_an_omitted_argument_does_not_narrow() -> None:
    @client(context=USER)
    async def profile(user_id: int) -> int:
        return user_id

    @client(affects=[USER, Context("user").where(user_id=Arg("user_id"))])
    async def rename(user_id: Annotated[int, Field(default=5)]) -> int:
        return user_id

    async def story() -> None:
        async with Engine(build([profile, rename]), cache=MemoryCache()) as engine:
            answer = await engine.call("rename", {})
            assert (answer.result, answer.invalidations) == (5, (Invalidation("user"),))
            answer = await engine.call("rename", {"user_id": 5})
            assert answer.invalidations == (Invalidation("user", {"user_id": 5}),)

    asyncio.run(story())


def test_a_default_factory_runs_for_each_call() -> None:
    number = itertools.count()

    @client(context=USER)
    def shown(limit: FIRST, tags: Annotated[list[str], Field(alias="tag", default_factory=list)]) -> list[str]:
        tags.append(str(limit))
        return tags

    @client
    async def count(number: Annotated[int, Field(default_factory=lambda: next(number))], more: int = 7) -> list[int]:
        return [number, more]

    async def story() -> None:
        async with Engine(build([shown, count])) as engine:
            for _ in range(2):
                assert (await engine.fetch("user", {})).body == b'{"shown":["1"]}'
            assert (await engine.fetch("user", {"tag": ["a"], "limit": 2})).body == b'{"shown":["a","2"]}'
            first, second = [(await engine.call("count", {})).result for _ in range(2)]
            assert (second[0] - first[0], second[1]) == (1, 7)

    asyncio.run(story())


def test_a_contexts_default_that_differs_each_time_is_refused() -> None:
    with pytest.raises(GraphError, match="default_factory that makes another value each time"):
        graph(Annotated[uuid.UUID, Field(default_factory=uuid.uuid4)])


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (NewType("Page", FIRST), "inside the NewType Page"),
        (NewType("Outer", NewType("Page", FIRST)), "inside the NewType Outer"),
        (Annotated[int, Field(default_factory=lambda data: len(data))], "takes other values"),
    ],
    ids=["named", "twice named", "of others"],
)
def test_a_default_that_cannot_be_told_is_refused(page: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        reader("profile", USER, page=page)
