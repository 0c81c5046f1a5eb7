"""`mizan openapi`: valid by a public validator, and true of what the server answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from mizan_asgi.cli import cli
from mizan_asgi.codegen.openapi import openapi
from mizan_core import Context, File, Identity, build, client

from . import awkward

User = Context("user")


@client(context=User)
async def user_profile(user_id: int, tags: list[str] = [], note: str | None = None) -> dict[str, str]:  # noqa: B006
    """What is known of a user.

    Not much.
    """
    return {}


@client(context=User, auth=True)
async def user_secrets(user_id: int) -> list[str]: ...


@client(affects=User)
async def rename(user_id: int, name: str = "Ada") -> None:
    """Give a user another name."""


@client
async def whoami(me: Identity) -> str | None: ...


@client(affects=User, private=True)
async def purge_all() -> None: ...


document = openapi(
    build([user_profile, user_secrets, rename, whoami, purge_all]), base_url="/m", title="Users", version="2"
)
paths: dict[str, Any] = document["paths"]


@pytest.mark.parametrize("found", [document, json.loads((Path(__file__).parent / "golden/openapi.json").read_bytes())])
def test_the_document_is_valid(found: dict[str, Any]) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(found).iter_errors()] == []


def test_every_call_and_bundle_is_there_and_nothing_private() -> None:
    assert list(paths) == [
        *("/call/rename/", "/call/user_profile/", "/call/user_secrets/", "/call/whoami/"),
        "/ctx/user/",
    ]
    assert document["servers"] == [{"url": "/m"}]
    assert document["info"] == {"title": "Users", "version": "2"}


def test_no_two_operations_have_one_identifier() -> None:
    found = openapi(awkward.graph, base_url="", title="", version="")
    identifiers = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(set(identifiers)) == len(identifiers) == 25
    assert found["servers"] == [{"url": "/"}]


def test_arguments_are_those_of_the_function_and_no_others() -> None:
    body = paths["/call/rename/"]["post"]["requestBody"]
    assert body["required"]
    assert body["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {"user_id": {"type": "integer"}, "name": {"type": "string", "default": "Ada"}},
        "required": ["user_id"],
        "additionalProperties": False,
    }
    assert not paths["/call/whoami/"]["post"]["requestBody"]["required"]


def test_parameters_are_spelled_as_a_url_spells_them() -> None:
    by_name = {one["name"]: one for one in paths["/ctx/user/"]["get"]["parameters"]}
    assert list(by_name) == ["note", "tags", "user_id"]
    assert by_name["note"]["schema"] == {"type": "string"}
    assert by_name["tags"]["schema"] == {"type": "array", "items": {"type": "string"}, "default": []}
    assert (by_name["tags"]["style"], by_name["tags"]["explode"]) == ("form", True)
    assert [by_name[name]["required"] for name in by_name] == [False, False, True]


def test_a_guard_and_an_identity_are_said() -> None:
    signed_in = [{"token": []}, {"bearer": []}]
    assert paths["/call/user_secrets/"]["post"]["security"] == signed_in
    assert paths["/ctx/user/"]["get"]["security"] == signed_in
    assert paths["/call/whoami/"]["post"]["security"] == [{}, *signed_in]
    assert "security" not in paths["/call/rename/"]["post"]
    assert list(paths["/call/user_secrets/"]["post"]["responses"]) == ["200", "401", "403", "422", "default"]
    assert list(paths["/call/whoami/"]["post"]["responses"]) == ["200", "default"]


def test_a_mutation_lists_its_invalidations() -> None:
    mutation = paths["/call/rename/"]["post"]
    assert mutation["x-mizan-affects"] == [{"context": "user", "params": {"user_id": {"arg": "user_id"}}}]
    assert mutation["tags"] == ["mutations"]
    assert paths["/call/user_profile/"]["post"]["tags"] == ["readers"]
    assert paths["/call/whoami/"]["post"]["tags"] == ["functions"]
    assert paths["/ctx/user/"]["get"]["x-mizan-scopes"] == [[], ["user_id"]]


def test_docstrings_are_told() -> None:
    reader = paths["/call/user_profile/"]["post"]
    assert reader["summary"] == "What is known of a user."
    assert reader["description"] == "What is known of a user.\n\nNot much."
    assert "description" not in paths["/call/rename/"]["post"]
    assert "summary" not in paths["/call/whoami/"]["post"]


def test_the_command_prints_it_or_writes_it_to_a_file(tmp_path: Path) -> None:
    words = ["openapi", "tests.codegen.awkward:mizan", "--title", "Awkward", "--version", "3"]
    printed = CliRunner().invoke(cli, words).stdout_bytes
    assert printed == (Path(__file__).parent / "golden/openapi.json").read_bytes()
    file = tmp_path / "api" / "openapi.json"
    assert CliRunner().invoke(cli, [*words, "--out", str(file)]).exit_code == 0
    assert file.read_bytes() == printed


class TestFiles:
    def test_a_call_with_files_is_a_form(self) -> None:
        @client(affects=User)
        async def upload(
            user_id: int,
            picture: File,
            crop: dict[str, int] | None = None,
            more: list[File] = [],  # noqa: B006
            tags: list[str] = [],  # noqa: B006
        ) -> None: ...

        @client(affects=User)
        async def comment(user_id: int, text: str, attachment: File | None = None) -> None: ...

        document = openapi(build([user_profile, upload, comment]), base_url="/m", title="Users", version="2")
        OpenAPIV31SpecValidator(document).validate()
        binary = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
        required = document["paths"]["/call/upload/"]["post"]["requestBody"]
        assert list(required["content"]) == ["multipart/form-data"]
        form = required["content"]["multipart/form-data"]
        assert form["schema"]["properties"]["picture"] == binary
        assert form["schema"]["properties"]["more"]["items"] == binary
        assert form["schema"]["required"] == ["user_id", "picture"]
        assert form["encoding"] == {"crop": {"contentType": "application/json"}}
        optional = document["paths"]["/call/comment/"]["post"]["requestBody"]["content"]
        assert list(optional) == ["application/json", "multipart/form-data"]
        assert "attachment" not in optional["application/json"]["schema"]["properties"]
        assert "attachment" in optional["multipart/form-data"]["schema"]["properties"]
