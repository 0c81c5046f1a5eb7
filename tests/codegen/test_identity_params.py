"""Parameters that the caller's identity fills in are in no client and no OpenAPI document: no client sends them."""

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from mizan_asgi.codegen.client import client_files
from mizan_asgi.codegen.modules import Language
from mizan_asgi.codegen.openapi import openapi
from mizan_core import Claim, Context, Me, build, client

Cart, Tickets, Basket = Context("cart"), Context("tickets"), Context("basket")


class Tenant(BaseModel):
    """A type that only an identity gives."""

    key: str


@client(context=Cart)
async def cart_lines(user_id: Annotated[int, Me]) -> list[str]: ...


@client(affects=Cart)
async def add_line(user_id: Annotated[int, Me], sku: str) -> None: ...


@client(affects=Cart)
async def empty_cart(user_id: Annotated[int, Me]) -> None: ...


@client(context=Tickets)
async def ticket_list(org_id: Annotated[int, Claim("org")], status: str | None = None) -> list[str]: ...


@client(context=Basket)
async def basket(user_id: Annotated[int | None, Me], lang: Annotated[Literal["en", "fr"], Claim("lang")] = "en") -> str:
    return lang


@client
async def whose(tenancy: Annotated[Tenant, Claim("tenancy")]) -> str: ...


graph = build([cart_lines, add_line, empty_cart, ticket_list, basket, whose])
document = openapi(graph, base_url="/m", title="", version="")
paths: dict[str, Any] = document["paths"]


@pytest.mark.parametrize("language", list(Language))
def test_no_generated_file_names_one(language: Language) -> None:
    files = client_files(graph, language, base_url="/m", react=True, command="x")
    written = [text.decode() for name, text in files.items() if name.startswith("mizan")]
    assert not any(re.search(r"user_id|org_id|\blang\b|[Tt]enan", text) for text in written)


def test_what_takes_nothing_else_takes_nothing() -> None:
    typescript = client_files(graph, Language.TS, base_url="/m", react=False, command="x")["mizan.ts"].decode()
    assert "empty_cart(args?: Nothing" in typescript
    assert "CartParams" not in typescript
    assert re.search(r"interface AddLineArgs \{\s*sku: string;\s*\}", typescript)
    assert re.search(r"interface TicketsParams \{\s*status\?: string \| null;\s*\}", typescript)


def test_the_document_names_none_and_says_401() -> None:
    assert [one["name"] for one in paths["/ctx/tickets/"]["get"]["parameters"]] == ["status"]
    assert paths["/ctx/cart/"]["get"]["parameters"] == []
    body = paths["/call/add_line/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == ["sku"]
    assert not paths["/call/empty_cart/"]["post"]["requestBody"]["required"]
    assert list(paths["/call/add_line/"]["post"]["responses"]) == ["200", "401", "422", "default"]
    for context in ("cart", "tickets", "basket"):
        assert "401" in paths[f"/ctx/{context}/"]["get"]["responses"]
    assert "Tenant" not in document["components"]["schemas"]


def test_a_user_id_that_may_not_be_null_needs_a_user() -> None:
    signed_in = [{"token": []}, {"bearer": []}]
    assert paths["/ctx/cart/"]["get"]["security"] == signed_in
    assert paths["/call/empty_cart/"]["post"]["security"] == signed_in
    for context in ("tickets", "basket"):  # a visitor may have claims
        assert paths[f"/ctx/{context}/"]["get"]["security"] == [{}, *signed_in]
