"""The clients of deliberately awkward functions: as they are checked in, and as the TypeScript compiler sees them."""

import itertools
import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, create_model

from mizan_asgi.cli.files import write
from mizan_asgi.codegen.client import client_files
from mizan_asgi.codegen.modules import Language
from mizan_asgi.codegen.openapi import openapi
from mizan_core import Context, build, client
from tests.declaring import function, reader

from . import golden
from .compiling import complaints, project

HERE = Path(__file__).parent
USAGES = ["usage.ts", "usage.react.ts"]


def read(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("name", sorted(golden.generated()))
def test_generated_clients_equal_the_checked_in_ones(name: str) -> None:
    checked_in = (golden.FOLDER / name).read_text(encoding="utf-8")
    assert golden.generated()[name].decode() == checked_in, f"If this is meant to be so, run {golden.COMMAND}."


def test_nothing_else_is_checked_in() -> None:
    assert {path.name for path in golden.FOLDER.iterdir()} == set(golden.generated())


def test_typescript_compiles_and_refuses_every_wrong_line(tmp_path: Path) -> None:
    files = read(golden.FOLDER, "mizan.ts", "mizan.react.ts")
    project(tmp_path, files | read(HERE, *USAGES))
    assert complaints(tmp_path) == ""


def test_the_declarations_beside_javascript_say_the_same(tmp_path: Path) -> None:
    files = read(golden.FOLDER, "mizan.js", "mizan.d.ts", "mizan.react.js", "mizan.react.d.ts")
    project(tmp_path, files | read(HERE, *USAGES))
    assert complaints(tmp_path) == ""


def test_a_client_of_little_compiles_as_well(tmp_path: Path) -> None:
    @client(context="page")
    async def reader() -> int: ...

    @client
    async def call() -> None: ...

    project(tmp_path, {})
    for name, functions in {"contexts": [reader], "functions": [call]}.items():
        files = client_files(build(functions), Language.TS, base_url="", react=True, command="")
        write(tmp_path / name, files)
    assert complaints(tmp_path) == ""


# Names that generated modules use themselves, that JavaScript reserves, and that are written alike.
TAKEN = (
    *("bundle", "bundle_suspense", "mutation", "mizan", "mizan_bundle", "mizan_mutation", "client", "provider"),
    *("contexts", "client_", "then", "toJSON", "to_string", "toString", "constructor", "__proto__", "delete", "state"),
    *("user", "User", "user_", "user-profile", "user_profile", "userProfile", "user.profile", "React", "shown"),
    *("default", "create_mizan", "context_of", "defaults", "name", "params", "data", "call", "fetch", "not_called"),
)
MODELS = (
    *("Mizan", "Client", "Contexts", "Functions", "Params", "Bundle", "Name", "State", "Mutation", "Shown", "Error"),
    *("Array", "Promise", "Partial", "Record", "String", "Object", "Function", "Symbol", "Nothing", "Defaults", "User"),
    *("BundleParams", "MutationArgs", "UserBundle", "Listener", "createMizan", "contextOf", "React"),
)


@pytest.mark.parametrize("language", Language)
def test_generated_names_avoid_those_of_the_modules(language: Language, tmp_path: Path) -> None:
    models = [create_model(name, x=(int, ...)) for name in MODELS]
    results = itertools.cycle(models)
    functions = [
        *(reader(f"read_{place}", name, next(results), id=int) for place, name in enumerate(TAKEN)),
        *(client(name=name)(function(name, next(results), model=next(results))) for name in TAKEN),
    ]
    files = client_files(build(functions), language, base_url="", react=True, command="")
    project(tmp_path, files)
    assert complaints(tmp_path) == ""
    hooks = files[f"mizan.react.{language}"].decode()
    exported = re.findall(r"export function (\w+)", hooks)
    assert {"useBundle", "useBundleSuspense", "useMutation", "useMutationCall", "useBundleCall"} <= set(exported)
    members = re.findall(r"  (\w+): \(args, options\) =>", files[f"mizan.{language}"].decode())
    assert {"client_", "client2", "toJSON_", "then_", "delete"} <= set(members)
    assert len(exported) == len(set(exported)) == 2 + 3 * len(TAKEN)


def test_a_line_that_is_not_wrong_would_be_noticed(tmp_path: Path) -> None:
    usage = "import type { Color } from './mizan.js';\n// @ts-expect-error\nexport const color: Color = 'red';\n"
    project(tmp_path, read(golden.FOLDER, "mizan.ts") | {"usage.ts": usage.encode()})
    assert "TS2578" in complaints(tmp_path)


def test_parameters_are_called_by_their_aliases() -> None:
    user_id, user = Annotated[int, Field(alias="user-id")], Context("user")

    @client(context=user)
    async def profile(user_id: user_id) -> int: ...

    @client(affects=user)
    async def rename(user_id: user_id) -> None: ...

    graph = build([profile, rename])
    written = client_files(graph, Language.TS, base_url="", react=True, command="")["mizan.ts"].decode()
    assert written.count('  "user-id": number;') == 3
    assert "user_id" not in written
    operations = openapi(graph, base_url="", title="", version="")["paths"]
    (parameter,) = operations["/ctx/user/"]["get"]["parameters"]
    body = operations["/call/rename/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (parameter["name"], body["required"]) == ("user-id", ["user-id"])
