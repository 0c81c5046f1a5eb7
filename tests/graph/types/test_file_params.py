"""Parameters that take files: where they may stand, and what is said of them."""

from typing import Annotated, Any, NewType

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from mizan_core import (
    Arg,
    Context,
    DeclarationError,
    Engine,
    File,
    Forbidden,
    GraphError,
    Identity,
    InvalidInput,
    Me,
    build,
    build_manifest,
    client,
)

User = Context("user")
Avatar = NewType("Avatar", File)
Picture = TypeAliasType("Picture", Annotated[File, "the face"])
Photos = Annotated[list[File], Field(max_length=3)]


class Form(BaseModel, arbitrary_types_allowed=True):
    picture: File


@client(context=User)
async def profile(user_id: int) -> str: ...


@client(context="named")
async def named(name: str) -> str: ...


def taking(annotation: Any, **options: Any) -> Any:
    async def upload(user_id: int, picture: Any) -> None: ...

    upload.__annotations__["picture"] = annotation
    return client(**({"affects": User} | options))(upload)


@pytest.mark.parametrize(
    ("annotation", "most"),
    [
        (File, 1),
        (File | None, 1),
        (Avatar, 1),
        (Picture, 1),
        (Picture | None, 1),
        (Annotated[File, "the face"], 1),
        (Annotated[File | None, Field(description="x")], 1),
        (list[File], 100),
        (list[File] | None, 100),
        (Photos, 3),
        (Photos | None, 3),
        (Annotated[list[File], Field(max_length=5000)], 100),
        (list[Annotated[File, "one"]], 100),
    ],
)
def test_a_parameter_takes_one_file_or_a_list_of_them(annotation: Any, most: int) -> None:
    graph = build([profile, taking(annotation)])
    assert graph.functions["upload"].files == {"picture": most}
    assert graph.functions["profile"].files == {}
    manifest = build_manifest(graph)["mutations"]["upload"]
    assert manifest["files"] == ["picture"]
    assert manifest["auto_scoped_params"] == ["user_id"]


@pytest.mark.parametrize(
    "annotation",
    [
        dict[str, File],
        File | str,
        tuple[File, ...],
        set[File],
        list[list[File]],
        list[File | None],
        list[Avatar] | File,
    ],
)
def test_a_file_inside_of_another_type_is_refused(annotation: Any) -> None:
    with pytest.raises(DeclarationError, match=r"'picture' has a File inside of its type"):
        taking(annotation)


def test_a_model_with_a_file_cannot_be_sent() -> None:
    with pytest.raises(GraphError, match="no JSON is read as one"):
        build([profile, taking(Form)])


@pytest.mark.parametrize(
    ("annotation", "options", "told"),
    [
        (File, {"affects": None, "context": User}, "let a mutation take it"),
        (File, {"affects": None, "route": "/x/", "methods": ["GET", "POST"]}, "a GET has no body"),
        (File, {"route": "/x/{picture}/"}, r"its route has \{picture\}, which is a file"),
        (Annotated[File, Me], {}, "is a file, and no identity has one"),
        (File, {"auth": lambda me, picture: True}, "its guard takes 'picture', a file"),
        (int, {"max_upload_bytes": 5}, "it takes none; give it a File or drop the limit"),
        (File, {"max_upload_bytes": 0}, "not a number of bytes above 0"),
        (File, {"max_upload_bytes": True}, "not a number of bytes above 0"),
        (File, {"max_upload_bytes": "5MB"}, "not a number of bytes above 0"),
    ],
)
def test_files_that_cannot_come_are_refused(annotation: Any, options: Any, told: str) -> None:
    with pytest.raises(DeclarationError, match=rf"upload: .*{told}"):
        taking(annotation, **options)


def test_a_file_is_no_result() -> None:
    with pytest.raises(DeclarationError, match="it returns a File"):

        @client
        async def download() -> File | None: ...


def test_a_file_names_no_scope() -> None:
    with pytest.raises(GraphError, match=r"'name' is Arg\('picture'\), which is a file"):
        build([named, taking(File, affects=Context("named").where(name=Arg("picture")))])


def test_a_private_function_takes_files_of_the_server() -> None:
    graph = build([profile, taking(list[File], private=True)])
    assert graph.functions["upload"].files == {"picture": 100}


class TestEngine:
    @pytest.mark.asyncio
    async def test_calls_and_runs_take_files_made_of_bytes(self) -> None:
        @client(affects=User)
        async def upload(user_id: int, picture: File, more: list[File] = []) -> list[bytes]:  # noqa: B006
            return [await one.read() for one in (picture, *more)]

        async with Engine(build([profile, upload])) as engine:
            for ask in (engine.call, engine.run):
                files = {"picture": File.of(b"1", name="a.png"), "more": [File.of(b"2")]}
                answer = await ask("upload", {"user_id": "5", **files})
                assert answer.result == [b"1", b"2"]
                assert [one.params for one in answer.invalidations] == [{"user_id": 5}]
                assert not files["picture"].file.closed  # type: ignore[union-attr]  # its maker closes it
            with pytest.raises(InvalidInput):
                await engine.call("upload", {"user_id": 5, "picture": b"1"})

    @pytest.mark.asyncio
    async def test_a_guard_with_arguments_is_asked_without_the_file(self) -> None:
        def own(me: Identity, user_id: int) -> bool:
            return me.user_id == str(user_id)

        @client(affects=User, auth=own)
        async def upload(user_id: int, picture: File) -> bytes:
            return await picture.read()

        async with Engine(build([profile, upload])) as engine:
            call = {"user_id": 5, "picture": File.of(b"1")}
            assert (await engine.call("upload", call, identity=Identity("5"))).result == b"1"
            with pytest.raises(Forbidden):
                await engine.call("upload", call, identity=Identity("6"))
