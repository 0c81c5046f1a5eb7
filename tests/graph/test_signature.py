"""Inputs and return types, read from annotations, which may be text."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NewType, TypeVar

import pytest
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, Response
from typing_extensions import TypeAliasType

from mizan_core import GraphError, Identity, build, client
from mizan_core.graph.declare import declaration_of
from mizan_core.graph.signature import Input, Signature, union_members

if TYPE_CHECKING:
    from somewhere_else import Request


T = TypeVar("T")

# The object that `type Me = Identity` makes in Python 3.12, and generic aliases.
Me = getattr(typing, "TypeAliasType", TypeAliasType)("Me", Identity)
MaybeMe = TypeAliasType("MaybeMe", Me | None)
Maybe = TypeAliasType("Maybe", T | None, type_params=(T,))
Noted = TypeAliasType("Noted", T, type_params=(T,))
Page = TypeAliasType("Page", HTMLResponse)


def signature_of(function: Callable[..., Any]) -> Signature:
    declaration = declaration_of(function)
    assert declaration is not None
    assert declaration.signature is not None
    return declaration.signature


class TestInputs:
    def test_annotations_that_are_only_text_are_resolved(self) -> None:
        @client(context="user")
        def reader(user_id: int, limit: int = 10, *, tag: str | None = None) -> list[str]: ...

        signature = signature_of(reader)
        assert signature.inputs == {
            "user_id": Input("user_id", int, required=True),
            "limit": Input("limit", int, required=False, default=10),
            "tag": Input("tag", str | None, required=False, default=None),
        }
        assert signature.returns == list[str]
        assert not signature.takes_request
        assert signature.identities == ()

    def test_a_model_that_is_local_to_a_function_is_found(self) -> None:
        class Profile(BaseModel):
            name: str

        @client(context="user")
        def reader(user_id: int) -> Profile: ...

        @client
        def bare(profile: Profile) -> list[Profile]: ...

        assert signature_of(reader).returns is Profile
        assert signature_of(bare).inputs["profile"].annotation is Profile
        assert build([reader, bare]).functions["reader"].result is not None

    def test_annotated_metadata_is_kept(self) -> None:
        @client(context="user")
        def reader(limit: Annotated[int, Field(gt=0)] = 10) -> int: ...

        assert signature_of(reader).inputs["limit"].annotation.__metadata__[0].metadata[0].gt == 0

    def test_a_function_that_returns_nothing_says_none(self) -> None:
        @client(affects="user")
        def mutation(user_id: int) -> None: ...

        assert signature_of(mutation).returns is type(None)

    def test_async_is_seen_through_decorators_below_the_mark(self) -> None:
        def logged(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return wrapper

        def in_a_thread(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return wrapper

        @client(context="user")
        @logged
        async def awaited(user_id: int) -> int: ...

        @client(context="user")
        @in_a_thread
        def made_async(user_id: int) -> int: ...

        @client(context="user")
        @logged
        def plain(user_id: int) -> int: ...

        assert [signature_of(one).is_async for one in (awaited, made_async, plain)] == [True, True, False]
        assert signature_of(awaited).inputs["user_id"].annotation is int

    def test_a_signature_that_a_decorator_made_up_is_believed(self) -> None:
        def with_session(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapper(**kwargs: Any) -> Any:
                return function(session="opened", **kwargs)

            shown = inspect.signature(function)
            outer = [one for name, one in shown.parameters.items() if name != "session"]
            wrapper.__signature__ = shown.replace(parameters=outer)
            return wrapper

        @client(context="user")
        @with_session
        def reader(session: str, user_id: int) -> int: ...

        assert list(signature_of(reader).inputs) == ["user_id"]


class TestRequestsAndIdentities:
    def test_a_request_may_be_imported_for_type_checkers_only(self) -> None:
        @client(context="user")
        def reader(request: Request, user_id: int) -> int: ...

        assert signature_of(reader).takes_request
        assert list(signature_of(reader).inputs) == ["user_id"]

    def test_a_request_needs_no_annotation(self) -> None:
        @client(context="user")
        def reader(request, user_id: int) -> int: ...

        assert signature_of(reader).takes_request

    def test_an_identity_parameter_may_have_any_name(self) -> None:
        @client(context="user")
        def reader(me: Identity, they: Identity | None, noted: Annotated[Identity, "caller"], user_id: int) -> int: ...

        assert signature_of(reader).identities == ("me", "they", "noted")
        assert list(signature_of(reader).inputs) == ["user_id"]

    @pytest.mark.parametrize("annotation", [Me, MaybeMe, Maybe[Identity], Maybe[Me], Noted[Identity], NewType("I", Me)])
    def test_an_alias_of_identity_is_no_client_argument(self, annotation: Any) -> None:
        def reader(who) -> int: ...

        reader.__annotations__["who"] = annotation
        assert signature_of(client(context="user")(reader)).identities == ("who",)

    @pytest.mark.parametrize("annotation", [Identity | int, list[Identity], "Identity | str", Maybe[int], Maybe[str]])
    def test_a_union_with_identity_is_not_the_identity(self, annotation: Any) -> None:
        def reader(who) -> int: ...

        reader.__annotations__["who"] = annotation
        assert signature_of(client(context="user")(reader)).identities == ()


class Application:
    """Not a response class of Starlette's, but its instances are ASGI applications all the same."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class OtherCallable:
    def __call__(self, scope: Any, receive: Any) -> None: ...


