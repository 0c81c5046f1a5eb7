"""`Annotated[int, Me]` and `Claim`: where the marks stand, and which declarations with them are refused."""

from collections.abc import Callable
from typing import Annotated, Any, NewType

import pytest
from pydantic import Field
from typing_extensions import TypeAliasType

from mizan_core import Claim, Context, DeclarationError, GraphError, Me, build, client
from mizan_core.graph.identity_params import IdentityParam
from mizan_core.graph.types.identity_sources import take_source

UserId = NewType("UserId", int)
Mine = Annotated[int, Me]
AliasedMine = TypeAliasType("AliasedMine", Annotated[int, Me])


def params_of(annotation: Any) -> tuple[IdentityParam, ...]:
    async def reader(user_id: int) -> int:
        return user_id

    reader.__annotations__["user_id"] = annotation
    return build([client(context="cart")(reader)]).contexts["cart"].identity_params


class TestMarks:
    @pytest.mark.parametrize(
        ("annotation", "source", "plain"),
        [
            (int, None, int),
            (Annotated[int, Me], Me, int),
            (Annotated[int | None, Me], Me, int | None),
            (Annotated[int, Me] | None, Me, int | None),
            (Annotated[UserId, Me], Me, UserId),
            (Annotated[int, Field(gt=0), Claim("org")], Claim("org"), None),
            (Annotated[list[int], Claim("orgs")], Claim("orgs"), list[int]),
            (AliasedMine, Me, int),
            (Annotated[AliasedMine, "doc"], Me, Annotated[int, "doc"]),
        ],
    )
    def test_a_mark_is_found_and_taken_away(self, annotation: Any, source: object, plain: Any) -> None:
        found, left = take_source("user_id", annotation, None)
        assert found == source
        assert plain is None or left == plain
        assert [one.source for one in params_of(annotation)] == ([] if source is None else [source])

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            (list[Annotated[int, Me]], "inside of its type"),
            (NewType("Id", Annotated[int, Me]), "inside of its type"),  # type: ignore[valid-newtype]  # the mistake
            (Annotated[int, Me, Claim("org")], "twice"),
            (Annotated[int, Me] | Annotated[str, Me], "inside of its type"),
            (Annotated[int, type(Me)], "write Me"),
            (Annotated[int, Claim], r"write Claim\('org'\)"),
        ],
    )
    def test_a_mark_elsewhere_is_refused(self, annotation: Any, words: str) -> None:
        with pytest.raises(DeclarationError, match=words):
            take_source("user_id", annotation, None)

    def test_a_mark_for_a_default_is_refused(self) -> None:
        async def reader(user_id: Any = Me) -> int:
            return int(user_id)

        with pytest.raises(DeclarationError, match=r"write Annotated\[int, Me\]"):
            client(context="cart")(reader)

    @pytest.mark.parametrize("name", ["", None, 5])
    def test_a_claim_has_a_name(self, name: Any) -> None:
        with pytest.raises(DeclarationError, match=r"write Claim\('org'\)"):
            Claim(name)


def _reader(name: str, annotation: Any, **options: Any) -> Callable[..., Any]:
    async def reader(user_id: int) -> int:
        return user_id

    reader.__annotations__["user_id"] = annotation
    return client(context="cart", name=name, **options)(reader)


class TestDeclarations:
    def test_readers_agree_on_the_source(self) -> None:
        with pytest.raises(GraphError) as refused:
            build([_reader("a", Annotated[int, Me]), _reader("b", int)])
        assert "it is Me of the identity in the one and clients send it in the other" in str(refused.value)
        with pytest.raises(GraphError, match="diverges"):
            build([_reader("a", Annotated[int, Me]), _reader("b", Annotated[int, Claim("user")])])

    def test_a_route_cannot_fill_one_in(self) -> None:
        with pytest.raises(DeclarationError, match=r"\{user_id\}, which the caller's identity fills in"):
            _reader("a", Annotated[int, Me], route="/cart/{user_id}/")

    def test_no_url_has_to_spell_one(self) -> None:
        assert build([_reader("a", Annotated[list[int] | None, Claim("users")])])

    def test_where_takes_a_claim(self) -> None:
        @client(affects=Context("cart").where(user_id=Claim("user")))
        async def change() -> None: ...

        (affect,) = build([_reader("a", int), change]).functions["change"].affects
        assert affect.bindings == (("user_id", Claim("user")),)

    def test_a_claim_that_nothing_can_be_brought_to_is_refused(self) -> None:
        @client(affects=Context("cart").where(users=Claim("user")))
        async def change() -> None: ...

        with pytest.raises(GraphError, match="no parameter 'users'"):
            build([_reader("a", int), change])
