"""What is refused, in the specification's words."""

from typing import Any

import pytest

from .published import ERRORS, check
from .world import Conduit

_DRAFT = {"title": "A title", "description": "About", "body": "Text"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errors"),
    [
        ("POST", "/users", {"user": {"username": ""}}, 422, {"username", "email", "password"}),
        ("POST", "/users", {"user": {"username": "ada", "email": "x@y.z", "password": "p"}}, 409, {"username"}),
        ("POST", "/users", {"user": {"username": "x", "email": "ada@mail.com", "password": "p"}}, 409, {"email"}),
        ("PUT", "/user", {"user": {"username": "bob"}}, 409, {"username"}),
        ("PUT", "/user", {"user": {"email": None}}, 422, {"email"}),
        ("POST", "/users/login", {"user": {"email": "ada@mail.com", "password": "wrong"}}, 401, {"credentials"}),
        ("POST", "/users/login", {"user": {"email": "nobody@mail.com", "password": "p"}}, 401, {"credentials"}),
        ("GET", "/profiles/nobody", None, 404, {"profile"}),
        ("POST", "/profiles/nobody/follow", None, 404, {"profile"}),
        ("DELETE", "/profiles/nobody/follow", None, 404, {"profile"}),
        ("POST", "/articles", {"article": {**_DRAFT, "title": " "}}, 422, {"title"}),
        ("POST", "/articles", {"article": {**_DRAFT, "title": "Bobs own"}}, 409, {"title"}),
        ("GET", "/articles?limit=0", None, 422, {"limit"}),
        ("GET", "/articles?offset=-1", None, 422, {"offset"}),
        ("GET", "/articles/none", None, 404, {"article"}),
        ("PUT", "/articles/none", {"article": {}}, 404, {"article"}),
        ("PUT", "/articles/bobs-own", {"article": {"body": "Mine"}}, 403, {"article"}),
        ("DELETE", "/articles/none", None, 404, {"article"}),
        ("DELETE", "/articles/bobs-own", None, 403, {"article"}),
        ("POST", "/articles/none/favorite", None, 404, {"article"}),
        ("DELETE", "/articles/none/favorite", None, 404, {"article"}),
        ("GET", "/articles/none/comments", None, 404, {"article"}),
        ("POST", "/articles/none/comments", {"comment": {"body": "Hm"}}, 404, {"article"}),
        ("POST", "/articles/bobs-own/comments", {"comment": {"body": ""}}, 422, {"body"}),
        ("DELETE", "/articles/none/comments/1", None, 404, {"article"}),
        ("DELETE", "/articles/bobs-own/comments/0", None, 404, {"comment"}),
        ("DELETE", "/articles/bobs-own/comments/1", None, 403, {"comment"}),
    ],
)
async def test_a_request_is_refused_in_words(
    conduit: Conduit, method: str, path: str, body: Any, status: int, errors: set[str]
) -> None:
    ada, bob = await conduit.register("ada"), await conduit.register("bob")
    slug = await conduit.publish(bob, "Bobs own")
    await conduit.web.post(f"/articles/{slug}/comments", json={"comment": {"body": "First"}}, headers=bob)
    answer = await conduit.web.request(method, path, json=body, headers=ada)
    assert answer.status_code == status, answer.text
    check(answer.json(), ERRORS)
    assert set(answer.json()["errors"]) == errors


@pytest.mark.asyncio
@pytest.mark.parametrize("token", [None, "Token not.a.token", "Bearer not.a.token"])
async def test_a_visitor_is_asked_for_a_token(conduit: Conduit, token: str | None) -> None:
    headers = {} if token is None else {"authorization": token}
    asked = [
        ("GET", "/user"),
        ("PUT", "/user"),
        ("GET", "/articles/feed"),
        ("POST", "/articles"),
        ("PUT", "/articles/any"),
        ("DELETE", "/articles/any"),
        ("POST", "/articles/any/favorite"),
        ("DELETE", "/articles/any/favorite"),
        ("POST", "/articles/any/comments"),
        ("DELETE", "/articles/any/comments/1"),
        ("POST", "/profiles/any/follow"),
        ("DELETE", "/profiles/any/follow"),
    ]
    for method, path in asked:
        answer = await conduit.web.request(method, path, headers=headers)
        assert answer.status_code == 401, (method, path, answer.text)
        check(answer.json(), ERRORS)


@pytest.mark.asyncio
async def test_a_forged_token_is_refused_where_none_is_needed(conduit: Conduit) -> None:
    forged = {"authorization": (await conduit.register("ada"))["authorization"][:-2] + "xx"}
    for path in ("/articles", "/profiles/ada", "/user"):
        answer = await conduit.web.get(path, headers=forged)
        assert (answer.status_code, answer.json()) == (401, {"errors": {"token": ["is not valid"]}})
