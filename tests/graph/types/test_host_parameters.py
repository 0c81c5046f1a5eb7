"""Parameters that a web framework would fill in are refused at the declaration: clients could send them."""

from typing import Annotated, Any, NewType, TypeVar

import fastapi
import pytest
import typing_extensions
from fastapi.security import OAuth2PasswordRequestForm, SecurityScopes
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from mizan_core import DeclarationError, Engine, build, client


class User(BaseModel):
    id: int


def signed_in() -> User:
    return User(id=1)


class OurRequest(fastapi.Request):
    """A host's own."""


Named = NewType("Named", fastapi.Request)
Aliased = typing_extensions.TypeAliasType("Aliased", Annotated[User, fastapi.Depends(signed_in)])

T = TypeVar("T")
Generic = typing_extensions.TypeAliasType("Generic", Annotated[T, fastapi.Depends(signed_in)], type_params=(T,))

REFUSED: list[tuple[Any, str]] = [
    (Annotated[User, fastapi.Depends(signed_in)] | None, r"has Depends\(\.\.\.\).*on the whole parameter"),
    (list[Annotated[User, fastapi.Depends(signed_in)]], "Depends.*on the whole parameter"),
    (Generic[User], "Depends.*on the whole parameter"),
    (fastapi.Request, "is a fastapi Request|is a starlette Request.*call it 'request'"),
    (OurRequest, "OurRequest.*call it 'request'"),
    (HTTPConnection, "call it 'request'"),
    (fastapi.Request | None, "call it 'request'"),
    (Named, "call it 'request'"),
    (fastapi.WebSocket, "no websockets"),
    (fastapi.Response, "return a response from a view"),
    (JSONResponse, "return a response from a view"),
    (fastapi.BackgroundTasks, "nothing would run them"),
    (BackgroundTask, "nothing would run it"),
    (fastapi.UploadFile, "File"),
    (list[fastapi.UploadFile], "File"),
    (Annotated[bytes, fastapi.File()], "has File\\(\\.\\.\\.\\).*File"),
    (Annotated[str, fastapi.Header()], "request.headers"),
    (Annotated[str | None, fastapi.Cookie()], "request.cookies"),
    (SecurityScopes, "me: Identity"),
    (OAuth2PasswordRequestForm, "take all of the request"),
    (Headers, "take all of the request"),
]


@pytest.mark.parametrize(("annotation", "told"), REFUSED)
def test_parameters_that_a_host_fills_in_are_refused(annotation: Any, told: str) -> None:
    async def rename(name: str, other: Any) -> None: ...

    rename.__annotations__["other"] = annotation
    with pytest.raises(DeclarationError, match=f"rename: parameter 'other' .*({told})"):
        client(affects="user")(rename)


def test_a_default_that_a_host_would_fill_in_is_refused() -> None:
    async def rename(name: str, other: Any = fastapi.Header(None)) -> None: ...  # noqa: B008

    with pytest.raises(DeclarationError, match="rename: parameter 'other' has"):
        client(affects="user")(rename)


DEPENDENCIES = [
    Annotated[User, fastapi.Depends(signed_in)],
    Annotated[User, fastapi.Security(signed_in, scopes=["a"])],
    Annotated[User | None, fastapi.Depends(signed_in)],
    Annotated[OAuth2PasswordRequestForm, fastapi.Depends()],
    Aliased,
]


@pytest.mark.parametrize("annotation", DEPENDENCIES)
def test_a_dependency_is_no_input_and_needs_fastapi(annotation: Any) -> None:
    async def rename(name: str, other: Any) -> None: ...

    rename.__annotations__["other"] = annotation
    graph = build([client(rename)])
    assert set(graph.functions["rename"].inputs) == {"name"}
    with pytest.raises(DeclarationError, match=r"rename: parameter 'other' has Depends\(\.\.\.\).*me: Identity"):
        Engine(graph)


@pytest.mark.parametrize("default", [fastapi.Depends(signed_in), fastapi.Security(signed_in)])
def test_a_default_may_be_a_dependency_without_an_annotation(default: Any) -> None:
    def rename(name: str, other=default) -> None: ...  # type: ignore[no-untyped-def]

    assert set(build([client(rename)]).functions["rename"].inputs) == {"name"}


def test_annotated_constraints_are_no_host_parameters() -> None:
    @client(context="user")
    async def letters(page: Annotated[int, fastapi.Query(ge=1)] = 1) -> int:
        return page

    assert build([letters]).contexts["user"].parameters["page"].default_text == "1"


def test_a_request_may_have_any_annotation() -> None:
    @client
    async def seen(request: fastapi.Request) -> str:
        return ""

    assert build([seen]).functions["seen"].takes_request


def test_a_class_that_is_only_called_so_is_an_argument() -> None:
    class Security(BaseModel):
        """Of a stock exchange."""

        isin: str = ""

    @client
    async def bought(security: Security = Security()) -> str:  # noqa: B008
        return security.isin

    assert set(build([bought]).functions["bought"].inputs) == {"security"}