class CallableByAccident:
    __call__ = functools.partialmethod(lambda self, scope, receive, send: None)


class TestViews:
    @pytest.mark.parametrize(
        "returned", [Response, HTMLResponse, Application, Response | HTMLResponse, Annotated[Response, "page"], Page]
    )
    def test_a_function_that_returns_asgi_applications_is_a_view(self, returned: Any) -> None:
        def page() -> int: ...

        page.__annotations__["return"] = returned
        signature = signature_of(client(context="user", route="/")(page))
        assert signature.is_view
        assert signature.has_view_member

    @pytest.mark.parametrize(
        "returned", [int, None, OtherCallable, CallableByAccident, list[int], list[Response], dict[str, Response], Any]
    )
    def test_any_other_function_returns_data(self, returned: Any) -> None:
        def reader() -> int: ...

        reader.__annotations__["return"] = returned
        signature = signature_of(client(context="user")(reader))
        assert not signature.is_view
        assert not signature.has_view_member

    def test_unions_are_looked_through_at_every_level(self) -> None:
        assert union_members(int) == (int,)
        assert union_members(int | None) == (int, type(None))
        assert union_members(Annotated[int | Annotated[str | bytes, "x"], "y"]) == (int, str, bytes)


@client(context="user")
def before(user_id: int, kind: Kind) -> Later: ...


@client(context="pages", route="/before/{user_id}/")
def page_before(user_id: int) -> LaterResponse: ...


class Kind(BaseModel):
    """Defined below what is annotated with it, and no type for a context, so that the graph has something to say."""

    code: int


class Later(BaseModel):
    user_id: int


class LaterResponse(Response):
    """A response class that is defined below the view that returns it."""


@client(affects="user")
def misspelled(user_id: int) -> Latr: ...  # noqa: F821


@client(affects="user")
def in_the_wrong_place(request: Request, user_id: int) -> types.Latr: ...


@client(affects="user")
def wrongly_subscripted(later: Further[int]) -> None: ...


class Further:
    """Not generic, which shows only once it is defined."""


@client(affects="user")
def routeless() -> LastResponse: ...


class LastResponse(Response):
    """Returned by a function without a route, which shows only once the class is defined."""


class TestForwardReferences:
    def test_a_forward_reference_is_resolved_by_build(self) -> None:
        @client(affects="user")
        def mutation(user_id: int) -> None: ...

        @client(context="user")
        def ok(user_id: int) -> Later: ...

        assert declaration_of(page_before).signature is None
        graph = build([ok, page_before, mutation])
        assert graph.functions["page_before"].is_view
        assert graph.functions["ok"].signature.returns is Later

    @pytest.mark.parametrize(
        ("function", "words"),
        [
            (before, ["before: parameter 'kind' of context 'user' is a Kind, which a URL cannot spell"]),
            (misspelled, ["misspelled: an annotation uses what cannot be found (name 'Latr' is not defined)"]),
            (misspelled, ["define or import it beside the function"]),
            (in_the_wrong_place, ["cannot be found (module 'types' has no attribute 'Latr')"]),
            (wrongly_subscripted, ["wrongly_subscripted: its annotations cannot be read"]),
            (routeless, ["routeless: a function that returns a web response needs a route"]),
        ],
    )
    def test_a_bad_forward_reference_is_a_defect_of_the_graph(
        self, function: Callable[..., Any], words: list[str]
    ) -> None:
        assert declaration_of(function).signature is None
        with pytest.raises(GraphError) as refused:
            build([function])
        assert all(word in str(refused.value) for word in words)

    def test_a_type_checking_import_cannot_type_an_input(self) -> None:
        @client(affects="user")
        def mutation(when: Request) -> None: ...

        with pytest.raises(GraphError, match=r"uses what cannot be found.*'Request'"):
            build([mutation])

    def test_a_local_name_defined_too_late_is_reported(self) -> None:
        @client(affects="user")
        def mutation(thing: Local) -> None: ...

        class Local(BaseModel):
            pass

        assert isinstance(Local, type)
        with pytest.raises(GraphError, match=r"uses what cannot be found.*'Local'"):
            build([mutation])


def test_the_annotations_here_are_text() -> None:
    assert isinstance(TestViews.test_any_other_function_returns_data.__annotations__["returned"], str)
    assert isinstance(before, types.FunctionType)
