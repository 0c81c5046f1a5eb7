"""`mizan.add_openapi(app)`: what clients can ask Mizan for is in FastAPI's own document, which stays valid."""

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from starlette.applications import Starlette

from mizan_asgi import Mizan
from mizan_core import DeclarationError, Graph, build, client


class Profile(BaseModel):
    """Of Mizan's."""

    user_id: int


def of_the_host() -> Any:
    class Profile(BaseModel):
        """Of the host's."""

        name: str

    class Problem(BaseModel):
        status: str

    class Answer(BaseModel):
        profile: Profile
        problem: Problem

    return Answer


@client(context="user")
async def user_profile(user_id: int) -> Profile: ...


@client(context="user", auth=True)
async def user_secrets(user_id: int) -> list[str]: ...


@client(affects="user")
async def rename(user_id: int, name: str) -> Profile: ...


@client(affects="user", private=True)
async def purge_all() -> None: ...


@pytest.fixture
def graph() -> Graph:
    return build([user_profile, user_secrets, rename, purge_all])


OURS = ["/call/rename/", "/call/user_profile/", "/call/user_secrets/", "/ctx/user/"]


def host(**options: Any) -> FastAPI:
    """An application that has taken some of the names."""
    app = FastAPI(**options)
    answer = of_the_host()

    @app.get("/own", operation_id="call_rename")
    async def own() -> answer: ...  # type: ignore[valid-type]

    return app


def below(document: dict[str, Any], prefix: str) -> list[str]:
    return [path.removeprefix(prefix) for path in document["paths"] if path.startswith(f"{prefix}/")]


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for one in schema.values():
            yield from references(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from references(one)


def check(document: dict[str, Any]) -> None:
    """It is valid, says each name once, and refers to nothing that is not there."""
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    for reference in references(document):
        section, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][section]
    operations = [one for path in document["paths"].values() for one in path.values() if isinstance(one, dict)]
    identifiers = [one["operationId"] for one in operations]
    assert len(set(identifiers)) == len(identifiers)
    for operation in operations:
        for one in operation.get("security", ()):
            assert one.keys() <= document["components"]["securitySchemes"].keys()


@pytest.mark.asyncio
async def test_the_hosts_document_and_docs_have_it(graph: Graph) -> None:
    mizan, app = Mizan(graph), host()
    mizan.add_openapi(app)
    app.mount("/functions", mizan)  # afterwards, and elsewhere than base_url says
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as web:
        document = (await web.get("/openapi.json")).json()
        assert (await web.get("/docs")).status_code == 200
    check(document)
    assert below(document, "/functions") == OURS
    assert "/own" in document["paths"]
    assert document["info"]["title"] == "FastAPI"
    assert "purge_all" not in str(document)


def test_names_of_the_host_stay_its_own(graph: Graph) -> None:
    app = host()
    bearer = HTTPBearer(scheme_name="bearer")

    @app.get("/guarded")
    async def guarded(token: Annotated[Any, Depends(bearer)]) -> None: ...

    before = app.openapi()
    app.openapi_schema = None
    mizan = Mizan(graph)
    mizan.add_openapi(app)
    document = app.openapi()
    check(document)
    for path, operations in before["paths"].items():
        assert document["paths"][path] == operations
    for section, named in before["components"].items():
        assert named.items() <= document["components"][section].items()
    schemas = document["components"]["schemas"]
    assert schemas["ProfileModel"]["description"] == "Of Mizan's."
    assert schemas["MizanProblem"]["required"] == ["type", "title", "status", "code", "detail"]
    call = document["paths"]["/api/mizan/call/rename/"]["post"]
    assert call["operationId"] == "mizan_call_rename"
    fetch = document["paths"]["/api/mizan/ctx/user/"]["get"]
    assert fetch["security"] == [{"token": []}, {"mizanBearer": []}]
    assert document["components"]["securitySchemes"]["mizanBearer"]["bearerFormat"] == "JWT"


def test_it_is_added_once_and_made_once(graph: Graph) -> None:
    mizan, app = Mizan(graph), host()
    mizan.add_openapi(app)
    once = app.openapi
    mizan.add_openapi(app)
    assert app.openapi is once
    document = app.openapi()
    assert app.openapi() is document
    app.openapi_schema = None

    @app.get("/later")
    async def later() -> None: ...

    assert "/later" in app.openapi()["paths"]
    assert below(app.openapi(), "/api/mizan") == OURS
    app.mount("/moved", mizan)
    assert below(app.openapi(), "/moved") == OURS
    assert below(app.openapi(), "/api/mizan") == []


def test_a_document_of_the_hosts_own_making(graph: Graph) -> None:
    app = host()

    def custom() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = get_openapi(title="Custom", version="7", routes=app.routes)
            app.openapi_schema["info"]["x-logo"] = "logo"
        return app.openapi_schema

    app.openapi = custom  # type: ignore[method-assign]
    Mizan(graph).add_openapi(app)
    document = app.openapi()
    check(document)
    assert (document["info"]["title"], document["info"]["x-logo"]) == ("Custom", "logo")
    assert below(document, "/api/mizan") == OURS


def test_a_document_without_anything_of_its_own(graph: Graph) -> None:
    app = FastAPI()
    app.openapi = lambda: {"openapi": "3.1.0", "info": {"title": "", "version": ""}}  # type: ignore[method-assign]
    Mizan(graph).add_openapi(app)
    check(app.openapi())


def test_several_of_them_are_told_apart(graph: Graph) -> None:
    app = host()
    for path in ("/one", "/other"):
        mizan = Mizan(graph)
        app.mount(path, mizan)
        mizan.add_openapi(app)
        mizan.add_openapi(app)
    document = app.openapi()
    check(document)
    assert below(document, "/one") == below(document, "/other") == OURS


def test_a_mount_below_others_and_with_parameters(graph: Graph) -> None:
    mizan, app, inner = Mizan(graph), host(), Starlette()
    inner.mount("/m", mizan)
    app.mount("/{tenant}/in/{number:int}", inner)
    mizan.add_openapi(app)
    document = app.openapi()
    check(document)
    assert below(document, "/{tenant}/in/{number}/m") == OURS
    parameters = document["paths"]["/{tenant}/in/{number}/m/ctx/user/"]["parameters"]
    assert [one["name"] for one in parameters] == ["tenant", "number"]


def test_a_path_of_the_hosts_wins(graph: Graph) -> None:
    app = host()

    @app.get("/api/mizan/ctx/user/")
    async def user() -> int: ...

    Mizan(graph).add_openapi(app)
    assert app.openapi()["paths"]["/api/mizan/ctx/user/"]["get"]["operationId"].startswith("user_")


@pytest.mark.parametrize(
    ("app", "said"),
    [(Starlette(), "and this is a Starlette"), (host(), "OpenAPI 3.1, and the application 3.0.3")],
)
def test_an_application_that_cannot_have_it_is_refused(graph: Graph, app: Any, said: str) -> None:
    if isinstance(app, FastAPI):
        app.openapi_version = "3.0.3"
    with pytest.raises(DeclarationError, match=said):
        Mizan(graph).add_openapi(app)
